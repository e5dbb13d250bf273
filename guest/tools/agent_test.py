"""Tests of the guest agent through its protocol. guest/agent/check runs them against the real program on this machine;
with FORKD_AGENT_SOCKET they run against one that is PID 1 of a virtual machine.

  FORKD_AGENT         the program to test, in host mode
  FORKD_AGENT_SOCKET  or the socket of a guest's port
  FORKD_FUZZ_SEED     repeat the fuzz test with this seed
  FORKD_FUZZ_ROUNDS   how long it goes on (default 150)
"""

import json
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agent_client as wire
from agent_client import Agent, AgentError, frame

PROGRAM = os.environ.get("FORKD_AGENT", "")
GUEST = os.environ.get("FORKD_AGENT_SOCKET", "")
SLOW = 4 if GUEST else 1  # emulation


class AgentTest(unittest.TestCase):
    """Each host test has an agent of its own; all tests of a guest share the one in it."""

    token = wire.TOKEN

    def setUp(self):
        if GUEST:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(GUEST)
            self.agent = Agent(sock, AgentTest.token, timeout=60)
            self.folder = f"/tmp/agent-test-{os.urandom(4).hex()}"
            self.agent.call("mkdir", path=self.folder)
            self.addCleanup(sock.close)
            return
        mine, its = socket.socketpair()
        environment = {**os.environ, "FORKD_EVALUATOR": os.environ.get("FORKD_EVALUATOR") or os.path.join(os.path.dirname(PROGRAM), "evaluator.py")}
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([PROGRAM, "--host", "--fd", str(its.fileno())] + self.arguments(),
                                        pass_fds=[its.fileno()], env=environment, stderr=self.log)
        its.close()
        self.agent = Agent(mine)
        scratch = tempfile.TemporaryDirectory()
        os.chmod(scratch.name, 0o755)
        self.folder = scratch.name
        self.addCleanup(scratch.cleanup)

    def arguments(self):
        return []

    def tearDown(self):
        if GUEST:
            return
        alive = self.process.poll() is None
        self.agent.close()
        try:
            status = self.process.wait(20)  # it ends with its only host
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "hung"
        self.log.seek(0)
        told = self.log.read().decode(errors="replace")
        self.log.close()
        self.assertTrue(alive, f"the agent ended by itself: {told}")
        self.assertEqual(status, 0, told)
        self.assertNotIn("Sanitizer", told)
        self.assertNotIn("runtime error", told)

    def fails(self, code, call, *args, **kwargs):
        with self.assertRaises(AgentError) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.code, code, caught.exception)
        return caught.exception.message

    def gone(self, pid):
        return self.agent.exec("sh", "-c", f"kill -0 {pid} 2>/dev/null && ! grep -q 'State:.Z' /proc/{pid}/status")[0]["exit"] != 0

    def eventually(self, what, seconds=5):
        deadline = time.monotonic() + seconds * SLOW
        while not what():
            self.assertLess(time.monotonic(), deadline, "it did not happen in time")
            time.sleep(0.02)


