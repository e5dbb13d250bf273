"""Tests of how the guest agent and a host talk: frames, credit, hosts that come and go, epochs. See agent_test.py for how they run."""

import json
import os
import struct
import time

import agent_client as wire
from agent_case import GUEST, PROGRAM, SLOW, AgentTest
from agent_client import AgentError, frame


class Conversation(AgentTest):
    def test_a_new_host_is_heard_wherever_the_former_one_stopped(self):
        request = frame(9, wire.OPEN, 0, json.dumps({"op": "exec", "args": ["echo", "never" * 100]}).encode())
        for stop in (1, 5, 8, 9, len(request) - 1):
            self.agent.sync(AgentTest.token, before=request[:stop])
            self.assertEqual(self.agent.exec("echo", "here")[1], b"here\n")

    def test_the_token_may_be_cut_anywhere(self):
        for cut in range(1, 32, 3 if not GUEST else 13):
            self.agent.send(frame(0, wire.CLOCK, 0, struct.pack("<Q", time.time_ns())) + AgentTest.token[:cut])
            time.sleep(0.02)
            nonce = os.urandom(32)
            self.agent.send(AgentTest.token[cut:] + frame(0, wire.SYNC, 0, nonce))
            self.agent.streams = {}
            seen = bytearray(self.agent.input)
            while (at := seen.find(nonce)) < 0:
                seen += self.agent.receive(time.monotonic() + 60)
            self.agent.input = seen[at + 32:]
            self.assertEqual(self.agent.exec("echo", "x")[1], b"x\n")

    def test_a_token_inside_the_data_of_a_former_conversation(self):
        stream = self.agent.open("write", path=f"{self.folder}/f")
        self.agent.sync(AgentTest.token, before=frame(stream.id, wire.DATA, 0, b"x" * 100)[:50])
        self.fails("not_found", self.agent.read_file, f"{self.folder}/f")

    def is_not_answered(self, data):
        """After these bytes the agent no longer talks to this host, until it begins anew."""
        self.agent.send(data)
        stream = self.agent.open("status")
        with self.assertRaises(TimeoutError):
            self.agent.pump_until(lambda: stream.over, 0.2 * SLOW)
        self.agent.sync(AgentTest.token)

    def test_nonsense_ends_the_conversation_and_nothing_else(self):
        nonsense = {
            "an unknown type": frame(1, 99),
            "too long": struct.pack("<IHBB", 1, 16385, wire.DATA, 0) + b"x" * 16385,
            "a clock of the wrong size": frame(0, wire.CLOCK, 0, b"x"),
            "a request on stream 0": frame(0, wire.OPEN, 0, b"{}"),
            "a nonce of the wrong size": frame(0, wire.SYNC, 0, b"x"),
        }
        for name, data in nonsense.items():
            with self.subTest(name):
                self.is_not_answered(data)
                self.assertIn("agent", self.agent.call("status"))

    def test_nonsense_on_a_stream(self):
        for name, data in {
            "input beyond the credit": lambda i: b"".join(frame(i, wire.DATA, 0, b"x" * 16384) for _ in range(17)),
            "a second request": lambda i: frame(i, wire.OPEN, 0, b"{}"),
            "signal 0": lambda i: frame(i, wire.SIGNAL, 0, b"\0"),
            "a window too large": lambda i: frame(i, wire.WINDOW, 1, b"\xff\xff\xff\xff"),
            "a window for input": lambda i: frame(i, wire.WINDOW, 0, b"\1\0\0\0"),
            "data for output": lambda i: frame(i, wire.DATA, 1, b"x"),
        }.items():
            with self.subTest(name):
                stream = self.agent.open("exec", args=["sleep", "1"], timeoutMillis=5000, stdin=True)
                self.is_not_answered(data(stream.id))

    def test_too_many_streams(self):
        for i in range(1024):
            self.agent.open("write", path=f"{self.folder}/{i}")
        self.is_not_answered(b"")
        self.assertEqual(self.agent.call("list", path=self.folder)["entries"], [])

    def test_frames_of_an_ended_stream_are_nothing(self):
        stream = self.agent.open("exec", args=["true"], timeoutMillis=5000, stdin=True)
        self.agent.end(stream)
        self.agent.send(frame(stream.id, wire.DATA, 0, b"late") + frame(stream.id, wire.EOF) + frame(stream.id, wire.CANCEL))
        self.agent.exec("true")

    def test_what_runs_goes_on_when_its_host_is_replaced(self):
        path = f"{self.folder}/done"
        stream = self.agent.open("exec", args=["sh", "-c", f"yes | head -c 2000000; echo done > {path}"], timeoutMillis=30000)
        self.agent.give_credit = False
        self.agent.pump_until(lambda: len(stream.out[1]) >= wire.CREDIT)
        self.agent.sync(AgentTest.token)  # what it still writes is dropped; it must not hang on a full pipe
        self.agent.give_credit = True
        def done():
            try:
                return self.agent.read_file(path) == b"done\n"
            except AgentError:
                return False
        self.eventually(done)

    def test_a_command_that_writes_without_end_holds_up_nobody(self):
        pids = []
        for _ in range(3):  # more writers than the reader can outrun
            stream = self.agent.open("exec", args=["sh", "-c", "echo $$; exec cat /dev/zero"], timeoutMillis=0)
            self.agent.pump_until(lambda: b"\n" in stream.out[1])
            pids.append(int(stream.out[1].split(b"\n")[0]))
        self.agent.sync(AgentTest.token)
        begin = time.monotonic()
        for _ in range(20):
            self.agent.exec("true", timeoutMillis=60000)
        self.assertLess(time.monotonic() - begin, 60)
        self.agent.exec("sh", "-c", f"kill -9 {' '.join(map(str, pids))}")  # the program is not in every image
        self.eventually(lambda: all(self.gone(pid) for pid in pids))

    def test_an_epoch_proves_itself_and_changes_the_token(self):
        self.agent.await_ready()
        before = AgentTest.token
        try:
            samples = set()
            for number in (1, 2):
                token, begin = os.urandom(32), time.time_ns()
                proof = self.agent.epoch(number, token)
                AgentTest.token = token
                self.assertEqual((proof["epoch"], proof["hostname"], proof["reseeded"]), (number, f"child-{number}", True))
                self.assertTrue(begin - 2e9 < proof["clockNanos"] < time.time_ns() + 2e9)
                samples |= {proof["random"], proof["interpreter"]}
                self.assertEqual((len(proof["random"]), len(proof["interpreter"])), (64, 32))
                if GUEST:
                    self.assertEqual(self.agent.exec("hostname")[1].decode().strip(), proof["hostname"])
                    self.assertEqual(self.agent.read_file("/etc/machine-id").decode().strip(), proof["machineId"])
                self.agent.sync(token)
            self.assertEqual(len(samples), 4)
            self.agent.send(before)  # is nothing any more, but still no frame
            self.agent.sync(AgentTest.token)
            self.agent.call("status")
        finally:
            if not GUEST:
                AgentTest.token = before
        self.fails("invalid_argument", self.agent.call, "epoch", epoch=1)

    def test_the_clock_is_read_and_left_alone(self):
        for _ in range(3):
            before = time.time_ns()
            told = self.agent.call("clock")["clockNanos"]
            # A guest's clock was set by a message, and is late by what that took.
            slack = 2e9 if GUEST else 0
            self.assertTrue(before - slack <= told <= time.time_ns() + slack, (before, told))
        if not GUEST:
            return
        self.agent.send(frame(0, wire.CLOCK, 0, struct.pack("<Q", time.time_ns() - int(3600e9))))
        self.assertAlmostEqual((time.time_ns() - self.agent.call("clock")["clockNanos"]) / 1e9, 3600, delta=2)
        self.agent.send(frame(0, wire.CLOCK, 0, struct.pack("<Q", time.time_ns())))
        self.assertAlmostEqual((time.time_ns() - self.agent.call("clock")["clockNanos"]) / 1e9, 0, delta=2)

    def test_an_epoch_reseeds_what_numpy_has_kept(self):
        self.agent.await_ready()
        if self.agent.eval("numpy")["error"]:
            self.skipTest("no numpy here")
        state = "(lambda s: (s[0], list(s[1][:3]), s[2], s[3]))(numpy.random.get_state())"
        self.agent.eval("numpy.random.seed(1); numpy.random.normal()")
        before = eval(self.agent.eval(state)["result"])
        self.assertEqual(before[3], 1, "a normal variate is kept")
        token = os.urandom(32)
        self.assertTrue(self.agent.epoch(4, token)["reseeded"])
        kept, AgentTest.token = AgentTest.token, token
        self.addCleanup(lambda: GUEST or setattr(AgentTest, "token", kept))
        after = eval(self.agent.eval(state)["result"])
        self.assertEqual((after[0], after[2], after[3]), ("MT19937", 624, 0))
        self.assertNotEqual(before[1], after[1])
        self.assertEqual(self.agent.eval("0 <= numpy.random.random() < 1")["result"], "True")

    def test_an_epoch_and_the_next_host_in_one_read(self):
        token, nonce = os.urandom(32), os.urandom(32)
        epoch = {"op": "epoch", "epoch": 5, "timeNanos": time.time_ns(), "entropy": os.urandom(64).hex(), "hostname": "h",
                 "machineId": os.urandom(16).hex(), "token": token.hex()}
        self.agent.await_ready()
        self.agent.send(frame(500, wire.OPEN, 0, json.dumps(epoch).encode()) + b"garbage" + token + frame(0, wire.SYNC, 0, nonce))
        before, AgentTest.token = AgentTest.token, token
        self.addCleanup(lambda: GUEST or setattr(AgentTest, "token", before))
        seen = bytearray()
        while nonce not in seen:
            seen += self.agent.receive(time.monotonic() + 60)
        self.agent.sync(token)
        self.agent.call("status")

    def test_idle_is_told(self):
        self.agent.await_ready()
        self.agent.pump_until(lambda: self.agent.idle is not None)
        self.agent.pump_until(lambda: self.agent.idle)
        stream = self.agent.open("exec", args=["sleep", "0.3"], timeoutMillis=5000)
        self.assertTrue(self.agent.end(stream)["idle"])

    def test_freeze_and_thaw(self):
        self.agent.await_ready()
        self.agent.pump_until(lambda: self.agent.idle)
        self.assertFalse(self.agent.call("freeze")["frozen"], "there is nothing to freeze")
        self.agent.call("thaw")
        if not GUEST:
            return
        counting = self.agent.open("exec", args=["sh", "-c", f"while :; do echo x >> {self.folder}/n; done"], timeoutMillis=0)
        self.eventually(lambda: self.agent.call("list", path=self.folder)["entries"])
        busy = self.agent.open("eval", timeoutMillis=1500)
        self.agent.write(busy, b"while True: pass", eof=True)
        self.assertGreaterEqual(self.agent.call("freeze")["processes"], 1)
        size = lambda: self.agent.call("stat", path=f"{self.folder}/n")["size"]
        frozen = size()
        self.fails("failed_precondition", self.agent.exec, "true")
        time.sleep(3)  # longer than the evaluation may take: its time stands still, too
        self.assertEqual(size(), frozen)
        token = os.urandom(32)
        self.assertTrue(self.agent.epoch(9, token)["reseeded"])
        AgentTest.token = token
        self.assertEqual(size(), frozen)
        self.agent.call("thaw")
        self.eventually(lambda: size() > frozen)
        self.fails("deadline_exceeded", self.agent.end, busy)
        self.agent.cancel(counting)

    def test_an_epoch_while_the_interpreter_starts(self):
        self.agent.await_ready()
        stream = self.agent.open("eval", timeoutMillis=5000)
        self.agent.write(stream, b"os._exit(0)", eof=True)
        self.fails("unavailable", self.agent.end, stream)
        token = os.urandom(32)
        proof = self.agent.epoch(3, token)
        before, AgentTest.token = AgentTest.token, token
        self.addCleanup(lambda: GUEST or setattr(AgentTest, "token", before))
        self.assertTrue(proof["reseeded"])
        self.assertEqual(self.agent.eval("1")["result"], "1")


