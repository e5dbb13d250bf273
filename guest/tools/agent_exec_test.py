"""Tests of what the guest agent runs: commands and evaluations. See agent_test.py for how they run."""

import json
import os
import resource
import signal
import time
import unittest

import agent_client as wire
from agent_case import GUEST, SLOW, AgentTest


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
        begin, out, millis = time.monotonic(), b"", 300
        while not out:  # on a machine that stalls its time may be up before it has begun
            result, out, _ = self.agent.exec("sh", "-c", "sleep 100 & echo $!; wait", timeoutMillis=millis)
            self.assertTrue(result["timedOut"])
            self.assertLess(time.monotonic() - begin, 50)
            millis *= 4
        self.eventually(lambda: self.gone(int(out)))

    def test_cancel_ends_the_whole_group(self):
        stream = self.agent.open("exec", args=["sh", "-c", "sleep 60 & echo $!; wait"], timeoutMillis=0)
        self.agent.pump_until(lambda: b"\n" in stream.out[1])
        self.agent.cancel(stream)
        self.eventually(lambda: self.gone(int(stream.out[1])))

    def test_a_pipe_left_open_by_a_child_is_not_waited_for(self):
        begin = time.monotonic()
        result, out, _ = self.agent.exec("sh", "-c", "sleep 100 & echo $!", timeoutMillis=90000)
        self.assertEqual(result["exit"], 0)
        self.assertLess(time.monotonic() - begin, 50)
        self.agent.exec("sh", "-c", "kill " + out.decode())

    def test_background(self):
        begin = time.monotonic()
        result, _, _ = self.agent.exec("sleep", "100", background=True)
        self.assertLess(time.monotonic() - begin, 50)
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
