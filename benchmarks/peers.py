#!/usr/bin/env python3
"""What else one could do on the same machine with the same guest: boot it, load it with QEMU's own snapshots, or run the
same line of Python in a container. Called by benchmarks/run with the data directory and a work folder."""
import glob
import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time

DATA, WORK = map(os.path.abspath, sys.argv[1:3])
CODE = "numpy.zeros(5).tolist()"
ANSWER = "[0.0, 0.0, 0.0, 0.0, 0.0]"
TOKEN = b"forkd-agent-resync-token-0000000"
MACHINE = "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,ioapic2=off"
RUNS = 5


def newest(pattern):
    found = sorted(glob.glob(f"{DATA}/guest/{pattern}", recursive=True), key=os.path.getmtime)
    if not found:
        sys.exit(f"nothing matches {pattern} in {DATA}/guest: run forkd quickstart first")
    return found[-1]


def show(what, times):
    print(f"{what:58s} {statistics.median(times):9.0f} ms   ({min(times):.0f} to {max(times):.0f}, {len(times)} runs)", flush=True)


class Agent:
    """As much of the agent's protocol as an evaluation needs; see guest/PROTOCOL.md."""

    def __init__(self, path, deadline):
        while True:
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.time() > deadline:
                    raise
                time.sleep(0.002)
        self.pending, self.stream = b"", 0

    def frame(self, stream, kind, flags=0, data=b""):
        return struct.pack("<IHBB", stream, len(data), kind, flags) + data

    def sync(self):
        nonce = os.urandom(32)
        self.socket.sendall(TOKEN + self.frame(0, 1, 0, nonce))
        while nonce not in self.pending:
            self.pending += self.socket.recv(65536)
        self.pending = self.pending.split(nonce, 1)[1]

    def next(self):
        while True:
            if len(self.pending) >= 8:
                stream, size, kind, flags = struct.unpack("<IHBB", self.pending[:8])
                if len(self.pending) >= 8 + size:
                    data, self.pending = self.pending[8:8 + size], self.pending[8 + size:]
                    return stream, kind, flags, data
            more = self.socket.recv(65536)
            if not more:
                raise EOFError("the guest is gone")
            self.pending += more

    def ready(self):
        while self.next()[1] != 11:
            pass

    def eval(self, code):
        self.stream += 1
        self.socket.sendall(self.frame(self.stream, 2, 0, json.dumps({"op": "eval", "timeoutMillis": 60000}).encode())
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
        while True:
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.time() > deadline:
                    raise
                time.sleep(0.002)
        self.file = self.socket.makefile("rwb", buffering=0)
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            reply = json.loads(self.file.readline())
            if "error" in reply:
                raise RuntimeError(reply["error"])
            if "return" in reply:
                return reply["return"]


def start(disk, *more):
    for name in ("a", "q"):
        if os.path.exists(f"{WORK}/{name}"):
            os.unlink(f"{WORK}/{name}")
    khz = re.search(r"khz=(\d+)", open(f"{DATA}/guest/tsc.properties").read(), re.I).group(1)
    arguments = [
        "qemu-system-x86_64", "-machine", MACHINE, "-accel", "tcg,tb-size=64", "-cpu", "Nehalem,spec-ctrl=off,+arat", "-m", "512",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-kernel", newest("kernels/**/vmlinuz*"), "-initrd", newest("initramfs-*.cpio"),
        "-append", "quiet panic=-1 mitigations=off nowatchdog tsc=reliable no_timer_check psi=0 preempt=none forkd.root=/dev/vda forkd.eval=auto tsc_early_khz=" + khz,
        "-drive", f"if=none,id=d0,format=qcow2,file={disk}", "-device", "virtio-blk-device,drive=d0",
        "-chardev", f"socket,id=agent,path={WORK}/a,server=on,wait=off", "-device", "virtio-serial-device", "-device", "virtserialport,chardev=agent,name=agent",
        "-qmp", f"unix:{WORK}/q,server=on,wait=off", *more]
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def overlay():
    disk = f"{WORK}/peer.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", newest("roots/*.ext4"), "-F", "raw", disk], check=True)
    return disk


def cold_boot():
    times = []
    for _ in range(RUNS):
        disk, begin = overlay(), time.time()
        vm = start(disk)
        agent = Agent(f"{WORK}/a", begin + 60)
        agent.sync()
        agent.ready()
        assert agent.eval(CODE) == ANSWER
        times.append((time.time() - begin) * 1e3)
        vm.kill()
        vm.wait()
    show("cold boot of the same guest to its first eval", times)


def own_snapshot():
    disk = overlay()
    vm = start(disk)
    agent = Agent(f"{WORK}/a", time.time() + 60)
    agent.sync()
    agent.ready()
    for _ in range(10):
        agent.eval(CODE)
    qmp = Qmp(f"{WORK}/q", time.time() + 10)
    qmp.call("stop")
    problem = qmp.call("human-monitor-command", **{"command-line": "savevm warm"})
    vm.kill()
    vm.wait()
    if problem.strip():
        print(f"!! QEMU's own snapshot was left out: {problem.strip()}", flush=True)
        return
    times = []
    for _ in range(RUNS):
        begin = time.time()
        vm = start(disk, "-loadvm", "warm", "-S")
        agent = Agent(f"{WORK}/a", begin + 60)
        Qmp(f"{WORK}/q", begin + 60).call("cont")
        agent.sync()
        assert agent.eval(CODE) == ANSWER
        times.append((time.time() - begin) * 1e3)
        vm.kill()
        vm.wait()
    show("QEMU's own snapshot (-loadvm), no sharing, to first eval", times)


def runc():
    if os.geteuid() or not shutil.which("runc"):
        print("!! runc was left out: it wants root and the package runc", flush=True)
        return
    bundle = f"{WORK}/bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    os.makedirs(f"{bundle}/rootfs")
    subprocess.run(["debugfs", "-R", f"rdump / {bundle}/rootfs", newest("roots/*.ext4")], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.load(open(f"{bundle}/config.json"))
    config["process"].update(terminal=False, args=["python3", "-c", f"import numpy; print({CODE})"])
    json.dump(config, open(f"{bundle}/config.json", "w"))
    times, failed = [], ""
    for i in range(2 * RUNS + 1):
        begin = time.time()
        done = subprocess.run(["runc", "run", f"forkd-peer-{os.getpid()}-{i}"], cwd=bundle, capture_output=True, text=True)
        if ANSWER not in done.stdout:
            failed = done.stderr.strip()
            break
        times.append((time.time() - begin) * 1e3)
    shutil.rmtree(bundle, ignore_errors=True)
    if failed:
        print(f"!! runc was left out: {failed}", flush=True)
    else:
        show("runc run of the same line, native CPU, shared kernel", times[1:])


cold_boot()
own_snapshot()
runc()
