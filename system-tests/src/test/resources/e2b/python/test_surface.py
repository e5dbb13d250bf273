"""docs/E2B.md tells of everything that the published SDK lets a program do, and of every field that it may send."""

import inspect
import pathlib
import re
import unittest

import e2b
import e2b.api.client.models as models
import e2b.sandbox_async.commands.command
import e2b.sandbox_async.commands.command_input_handle
import e2b.sandbox_async.commands.pty
import e2b.sandbox_async.filesystem.filesystem
import e2b.sandbox_async.git
import e2b.sandbox_sync.commands.command
import e2b.sandbox_sync.commands.pty
import e2b.sandbox_sync.filesystem.filesystem
import e2b.sandbox_sync.git
import e2b_code_interpreter

LINES = (pathlib.Path(__file__).parent / "E2B.md").read_text().splitlines()
REQUESTS = (
    "NewSandbox", "NewSandboxV2", "SandboxAutoResumeConfig", "SandboxNetworkConfig", "SandboxNetworkUpdateConfig", "SandboxPauseRequest",
    "SandboxSnapshotRequest", "SandboxForkRequest", "SandboxTimeoutRequest", "SandboxRefreshRequest", "ConnectSandbox", "ConnectSandboxV2", "ResumedSandbox")


def told(heading):
    """The names in backticks in the first column of the tables under a heading, in both spellings."""
    names = set()
    for line in LINES[LINES.index(f"### {heading}") + 1:]:
        if line.startswith("##"):
            break
        if line.startswith("|"):
            names |= {re.match(r"\w*", code).group() for code in re.findall(r"`([^`]*)`", line.split("|")[1])}
    return names | {re.sub(r"(?<=[a-z])([A-Z])", lambda letter: "_" + letter.group().lower(), name) for name in names}


def members(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


class Surface(unittest.TestCase):
    def test_methods(self):
        """Whoever looks for a method finds it."""
        for heading, *classes in (
            ("Sandboxes", e2b.Sandbox, e2b.AsyncSandbox),
            ("Commands", e2b.sandbox_sync.commands.command.Commands, e2b.sandbox_async.commands.command.Commands,
             e2b.sandbox_async.commands.command_input_handle.AsyncCommandInputHandle),
            ("Handles of commands", e2b.CommandHandle, e2b.AsyncCommandHandle),
            ("Terminals", e2b.sandbox_sync.commands.pty.Pty, e2b.sandbox_async.commands.pty.Pty),
            ("Files", e2b.sandbox_sync.filesystem.filesystem.Filesystem, e2b.sandbox_async.filesystem.filesystem.Filesystem),
            ("Watches", e2b.WatchHandle, e2b.AsyncWatchHandle),
            ("Git", e2b.sandbox_sync.git.Git, e2b.sandbox_async.git.Git),
        ):
            for cls in classes:
                with self.subTest(cls=cls):
                    self.assertTrue(members(cls))
                    self.assertEqual(members(cls) - told(heading), set())
        for one, base in ((e2b_code_interpreter.Sandbox, e2b.Sandbox), (e2b_code_interpreter.AsyncSandbox, e2b.AsyncSandbox)):
            self.assertEqual(members(one) - members(base) - told("Code"), set())
        self.assertEqual({name for name in vars(e2b.E2B()) if not name.startswith("_")} - told("Clients"), set())

    def test_request_fields(self):
        """Whatever a client may send, somebody has thought of."""
        for name in REQUESTS:
            written = inspect.getsource(getattr(models, name).to_dict)
            fields = set(re.findall(r'field_dict\["(\w+)"\]', written)) | set(re.findall(r'^\s+"(\w+)": ', written, re.M))
            with self.subTest(message=name):
                self.assertTrue(fields)
                self.assertEqual(fields - told("Request fields") - {"network"}, set())

    def test_both_halves_are_the_same(self):
        """What is tested of one is there in the other."""
        for blocking, asynchronous in ((e2b.Sandbox, e2b.AsyncSandbox), (e2b.sandbox_sync.git.Git, e2b.sandbox_async.git.Git)):
            self.assertEqual(members(blocking), members(asynchronous))


if __name__ == "__main__":
    unittest.main()
