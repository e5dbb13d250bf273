"""E2B's published Python SDK, its asynchronous half."""

import asyncio
import os
import unittest

from e2b import E2B, AsyncSandbox, CommandExitException, FilesystemEventType, PtySize, SandboxException, SandboxQuery, SandboxState

TEMPLATE = os.environ.get("FORKD_TEST_TEMPLATE", "base")


async def until(what, condition, seconds=60):
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

    async def test_commands_that_go_on(self):
        """They are listed, connected to, fed in each way, left and killed."""
        heard = []
        handle = await self.box.commands.run("cat", background=True, stdin=True, on_stdout=heard.append)
        self.assertIn(handle.pid, [process.pid for process in await self.box.commands.list()])
        async with self.box.commands.stream_input(handle.pid) as stream:
            await stream.send("one\n")
            await stream.send(b"two\n")
        await until("it is heard", lambda: "".join(heard) == "one\ntwo\n")
        stream = self.box.commands.stream_input(handle.pid)
        await stream.send("three\n")
        await stream.close()
        with self.assertRaises(SandboxException):
            await stream.send("late")
        other = await self.box.commands.connect(handle.pid)
        await handle.send_stdin("four\n")
        await handle.close_stdin()
        result = await handle.wait()
        self.assertEqual((result.stdout, handle.exit_code, handle.error), ("one\ntwo\nthree\nfour\n", 0, None))
        self.assertEqual((await other.wait()).stdout, "four\n")
        quiet = await self.box.commands.run("echo x", retain_output=False)
        self.assertIsNone(quiet.stdout)
        sleeper = await self.box.commands.run("sleep 100", background=True)
        await sleeper.disconnect()
        self.assertTrue(await self.box.commands.kill(sleeper.pid))
        again = await self.box.commands.run("sleep 100", background=True)
        self.assertTrue(await again.kill())

    async def test_life(self):
        """It is looked at, lengthened, linked to, saved with and without memory; a client may have settings of its own."""
        self.assertTrue(await self.box.is_running())
        await self.box.set_timeout(120)
        info = await self.box.get_info()
        self.assertEqual((info.sandbox_id, info.state), (self.box.sandbox_id, SandboxState.RUNNING))
        self.assertGreater((await self.box.get_metrics())[0].mem_total, 0)
        await self.box.update_network({"deny_out": ["0.0.0.0/0"]})
        self.assertTrue(self.box.get_host(80).startswith("80-"))
        self.assertIn("signature=", self.box.download_url("f"))
        self.assertIn("signature=", self.box.upload_url("f"))
        await self.box.files.write("f", "kept")
        snapshots = [await self.box.create_snapshot(mode=mode) for mode in ("full", "filesystem")]
        listed = await self.box.list_snapshots().next_items()
        self.assertEqual({one.snapshot_id for one in listed}, {one.snapshot_id for one in snapshots})
        for snapshot in snapshots:
            child = await E2B(api_key=os.environ["E2B_API_KEY"]).AsyncSandbox.create(snapshot.snapshot_id, timeout=60)
            self.addAsyncCleanup(kill, child)
            self.assertEqual(await child.files.read("f"), "kept")
            self.assertTrue(await AsyncSandbox.delete_snapshot(snapshot.snapshot_id))
        self.assertTrue(await self.box.beta_pause(keep_memory=False))
        self.assertFalse(await self.box.pause())
        again = await AsyncSandbox.connect(self.box.sandbox_id, on_resume="reboot")
        self.assertEqual(await again.files.read("f"), "kept")

    async def test_git(self):
        """A repository in the guest."""
        await self.box.git.init("r", initial_branch="main")
        await self.box.git.configure_user("Ann", "ann@example.com")
        await self.box.files.write("r/a", "one")
        await self.box.git.add("r")
        await self.box.git.commit("r", "first")
        self.assertTrue((await self.box.git.status("r")).is_clean)
        self.assertEqual((await self.box.git.branches("r")).current_branch, "main")

    async def test_files_and_watch(self):
        """A watcher hears what is written; files are read, listed, moved, removed."""
        events = []
        await self.box.files.make_dir("w")
        watch = await self.box.files.watch_dir("w", on_event=events.append)
        await self.box.files.write("w/a", "x")
        await until("the change", lambda: any(event.type == FilesystemEventType.WRITE and event.name == "a" for event in events))
        await watch.stop()
        self.assertEqual(await self.box.files.read("w/a"), "x")
        self.assertEqual([entry.name for entry in await self.box.files.list("w")], ["a"])
        self.assertEqual(len(await self.box.files.write_files([{"path": "w/b", "data": b"\0\1"}, {"path": "w/c", "data": "c"}])), 2)
        self.assertEqual(bytes(await self.box.files.read("w/b", format="bytes")), b"\0\1")
        self.assertEqual(b"".join([part async for part in await self.box.files.read("w/b", format="stream")]), b"\0\1")
        self.assertEqual((await self.box.files.rename("w/b", "w/d")).name, "d")
        self.assertEqual((await self.box.files.get_info("w/d")).size, 2)
        await self.box.files.remove("w")
        self.assertFalse(await self.box.files.exists("w"))

    async def test_terminal_and_life(self):
        """A terminal's output, a pause, a fork, the list."""
        seen = bytearray()
        terminal = await self.box.pty.create(PtySize(rows=20, cols=60), on_data=seen.extend)
        await self.box.pty.send_stdin(terminal.pid, b"stty size; exit\n")
        await terminal.wait()
        self.assertIn(b"20 60", bytes(seen))
        left = await self.box.pty.create(PtySize(rows=20, cols=60), on_data=seen.extend)
        await left.disconnect()
        heard = bytearray()
        again = await self.box.pty.connect(left.pid, on_data=heard.extend)
        await self.box.pty.resize(left.pid, PtySize(rows=30, cols=90))
        async with self.box.pty.stream_input(left.pid) as stream:
            await stream.send(b"stty size\n")
        await until("its size is told", lambda: b"30 90" in heard)
        self.assertTrue(await self.box.pty.kill(left.pid))
        with self.assertRaises(CommandExitException):
            await again.wait()
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
