"""What a kernel and the processes it starts print: descriptors 1 and 2 of theirs, read by the server."""

import asyncio
import codecs
import fcntl
import os
import struct
import termios
import time

CHUNK_BYTES = 65536
GATHER_SECONDS = 0.005
LINE_SECONDS = 0.015  # Longer than Python lets another thread go on between two writes of one line.


def printed(kind, text):
    """The event; clients want to know when, in microseconds."""
    return {"type": kind, "text": text, "timestamp": time.time_ns() // 1000}


class Outlet:
    def __init__(self, kind, fd):
        self.kind = kind
        self.fd = fd
        self.ready = False
        self.pending = ""  # The beginning of a line: its end often comes at once.
        self.due = False
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        os.set_blocking(fd, False)

    def waiting_bytes(self):
        return 0 if self.fd < 0 else struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0" * 4))[0]

    def read(self, size):
        """Text; none at the end, which comes when all that could write have gone, or when it is closed."""
        if self.fd < 0:
            return None
        try:
            data = os.read(self.fd, size)
        except BlockingIOError:
            return ""
        return self.decoder.decode(data) if data else None


class Outlets:
    """Those of one kernel. They are always read, so that nobody blocks; what comes while nothing runs is dropped."""

    def __init__(self, out, err):
        self.all = [Outlet("stdout", out), Outlet("stderr", err)]
        self.loop = asyncio.get_running_loop()
        self.wake = None
        self.timers = {}
        for outlet in self.all:
            self._arm(outlet)

    def _arm(self, outlet):
        self.timers.pop(outlet, None)
        outlet.ready = outlet.due = False
        if outlet.fd >= 0:
            self.loop.add_reader(outlet.fd, self._readable, outlet)

    def _readable(self, outlet):
        if self.wake is None:
            if outlet.read(CHUNK_BYTES) is None:
                self.loop.remove_reader(outlet.fd)
            return
        self.loop.remove_reader(outlet.fd)
        outlet.ready = True
        self.wake()

    def begin(self, wake):
        """From now on it is told; the wake is called when there is something."""
        for outlet in self.all:
            outlet.decoder.reset()
            outlet.pending = ""
        self.wake = wake

    async def tell_new(self, tell):
        """What has come. The next is looked for a moment later: many small pieces are then told as one."""
        for outlet in self.all:
            if not outlet.ready:
                continue
            outlet.ready = False
            text = outlet.read(CHUNK_BYTES)
            outlet.pending += text or ""
            if text is None or outlet.due or outlet.pending.endswith("\n"):
                outlet.due = False
                await self._tell(outlet, tell)
                if text is not None:
                    self.timers[outlet] = self.loop.call_later(GATHER_SECONDS, self._arm, outlet)
            else:
                self.timers[outlet] = self.loop.call_later(LINE_SECONDS, self._is_due, outlet)

    def _is_due(self, outlet):
        self.timers.pop(outlet, None)
        if self.wake is not None:
            outlet.ready = outlet.due = True
            self.wake()

    async def tell_all(self, tell):
        """Whatever has been written before now; a process that goes on writing does not keep it here."""
        for outlet in self.all:
            left = outlet.waiting_bytes()
            while left > 0:
                size = min(left, CHUNK_BYTES)
                left -= size
                outlet.pending += outlet.read(size) or ""
                if len(outlet.pending) >= CHUNK_BYTES:
                    await self._tell(outlet, tell)
            await self._tell(outlet, tell)

    @staticmethod
    async def _tell(outlet, tell):
        text, outlet.pending = outlet.pending, ""
        if text:
            await tell(printed(outlet.kind, text))

    async def end(self, tell):
        """The run is over: what is left of it is told, what comes later is dropped."""
        await self.tell_all(tell)
        for outlet in self.all:
            outlet.pending = outlet.decoder.decode(b"", final=True)
            await self._tell(outlet, tell)
        self.forget()

    def forget(self):
        if self.wake is None:
            return
        self.wake = None
        for timer in self.timers.values():
            timer.cancel()
        for outlet in self.all:
            self._arm(outlet)
        self.timers.clear()

    def close(self):
        for timer in self.timers.values():
            timer.cancel()
        self.wake = None
        for outlet in self.all:
            if outlet.fd < 0:
                continue
            self.loop.remove_reader(outlet.fd)
            os.close(outlet.fd)
            outlet.fd = -1
