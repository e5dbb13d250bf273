"""Tests of what hosting needs of the guest agent: kept processes, ports, followed files, watches. See agent_test.py for how they run."""

import json
import os
import signal
import socket
import threading
import time
import unittest

from agent_case import GUEST, AgentTest
from agent_client import TOKEN, AgentError


class Hosting(AgentTest):
    def start(self, *args, **options):
        stream = self.agent.open("start", args=list(args), **options)
        self.agent.pump_until(lambda: stream.notes or stream.over)
        return stream

    def pid(self, stream):
        return stream.notes[0]["pid"]


class Processes(Hosting):
    def test_output_and_status_come_by_the_stream_that_started_it(self):
        stream = self.start("sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual(self.agent.end(stream)["exit"], 3)
        self.assertEqual((bytes(stream.out[1]), bytes(stream.out[2])), (b"out\n", b"err\n"))

    def test_many_listen_and_each_hears_all_from_then_on(self):
        first = self.start("sh", "-c", "read x; echo $x; read x; echo $x", stdin=True, label="both")
        second = self.agent.open("attach", label="both")
        self.agent.pump_until(lambda: second.notes)
        self.assertEqual(second.notes, first.notes)
        for word in (b"one\n", b"two\n"):
            stream = self.agent.open("input", pid=self.pid(first))
            self.agent.write(stream, word, eof=True)
            self.agent.end(stream)
        self.assertEqual(self.agent.end(first)["exit"], 0)
        self.assertEqual(self.agent.end(second)["exit"], 0)
        self.assertEqual((bytes(first.out[1]), bytes(second.out[1])), (b"one\ntwo\n", b"one\ntwo\n"))

    def test_it_goes_on_when_nobody_listens_and_is_found_again(self):
        stream = self.start("sh", "-c", f"sleep 0.3; echo heard by nobody; echo x >{self.folder}/done; sleep 100", env={"A": "b"}, cwd=self.folder)
        pid = self.pid(stream)
        self.agent.cancel(stream)
        self.eventually(lambda: os.path.exists(f"{self.folder}/done") if not GUEST else self.agent.exec("test", "-e", f"{self.folder}/done")[0]["exit"] == 0)
        listed = {one["pid"]: one for one in self.agent.call("processes")["processes"]}
        self.assertEqual((listed[pid]["env"], listed[pid]["cwd"], listed[pid]["stdin"] if "stdin" in listed[pid] else False), ({"A": "b"}, self.folder, False))
        again = self.agent.open("attach", pid=pid)
        self.agent.pump_until(lambda: again.notes)
        self.agent.call("signal", pid=pid, signal=15)
        self.assertEqual(self.agent.end(again)["signal"], 15)
        self.fails("not_found", self.agent.call, "signal", pid=pid, signal=9)
        self.assertNotIn(pid, [one["pid"] for one in self.agent.call("processes")["processes"]])

    def test_who_comes_a_little_late_still_hears_the_end(self):
        stream = self.start("sh", "-c", "exit 5", label="late")
        self.agent.end(stream)
        late = self.agent.open("attach", label="late")
        self.assertEqual(self.agent.end(late)["exit"], 5)
        self.assertEqual(late.notes, stream.notes)
        self.fails("not_found", self.agent.call, "attach", label="never there")

    def test_input_goes_in_whole_and_in_order_and_can_be_closed(self):
        stream = self.start("cat", stdin=True)
        pid, data = self.pid(stream), os.urandom(600_000)
        writes = [self.agent.open("input", pid=pid) for _ in range(2)]
        self.agent.write(writes[1], b"second", eof=True)
        self.agent.write(writes[0], data, eof=True)
        for one in writes:
            self.agent.end(one)
        self.agent.call("closeInput", pid=pid)
        self.assertEqual(self.agent.end(stream)["exit"], 0)
        self.assertEqual(bytes(stream.out[1]), data + b"second")

    def test_input_that_was_read_before_its_end_came_is_no_failure(self):
        for more in (b"", b"more"):
            stream = self.start("sh", "-c", "read word; echo $word", stdin=True)
            write = self.agent.open("input", pid=self.pid(stream))
            self.agent.write(write, b"word\n")
            self.agent.end(stream)
            self.agent.write(write, more, eof=True)
            if more:
                with self.assertRaises(AgentError):
                    self.agent.end(write)
            else:
                self.agent.end(write)

    def test_without_an_input_there_is_none_to_write_to(self):
        stream = self.start("sleep", "100")
        self.fails("failed_precondition", self.agent.call, "input", pid=self.pid(stream))
        self.fails("failed_precondition", self.agent.call, "closeInput", pid=self.pid(stream))
        self.fails("failed_precondition", self.agent.call, "resize", pid=self.pid(stream), columns=1, rows=1)
        self.fails("invalid_argument", self.agent.call, "signal", pid=self.pid(stream), signal=65)
        self.fails("invalid_argument", self.agent.call, "signal", signal=9)
        self.agent.call("signal", pid=self.pid(stream), signal=9)
        self.assertEqual(self.agent.end(stream)["signal"], 9)

    def test_its_time_is_kept(self):
        begin = time.monotonic()
        stream = self.start("sleep", "100", lifetimeMillis=300)
        self.assertTrue(self.agent.end(stream)["timedOut"])
        self.assertLess(time.monotonic() - begin, 50)

    def test_a_pipe_that_others_hold_open_does_not_keep_it(self):
        stream = self.start("sh", "-c", "sleep 100 & echo x")
        begin = time.monotonic()
        self.assertEqual(self.agent.end(stream)["exit"], 0)
        self.assertLess(time.monotonic() - begin, 50)
        self.assertEqual(bytes(stream.out[1]), b"x\n")

    def test_what_cannot_be_started_says_why(self):
        self.assertIn("cwd '/no/such' does not exist", self.fails("invalid_argument", self.agent.end, self.agent.open("start", args=["true"], cwd="/no/such")))
        self.fails("invalid_argument", self.agent.end, self.agent.open("start", args=["no-such-program"]))
        self.fails("not_found", self.agent.end, self.agent.open("start", args=["true"], user="nobody-of-that-name"))
        self.fails("invalid_argument", self.agent.end, self.agent.open("start", args=["true"], pty={"columns": 0, "rows": 1}))
        self.assertEqual(self.agent.call("processes")["processes"], [])

    def test_a_terminal_has_its_size_and_takes_input(self):
        stream = self.start("sh", "-c", "stty size; read x; stty size; echo got $x; tty", pty={"columns": 81, "rows": 25})
        pid = self.pid(stream)
        self.agent.pump_until(lambda: b"25 81" in stream.out[1])
        self.agent.call("resize", pid=pid, columns=120, rows=40)
        write = self.agent.open("input", pid=pid)
        self.agent.write(write, b"word\n", eof=True)
        self.agent.end(write)
        self.assertEqual(self.agent.end(stream)["exit"], 0)
        self.assertIn(b"40 120\r\ngot word\r\n/dev/pts/", stream.out[1])
        self.assertEqual(bytes(stream.out[2]), b"")
        other = self.start("sleep", "100", pty={"columns": 5, "rows": 5})
        self.assertIn("terminal", self.fails("failed_precondition", self.agent.call, "closeInput", pid=self.pid(other)))
        self.agent.call("signal", pid=self.pid(other), signal=signal.SIGKILL)
        self.agent.end(other)

    def test_a_list_that_no_host_could_take_is_refused(self):
        environment = {f"A{i}": "x" * 100_000 for i in range(15)}
        streams = [self.start("sleep", "100", env=environment) for _ in range(5)]
        self.fails("resource_exhausted", self.agent.call, "processes")
        for stream in streams:
            self.agent.call("signal", pid=self.pid(stream), signal=9)
            self.agent.end(stream)
        self.assertEqual(self.agent.call("processes")["processes"], [])

    def test_much_output_arrives_whole(self):
        stream = self.start("sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x")
        self.agent.end(stream, 60)
        self.assertEqual(len(stream.out[1]), 5_000_000)

    @unittest.skipIf(GUEST, "all tests of a guest share one conversation")
    def test_it_outlives_its_host(self):
        stream = self.start("sh", "-c", f"sleep 0.5; echo on >{self.folder}/on; sleep 100", label="kept")
        pid = self.pid(stream)
        self.agent.sync(TOKEN)
        self.eventually(lambda: os.path.exists(f"{self.folder}/on"))
        again = self.agent.open("attach", label="kept")
        self.agent.pump_until(lambda: again.notes)
        self.assertEqual(again.notes[0]["pid"], pid)
        self.agent.call("signal", label="kept", signal=9)
        self.agent.end(again)


@unittest.skipIf(GUEST, "the server is a thread of the test, on this machine")
class Ports(Hosting):
    def serve(self, handle):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def run():
            peer, _ = server.accept()
            with peer:
                handle(peer)

        threading.Thread(target=run, daemon=True).start()
        return server.getsockname()[1]

    def test_both_directions_and_their_ends(self):
        def echo(peer):
            data = b""
            while chunk := peer.recv(65536):
                data += chunk
            peer.sendall(b"all: " + data)

        data = os.urandom(500_000)
        stream = self.agent.open("connect", port=self.serve(echo))
        self.agent.pump_until(lambda: stream.notes)
        self.agent.write(stream, data, eof=True)
        self.agent.end(stream)
        self.assertEqual(bytes(stream.out[1]), b"all: " + data)
        self.assertEqual(stream.ends, 1)

    def test_the_server_may_end_first(self):
        stream = self.agent.open("connect", port=self.serve(lambda peer: peer.sendall(b"bye")))
        self.agent.pump_until(lambda: stream.ends or stream.over)
        self.assertEqual(bytes(stream.out[1]), b"bye")
        self.agent.write(stream, b"", eof=True)
        self.agent.end(stream)

    def test_nothing_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.assertIn(str(port), self.fails("not_found", self.agent.end, self.agent.open("connect", port=port)))
        self.fails("invalid_argument", self.agent.end, self.agent.open("connect", port=0))
        self.fails("invalid_argument", self.agent.end, self.agent.open("connect", port=65536))

    def test_a_cancelled_one_is_closed(self):
        closed = threading.Event()

        def wait(peer):
            peer.recv(1)
            closed.set()

        stream = self.agent.open("connect", port=self.serve(wait))
        self.agent.pump_until(lambda: stream.notes)
        self.agent.cancel(stream)
        self.agent.call("status")
        self.assertTrue(closed.wait(60))


class Files(Hosting):
    def sh(self, script):
        self.assertEqual(self.agent.exec("sh", "-c", script, cwd=self.folder)[0]["exit"], 0)

    def look(self, name):
        return self.agent.call("stat", path=f"{self.folder}/{name}", follow=True)

    def test_links_are_followed_where_asked(self):
        self.sh("echo x >file; ln -s file good; ln -s nowhere bad; ln -s loop loop; mkdir dir; ln -s dir todir")
        good = self.look("good")
        self.assertEqual((good["type"], good["size"], good["path"]), ("file", 2, f"{self.folder}/good"))
        self.assertTrue(good["target"].endswith("/file"))
        self.assertEqual((self.look("bad")["type"], self.look("bad")["target"]), ("symlink", "nowhere"))
        self.assertEqual(self.look("loop")["type"], "symlink")
        self.assertEqual(self.look("todir")["type"], "directory")
        self.assertNotIn("target", self.look("file"))
        self.assertEqual(self.agent.call("stat", path=f"{self.folder}/good")["type"], "symlink")
        self.assertEqual((self.look("file")["owner"], self.look("file")["group"]), ("root", "root"))

    def test_a_tree_is_in_order_and_as_deep_as_asked(self):
        self.sh("mkdir -p b/c a; touch b/c/d b/a z a/x; ln -s . self")
        names = lambda depth: [entry["path"][len(self.folder) + 1:] for entry in self.agent.call("tree", path=self.folder, depth=depth)["entries"]]
        self.assertEqual(names(1), ["a", "b", "self", "z"])
        self.assertEqual(names(9), ["a", "a/x", "b", "b/a", "b/c", "b/c/d", "self", "z"])
        self.fails("failed_precondition", self.agent.call, "tree", path=f"{self.folder}/z", depth=1)
        self.fails("not_found", self.agent.call, "tree", path=f"{self.folder}/none", depth=1)
        self.sh("ln -s loop loop")
        self.fails("failed_precondition", self.agent.call, "tree", path=f"{self.folder}/loop", depth=1)

    def test_metadata_is_written_read_and_replaced(self):
        path = f"{self.folder}/m"
        self.agent.write_file(path, b"x", metadata={"kind": "note", "of": "ž"})
        self.assertEqual(self.look("m").get("metadata"), {"kind": "note", "of": "ž"})
        self.agent.write_file(path, b"y", metadata={}, inPlace=True)
        self.assertNotIn("metadata", self.look("m"))
        self.agent.write_file(path, b"y", metadata={"a": "b"}, inPlace=True)
        self.agent.write_file(path, b"z")
        self.assertNotIn("metadata", self.look("m"))

    def test_names_that_are_no_text_are_shown(self):
        self.sh("printf x >\"$(printf 'a\\377\\300\\257b\\303\\244')\"; printf x >\"$(printf 'c\\001\\037\\177d')\"; touch ok")
        self.assertEqual([entry["path"][len(self.folder) + 1:] for entry in self.agent.call("tree", path=self.folder, depth=1)["entries"]],
                         ["a\ufffd\ufffd\ufffdb\u00e4", "c\x01\x1f\x7fd", "ok"])
        self.assertEqual(self.agent.read_file(f"{self.folder}/c\x01\x1f\x7fd"), b"x")

    def test_metadata_that_does_not_fit_is_refused(self):
        path = f"{self.folder}/m"
        if self.agent.exec("sh", "-c", f"stat -f -c %T {self.folder} | grep -q ext")[0]["exit"]:
            self.skipTest("other file systems have room for more")
        self.fails("invalid_argument", self.agent.write_file, path, b"x", metadata={"n" * 200: "v" * 3890}, inPlace=True)
        self.assertEqual(self.agent.call("list", path=self.folder)["entries"], [])

    def test_who_leaves_in_the_middle_leaves_nothing_of_a_new_file(self):
        self.sh("echo old >there")
        for name, left in (("new", None), ("there", b"half")):
            stream = self.agent.open("write", path=f"{self.folder}/{name}", user="nobody", inPlace=True)
            self.agent.write(stream, b"half")
            self.agent.call("status")
            self.agent.cancel(stream)
            if left is None:
                self.fails("not_found", self.look, name)
            else:
                self.assertEqual(self.agent.read_file(f"{self.folder}/{name}"), left)
                self.assertEqual(self.look(name)["owner"], "nobody")

    def test_many_streams_of_all_kinds(self):
        if not GUEST:
            import resource
            if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
                self.skipTest("this host allows too few descriptors")
        self.sh("mkdir w; dd if=/dev/zero of=big bs=1024 count=1000 2>/dev/null")
        self.agent.give_credit = False
        streams = [self.agent.open("read", path=f"{self.folder}/big") for _ in range(400)]
        streams += [self.agent.open("write", path=f"{self.folder}/w/{i}") for i in range(400)]
        processes = [self.agent.open("start", args=["sleep", "60"]) for _ in range(20)]
        self.agent.pump_until(lambda: all(one.notes for one in processes), 60)
        self.agent.pump_until(lambda: all(len(one.out[1]) == 262144 for one in streams[:400]), 60)
        for one in streams + processes:
            self.agent.cancel(one)
        for one in self.agent.call("processes")["processes"]:
            self.agent.call("signal", pid=one["pid"], signal=9)
        self.agent.give_credit = True
        self.assertEqual(self.agent.call("list", path=f"{self.folder}/w")["entries"], [])
        if not GUEST:
            self.eventually(lambda: len(os.listdir(f"/proc/{self.process.pid}/fd")) < 16)

    def test_in_place_it_stays_the_same_file(self):
        self.sh("echo long text >file; ln file other")
        self.agent.write_file(f"{self.folder}/file", b"new", inPlace=True)
        self.assertEqual(self.agent.read_file(f"{self.folder}/other"), b"new")

    def test_a_part_of_a_file(self):
        self.agent.write_file(f"{self.folder}/r", b"0123456789")
        for request, expected in (({"offset": 3}, b"3456789"), ({"offset": 2, "length": 3}, b"234"), ({"length": 0}, b""), ({"offset": 50}, b"")):
            stream = self.agent.open("read", path=f"{self.folder}/r", **request)
            self.assertEqual(self.agent.end(stream)["size"], len(expected))
            self.assertEqual(bytes(stream.out[1]), expected)

    def test_folders_tell_whether_they_are_new(self):
        self.assertTrue(self.agent.call("mkdir", path=f"{self.folder}/a/b")["made"])
        self.assertFalse(self.agent.call("mkdir", path=f"{self.folder}/a/b")["made"])
        self.sh("touch f")
        self.fails("failed_precondition", self.agent.call, "mkdir", path=f"{self.folder}/f")

    @unittest.skipUnless(os.geteuid() == 0 or GUEST, "only root can give files away")
    def test_what_is_made_for_a_user_is_his(self):
        self.agent.call("mkdir", path=f"{self.folder}/his/too", user="nobody")
        self.agent.write_file(f"{self.folder}/his/parent/f", b"x", user="nobody", inPlace=True)
        for name in ("his", "his/too", "his/parent", "his/parent/f"):
            self.assertEqual(self.look(name)["owner"], "nobody", name)
        self.assertEqual(self.agent.call("account", user="nobody")["name"], "nobody")
        self.assertEqual(self.agent.call("account", user="0")["home"], "/root")
        self.fails("not_found", self.agent.call, "account", user="nobody-of-that-name")

    def test_usage(self):
        usage = self.agent.call("usage")
        self.assertGreaterEqual(usage["cpuCount"], 1)
        self.assertGreater(usage["memoryTotalBytes"], usage["memoryUsedBytes"])
        self.assertGreater(usage["diskTotalBytes"], usage["diskUsedBytes"])
        self.assertGreater(usage["cpuBusyMillis"], 0)


class Watch(Hosting):
    def watch(self, **options):
        stream = self.agent.open("watch", path=self.folder, **options)
        self.agent.pump_until(lambda: stream.notes or stream.over)
        if stream.error:
            raise stream.error
        return stream

    def changes(self, stream):
        return [json.loads(line) for line in bytes(stream.out[1]).split(b"\n")[:-1]]

    def saw(self, stream, kind, name):
        found = []

        def there():
            found[:] = [change for change in self.changes(stream) if (change["kind"], change["name"]) == (kind, name)]
            return bool(found)

        self.agent.pump_until(there)
        return found[0]

    def sh(self, script):
        self.assertEqual(self.agent.exec("sh", "-c", script, cwd=self.folder)[0]["exit"], 0)

    def test_all_kinds(self):
        stream = self.watch(entries=True)
        self.sh("echo x >f; chmod 600 f; mv f g; rm g; mkdir d; echo x >d/inside")
        self.assertEqual(self.saw(stream, "created", "f").get("name"), "f")
        for kind, name in (("written", "f"), ("modeChanged", "f"), ("renamed", "f"), ("created", "g"), ("removed", "g"), ("created", "d")):
            self.saw(stream, kind, name)
        self.agent.call("status")
        self.assertFalse([change for change in self.changes(stream) if "/" in change["name"]])
        self.agent.cancel(stream)

    def test_below(self):
        self.sh("mkdir -p a/b")
        stream = self.watch(recursive=True, entries=True)
        self.sh("echo x >a/b/f; mkdir -p c/d/e; echo y >c/d/e/g")
        self.assertEqual(self.saw(stream, "created", "a/b/f")["entry"]["path"], f"{self.folder}/a/b/f")
        self.saw(stream, "created", "c/d/e/g")
        self.sh("echo z >c/d/e/h; mv c moved; echo w >moved/d/e/i")
        self.saw(stream, "created", "c/d/e/h")
        self.saw(stream, "renamed", "c")
        self.saw(stream, "created", "moved/d/e/i")

    def test_what_cannot_be_watched(self):
        self.sh("touch f")
        self.fails("failed_precondition", self.agent.call, "watch", path=f"{self.folder}/f")
        self.fails("not_found", self.agent.call, "watch", path=f"{self.folder}/none")

    def test_it_ends_with_its_folder(self):
        self.sh("mkdir sub")
        stream = self.agent.open("watch", path=f"{self.folder}/sub")
        self.agent.pump_until(lambda: stream.notes)
        self.sh("rmdir sub")
        self.fails("not_found", self.agent.end, stream)


if __name__ == "__main__":
    unittest.main()
