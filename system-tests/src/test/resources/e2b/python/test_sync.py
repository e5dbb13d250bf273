"""E2B's published Python SDK, its blocking half. E2B_API_URL, E2B_SANDBOX_URL and E2B_API_KEY say where the server is."""

import os
import time
import unittest

from e2b import (
    AuthenticationException, CommandExitException, FileNotFoundException, FilesystemEventType, InvalidArgumentException,
    NotFoundException, PtySize, Sandbox, SandboxNotFoundException, SandboxQuery, SandboxState, TimeoutException)

TEMPLATE = os.environ.get("FORKD_TEST_TEMPLATE", "base")


def until(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class SandboxTest(unittest.TestCase):
    def sandbox(self, template=TEMPLATE, **options):
        box = Sandbox.create(template, timeout=options.pop("timeout", 300), **options)
        self.addCleanup(box.kill)
        return box

    def test_life(self):
        """Create, look at, list, extend, connect, kill."""
        mark = f"m {time.time()}&="
        box = self.sandbox(metadata={"mark": mark}, envs={"GREETING": "hello"})
        self.assertEqual(box.commands.run("echo $GREETING").stdout, "hello\n")
        self.assertTrue(box.is_running())
        info = box.get_info()
        self.assertEqual((info.sandbox_id, info.template_id, info.metadata), (box.sandbox_id, TEMPLATE, {"mark": mark}))
        found = Sandbox.list(query=SandboxQuery(metadata={"mark": mark})).next_items()
        self.assertEqual([one.sandbox_id for one in found], [box.sandbox_id])
        box.set_timeout(120)
        self.assertAlmostEqual(box.get_info().end_at.timestamp() - time.time(), 120, delta=3)
        self.assertEqual(Sandbox.connect(box.sandbox_id).commands.run("hostname").exit_code, 0)
        self.assertTrue(box.kill())
        self.assertFalse(box.kill())
        self.assertFalse(box.is_running())
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.connect(box.sandbox_id)

    def test_refusals(self):
        """What is wrong is the exception the SDK has for it."""
        with self.assertRaises(AuthenticationException):
            Sandbox.create(TEMPLATE, api_key="e2b_0123456789")
        with self.assertRaises(Exception) as caught:
            Sandbox.create("no-such-template")
        self.assertIn("404", str(caught.exception))
        self.assertFalse(Sandbox.kill("i0000000000000000000"))

    def test_creating_twice_under_one_key_is_creating_once(self):
        """A client that did not hear the answer asks again."""
        key = f"key-{os.urandom(6).hex()}"
        first, second = self.sandbox(idempotency_key=key), self.sandbox(idempotency_key=key)
        self.assertEqual(first.sandbox_id, second.sandbox_id)

    def test_commands(self):
        """Output, status, user, input in both ways, background, time limit."""
        box = self.sandbox()
        with self.assertRaises(CommandExitException) as caught:
            box.commands.run("echo sorry >&2; exit 7")
        self.assertEqual((caught.exception.exit_code, caught.exception.stderr), (7, "sorry\n"))
        self.assertEqual(box.commands.run("id -un; pwd", user="root", cwd="/tmp").stdout, "root\n/tmp\n")
        handle = box.commands.run("cat", background=True, stdin=True)
        self.assertIn(handle.pid, [process.pid for process in box.commands.list()])
        box.commands.send_stdin(handle.pid, "one\n")
        box.commands.stream_input(handle.pid, ["two\n", b"three\n"])
        box.commands.close_stdin(handle.pid)
        self.assertEqual(handle.wait().stdout, "one\ntwo\nthree\n")
        with self.assertRaises(NotFoundException):
            box.commands.stream_input(999999, ["x"])
        sleeper = box.commands.run("sleep 100", background=True)
        self.assertTrue(sleeper.kill())
        self.assertFalse(box.commands.kill(sleeper.pid))
        with self.assertRaises(TimeoutException):
            box.commands.run("sleep 30", timeout=1)
        with self.assertRaises(InvalidArgumentException):
            box.commands.run("true", cwd="/nowhere")
        connected = box.commands.connect(box.commands.run("sleep 0.5; echo late", background=True).pid)
        self.assertEqual(connected.wait().stdout, "late\n")

    def test_terminal(self):
        """Its size, its input, its end."""
        box = self.sandbox()
        terminal = box.pty.create(PtySize(rows=24, cols=80))
        box.pty.resize(terminal.pid, PtySize(rows=40, cols=120))
        box.pty.send_stdin(terminal.pid, b"stty size\n")
        box.pty.stream_input(terminal.pid, [b"exit 0\n"])
        seen = b"".join(data for _, _, data in terminal if data)
        self.assertIn(b"40 120", seen)

    def test_files(self):
        """Written, read, listed, moved, removed, watched."""
        box = self.sandbox()
        info = box.files.write("sub/a.txt", "text")
        self.assertEqual(info.path, "/home/user/sub/a.txt")
        self.assertEqual(box.files.read("sub/a.txt"), "text")
        data = os.urandom(300_000)
        box.files.write("bytes", data)
        self.assertEqual(bytes(box.files.read("bytes", format="bytes")), data)
        self.assertEqual(b"".join(box.files.read("bytes", format="stream")), data)
        self.assertEqual(len(box.files.write_files([{"path": "m1", "data": "1"}, {"path": "m2", "data": "2"}])), 2)
        self.assertTrue(box.files.make_dir("tree/deep"))
        self.assertFalse(box.files.make_dir("tree/deep"))
        self.assertEqual([entry.name for entry in box.files.list("tree")], ["deep"])
        self.assertEqual(box.files.rename("m1", "tree/m1").path, "/home/user/tree/m1")
        self.assertTrue(box.files.exists("tree/m1"))
        self.assertEqual(box.files.get_info("tree/m1").size, 1)
        watch = box.files.watch_dir("tree", recursive=True)
        box.files.write("tree/deep/new", "x")
        events = []

        def came():
            events.extend(watch.get_new_events())
            return any(event.type == FilesystemEventType.WRITE and event.name == "deep/new" for event in events)

        until("the change is told", came)
        watch.stop()
        box.files.remove("tree")
        self.assertFalse(box.files.exists("tree"))
        with self.assertRaises(FileNotFoundException):
            box.files.read("tree/m1")

    def test_pause_snapshot_fork(self):
        """What was in memory and on disk goes on."""
        box = self.sandbox()
        box.commands.run("echo disk >/home/user/f; echo memory >/dev/shm/f")
        self.assertTrue(box.pause())
        self.assertEqual(Sandbox.get_info(box.sandbox_id).state, SandboxState.PAUSED)
        again = Sandbox.connect(box.sandbox_id)
        self.assertEqual(again.commands.run("cat /home/user/f /dev/shm/f").stdout, "disk\nmemory\n")
        snapshot = again.create_snapshot()
        child = self.sandbox(snapshot.snapshot_id)
        self.assertEqual(child.files.read("f"), "disk\n")
        self.assertIn(snapshot.snapshot_id, [one.snapshot_id for one in again.list_snapshots().next_items()])
        self.assertTrue(Sandbox.delete_snapshot(snapshot.snapshot_id))
        for fork in again.fork(count=2):
            self.addCleanup(fork.kill)
            self.assertEqual(fork.commands.run("cat /dev/shm/f").stdout, "memory\n")
        self.assertGreater(again.get_metrics()[0].mem_total, 0)


if __name__ == "__main__":
    unittest.main()
