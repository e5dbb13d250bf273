"""Kernels of our own: processes that speak lines of JSON on two descriptors, whose numbers are their last arguments.

To the kernel: {"do":"run","id":…,"code":…,"env":{…}}, {"do":"environment","id":…,"env":{…}}, {"do":"reseed","id":…}. From it, for
each: {"type":"begin","id":…}, events as clients know them, {"type":"done"}. What comes in between belongs to no run. Its
descriptors 1 and 2 are those of the code and of what the code starts. An interrupt is a SIGINT.
"""

import asyncio
import itertools
import json
import os
import signal

from identity import machine
from kernels import DONE, Kernel, in_background, nobody
from outlets import Outlets

START_SECONDS = 60
LINE_BYTES_MAX = int(os.environ.get("FORKD_INTERPRETER_LINE_BYTES_MAX", 128 << 20))
WARM = {
    "javascript": ["1 + 1", "console.log('x')", "[1].map(x => x * 2)", "await Promise.resolve(1)"],
    "bash": ["true", "echo x | cat"],
    "java": ["1 + 1", 'System.out.println("x");', "List.of(1, 2).stream().map(i -> i + 1).toList()"],
}


class LineKernel(Kernel):
    def __init__(self, language, command, cwd):
        super().__init__(language, cwd)
        self.command = command
        self.ids = itertools.count(1)
        self.machine = None
        self.environment = {}
        self.asks = None

    async def _begin(self):
        loop = asyncio.get_running_loop()
        ask_read, ask_write = os.pipe()
        say_read, say_write = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                # Without the server nobody would end it.
                "setpriv", "--pdeathsig", "KILL", *self.command, str(ask_read), str(say_write), cwd=self.cwd,
                stdin=asyncio.subprocess.DEVNULL, stdout=out_write, stderr=err_write, pass_fds=(ask_read, say_write), start_new_session=True)
        except BaseException:
            for fd in (ask_write, say_read, out_read, err_read):
                os.close(fd)
            raise
        finally:
            for fd in (ask_read, say_write, out_write, err_write):
                os.close(fd)
        self.pid, self.ended = process.pid, False
        self.outlets = Outlets(out_read, err_read)
        self.asks, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(ask_write, "wb", 0))
        reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        says, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(say_read, "rb", 0))
        in_background(self._listen(process, reader, says))
        self.machine, self.environment = machine(), {}
        try:
            started = await asyncio.wait_for(self._ask({"do": "environment", "env": {}}), START_SECONDS)
        except asyncio.TimeoutError:
            started = None
        if started != DONE:
            self._kill()
            raise RuntimeError(f"the {self.language} kernel does not start")

    async def _listen(self, process, reader, says):
        """Reads what it says as long as it lives."""
        begun, room = None, asyncio.Event()
        try:
            while True:
                line = await reader.readline()
                if not line:
                    break
                event = json.loads(line)
                kind = event["type"]
                channel = self.channel if self.pid == process.pid else None
                if kind == "begin":
                    begun = channel if channel is not None and channel.id == event["id"] else None
                    if begun is not None:
                        begun.taken = room.set
                elif channel is None or channel is not begun:
                    continue
                elif kind == "done":
                    channel.finish(DONE)
                    begun = None
                else:
                    channel.put(event)
                    while channel.full():
                        room.clear()
                        await room.wait()
        except (ValueError, KeyError, TypeError) as e:
            if self.pid == process.pid:
                self.misbehaves(f"wrote something to forkd's own descriptor, or more than {LINE_BYTES_MAX} bytes at once ({type(e).__name__}), and was replaced")
        finally:
            says.close()
        await process.wait()
        if self.pid == process.pid:
            self.has_ended()

    async def warm(self):
        for _ in range(3):
            for code in WARM.get(self.language, []):
                await self.execute(code, {}, None, nobody)
        await self._ask({"do": "forget"})

    async def _execute(self, code, env, environment, tell, counted):
        await self._prepare(environment)
        if self.interrupted:  # What it was told of that may have been while it did something else.
            return DONE
        outcome = await self._ask({"do": "run", "code": code, "env": env}, tell)
        if outcome == DONE and not counted:
            outcome = await self._ask({"do": "forget"})
        return outcome

    async def _prepare(self, environment):
        here = machine()
        if here != self.machine:
            # A fork: what was drawn from the same seeds would be drawn in all of its siblings.
            await self._ask({"do": "reseed"})
            self.machine = here
        if environment is not None and environment != self.environment:
            await self._ask({"do": "environment", "env": environment})
            self.environment = environment

    async def _ask(self, message, tell=nobody):
        def submit(channel):
            channel.id = message["id"] = next(self.ids)
            self.asks.write(json.dumps(message).encode() + b"\n")

        return await self._run(submit, tell)

    def _signal(self, number):
        if self.language == "bash" and number == signal.SIGINT:
            self._signal_group(number)  # As at a terminal.
        else:
            super()._signal(number)

    def _put_away(self):
        if self.asks is not None and not self.asks.is_closing():
            self.asks.abort()
        if self.outlets is not None:
            self.outlets.close()
