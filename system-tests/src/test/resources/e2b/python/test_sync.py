"""E2B's published Python SDK, its blocking half. E2B_API_URL, E2B_SANDBOX_URL and E2B_API_KEY say where the server is."""

import os
import time
import unittest
import urllib.request

from e2b import (
    E2B, AuthenticationException, CommandExitException, FileNotFoundException, FilesystemEventType, InvalidArgumentException,
    NotFoundException, PtySize, Sandbox, SandboxException, SandboxNotFoundException, SandboxQuery, SandboxState, TimeoutException)

TEMPLATE = os.environ.get("FORKD_TEST_TEMPLATE", "base")


def until(what, condition, seconds=60):
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
        before = time.time()
        box.set_timeout(120)
        after = time.time()
        self.assertTrue(before + 117 < box.get_info().end_at.timestamp() < after + 123)
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

    def test_client_with_settings_of_its_own(self):
        """What it was made with counts, not the environment."""
        with self.assertRaises(AuthenticationException):
            E2B(api_key="e2b_0123456789").Sandbox.create(TEMPLATE)
        box = E2B(api_key=os.environ["E2B_API_KEY"]).Sandbox.create(TEMPLATE, timeout=60)
        self.addCleanup(box.kill)
        self.assertTrue(box.is_running())

    def test_handles(self):
        """What is done with a command that goes on."""
        box = self.sandbox()
        handle = box.commands.run("cat", background=True, stdin=True)
        handle.send_stdin("one\n")
        handle.send_stdin(b"two\n")
        handle.close_stdin()
        self.assertEqual(handle.wait().stdout, "one\ntwo\n")
        heard = []
        result = box.commands.run("echo out; echo err >&2", retain_output=False, on_stdout=heard.append, on_stderr=heard.append)
        self.assertEqual((result.stdout, result.stderr, sorted(heard)), (None, None, ["err\n", "out\n"]))
        left = box.commands.run("sleep 100", background=True)
        left.disconnect()
        self.assertIn(left.pid, [process.pid for process in box.commands.list()])
        self.assertTrue(box.commands.kill(left.pid))

    def test_network(self):
        """What guests without a network hold to is accepted, the rest refused."""
        box = self.sandbox(allow_internet_access=False, network={"deny_out": ["0.0.0.0/0"]})
        box.update_network({"deny_out": ["10.0.0.0/8"]})
        for refused in ({"allow_out": ["1.1.1.1"]}, {"deny_out": ["example.com"]}):
            with self.assertRaises(SandboxException) as caught:
                box.update_network(refused)
            self.assertIn("400", str(caught.exception))
        with self.assertRaises(SandboxException):
            Sandbox.create(TEMPLATE, network={"https_ports": [8443]})

    def test_links(self):
        """A signed link works without a key; a host name has the port and the sandbox."""
        box = self.sandbox()
        box.files.write("a b.txt", "text")
        with urllib.request.urlopen(box.download_url("a b.txt", use_signature_expiration=60)) as answer:
            self.assertEqual(answer.read(), b"text")
        form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="up"\r\n\r\nsent\r\n--b--\r\n'
        upload = urllib.request.Request(box.upload_url("up"), form, {"Content-Type": "multipart/form-data; boundary=b"})
        with urllib.request.urlopen(upload) as answer:
            self.assertEqual(answer.status, 200)
        self.assertEqual(box.files.read("up"), "sent")
        self.assertTrue(box.get_host(3000).startswith(f"3000-{box.sandbox_id}."))

    def test_git(self):
        """A repository in the guest, and another that it is pushed to."""
        box, repo = self.sandbox(), "/home/user/repo"
        box.git.init(repo, initial_branch="main")
        box.git.configure_user("Ann", "ann@example.com")
        self.assertEqual(box.git.get_config("user.name"), "Ann")
        box.git.set_config("core.editor", "true")
        box.files.write(f"{repo}/a.txt", "one\n")
        self.assertTrue(box.git.status(repo).has_untracked)
        box.git.add(repo)
        box.git.commit(repo, "first")
        self.assertTrue(box.git.status(repo).is_clean)
        box.git.create_branch(repo, "topic")
        self.assertEqual(sorted(box.git.branches(repo).branches), ["main", "topic"])
        box.git.checkout_branch(repo, "main")
        box.git.delete_branch(repo, "topic", force=True)
        box.files.write(f"{repo}/a.txt", "two\n")
        box.git.restore(repo, ["a.txt"])
        self.assertEqual(box.files.read(f"{repo}/a.txt"), "one\n")
        box.git.init("/home/user/origin.git", bare=True)
        box.git.remote_add(repo, "origin", "/home/user/origin.git")
        self.assertEqual(box.git.remote_get(repo, "origin"), "/home/user/origin.git")
        box.git.push(repo, remote="origin", branch="main")
        box.git.pull(repo, remote="origin", branch="main")
        box.git.clone("/home/user/origin.git", path="/home/user/copy", branch="main")
        self.assertEqual(box.files.read("/home/user/copy/a.txt"), "one\n")
        box.git.reset(repo, mode="hard")
        box.git.dangerously_authenticate("ann", "secret")

    def test_without_memory(self):
        """A snapshot and a pause of the disk alone: the files are there, what ran is not."""
        box = self.sandbox()
        box.commands.run("echo disk >f; echo memory >/dev/shm/f")
        box.commands.run("sleep 1000", background=True, timeout=0)
        snapshot = box.create_snapshot("Mile-Stone:v1.2", mode="filesystem")
        self.assertEqual(snapshot.names, ["mile-stone:v1.2"])
        self.addCleanup(Sandbox.delete_snapshot, snapshot.snapshot_id)
        self.assertEqual([one.snapshot_id for one in Sandbox.list_snapshots(name="mile-stone:v1.2").next_items()], [snapshot.snapshot_id])
        look = "cat /proc/sys/kernel/random/boot_id f; ls /dev/shm; pgrep -c sleep || true"
        boot, disk, memory, sleeps = box.commands.run(look).stdout.split()
        self.assertEqual((disk, memory, sleeps), ("disk", "f", "1"))
        child = self.sandbox("mile-stone:v1.2")
        other, disk, sleeps = child.commands.run(look).stdout.split()
        self.assertEqual((disk, sleeps), ("disk", "0"))
        self.assertNotEqual(other, boot)
        self.assertTrue(box.pause(mode="filesystem", strict=True))
        self.assertFalse(box.pause())
        again = Sandbox.connect(box.sandbox_id)
        last, disk, sleeps = again.commands.run(look).stdout.split()
        self.assertEqual((disk, sleeps), ("disk", "0"))
        self.assertNotEqual(last, boot)

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
        self.gone(lambda: box.commands.kill(sleeper.pid))
        with self.assertRaises(TimeoutException):
            box.commands.run("sleep 30", timeout=1)
        with self.assertRaises(InvalidArgumentException):
            box.commands.run("true", cwd="/nowhere")
        connected = box.commands.connect(box.commands.run("sleep 0.5; echo late", background=True).pid)
        self.assertEqual(connected.wait().stdout, "late\n")

    def gone(self, kill):
        """A process that is killed is there until the guest has noticed its end."""
        until("it is gone", lambda: not kill())

    def test_terminal(self):
        """Its size, its input, its end."""
        box = self.sandbox()
        terminal = box.pty.create(PtySize(rows=24, cols=80))
        box.pty.resize(terminal.pid, PtySize(rows=40, cols=120))
        box.pty.send_stdin(terminal.pid, b"stty size\n")
        box.pty.stream_input(terminal.pid, [b"exit 0\n"])
        seen = b"".join(data for _, _, data in terminal if data)
        self.assertIn(b"40 120", seen)
        left = box.pty.create(PtySize(rows=24, cols=80))
        left.disconnect()
        again = box.pty.connect(left.pid)
        box.pty.send_stdin(left.pid, b"echo he''re\n")
        seen = b""
        for _, _, data in again:
            seen += data or b""
            if b"here" in seen:
                break
        self.assertTrue(box.pty.kill(left.pid))
        self.gone(lambda: box.pty.kill(left.pid))

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