class Exec(AgentTest):
    def test_streams_and_exit_code(self):
        result, out, err = self.agent.exec("sh", "-c", "echo to out; echo to err >&2; exit 7")
        self.assertEqual((result["exit"], out, err), (7, b"to out\n", b"to err\n"))

    def test_environment_folder_and_defaults(self):
        result, out, _ = self.agent.exec("sh", "-c", 'echo "$A|$HOME|$USER|$LANG|$(pwd)|${PATH:+set}"', env={"A": "x y=z", "USER": "me"}, cwd=self.folder)
        self.assertEqual(out.decode(), f"x y=z|/root|me|C.UTF-8|{self.folder}|set\n")

    def test_input_reaches_it_and_ends(self):
        data = os.urandom(1_500_000 // SLOW)
        result, out, _ = self.agent.exec("cat", stdin=data)
        self.assertEqual((result["exit"], out), (0, data))

    def test_without_input_it_reads_nothing(self):
        self.assertEqual(self.agent.exec("cat")[0]["exit"], 0)

    def test_input_nobody_reads_is_dropped(self):
        result, _, _ = self.agent.exec("true", stdin=b"x" * 600_000)
        self.assertEqual(result["exit"], 0)

    def test_a_long_request_comes_in_pieces(self):
        words = ["w" * 50_000, "v" * 60_000]
        result, out, _ = self.agent.exec("printf", "%s", *words)
        self.assertEqual(out, b"".join(w.encode() for w in words))

    @unittest.skipUnless(os.geteuid() == 0 or GUEST, "only root can become somebody else")
    def test_another_user(self):
        result, out, _ = self.agent.exec("sh", "-c", "id -un; id -Gn; echo $HOME", user="nobody")
        self.assertEqual(out.split()[:2], [b"nobody", b"nogroup"])
        self.assertEqual(self.agent.exec("id", "-u", user="nobody")[1], self.agent.exec("id", "-u", "nobody")[1])

    def test_what_cannot_be_started_says_why(self):
        self.assertIn("no-such-program", self.fails("not_found", self.agent.exec, "no-such-program"))
        self.assertIn("/no/such", self.fails("not_found", self.agent.exec, "true", cwd="/no/such"))
        self.fails("not_found", self.agent.exec, "true", user="nobody-of-that-name")
        self.fails("permission_denied", self.agent.exec, "/etc/passwd")
        self.fails("invalid_argument", self.agent.call, "exec", args=[])
        self.fails("invalid_argument", self.agent.call, "exec", args=["a", 1])
        self.fails("invalid_argument", self.agent.call, "exec", args=["a"], env={"a": 1})
        self.fails("unimplemented", self.agent.call, "no-such-op")
        self.fails("invalid_argument", self.agent.call, 5)
        self.agent.exec("true")

    def test_signals(self):
        stream = self.agent.open("exec", args=["sh", "-c", "trap 'echo caught; exit 3' TERM; echo ready; sleep 60 & wait"], timeoutMillis=30000)
        self.agent.pump_until(lambda: b"ready" in stream.out[1])
        self.agent.signal(stream, signal.SIGTERM)
        self.assertEqual(self.agent.end(stream)["exit"], 3)
        self.assertIn(b"caught", stream.out[1])
        self.assertEqual(self.agent.exec("sh", "-c", "kill -9 $$")[0]["signal"], 9)

    def test_a_timeout_ends_the_whole_group(self):
        begin = time.monotonic()
        result, out, _ = self.agent.exec("sh", "-c", "sleep 60 & echo $!; wait", timeoutMillis=300)
        self.assertTrue(result["timedOut"])
        self.assertLess(time.monotonic() - begin, 5 * SLOW)
        self.eventually(lambda: self.gone(int(out)))

    def test_cancel_ends_the_whole_group(self):
        stream = self.agent.open("exec", args=["sh", "-c", "sleep 60 & echo $!; wait"], timeoutMillis=0)
        self.agent.pump_until(lambda: b"\n" in stream.out[1])
        self.agent.cancel(stream)
        self.eventually(lambda: self.gone(int(stream.out[1])))

    def test_a_pipe_left_open_by_a_child_is_not_waited_for(self):
        begin = time.monotonic()
        result, out, _ = self.agent.exec("sh", "-c", "sleep 5 & echo $!")
        self.assertEqual(result["exit"], 0)
        self.assertLess(time.monotonic() - begin, 4)
        self.agent.exec("sh", "-c", "kill " + out.decode())

    def test_background(self):
        begin = time.monotonic()
        result, _, _ = self.agent.exec("sleep", "30", background=True)
        self.assertLess(time.monotonic() - begin, 5 * SLOW)
        self.assertFalse(result["idle"], "a process of the user's runs")
        self.assertGreaterEqual(self.agent.call("status")["processes"], 1)
        self.agent.exec("sh", "-c", f"kill {result['pid']}")
        self.agent.pump_until(lambda: self.agent.idle)

    def test_many_at_once(self):
        streams = [self.agent.open("exec", args=["sh", "-c", f"echo {i}; exit {i}"], timeoutMillis=60000) for i in range(40)]
        for i, stream in enumerate(streams):
            self.assertEqual(self.agent.end(stream)["exit"], i)
            self.assertEqual(stream.out[1], f"{i}\n".encode())


class Eval(AgentTest):
    def setUp(self):
        super().setUp()
        self.assertEqual(self.agent.await_ready()["evaluator"], "ready")

    def value(self, code):
        told = self.agent.eval(code)
        self.assertIsNone(told["error"], told)
        return told["result"]

    def test_expressions_statements_and_what_is_printed(self):
        self.assertEqual(self.value("1 + 1"), "2")
        self.assertEqual(self.value("x = 5\nx * 2"), "10")
        self.assertEqual(self.agent.eval("print('hello')\nx = 1"), {"result": "None", "error": None, "traceback": None, "stdout": "hello\n"})
        self.assertEqual(self.value("math.sqrt(16), json.dumps([1])"), "(4.0, '[1]')")
        self.assertEqual(self.value("'ä' + chr(0x1f600)"), repr("ä\U0001f600"))

    def test_the_namespace_lives_on(self):
        self.value("def f(n): return n + counter\ncounter = 40")
        self.assertEqual(self.value("f(2)"), "42")

    def test_errors_are_told_and_survived(self):
        told = self.agent.eval("def g():\n  1/0\ng()")
        self.assertEqual(told["error"], "ZeroDivisionError: division by zero")
        self.assertIn("in g", told["traceback"])
        self.assertIn("SyntaxError", self.agent.eval("1 +")["error"])
        self.assertIn("SystemExit", self.agent.eval("sys.exit(3)")["error"])
        self.assertEqual(self.value("2"), "2")

    def test_a_timeout_interrupts_and_keeps_the_state(self):
        self.value("kept = 1")
        message = self.fails("deadline_exceeded", self.agent.eval, "while True: pass", timeoutMillis=300)
        self.assertIn("keeps its state", message)
        self.assertEqual(self.value("kept"), "1")

    def test_code_that_does_not_listen_costs_the_interpreter(self):
        self.value("kept = 1")
        message = self.fails("deadline_exceeded", self.agent.eval, "while True:\n  try: time.sleep(9)\n  except BaseException: pass", timeoutMillis=300)
        self.assertIn("state is lost", message)
        self.assertIn("NameError", self.agent.eval("kept", 60000)["error"])

    def test_an_interpreter_that_ends_is_started_anew(self):
        self.fails("unavailable", self.agent.eval, "os._exit(3)")
        self.assertEqual(self.agent.eval("1", 60000)["result"], "1")

    def test_what_waits_for_an_interpreter_that_cannot_be_started_anew_is_told(self):
        if GUEST:
            self.skipTest("the guest's agent cannot be made to run out of descriptors")
        self.agent.await_ready()
        limits = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        streams = [self.agent.open("eval", timeoutMillis=0) for _ in range(3)]
        for stream, code in zip(streams, [b"time.sleep(0.2); os._exit(3)", b"1", b"2"]):
            self.agent.write(stream, code, eof=True)
        for stream in streams:
            self.fails("unavailable", self.agent.end, stream)
        self.agent.pump_until(lambda: self.agent.idle)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, limits)
        self.assertEqual(self.value("3"), "3")

    def test_a_copy_of_the_interpreter_answers_nothing(self):
        self.value("child = os.fork()")
        self.assertEqual(self.value("os.waitpid(child, 0)[1]"), "0")
        self.assertEqual(self.value("3"), "3")

    def test_cancel_interrupts(self):
        stream = self.agent.open("eval", timeoutMillis=0)
        self.agent.write(stream, b"while True: pass", eof=True)
        time.sleep(0.1)
        self.agent.cancel(stream)
        self.assertEqual(self.value("4"), "4")

    def test_they_queue_but_not_without_end(self):
        streams = [self.agent.open("eval", timeoutMillis=60000) for _ in range(65)]
        self.fails("resource_exhausted", self.agent.end, streams[64])
        for i in reversed(range(1, 64)):  # the first has no code yet, and holds up nobody
            self.agent.write(streams[i], f"{i} * 2".encode(), eof=True)
        for i in range(1, 64):
            self.agent.end(streams[i])
            self.assertEqual(json.loads(streams[i].out[1])["result"], str(i * 2))
        self.agent.write(streams[0], b"'late'", eof=True)
        self.agent.end(streams[0])

    def test_a_result_larger_than_all_windows(self):
        size = 3_000_000 // SLOW
        self.assertEqual(self.value(f"'x' * {size}"), repr("x" * size))

    def test_too_much_code_is_refused(self):
        self.fails("invalid_argument", self.agent.eval, "#" * (wire.MAX_PAYLOAD * 256 + 1))

    def test_threads_left_behind_are_work(self):
        if not GUEST:
            self.skipTest("there are no cgroups on the host")
        self.value("import threading\nt = threading.Thread(target=time.sleep, args=(2,))\nt.start()")
        self.assertFalse(self.agent.idle)
        self.agent.pump_until(lambda: self.agent.idle)


