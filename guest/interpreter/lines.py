"""Kernels of our own: processes that speak lines of JSON.

To the kernel: {"do":"run","code":…,"env":{…}}, {"do":"environment","env":{…}}, {"do":"reseed"}. From it: events as clients know
them, then {"type":"done"}. An interrupt is a SIGINT.
"""

import asyncio
import json
import os
import signal

from identity import machine

START_SECONDS = 60
LINE_BYTES_MAX = 128 << 20
WARM = {
    "javascript": ["1 + 1", "console.log('x')", "[1].map(x => x * 2)", "await Promise.resolve(1)"],
    "bash": ["true", "echo x | cat"],
    "java": ["1 + 1", 'System.out.println("x");', "List.of(1, 2).stream().map(i -> i + 1).toList()"],
}


class LineKernel:
    def __init__(self, language, command, cwd):
        self.language = language
        self.command = command
        self.cwd = cwd
        self.process = None
        self.machine = None
        self.environment = {}

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, cwd=self.cwd, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX, start_new_session=True)
        await asyncio.wait_for(self._until_done(lambda event: None), START_SECONDS)
        self.machine, self.environment = machine(), {}

    async def warm(self):
        for _ in range(3):
            for code in WARM.get(self.language, []):
                await self.execute(code, {}, None, lambda event: None)
        await self._ask({"do": "forget"})

    async def execute(self, code, env, environment, tell):
        if self.process.returncode is not None:
            await self.start()
        await self._prepare(environment)
        self._send({"do": "run", "code": code, "env": env})
        if not await self._until_done(tell):
            tell({"type": "error", "name": "KernelDied", "value": f"the {self.language} kernel has ended; what it held is lost", "traceback": ""})
            await self.process.wait()
            await self.start()

    async def rehearse(self, code, tell):
        await self.execute(code, {}, None, tell)
        await self._ask({"do": "forget"})

    async def _prepare(self, environment):
        here = machine()
        if here != self.machine:
            # A fork: what was drawn from the same seeds would be drawn in all of its siblings.
            await self._ask({"do": "reseed"})
            self.machine = here
        if environment is not None and environment != self.environment:
            await self._ask({"do": "environment", "env": environment})
            self.environment = environment

    async def _ask(self, message):
        if self.process.returncode is None:
            self._send(message)
            await self._until_done(lambda event: None)

    def _send(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _until_done(self, tell):
        """False when the kernel ends first."""
        while True:
            line = await self.process.stdout.readline()
            if not line:
                return False
            event = json.loads(line)
            if event["type"] == "done":
                return True
            tell(event)

    def interrupt(self):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)

    async def stop(self):
        if self.process.returncode is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            await self.process.wait()
