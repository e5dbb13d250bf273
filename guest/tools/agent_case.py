"""What the tests of the guest agent have in common. See agent_test.py for how they run."""

import os
import socket
import subprocess
import tempfile
import time
import unittest

import agent_client as wire
from agent_client import Agent, AgentError

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
            self.agent = Agent(sock, AgentTest.token, timeout=150)
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
            status = self.process.wait(60)  # it ends with its only host
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

    def eventually(self, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not what():
            self.assertLess(time.monotonic(), deadline, "it did not happen in time")
            time.sleep(0.02)
