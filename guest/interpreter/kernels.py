"""What all kernels have in common: a process that runs code, one run after the other, and what happens when it does not end."""

import asyncio
import collections
import os
import signal

from outlets import printed

EVENTS_MAX = 16
GROUP_SECONDS = float(os.environ.get("FORKD_INTERPRETER_GROUP_SECONDS", "2"))
KILL_SECONDS = float(os.environ.get("FORKD_INTERPRETER_KILL_SECONDS", "5"))
DONE, ENDED = "done", "ended"


async def nobody(event):
    """Who tells this tells it to nobody."""


_tasks = set()


def in_background(work):
    """Who only starts a task must keep it, or it may be collected while it waits."""
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def happens(event, seconds):
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


def error(name, value):
    return {"type": "error", "name": name, "value": value, "traceback": f"{name}: {value}"}


class Channel:
    """What a kernel says during one run, in the order in which it is to be told."""

    def __init__(self, outlets):
        self.outlets = outlets
        self.events = collections.deque()
        self.outcome = None
        self.wake = asyncio.Event()
        self.taken = lambda: None

    def put(self, event):
        if self.outcome is None:
            self.events.append(event)
            self.wake.set()

    def full(self):
        return len(self.events) >= EVENTS_MAX

    def finish(self, outcome):
        """Nothing comes any more; the first reason counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.wake.set()

    async def listen(self, tell):
        """Tells all of it, no faster than it is taken, until the run is over."""
        self.outlets.begin(self.wake.set)
        try:
            while True:
                self.wake.clear()
                while self.events:
                    await self.outlets.tell_all(tell)
                    event = self.events.popleft()
                    self.taken()
                    await tell(event)
                if self.outcome is not None:
                    await self.outlets.end(tell)
                    return self.outcome
                await self.outlets.tell_new(tell)
                if not self.events and self.outcome is None:
                    await self.wake.wait()
        finally:
            self.outlets.forget()
            self.events.clear()
            self.taken()


class Kernel:
    """Subclasses know how one is started (_begin), asked (_execute) and put away (_put_away)."""

    def __init__(self, language, cwd):
        self.language = language
        self.cwd = cwd
        self.pid = None
        self.ended = True
        self.stopped = False
        self.channel = None
        self.outlets = None
        self.over = None
        self.insisting = None
        self.asked = self.interrupted = False
        self.why = None
        self.notice = None

    async def start(self):
        await self._begin()
        if self.stopped:
            # Whoever stopped it did so before there was anything to stop.
            self._kill()
            raise RuntimeError(f"the {self.language} kernel was stopped before it had started")

    async def _again(self):
        self._put_away()
        await self.start()

    async def _run(self, submit, tell):
        if self.ended:
            return ENDED
        self.channel = channel = Channel(self.outlets)
        try:
            submit(channel)
            return await channel.listen(tell)
        finally:
            self.channel = None

    async def execute(self, code, env, environment, tell, counted=True):
        self.over, self.asked, self.interrupted = asyncio.Event(), False, False
        try:
            if self.ended and not self.stopped:
                await self._again()
            lost = await self._tell_run(code, env, environment, tell, counted)
        finally:
            self.over.set()
        if lost:
            await self._again()

    async def _tell_run(self, code, env, environment, tell, counted):
        """Whether the kernel is lost with it."""
        if self.notice is not None and not self.interrupted:
            await tell(printed("stderr", self.notice + "\n"))
        if self.interrupted:
            return False
        self.notice = None
        self.why, self.asked = None, True
        outcome = await self._execute(code, env, environment, tell, counted)
        if outcome == DONE:
            return False
        if self.stopped:
            await tell(error("KernelStopped", f"the {self.language} context was restarted or removed while this ran"))
            return False
        self._kill()
        lost = f"the {self.language} kernel {self.why or 'has ended'}; what it held is lost"
        await tell(error("KernelReplaced" if self.why else "KernelDied", lost))
        if self.why or self.interrupted:  # Then nobody may have heard it.
            self.notice = "forkd: " + lost
        return True

    def has_ended(self):
        self.ended = True
        if self.channel is not None:
            self.channel.finish(ENDED)

    def misbehaves(self, why):
        """What it says cannot be relied on any more."""
        if self.why is None:
            self.why = why
        self._kill()
        if self.channel is not None:
            self.channel.finish(ENDED)

    def interrupt(self):
        """What runs is to end. If it does not, all that it has started is asked as well, and in the end there is another kernel."""
        over = self.over
        if over is None or over.is_set():
            return
        self.interrupted = True
        if not self.asked or self.ended or (self.insisting is not None and not self.insisting.done()):
            return  # What has not been asked yet is not asked any more.
        self._signal(signal.SIGINT)
        self.insisting = in_background(self._insist(over))

    async def _insist(self, over):
        if await happens(over, GROUP_SECONDS):
            return
        self._signal_group(signal.SIGINT)
        if await happens(over, KILL_SECONDS - GROUP_SECONDS):
            return
        self.why = f"did not end its run within {KILL_SECONDS:g} s of being interrupted and was replaced"
        self._kill()
        self.has_ended()

    def _signal(self, number):
        if not self.ended:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def _signal_group(self, number):
        if not self.ended:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass

    def _kill(self):
        self._signal_group(signal.SIGKILL)

    async def stop(self):
        """For good: a run that waits for it hears of it, and starts no other one."""
        self.stopped = True
        self._kill()
        self.has_ended()
        self._put_away()