class NoEval(AgentTest):
    def arguments(self):
        return ["--no-eval"]

    @unittest.skipIf(GUEST, "the guest has one")
    def test_without_an_interpreter_it_says_what_is_missing(self):
        self.assertEqual(self.agent.await_ready()["evaluator"], "none")
        self.assertIn("python3", self.fails("unimplemented", self.agent.eval, "1"))
        self.assertTrue(self.agent.call("status")["idle"])


class Files(AgentTest):
    def test_written_bytes_are_read_back(self):
        for data in (b"", b"short", os.urandom(1_000_000 // SLOW)):
            path = f"{self.folder}/made/on/the/way"
            self.assertEqual(self.agent.write_file(path, data)["size"], len(data))
            self.assertEqual(self.agent.read_file(path), data)
        names = [e["path"] for e in self.agent.call("list", path=f"{self.folder}/made/on/the")["entries"]]
        self.assertEqual(names, [path], "no temporary file is left")

    def test_mode_and_owner(self):
        path = f"{self.folder}/file"
        self.agent.write_file(path, b"1", mode=0o4750)
        self.assertEqual(self.agent.call("stat", path=path)["mode"], 0o4750)
        self.agent.write_file(path, b"2")
        entry = self.agent.call("stat", path=path)
        self.assertEqual((entry["mode"], entry["type"], entry["size"], entry["path"]), (0o4750, "file", 1, path))
        if GUEST or os.geteuid() == 0:
            self.agent.write_file(path, b"3", user="nobody", mode=0o600)
            self.assertEqual(self.agent.exec("cat", path, user="nobody")[1], b"3")
        self.fails("not_found", self.agent.write_file, path, b"", user="nobody-of-that-name")

    def test_a_link_is_written_through(self):
        self.agent.write_file(f"{self.folder}/real", b"old")
        self.agent.exec("ln", "-s", "real", f"{self.folder}/link")
        self.assertEqual(self.agent.call("stat", path=f"{self.folder}/link")["type"], "symlink")
        self.agent.write_file(f"{self.folder}/link", b"new")
        self.assertEqual(self.agent.read_file(f"{self.folder}/real"), b"new")

    def test_folders(self):
        self.agent.call("mkdir", path=f"{self.folder}/a/b/c")
        self.agent.call("mkdir", path=f"{self.folder}/a/b/c")
        self.agent.write_file(f"{self.folder}/a/b/c/f", b"x")
        self.fails("failed_precondition", self.agent.call, "mkdir", path=f"{self.folder}/a/b/c/f")
        self.agent.call("move", **{"from": f"{self.folder}/a/b", "to": f"{self.folder}/other/place"})
        self.assertEqual(self.agent.read_file(f"{self.folder}/other/place/c/f"), b"x")
        self.agent.call("remove", path=f"{self.folder}/other")
        self.fails("not_found", self.agent.call, "stat", path=f"{self.folder}/other")

    def test_errors_have_codes(self):
        call = self.agent.call
        self.fails("not_found", self.agent.read_file, f"{self.folder}/none")
        self.fails("not_found", call, "remove", path=f"{self.folder}/none")
        self.fails("not_found", call, "list", path=f"{self.folder}/none")
        self.fails("failed_precondition", self.agent.read_file, self.folder)
        self.fails("failed_precondition", self.agent.write_file, self.folder, b"")
        self.fails("invalid_argument", self.agent.write_file, "/dev/null", b"x")
        self.fails("invalid_argument", self.agent.read_file, "relative")
        self.fails("invalid_argument", call, "read")
        self.fails("invalid_argument", self.agent.read_file, "/" + "x" * 5000)
        self.fails("invalid_argument", self.agent.read_file, "/" + "x" * 300)
        self.agent.write_file(f"{self.folder}/f", b"")
        self.fails("failed_precondition", self.agent.write_file, f"{self.folder}/f/g", b"")
        message = self.fails("not_found", self.agent.read_file, f"{self.folder}/" + "ä" * 120)
        self.assertTrue(message)

    def test_an_aborted_write_leaves_nothing(self):
        stream = self.agent.open("write", path=f"{self.folder}/half")
        self.agent.write(stream, b"half of it")
        self.agent.call("status")
        self.agent.cancel(stream)
        self.assertEqual(self.agent.call("list", path=self.folder)["entries"], [])
        stream = self.agent.open("write", path=f"{self.folder}/half")
        self.agent.write(stream, b"half of it")
        self.agent.sync(AgentTest.token)
        self.assertEqual(self.agent.call("list", path=self.folder)["entries"], [])

    def test_a_large_folder_is_listed_and_removed_while_others_are_served(self):
        count, width = 20_000, 200
        if GUEST:
            self.skipTest("slow there, and the same code")
        os.mkdir(f"{self.folder}/many")
        for i in range(count):
            os.close(os.open(f"{self.folder}/many/{i:0{width}}", os.O_CREAT))
        for op in ("list", "tree"):
            stream = self.agent.open(op, path=f"{self.folder}/many")
            served = self.served_during(stream)
            entries = json.loads(bytes(stream.out[1]))
            self.assertEqual(sorted(entry["path"][-width:] for entry in entries), [f"{i:0{width}}" for i in range(count)])
            self.assertGreater(served, 2, "nobody else was served meanwhile")
        self.assertGreater(self.served_during(self.agent.open("remove", path=f"{self.folder}/many")), 2)
        self.assertEqual(self.agent.call("list", path=self.folder)["entries"], [])

    def served_during(self, stream):
        served = 0
        while not stream.over:
            self.agent.call("stat", path=self.folder)
            served += 1
        self.agent.end(stream)
        return served

    def test_a_long_list_nobody_wants_any_more_ends(self):
        for i in range(3000):
            os.close(os.open(f"{self.folder}/{i:0200}", os.O_CREAT)) if not GUEST else None
        if GUEST:
            self.skipTest("the test makes the files on the host")
        self.agent.give_credit = False
        stream = self.agent.open("list", path=self.folder)
        self.agent.pump_until(lambda: len(stream.out[1]) > 200_000)
        children = lambda: subprocess.run(["pgrep", "-P", str(self.process.pid), "-f", "forkd-agent"], capture_output=True, text=True).stdout.split()
        self.assertEqual(len(children()), 1)
        self.agent.cancel(stream)
        self.agent.give_credit = True
        self.eventually(lambda: not children())
        self.agent.call("status")


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
                seen += self.agent.receive(time.monotonic() + 20)
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
        self.eventually(done, 10)

    def test_a_command_that_writes_without_end_holds_up_nobody(self):
        pids = []
        for _ in range(3):  # more writers than the reader can outrun
            stream = self.agent.open("exec", args=["sh", "-c", "echo $$; exec cat /dev/zero"], timeoutMillis=0)
            self.agent.pump_until(lambda: b"\n" in stream.out[1])
            pids.append(int(stream.out[1].split(b"\n")[0]))
        self.agent.sync(AgentTest.token)
        begin = time.monotonic()
        for _ in range(20):
            self.agent.exec("true")
        self.assertLess(time.monotonic() - begin, 10 * SLOW)
        self.agent.exec("kill", "-9", *map(str, pids))
        self.eventually(lambda: all(self.gone(pid) for pid in pids))

    def test_an_epoch_proves_itself_and_changes_the_token(self):
        self.agent.await_ready()
        before = AgentTest.token
        try:
            samples = set()
            for number in (1, 2):
                token = os.urandom(32)
                proof = self.agent.epoch(number, token)
                AgentTest.token = token
                self.assertEqual((proof["epoch"], proof["hostname"], proof["reseeded"]), (number, f"child-{number}", True))
                self.assertLess(abs(proof["clockNanos"] - time.time_ns()), 2e9)
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
            seen += self.agent.receive(time.monotonic() + 20)
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


class Fuzz(AgentTest):
    def requests(self, dice):
        path = f"{self.folder}/{dice.randrange(4)}"
        return dice.choice([
            {"op": "exec", "args": ["true"], "stdin": dice.random() < 0.5, "timeoutMillis": dice.choice([0, 1, 50, -7, 2 ** 62])},
            {"op": "exec", "args": ["cat"], "stdin": True, "timeoutMillis": 40},
            {"op": "exec", "args": ["sh", "-c", "head -c 400000 /dev/zero"], "timeoutMillis": 200},
            {"op": "exec", "args": dice.choice([[], [""], ["\u0001"], [None], "x", {}]), "env": dice.choice([{}, [], {"": ""}, {"=": "="}])},
            {"op": "eval", "timeoutMillis": 30}, {"op": "read", "path": path}, {"op": "write", "path": path, "mode": dice.choice([0o600, -1, "x"])},
            {"op": "stat", "path": dice.choice([path, "", "/", "x" * 5000, None])}, {"op": "list", "path": self.folder}, {"op": "mkdir", "path": path},
            {"op": "move", "from": path, "to": path + "m"}, {"op": "remove", "path": path}, {"op": "freeze"}, {"op": "thaw"}, {"op": "status"},
            {"op": "epoch", "epoch": 1, "hostname": "x" * dice.randrange(100), "token": "zz"}, [1], "text", {"op": dice.choice([None, "", 3])},
            {"op": "start", "args": ["cat"], "stdin": dice.random() < 0.7, "label": dice.choice(["a", "b"]), "lifetimeMillis": dice.choice([1, 60, 300]),
             "pty": dice.choice([None, None, {"columns": dice.choice([80, 0, -1]), "rows": 24}, "x"])},
            {"op": "start", "args": ["sh", "-c", "head -c 300000 /dev/zero; sleep 0.05"], "label": 7, "lifetimeMillis": 200, "cwd": dice.choice(["/", "/none", None])},
            {"op": "attach", **self.named(dice)}, {"op": "input", **self.named(dice)}, {"op": "input", **self.named(dice)}, {"op": "closeInput", **self.named(dice)},
            {"op": "signal", "signal": dice.choice([9, 15, 0, 99, "x"]), **self.named(dice)}, {"op": "resize", "columns": 10, "rows": dice.choice([5, 0]), **self.named(dice)},
            {"op": "processes"}, {"op": "connect", "port": dice.choice([1, 0, 65535, -1, "x"])}, {"op": "usage"}, {"op": "account", "user": dice.choice(["root", "0", "", None])},
            {"op": "watch", "path": dice.choice([self.folder, path, "/none"]), "recursive": dice.random() < 0.5, "entries": dice.random() < 0.5},
            {"op": "tree", "path": dice.choice([self.folder, path]), "depth": dice.choice([1, 3, -1, 10 ** 9, "x"])}, {"op": "stat", "path": path, "follow": True},
            {"op": "write", "path": path, "inPlace": True, "metadata": dice.choice([{}, {"a": "b"}, {"": 1}, {"x" * 300: "y"}, []])},
            {"op": "read", "path": path, "offset": dice.choice([0, 5, -5, 2 ** 62]), "length": dice.choice([0, 3, -3])},
        ])

    def named(self, dice):
        return dice.choice([{"label": "a"}, {"label": "b"}, {"label": ""}, {"pid": dice.choice([0, 1, -1, 99999])}, {}, {"label": "a", "pid": 1}])

    def piece(self, dice):
        ident = dice.choice([1, 2, 3, 4, 5, 6, 7, 8] * 3 + [0, dice.getrandbits(32)])
        if ident == 0 and dice.random() < 0.7:
            return frame(0, wire.CLOCK, 0, dice.randbytes(8))
        kind = dice.choice([wire.OPEN, wire.OPEN, wire.OPEN, wire.DATA, wire.DATA, wire.EOF, wire.WINDOW, wire.SIGNAL, wire.CANCEL] + [dice.randrange(256)] * (dice.random() < 0.05))
        payload = dice.randbytes(dice.choice([0, 1, 4, 8, 32, 1000, 16384]))
        flags = dice.choice([0, 0, 0, 1, 2, dice.randrange(256)])
        if kind == wire.OPEN:
            flags, payload = int(dice.random() < 0.02), json.dumps(self.requests(dice)).encode()
            if dice.random() < 0.2:
                flags, payload = 0, payload[:dice.randrange(len(payload))]
        elif kind == wire.WINDOW and dice.random() < 0.8:
            flags, payload = dice.choice([1, 2]), struct.pack("<I", dice.choice([1, 1000, 300000, 300000, 2 ** 31]))
        elif kind == wire.SIGNAL and dice.random() < 0.8:
            payload = bytes([dice.choice([1, 2, 9, 15, 64])])
        elif kind in (wire.DATA, wire.EOF):
            flags = 0
        data = bytearray(frame(ident, kind, flags, payload))
        if dice.random() < 0.02:
            for _ in range(dice.randrange(1, 4)):
                data[dice.randrange(len(data))] = dice.getrandbits(8)
        if dice.random() < 0.01:
            data = data[:dice.randrange(len(data))]
        return bytes(data)

    def test_no_input_breaks_it(self):
        """Valid, damaged and random frames in random order, cut anywhere; after each round a new host is served."""
        seed = int(os.environ.get("FORKD_FUZZ_SEED") or int.from_bytes(os.urandom(4), "little"))
        rounds = int(os.environ.get("FORKD_FUZZ_ROUNDS") or 150) // SLOW
        print(f"fuzz seed {seed}, {rounds} rounds", file=sys.stderr, flush=True)
        dice = random.Random(seed)
        for number in range(rounds):
            self.agent.streams = {}
            data = b"".join(self.piece(dice) for _ in range(dice.randrange(1, 40)))
            while data:
                cut = dice.choice([1, 7, 100, 5000, len(data)])
                self.agent.send(data[:cut])
                data = data[cut:]
                if dice.random() < 0.05:
                    time.sleep(dice.choice([0.002, 0.05]))
            self.agent.input.clear()
            with self.subTest(seed=seed, round=number):
                self.agent.sync(AgentTest.token)
                self.agent.call("thaw")
                self.assertEqual(self.agent.exec("echo", str(number))[1], f"{number}\n".encode())


if __name__ == "__main__":
    unittest.main(verbosity=2 if "-v" in sys.argv else 1)
