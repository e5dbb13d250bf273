"""A host's side of the agent protocol (guest/PROTOCOL.md), for tests: small, blocking, independent of the Java one."""

import json
import os
import select
import socket
import struct
import time

SYNC, OPEN, DATA, EOF, WINDOW, SIGNAL, CANCEL, END, ERROR, IDLE, READY, CLOCK, NOTE = range(1, 14)
MORE = 1
TOKEN = b"forkd-agent-resync-token-0000000"
MAX_PAYLOAD = 16384
CREDIT = 262144


class AgentError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Gone(Exception):
    """The agent closed the connection."""


def frame(stream, kind, flags=0, payload=b""):
    return struct.pack("<IHBB", stream, len(payload), kind, flags) + payload


class Stream:
    def __init__(self, ident):
        self.notes, self.ends = [], 0
        self.id, self.out, self.result, self.error = ident, {1: bytearray(), 2: bytearray()}, None, None
        self.partial, self.credit, self.unacknowledged = bytearray(), CREDIT, {1: 0, 2: 0}

    @property
    def over(self):
        return self.result is not None or self.error is not None


class Agent:
    """One conversation. `credit=False` leaves the agent without new credit for what it has sent."""

    def __init__(self, sock, token=TOKEN, timeout=60.0):
        self.sock, self.timeout = sock, timeout
        self.input, self.streams, self.next_id = bytearray(), {}, 0
        self.ready, self.idle, self.give_credit = None, None, True
        self.sync(token)

    def sync(self, token, before=b""):
        nonce = os.urandom(32)
        self.streams, self.ready, self.idle = {}, None, None
        self.send(before + token + frame(0, SYNC, 0, nonce))
        seen = bytearray(self.input)
        self.input = bytearray()
        deadline = time.monotonic() + self.timeout
        while (at := seen.find(nonce)) < 0:
            seen += self.receive(deadline)
        self.input = seen[at + 32:]
        self.handle()

    def send(self, data):
        """Goes on reading while it writes: a peer must, or both sides may wait for ever."""
        view, deadline = memoryview(data), time.monotonic() + self.timeout
        while view:
            readable, writable, _ = select.select([self.sock], [self.sock], [], max(0.0, deadline - time.monotonic()))
            if not readable and not writable:
                raise TimeoutError("the agent takes no input")
            if readable:
                self.input += self.read_some()
            if writable:
                view = view[self.sock.send(view[:65536], socket.MSG_DONTWAIT):]

    def read_some(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise Gone
        return data

    def receive(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.sock], [], [], left)[0]:
            raise TimeoutError("the agent did not answer")
        return self.read_some()

    def handle(self):
        """Handles the frames that are here."""
        while len(self.input) >= 8:
            ident, size, kind, flags = struct.unpack_from("<IHBB", self.input)
            assert size <= MAX_PAYLOAD, f"a frame of {size} bytes"
            if len(self.input) < 8 + size:
                return
            payload = bytes(self.input[8:8 + size])
            del self.input[:8 + size]
            self.take(ident, kind, flags, payload)

    def take(self, ident, kind, flags, payload):
        if ident == 0:
            if kind == READY:
                self.ready = json.loads(payload)
            elif kind == IDLE:
                self.idle = bool(payload[0])
            else:
                raise AssertionError(f"frame of type {kind} on stream 0")
            return
        stream = self.streams.get(ident)
        if stream is None:
            return  # it was cancelled
        assert not stream.over, "a frame after the last one"
        if kind == DATA:
            stream.out[flags] += payload
            stream.unacknowledged[flags] += len(payload)
            assert stream.unacknowledged[flags] <= CREDIT, "more data than there was credit"
            if self.give_credit and stream.unacknowledged[flags] > CREDIT // 2:
                self.credit(stream, flags)
        elif kind == WINDOW:
            stream.credit += struct.unpack("<I", payload)[0]
            assert stream.credit <= CREDIT, "more credit given back than was used"
        elif kind in (END, ERROR):
            stream.partial += payload
            if not flags & MORE:
                told = json.loads(bytes(stream.partial))
                if kind == END:
                    stream.result, self.idle = told, told["idle"]
                else:
                    stream.error = AgentError(told["code"], told["message"])
        elif kind == NOTE:
            stream.notes.append(json.loads(payload))
        elif kind == EOF:
            assert flags == 1, "an end of a channel that does not come from there"
            stream.ends += 1
        else:
            raise AssertionError(f"frame of type {kind} on a stream")

    def credit(self, stream, channel):
        self.send(frame(stream.id, WINDOW, channel, struct.pack("<I", stream.unacknowledged[channel])))
        stream.unacknowledged[channel] = 0

    def pump_until(self, done, timeout=None):
        deadline = time.monotonic() + (timeout or self.timeout)
        self.handle()
        while not done():
            self.input += self.receive(deadline)
            self.handle()

    def await_ready(self):
        self.pump_until(lambda: self.ready is not None)
        return self.ready

    def open(self, op, **request):
        text = json.dumps({"op": op, **request}).encode()
        self.next_id += 1
        stream = self.streams[self.next_id] = Stream(self.next_id)
        pieces = [text[i:i + MAX_PAYLOAD] for i in range(0, len(text), MAX_PAYLOAD)]
        self.send(b"".join(frame(stream.id, OPEN, MORE if i < len(pieces) - 1 else 0, p) for i, p in enumerate(pieces)))
        return stream

    def write(self, stream, data, eof=False):
        view = memoryview(data)
        while view and not stream.over:
            self.pump_until(lambda: stream.credit > 0 or stream.over)
            piece = view[:min(MAX_PAYLOAD, max(0, stream.credit))]
            stream.credit -= len(piece)
            self.send(frame(stream.id, DATA, 0, bytes(piece)))
            view = view[len(piece):]
        if eof and not stream.over:
            self.send(frame(stream.id, EOF, 0))

    def end(self, stream, timeout=None):
        self.pump_until(lambda: stream.over, timeout)
        if stream.error:
            raise stream.error
        return stream.result

    def cancel(self, stream):
        del self.streams[stream.id]
        self.send(frame(stream.id, CANCEL))

    def signal(self, stream, number):
        self.send(frame(stream.id, SIGNAL, 0, bytes([number])))

    def call(self, op, **request):
        return self.end(self.open(op, **request))

    def exec(self, *args, stdin=None, **options):
        stream = self.open("exec", args=list(args), timeoutMillis=options.pop("timeoutMillis", 45000),
                           stdin=stdin is not None, **options)
        if stdin is not None:
            self.write(stream, stdin, eof=True)
        result = self.end(stream)
        return result, bytes(stream.out[1]), bytes(stream.out[2])

    def eval(self, code, timeoutMillis=45000):
        stream = self.open("eval", timeoutMillis=timeoutMillis)
        self.write(stream, code.encode(), eof=True)
        self.end(stream)
        return json.loads(bytes(stream.out[1]))

    def write_file(self, path, data, **options):
        stream = self.open("write", path=path, **options)
        self.write(stream, data, eof=True)
        return self.end(stream)

    def read_file(self, path):
        stream = self.open("read", path=path)
        result = self.end(stream)
        assert result["size"] == len(stream.out[1])
        return bytes(stream.out[1])

    def epoch(self, number, token, **options):
        return self.call("epoch", epoch=number, timeNanos=time.time_ns(), entropy=os.urandom(64).hex(),
                         hostname=options.get("hostname", f"child-{number}"),
                         machineId=os.urandom(16).hex(), token=token.hex())

    def close(self):
        self.sock.close()
