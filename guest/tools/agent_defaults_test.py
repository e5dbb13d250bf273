"""Tests of what an image's own defaults mean to the guest agent. See agent_test.py for how they run; only on this machine."""

import json
import os
import shutil
import tempfile
import unittest

from agent_case import GUEST, PROGRAM, AgentTest


@unittest.skipIf(GUEST, "a guest's file is read when it boots")
class Defaults(AgentTest):
    """What an image says its processes run with."""

    content = {"env": {"FROM_IMAGE": "a b=c", "LANG": "C", "BOTH": "image"}, "cwd": "/usr/lib"}

    def setUp(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".json")
        self.file.write(self.content if isinstance(self.content, str) else json.dumps(self.content))
        self.file.flush()
        self.addCleanup(self.file.close)
        os.environ["FORKD_DEFAULTS"] = self.file.name
        self.addCleanup(os.environ.pop, "FORKD_DEFAULTS")
        super().setUp()

    def test_commands_have_them_unless_they_wish_otherwise(self):
        say = 'echo "$FROM_IMAGE|$LANG|$BOTH|$HOME|$(pwd)"'
        self.assertEqual(self.agent.exec("sh", "-c", say)[1], b"a b=c|C|image|/root|/usr/lib\n")
        out = self.agent.exec("sh", "-c", say, env={"BOTH": "mine"}, cwd=self.folder)[1]
        self.assertEqual(out.decode(), f"a b=c|C|mine|/root|{self.folder}\n")

    def test_kept_processes_have_them(self):
        stream = self.agent.open("start", args=["sh", "-c", 'echo "$FROM_IMAGE|$(pwd)"'])
        self.agent.end(stream)
        self.assertEqual(bytes(stream.out[1]), b"a b=c|/usr/lib\n")

    def test_the_interpreter_has_them(self):
        self.assertEqual(self.agent.eval("(os.environ['FROM_IMAGE'], os.getcwd())")["result"], "('a b=c', '/usr/lib')")


class DefaultPath(Defaults):
    """An image's own interpreter is where its PATH says."""

    @property
    def content(self):
        if not hasattr(self, "tools"):
            self.tools = tempfile.TemporaryDirectory()
            self.addCleanup(self.tools.cleanup)
            os.chmod(self.tools.name, 0o755)
            with open(f"{self.tools.name}/python3", "w") as script:
                script.write('#!/bin/sh\nOWN_INTERPRETER=yes exec /usr/bin/python3 "$@"\n')
            os.chmod(script.name, 0o755)
        return {"env": {"PATH": f"relative:{self.tools.name}:/usr/bin:/bin", "FROM_IMAGE": "a b=c", "LANG": "C", "BOTH": "image"}, "cwd": "/usr/lib"}

    def test_its_interpreter_is_the_one(self):
        self.assertEqual(self.agent.eval("os.environ.get('OWN_INTERPRETER')")["result"], "'yes'")


@unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
class DefaultUser(Defaults):
    """Somebody without an account, as images often have it, in a folder that is gone."""

    content = {"user": "4711:nogroup", "cwd": "/no/such/folder"}

    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        os.chmod(place.name, 0o755)
        program = os.environ.get("FORKD_EVALUATOR") or os.path.join(os.path.dirname(PROGRAM), "evaluator.py")
        before = os.environ.get("FORKD_EVALUATOR")
        self.addCleanup(lambda: os.environ.update(FORKD_EVALUATOR=before) if before else os.environ.pop("FORKD_EVALUATOR"))
        os.environ["FORKD_EVALUATOR"] = shutil.copy(program, place.name)
        super().setUp()

    def test_commands_have_them_unless_they_wish_otherwise(self):
        say = "id -u; id -g; id -G; echo $HOME $USER; pwd"
        self.assertEqual(self.agent.exec("sh", "-c", say)[1].split(), b"4711 65534 65534 / 4711 /".split())
        self.assertEqual(self.agent.exec("id", "-u", user="root")[1], b"0\n")
        self.assertEqual(self.agent.exec("sh", "-c", "id -u; id -g", user="4712")[1], b"4712\n0\n")
        self.assertEqual(self.agent.exec("sh", "-c", "id -u; id -g; id -G", user="0:12")[1], b"0\n12\n12\n")
        self.assertIn("no-such-group", self.fails("not_found", self.agent.exec, "true", user="root:no-such-group"))
        self.assertIn("12x", self.fails("not_found", self.agent.exec, "true", user="12x"))

    def test_kept_processes_have_them(self):
        stream = self.agent.open("start", args=["id", "-u"])
        self.agent.end(stream)
        self.assertEqual(bytes(stream.out[1]), b"4711\n")

    def test_the_interpreter_has_them(self):
        self.assertEqual(self.agent.eval("(os.getuid(), os.getgid(), os.environ['USER'])")["result"], "(4711, 65534, '4711')")


@unittest.skipIf(GUEST, "a guest's file is read when it boots")
class DefaultsUnusable(Defaults):
    """What cannot be understood is as if it were not there."""

    content = '{"env": {"A": 1}}'

    def test_commands_have_them_unless_they_wish_otherwise(self):
        self.assertEqual(self.agent.exec("sh", "-c", "echo ${A:-none} $LANG")[1], b"none C.UTF-8\n")

    test_kept_processes_have_them = test_the_interpreter_has_them = test_commands_have_them_unless_they_wish_otherwise


if __name__ == "__main__":
    unittest.main()