class FlowControl(AgentTest):
    def test_no_more_than_its_credit_is_sent(self):
        self.agent.give_credit = False
        stream = self.agent.open("exec", args=["head", "-c", "1000000", "/dev/zero"], timeoutMillis=30000)
        other = self.agent.open("read", path=self.big_file())
        self.agent.pump_until(lambda: len(stream.out[1]) == len(other.out[1]) == wire.CREDIT)
        with self.assertRaises(TimeoutError):
            self.agent.pump_until(lambda: len(stream.out[1]) > wire.CREDIT or stream.over, 0.5)
        self.assertEqual(self.agent.exec("echo", "not held up")[1], b"not held up\n")
        self.agent.give_credit = True
        self.agent.credit(stream, 1)
        self.agent.credit(other, 1)
        self.assertEqual(self.agent.end(stream)["exit"], 0)
        self.assertEqual(self.agent.end(other)["size"], len(other.out[1]))
        self.assertEqual(len(stream.out[1]), 1_000_000)

    def big_file(self):
        self.agent.write_file(f"{self.folder}/big", bytes(700_000))
        return f"{self.folder}/big"

    def test_input_waits_for_a_process_that_does_not_read(self):
        stream = self.agent.open("exec", args=["sh", "-c", "sleep 1; wc -c"], timeoutMillis=30000, stdin=True)
        data = b"y" * 1_000_000
        self.agent.write(stream, data, eof=True)  # the client checks that it is never more than the credit
        self.agent.end(stream)
        self.assertEqual(int(stream.out[1]), len(data))

    def test_a_host_that_reads_nothing(self):
        """Sixty commands write without end while nobody reads: what the agent keeps is bounded, and it is not lost."""
        streams = [self.agent.open("exec", args=["head", "-c", "300000", "/dev/zero"], timeoutMillis=0) for _ in range(60 // SLOW)]
        time.sleep(1.5)
        if not GUEST:
            with open(f"/proc/{self.process.pid}/status") as status:
                resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
            self.assertLess(resident, 120_000 if "sanit" in PROGRAM else 24_000, "KiB")
        for stream in streams:
            self.assertEqual(self.agent.end(stream)["exit"], 0)
            self.assertEqual(len(stream.out[1]), 300_000)

    def test_a_new_host_after_one_that_read_nothing(self):
        for _ in range(8):
            self.agent.open("exec", args=["head", "-c", "3000000", "/dev/zero"], timeoutMillis=20000)
        time.sleep(0.5)
        self.agent.sync(AgentTest.token)
        self.assertEqual(self.agent.exec("echo", "here")[1], b"here\n")
