"""Python kernels: ipykernel, spoken to in Jupyter's protocol over sockets of the file system."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time

import zmq
from jupyter_client.session import Session
from zmq.eventloop.zmqstream import ZMQStream

from kernels import DONE, Kernel, error, in_background, nobody
from outlets import Outlets
from packing import pack

START_SECONDS = 60
FIRST_PATIENCE_SECONDS = 0.2
ANSWER_SECONDS = 2
KINDS = {
    "text/plain": "text", "text/html": "html", "text/markdown": "markdown", "image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpeg",
    "application/pdf": "pdf", "text/latex": "latex", "application/json": "json", "application/javascript": "javascript",
    "e2b/data": "data", "e2b/chart": "chart"}
WARM = (
    "1 + 1", "print('x')", "x = [i * i for i in range(100)]\nsum(x)", "'text'", "import os\nos.getcwd()", "1 / 0",
    "import numpy as np\nnp.arange(6).reshape(2, 3)", "import pandas as pd\npd.DataFrame({'a': [1, 2]})",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()")


def result(content, main):
    event, extra = {"type": "result", "is_main_result": main}, {}
    for kind, value in content["data"].items():
        if kind == "text/plain" and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if kind in KINDS:
            event[KINDS[kind]] = value
        else:
            extra[kind] = value
    if extra:
        event["extra"] = extra
    return event


class PythonKernels:
    """Asks the process that forks them."""

    def __init__(self, home):
        self.home = home
        self.parent = None
        self.starting = asyncio.Lock()
        self.started = asyncio.Queue()
        self.kernels = {}

    def kernel(self, cwd):
        return PythonKernel(self, cwd)

    async def begin(self, kernel, folder, file):
        """The number of a new process, which is that kernel."""
        async with self.starting:
            if self.parent is None or self.parent.returncode is not None:
                await self._start_parent()
            self.parent.stdin.write(json.dumps({"file": file, "cwd": kernel.cwd, "out": f"{folder}/out", "err": f"{folder}/err"}).encode() + b"\n")
            end = time.monotonic() + START_SECONDS
            while True:
                told = await asyncio.wait_for(self.started.get(), max(0, end - time.monotonic()))
                if told is None:
                    raise RuntimeError("the process that forks python kernels has ended")
                if told["file"] == file:  # Not one that came too late for somebody else.
                    self.kernels[told["started"]] = kernel
                    return told["started"]

    async def _start_parent(self):
        while not self.started.empty():
            self.started.get_nowait()
        self.parent = await asyncio.create_subprocess_exec(
            sys.executable, os.path.join(self.home, "python_kernel.py"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        await asyncio.wait_for(self.parent.stdout.readline(), START_SECONDS * 3)
        in_background(self._listen(self.parent))

    async def _listen(self, parent):
        while True:
            line = await parent.stdout.readline()
            if not line:
                break
            told = json.loads(line)
            if "started" in told:
                self.started.put_nowait(told)
            else:
                self._has_ended(told.get("ended"))
        await parent.wait()
        self.started.put_nowait(None)
        for pid in list(self.kernels):  # They end with it.
            self._has_ended(pid)

    def _has_ended(self, pid):
        kernel = self.kernels.pop(pid, None)
        if kernel is not None and kernel.pid == pid:
            kernel.has_ended()


class PythonKernel(Kernel):
    def __init__(self, makers, cwd):
        super().__init__("python", cwd)
        self.makers = makers
        self.folder = None
        self.shell = self.iopub = None
        self.message = None
        self.patience = asyncio.Handle(lambda: None, (), asyncio.get_running_loop())
        self.answered = self.idle = self.failed = False
        self.paused = False

    async def _begin(self):
        self.folder = folder = tempfile.mkdtemp(prefix="forkd-kernel-")
        file = os.path.join(folder, "connection.json")
        with open(file, "w", encoding="ascii") as out:
            json.dump({
                "transport": "ipc", "ip": os.path.join(folder, "s"), "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4,
                "hb_port": 5, "key": "", "signature_scheme": "hmac-sha256"}, out)
        outlets = []
        for name in ("out", "err"):
            os.mkfifo(os.path.join(folder, name), 0o600)
            # For writing as well: it does not end whoever comes and goes at its other end.
            outlets.append(os.open(os.path.join(folder, name), os.O_RDWR | os.O_NONBLOCK))
        self.outlets = Outlets(*outlets)
        self.pid = await self.makers.begin(self, folder, file)
        self.ended = False
        self.session = Session(key=b"", username="user", pack=pack)
        context = zmq.Context.instance()
        self.shell = ZMQStream(self._socket(context, zmq.DEALER, 1))
        self.iopub = ZMQStream(self._socket(context, zmq.SUB, 2))
        self.iopub.setsockopt(zmq.SUBSCRIBE, b"")
        self.shell.on_recv(lambda frames: self._received(frames, True))
        self._hear()
        await self._connect()

    def _hear(self):
        self.paused = False
        self.iopub.on_recv(lambda frames: self._received(frames, False))

    def _socket(self, context, kind, port):
        socket = context.socket(kind)
        socket.linger = 0
        socket.reconnect_ivl = 10  # It may not listen yet.
        socket.connect(f"ipc://{os.path.join(self.folder, 's')}-{port}")
        return socket

    def _received(self, frames, answer):
        channel = self.channel
        try:
            _, parts = self.session.feed_identities(frames)
            message = self.session.deserialize(parts)
            if channel is None or message["parent_header"].get("msg_id") != self.message:
                return
            kind, content = message["header"]["msg_type"], message["content"]
            if answer:
                self.answered = True
            elif kind == "status":
                self.idle |= content["execution_state"] == "idle"
            else:
                self.failed |= kind == "error"
                self._put(kind, content, channel)
        except (ValueError, KeyError, TypeError, IndexError) as e:
            self.misbehaves(f"wrote something else to its sockets than Jupyter's protocol ({type(e).__name__}) and was replaced")
            return
        if self.idle and (self.answered or self.failed or self.interrupted):
            self.patience.cancel()
            channel.finish(DONE)
        elif self.idle:
            # All that it tells of the run has come. The answer has another socket, and none comes if it could not be made.
            self.patience.cancel()
            self.patience = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._without_answer, channel)
        elif channel.full() and not self.paused:
            # Nobody takes it so fast.
            self.paused = True
            self.iopub.stop_on_recv()

    @staticmethod
    def _without_answer(channel):
        if channel.outcome is None:
            channel.put(error("NoAnswer", "the run has ended, but the python kernel could not say how"))
            channel.finish(DONE)

    @staticmethod
    def _put(kind, content, channel):
        if kind == "execute_input":
            channel.put({"type": "number_of_executions", "execution_count": content["execution_count"]})
        elif kind in ("execute_result", "display_data"):
            channel.put(result(content, kind == "execute_result"))
        elif kind == "error":
            channel.put({"type": "error", "name": content["ename"], "value": content["evalue"], "traceback": "\n".join(content["traceback"])})

    async def _connect(self):
        """Waits until it answers and is heard: a subscription takes a moment."""
        end, patience = time.monotonic() + START_SECONDS, FIRST_PATIENCE_SECONDS
        while time.monotonic() < end and not self.ended:
            heard = []

            async def hear(event):
                heard.append(event["type"])

            try:
                await asyncio.wait_for(self._ask("print('x')", hear, history=False), patience)
            except asyncio.TimeoutError:
                patience *= 2  # What it said before it was listened to is lost.
                continue
            if "number_of_executions" in heard:
                await self._quietly("__import__('in_kernel').forget(get_ipython())")
                return
            await asyncio.sleep(0.05)
        raise RuntimeError("the python kernel does not answer")

    async def _ask(self, code, tell, silent=False, history=True, wish=None):
        """The wish is what in_kernel.before is to do first."""
        def submit(channel):
            message = self.session.msg("execute_request", {
                "code": code, "silent": silent, "store_history": history, "user_expressions": {}, "allow_stdin": False, "stop_on_error": False,
            }, metadata={"forkd": wish} if wish else {})
            self.message = message["header"]["msg_id"]
            self.answered = self.idle = self.failed = False
            channel.taken = self._taken
            self.session.send(self.shell, message)

        return await self._run(submit, tell)

    def _taken(self):
        if self.paused and not self.ended:
            self._hear()

    async def _quietly(self, code):
        return await self._ask(code, nobody, silent=True, history=False)

    async def _execute(self, code, env, environment, tell, counted):
        return await self._ask(code, tell, history=counted, wish={"env": env, "environment": environment})

    async def warm(self):
        for _ in range(3):
            for code in WARM:
                await self._ask(code, nobody)
        await self._quietly("__import__('in_kernel').forget(get_ipython())")
        await self._ask("1 + 1", nobody, history=False)

    def _put_away(self):
        for stream in (self.shell, self.iopub):
            if stream is not None and not stream.closed():
                stream.close()
        if self.outlets is not None:
            self.outlets.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
