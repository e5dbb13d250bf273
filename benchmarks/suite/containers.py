"""Peers that are containers: runc and crun, and gVisor's runsc, from the same root file system, running the same line."""
import json
import os
import pathlib
import select
import shutil
import subprocess
import time

from . import host
from .bench import ANSWER, CODE, IMPORT, MANY, PYTHON, SCI, SCI_ANSWER, SCI_CODE, SCI_IMPORT, check
from .vms import root_image

RUNC, CRUN, RUNSC, RESTORE = "runc run", "crun run", "gVisor runsc run", "gVisor runsc restore"
TIMEOUT = 120
# Warm, then waiting to be saved; what is restored finds /go/go and answers.
WAITING = """import numpy, os, time
numpy.zeros(5).tolist()
print('warm', flush=True)
while not os.path.exists('/go/go'):
    time.sleep(0.001)
print({code}, flush=True)
"""


def find_runsc(work):
    for candidate in (os.environ.get("RUNSC"), shutil.which("runsc"), f"{work}/tools/runsc"):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    return None


def rootfs(bench, tag):
    """The files of a template's root image, unpacked once."""
    folder = pathlib.Path(bench.work, "bundles", tag)
    if not folder.joinpath("rootfs", "usr").exists():
        folder.joinpath("rootfs", "go").mkdir(parents=True, exist_ok=True)
        subprocess.run(["debugfs", "-R", f"rdump / {folder}/rootfs", root_image(bench.daemon.data, tag)],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        folder.joinpath("rootfs", "go").mkdir(exist_ok=True)
    return folder


def bundle(bench, tag, name, code, mounts=()):
    """A folder as OCI runtimes want it: runc's own default settings, the root shared and read-only."""
    root = rootfs(bench, tag)
    folder = root / name
    folder.mkdir(exist_ok=True)
    if not folder.joinpath("config.json").exists():
        subprocess.run(["runc", "spec"], cwd=folder, check=True)
    config = json.loads(folder.joinpath("config.json").read_text())
    config["process"].update(terminal=False, args=["python3", "-c", code])
    config["root"]["path"] = str(root / "rootfs")
    config["mounts"] += mounts
    folder.joinpath("config.json").write_text(json.dumps(config))
    return folder


class Runtime:
    """A runtime with the global flags it needs here."""

    def __init__(self, bench, label, command):
        self.bench, self.label, self.command, self.count = bench, label, command, 0

    def call(self, *arguments, cwd=None):
        return subprocess.run([*self.command, *arguments], cwd=cwd, stdin=subprocess.DEVNULL, timeout=TIMEOUT, text=True, capture_output=True, check=False)

    def once(self, folder, answer, *verb):
        """One container from nothing to its answer; what it leaves behind is removed by the caller's end."""
        self.count += 1
        name = f"forkd-bench-{os.getpid()}-{abs(hash(self.label)) % 10000}-{self.count}"
        done = self.call(*(verb or ("run",)), name, cwd=folder)
        lines = done.stdout.strip().splitlines()
        if not lines or lines[-1] != answer:
            raise RuntimeError(f"{self.label}: {(done.stderr or done.stdout).strip()[-300:] or f'status {done.returncode}, no output'}")
        return name

    def measure(self, folder, answer, label, suffix="", *verb, many=True):
        """One by one, then perhaps a hundred with as many at once as there are cores."""
        bench, x = self.bench, label + suffix
        self.once(folder, answer, *verb)  # the page cache is warm for everybody
        for _ in bench.rounds(15, 7, 15):
            bench.timed("peer", x, self.once, folder, answer, *verb)
        if not many or not bench.results.summary("peer", x):
            return
        for _ in bench.rounds(3, 1, 15, least=1):
            busy, begin = host.busy_millis(), time.perf_counter()
            problems = [one for one in bench.at_once(lambda _: self.once(folder, answer, *verb), range(MANY), host.CORES) if isinstance(one, Exception)]
            bench.results.add("peer-many", x, (time.perf_counter() - begin) * 1e3, ok=not problems)
            bench.results.add("peer-many-cpu", x, (host.busy_millis() - busy) / MANY)
            if problems:
                bench.results.note(f"{x}: {len(problems)} of {MANY} failed, first: {problems[0]}")


def _native(bench, label, command, many_sci=False):
    """A hundred cold imports of pandas and scikit-learn take minutes: one runtime stands for all."""
    runtime = Runtime(bench, label, command)
    runtime.measure(bundle(bench, PYTHON, "cold", f"import {IMPORT}; print({CODE})"), ANSWER, label)
    if SCI in bench.templates:
        runtime.measure(bundle(bench, SCI, "cold", f"import {SCI_IMPORT}; print({SCI_CODE})"), SCI_ANSWER, label, ", pandas and scikit-learn",
                        many=many_sci)


def runc(bench):
    _native(bench, RUNC, ["runc", f"--root={bench.work}/runc"], many_sci=True)


def crun(bench):
    command = ["crun", f"--root={bench.work}/crun"]
    if os.path.exists("/sys/fs/cgroup/unified"):
        # crun refuses hybrid cgroups; in a mount namespace of its own it sees version 1 alone, as runc uses here.
        bench.results.note("crun ran behind unshare --mount, about 3 ms: it does not support this host's hybrid cgroups")
        command = ["unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup/unified && exec "$@"', "sh", *command]
    _native(bench, CRUN, command)


def _runsc(bench, binary):
    """Its folder, made anew, and its command."""
    folder = pathlib.Path(bench.work, "runsc")
    _unmount(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder, [binary, f"--root={folder}/state", "--network=none", "--platform=systrap", "--ignore-cgroups"]


def _end_runsc(runtime, folder):
    for name in (runtime.call("list", "-quiet").stdout or "").split():
        runtime.call("delete", "--force", name)
    _unmount(folder)


def _unmount(folder):
    """runsc leaves a namespace mounted, once more for each start that saw none."""
    while subprocess.run(["umount", "--quiet", f"{folder}/state/null-netns"], check=False).returncode == 0:
        pass


def runsc_run(bench, binary):
    folder, command = _runsc(bench, binary)
    try:
        _native(bench, RUNSC, command)
    finally:
        _end_runsc(Runtime(bench, RUNSC, command), folder)


def runsc_restore(bench, binary):
    folder, command = _runsc(bench, binary)
    images, go = folder / "image", folder / "go"
    go.mkdir()
    runtime = Runtime(bench, RESTORE, command)
    settings = bundle(bench, PYTHON, "warm", WAITING.format(code=CODE),
                      [{"destination": "/go", "type": "bind", "source": str(go), "options": ["ro", "rbind"]}])
    saved = f"forkd-bench-{os.getpid()}-saved"
    try:
        _start_warm([*command, "run", "--detach", saved], settings)
        done = runtime.call("checkpoint", "--image-path", str(images), saved)
        if done.returncode:
            raise RuntimeError(f"runsc checkpoint: {done.stderr.strip()[-300:]}")
        go.joinpath("go").touch()
        runtime.measure(settings, ANSWER, RESTORE, "", "restore", "--image-path", str(images))
    finally:
        _end_runsc(runtime, folder)


def _start_warm(command, folder):
    """Starts the container that is to be saved. Its output is a pipe, as it is in those that are restored: gVisor keeps the kind of a file."""
    get, put = os.pipe()
    try:
        subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=put, stderr=put, timeout=TIMEOUT, check=True)
        output, end = b"", time.monotonic() + 30
        while b"warm" not in output:
            if not select.select([get], [], [], max(0, end - time.monotonic()))[0]:
                raise RuntimeError(f"the container to be saved was not warm within 30 s: {output.decode()[-300:]}")
            output += os.read(get, 4096)
    finally:
        os.close(get)
        os.close(put)


def measure(bench):
    if os.geteuid():
        bench.results.note("containers: left out, they want root")
        return
    if not shutil.which("runc"):
        bench.results.note("containers: left out, runc is not installed (it also writes the others' settings); benchmarks/run --peers installs it")
        return
    binary = find_runsc(bench.work)
    steps = [("runc", runc, ())]
    if binary:
        steps += [("gVisor run", runsc_run, (binary,)), ("gVisor restore", runsc_restore, (binary,))]
    else:
        bench.results.note("gVisor: LEFT OUT, no runsc in RUNSC, on PATH or in target/benchmarks/tools; benchmarks/run --peers builds it")
    if shutil.which("crun"):
        steps.append(("crun", crun, ()))
    else:
        bench.results.note("crun: left out, it is not installed; benchmarks/run --peers installs it")
    for title, function, arguments in steps:
        bench.step(f"peer: {title}", function, *arguments)
