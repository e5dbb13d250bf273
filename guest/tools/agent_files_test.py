"""Tests of what the guest agent does with files. See agent_test.py for how they run."""

import json
import os
import subprocess

from agent_case import GUEST, SLOW, AgentTest


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

    def make(self, count, width):
        os.mkdir(f"{self.folder}/many")
        for i in range(count):
            os.close(os.open(f"{self.folder}/many/{i:0{width}}", os.O_CREAT))

    def test_a_large_folder_is_listed_and_removed_while_others_are_served(self):
        count, width = 20_000, 200
        if GUEST:
            self.skipTest("slow there, and the same code")
        self.make(count, width)
        for op in ("list", "tree"):
            stream = self.agent.open(op, path=f"{self.folder}/many")
            served = self.served_during(stream)
            entries = json.loads(bytes(stream.out[1]))
            self.assertEqual(sorted(entry["path"][-width:] for entry in entries), [f"{i:0{width}}" for i in range(count)])
            self.assertGreater(served, 2, "nobody else was served meanwhile")
        # It may be all done while this test stalls, which it does not each time.
        served = self.served_during(self.agent.open("remove", path=f"{self.folder}/many"))
        for _ in range(4):
            if served <= 2:
                self.make(count, width)
                served = self.served_during(self.agent.open("remove", path=f"{self.folder}/many"))
        self.assertGreater(served, 2)
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
