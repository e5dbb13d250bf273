"""E2B's published Python SDK, its asynchronous half."""

import asyncio
import os
import unittest

from e2b import AsyncSandbox, CommandExitException, FilesystemEventType, PtySize, SandboxQuery

TEMPLATE = os.environ.get("FORKD_TEST_TEMPLATE", "base")


async def until(what, condition, seconds=20):
    async def wait():
        while not condition():
            await asyncio.sleep(0.05)

    try:
        await asyncio.wait_for(wait(), seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def kill(box):
    await box.kill()


class AsyncSandboxTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.box = await AsyncSandbox.create(TEMPLATE, timeout=300, metadata={"of": str(os.getpid())})
        self.addAsyncCleanup(kill, self.box)

    async def test_commands(self):
        """Twenty at once, output as it comes, input, a failure."""
        results = await asyncio.gather(*(self.box.commands.run(f"echo {i}") for i in range(20)))
        self.assertEqual([result.stdout for result in results], [f"{i}\n" for i in range(20)])
        heard = []
        handle = await self.box.commands.run("cat", background=True, stdin=True, on_stdout=heard.append)
        await self.box.commands.send_stdin(handle.pid, "one\n")
        await until("it is heard", lambda: "".join(heard) == "one\n")
        await self.box.commands.close_stdin(handle.pid)
        self.assertEqual((await handle.wait()).exit_code, 0)
        with self.assertRaises(CommandExitException):
            await self.box.commands.run("false")

    async def test_files_and_watch(self):
        """A watcher hears what is written."""
        events = []
        await self.box.files.make_dir("w")
        watch = await self.box.files.watch_dir("w", on_event=events.append)
        await self.box.files.write("w/a", "x")
        await until("the change", lambda: any(event.type == FilesystemEventType.WRITE and event.name == "a" for event in events))
        await watch.stop()
        self.assertEqual(await self.box.files.read("w/a"), "x")
        self.assertEqual([entry.name for entry in await self.box.files.list("w")], ["a"])

    async def test_terminal_and_life(self):
        """A terminal's output, a pause, a fork, the list."""
        seen = bytearray()
        terminal = await self.box.pty.create(PtySize(rows=20, cols=60), on_data=seen.extend)
        await self.box.pty.send_stdin(terminal.pid, b"stty size; exit\n")
        await terminal.wait()
        self.assertIn(b"20 60", bytes(seen))
        await self.box.files.write("f", "kept")
        self.assertTrue(await self.box.pause())
        box = await AsyncSandbox.connect(self.box.sandbox_id)
        self.assertEqual(await box.files.read("f"), "kept")
        for fork in await box.fork(count=2):
            self.addAsyncCleanup(kill, fork)
            self.assertEqual(await fork.files.read("f"), "kept")
        found = await AsyncSandbox.list(query=SandboxQuery(metadata={"of": str(os.getpid())})).next_items()
        self.assertGreaterEqual(len(found), 3)


if __name__ == "__main__":
    unittest.main()
