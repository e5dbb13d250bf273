"""Which kernels there are, and how each is started."""

import os
import shutil
import sys

from jupyter import PythonKernels
from lines import LineKernel


class Kernels:
    def __init__(self, home):
        self.home = home
        self.python = PythonKernels(home)

    def commands(self):
        node, java = shutil.which("node"), shutil.which("java")
        found = {"bash": [sys.executable, "-S", os.path.join(self.home, "bash_kernel.py")]}
        if node:
            found["javascript"] = [node, "--no-warnings", os.path.join(self.home, "kernel.mjs")]
        if java and os.path.exists(os.path.join(self.home, "classes", "JavaKernel.class")):
            found["java"] = [
                java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx256m",
                "-cp", os.path.join(self.home, "classes"), "JavaKernel"]
        return found

    def names(self):
        return ["python", *self.commands()]

    def knows(self, language):
        return language in self.names()

    async def start(self, language, cwd):
        kernel = self.python.kernel(cwd) if language == "python" else LineKernel(language, self.commands()[language], cwd)
        try:
            await kernel.start()
        except BaseException:
            await kernel.stop()
            raise
        return kernel
