"""Peers that are VMs too: the same guest booted, and loaded with QEMU's own snapshots."""
import contextlib
import glob
import json
import os
import re
import socket
import struct
import subprocess
import time

from .bench import ANSWER, CODE, PYTHON, check

BOOT, LOADVM = "cold boot of the same guest", "QEMU -loadvm"
TOKEN = b"forkd-agent-resync-token-0000000"
MACHINE = "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,ioapic2=off"
COMMAND_LINE = ("quiet panic=-1 mitigations=off nowatchdog tsc=reliable no_timer_check psi=0 preempt=none "
                "forkd.root=/dev/vda forkd.eval=auto tsc_early_khz=")
TIMEOUT = 60


def root_image(data, tag):
    """The raw root file system a template was made of."""
    with open(f"{data}/snapshots/{tag}/snapshot.json") as file:
        name = json.load(file)["disk"][0]["id"]
    found = glob.glob(f"{data}/images/{name}*")
    if not found:
        raise RuntimeError(f"the root image {name} of template {tag} is not in {data}/images")
    return found[0]


def _newest(data, pattern):
    found = sorted(glob.glob(f"{data}/guest/{pattern}", recursive=True), key=os.path.getmtime)
    if not found:
        raise RuntimeError(f"nothing matches {pattern} in {data}/guest")
    return found[-1]


def _connect(path, deadline):
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            connection.settimeout(TIMEOUT)
            return connection
        except OSError:
            connection.close()
            if time.time() > deadline:
                raise
            time.sleep(0.002)


class Agent:
    """As much of the agent's protocol as an evaluation needs; see guest/PROTOCOL.md."""

    def __init__(self, path, deadline):
        self.socket = _connect(path, deadline)
        self.pending, self.stream = b"", 0

    def frame(self, stream, kind, flags=0, data=b""):
        return struct.pack("<IHBB", stream, len(data), kind, flags) + data

    def sync(self):
        nonce = os.urandom(32)
        self.socket.sendall(TOKEN + self.frame(0, 1, 0, nonce))
        while nonce not in self.pending:
            self.read()
        self.pending = self.pending.split(nonce, 1)[1]

    def read(self):
        more = self.socket.recv(65536)
        if not more:
            raise RuntimeError("the guest is gone")
        self.pending += more

    def next(self):
        while True:
            if len(self.pending) >= 8:
                stream, size, kind, flags = struct.unpack("<IHBB", self.pending[:8])
                if len(self.pending) >= 8 + size:
                    data, self.pending = self.pending[8:8 + size], self.pending[8 + size:]
                    return stream, kind, flags, data
            self.read()

    def ready(self):
        while self.next()[1] != 11:
            pass

    def eval(self, code):
        self.stream += 1
        self.socket.sendall(self.frame(self.stream, 2, 0, json.dumps({"op": "eval", "timeoutMillis": TIMEOUT * 1000}).encode())
                            + self.frame(self.stream, 3, 0, code.encode()) + self.frame(self.stream, 4))
        output = b""
        while True:
            stream, kind, _, data = self.next()
            if stream == self.stream and kind == 3:
                output += data
            if stream == self.stream and kind in (8, 9):
                return json.loads(output)["result"]


class Qmp:
    def __init__(self, path, deadline):
        self.file = _connect(path, deadline).makefile("rwb", buffering=0)
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            reply = json.loads(self.file.readline())
            if "error" in reply:
                raise RuntimeError(f"{command}: {reply['error'].get('desc')}")
            if "return" in reply:
                return reply["return"]


class Vms:
    def __init__(self, bench):
        self.bench, self.data, self.work = bench, bench.daemon.data, bench.work
        self.disk = f"{self.work}/peer.qcow2"

    def overlay(self):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", os.path.abspath(root_image(self.data, PYTHON)), "-F", "raw", self.disk], check=True)

    @contextlib.contextmanager
    def vm(self, *more):
        for name in ("a", "q"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.work}/{name}")
        with open(f"{self.data}/guest/tsc.properties") as file:
            khz = re.search(r"khz=(\d+)", file.read(), re.I).group(1)
        process = subprocess.Popen([
            "qemu-system-x86_64", "-machine", MACHINE, "-accel", "tcg,tb-size=64", "-cpu", "Nehalem,spec-ctrl=off,+arat", "-m", "512",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", _newest(self.data, "kernels/**/vmlinuz*"), "-initrd", _newest(self.data, "initramfs-*.cpio"), "-append", COMMAND_LINE + khz,
            "-drive", f"if=none,id=d0,format=qcow2,file={self.disk}", "-device", "virtio-blk-device,drive=d0",
            "-chardev", f"socket,id=agent,path={self.work}/a,server=on,wait=off", "-device", "virtio-serial-device",
            "-device", "virtserialport,chardev=agent,name=agent", "-qmp", f"unix:{self.work}/q,server=on,wait=off", *more],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield time.time() + TIMEOUT
        finally:
            process.kill()
            process.wait()

    def agent(self, deadline):
        agent = Agent(f"{self.work}/a", deadline)
        agent.sync()
        return agent

    def boot(self):
        with self.vm() as deadline:
            agent = self.agent(deadline)
            agent.ready()
            check(agent.eval(CODE), ANSWER)

    def save(self):
        """Leaves the warmed guest in the disk as a snapshot. What hinders is raised."""
        self.overlay()
        with self.vm() as deadline:
            agent = self.agent(deadline)
            agent.ready()
            for _ in range(10):
                agent.eval(CODE)
            qmp = Qmp(f"{self.work}/q", deadline)
            qmp.call("stop")
            problem = qmp.call("human-monitor-command", **{"command-line": "savevm warm"})
            if problem.strip():
                raise RuntimeError(problem.strip())

    def load(self):
        with self.vm("-loadvm", "warm", "-S") as deadline:
            agent = Agent(f"{self.work}/a", deadline)
            Qmp(f"{self.work}/q", deadline).call("cont")
            agent.sync()
            check(agent.eval(CODE), ANSWER)


def measure(bench):
    vms = Vms(bench)
    try:
        for _ in bench.rounds(5, 3, 60):
            vms.overlay()
            bench.timed("peer", BOOT, vms.boot)
        vms.save()
        for _ in bench.rounds(11, 5):
            bench.timed("peer", LOADVM, vms.load)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(vms.disk)
