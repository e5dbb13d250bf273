"""The Python SDK over TLS, with a certificate that SSL_CERT_FILE names. Run by its name: its server is another."""

import unittest

from e2b import Sandbox


class TlsTest(unittest.TestCase):
    def test_commands_and_files(self):
        """The API, commands with their streams, files: each by a transport of its own."""
        box = Sandbox.create("base", timeout=300)
        self.addCleanup(box.kill)
        self.assertEqual(box.commands.run("echo hi").stdout, "hi\n")
        box.files.write("f", "text")
        self.assertEqual(box.files.read("f"), "text")
        self.assertTrue(box.kill())


if __name__ == "__main__":
    unittest.main()
