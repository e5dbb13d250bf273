"""Python kernels: ipykernel, spoken to in Jupyter's protocol over sockets of the file system."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time

import zmq
from jupyter_client.session import Session
from zmq.eventloop.zmqstream import ZMQStream

START_SECONDS = 60
FIRST_PATIENCE_SECONDS = 0.2
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

    async def start(self, cwd):
        async with self.starting:
            if self.parent is None or self.parent.returncode is not None:
                await self._start_parent()
            folder = tempfile.mkdtemp(prefix="forkd-kernel-")
            file = os.path.join(folder, "connection.json")
            with open(file, "w", encoding="ascii") as out:
                json.dump({
                    "transport": "ipc", "ip": os.path.join(folder, "s"), "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4,
                    "hb_port": 5, "key": "", "signature_scheme": "hmac-sha256"}, out)
            self.parent.stdin.write(json.dumps({"file": file, "cwd": cwd}).encode() + b"\n")
            pid = await asyncio.wait_for(self.started.get(), START_SECONDS)
            kernel = PythonKernel(self, folder, cwd, pid)
            self.kernels[pid] = kernel
        await kernel.connect()
        return kernel

    async def _start_parent(self):
        self.parent = await asyncio.create_subprocess_exec(
            sys.executable, os.path.join(self.home, "python_kernel.py"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        await asyncio.wait_for(self.parent.stdout.readline(), START_SECONDS * 3)
        asyncio.ensure_future(self._listen(self.parent))

    async def _listen(self, parent):
        while True:
            line = await parent.stdout.readline()
            if not line:
                break
            told = json.loads(line)
            if "started" in told:
                self.started.put_nowait(told["started"])
            else:
                kernel = self.kernels.pop(told.get("ended"), None)
                if kernel is not None:
                    kernel.has_ended()
        await parent.wait()
        for kernel in list(self.kernels.values()):
            kernel.has_ended()
        self.kernels.clear()


class PythonKernel:
    def __init__(self, makers, folder, cwd, pid):
        self.makers = makers
        self.cwd = cwd
        self.waiting = None
        self._take(folder, pid)

    def _take(self, folder, pid):
        self.folder = folder
        self.pid = pid
        self.ended = False
        self.session = Session(key=b"", username="user")
        context = zmq.Context.instance()
        self.shell = ZMQStream(self._socket(context, zmq.DEALER, 1))
        self.iopub = ZMQStream(self._socket(context, zmq.SUB, 2))
        self.iopub.setsockopt(zmq.SUBSCRIBE, b"")
        self.shell.on_recv(lambda frames: self._received(frames, True))
        self.iopub.on_recv(lambda frames: self._received(frames, False))

    def _socket(self, context, kind, port):
        socket = context.socket(kind)
        socket.linger = 0
        socket.reconnect_ivl = 10  # It may not listen yet.
        socket.connect(f"ipc://{os.path.join(self.folder, 's')}-{port}")
        return socket

    def _received(self, frames, answer):
        _, parts = self.session.feed_identities(frames)
        message = self.session.deserialize(parts)
        waiting = self.waiting
        if waiting is None or message["parent_header"].get("msg_id") != waiting["id"]:
            return
        kind, content = message["header"]["msg_type"], message["content"]
        if answer:
            waiting["answered"] = True
        elif kind == "status":
            waiting["idle"] |= content["execution_state"] == "idle"
        else:
            self._tell(kind, content, waiting["tell"])
        if waiting["answered"] and waiting["idle"] and not waiting["end"].done():
            waiting["end"].set_result(True)

    @staticmethod
    def _tell(kind, content, tell):
        if kind == "execute_input":
            tell({"type": "number_of_executions", "execution_count": content["execution_count"]})
        elif kind == "stream":
            tell({"type": content["name"], "text": content["text"], "timestamp": time.time_ns() // 1000})
        elif kind in ("execute_result", "display_data"):
            tell(result(content, kind == "execute_result"))
        elif kind == "error":
            tell({"type": "error", "name": content["ename"], "value": content["evalue"], "traceback": "\n".join(content["traceback"])})

    def has_ended(self):
        self.ended = True
        if self.waiting is not None and not self.waiting["end"].done():
            self.waiting["end"].set_result(False)

    async def connect(self):
        """Waits until it answers and its output is heard: a subscription takes a moment."""
        end, patience = time.monotonic() + START_SECONDS, FIRST_PATIENCE_SECONDS
        while time.monotonic() < end:
            heard = []
            try:
                await asyncio.wait_for(self._run("print('x')", heard.append, history=False), patience)
            except asyncio.TimeoutError:
                patience *= 2  # What it said before it was listened to is lost.
                continue
            if any(event["type"] == "stdout" for event in heard):
                await self._quietly("__import__('in_kernel').forget(get_ipython())")
                return
            await asyncio.sleep(0.05)
        raise TimeoutError("the python kernel does not answer")

    async def _run(self, code, tell, silent=False, history=True, wish=None):
        """False when the kernel has ended. The wish is what in_kernel.before is to do first."""
        if self.ended:
            return False
        message = self.session.msg("execute_request", {
            "code": code, "silent": silent, "store_history": history, "user_expressions": {}, "allow_stdin": False, "stop_on_error": False,
        }, metadata={"forkd": wish} if wish else {})
        self.waiting = {
            "id": message["header"]["msg_id"], "tell": tell, "answered": False, "idle": False, "end": asyncio.get_running_loop().create_future()}
        self.session.send(self.shell, message)
        try:
            return await self.waiting["end"]
        finally:
            self.waiting = None

    async def _quietly(self, code):
        return await self._run(code, lambda event: None, silent=True, history=False)

    async def execute(self, code, env, environment, tell):
        if self.ended:
            await self._again()
        alive = await self._run(code, tell, wish={"env": env, "environment": environment})
        if not alive:
            tell({"type": "error", "name": "KernelDied", "value": "the python kernel has ended; what it held is lost", "traceback": ""})
            await self._again()

    async def rehearse(self, code, tell):
        await self._run(code, tell, history=False)

    async def _again(self):
        self._close()
        other = await self.makers.start(self.cwd)
        self.makers.kernels[other.pid] = self
        other._close_sockets()
        self._take(other.folder, other.pid)
        await self.connect()

    async def warm(self):
        for _ in range(3):
            for code in WARM:
                await self._run(code, lambda event: None)
        await self._quietly("__import__('in_kernel').forget(get_ipython())")
        await self._run("1 + 1", lambda event: None, history=False)

    def interrupt(self):
        if not self.ended:
            os.kill(self.pid, signal.SIGINT)

    def _close_sockets(self):
        self.shell.close()
        self.iopub.close()

    def _close(self):
        self._close_sockets()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def stop(self):
        if not self.ended:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.makers.kernels.pop(self.pid, None)
        self.has_ended()
        self._close()
