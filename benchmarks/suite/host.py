"""What the machine says of itself and of processes."""
import os
import platform
import re
import shutil
import subprocess
import time

SCHED_CLOCK = 2  # of clock_getcpuclockid(3)
TICKS = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))
MIB = 1 << 20


def cpu_millis(pid, waited=False):
    """CPU time of a process so far, with that of its ended children if waited is set; 0 when it is gone."""
    try:
        # The process's own clock: /proc/PID/stat rounds down to ticks of 10 ms, which is much of what a child uses.
        millis = time.clock_gettime_ns((~int(pid) << 3) | SCHED_CLOCK) / 1e6
        if waited:
            with open(f"/proc/{pid}/stat") as file:
                millis += sum(map(int, file.read().rpartition(")")[2].split()[13:15])) * 1000 / TICKS
        return millis
    except OSError:
        return 0.0


def vmm_cpu_millis(data):
    """CPU time so far of each VMM of a data directory by pid, zygotes with them: they name the directory in their arguments."""
    found, mark = {}, os.fsencode(f"{data}/images/")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if mark in file.read():
                    found[pid] = cpu_millis(pid)
        except OSError:
            pass  # ended meanwhile
    return found


def busy_millis():
    """CPU time of the whole machine so far, all cores together."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * 1000 / TICKS


def pss_mib(pid):
    """Proportional set size: shared pages divided among those who share them."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1)) / 1024


def available_mib():
    with open("/proc/meminfo") as file:
        return int(re.search(r"^MemAvailable:\s+(\d+)", file.read(), re.M).group(1)) / 1024


def load():
    return os.getloadavg()[0]


def first_line(*command):
    """What a program says of its version; None when it is not here."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).splitlines() or ["?"])[0].strip()


def go_module(binary):
    """The version of the module that a Go program was built from, as the go command reads it; None without that."""
    done = subprocess.run(["go", "version", "-m", binary], capture_output=True, text=True, check=False) if shutil.which("go") else None
    found = done and re.search(r"^\s*mod\s+(\S+\s+\S+)", done.stdout, re.M)
    return found and " ".join(found.group(1).split())


def machine():
    """Facts for the report, in order."""
    with open("/proc/cpuinfo") as file:
        model = re.search(r"^model name\s*:\s*(.+)", file.read(), re.M)
    with open("/proc/meminfo") as file:
        total = int(re.search(r"^MemTotal:\s+(\d+)", file.read(), re.M).group(1)) / 1024 / 1024
    return {
        "CPU": f"{CORES} cores, {model.group(1) if model else platform.machine()}",
        "memory": f"{total:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "QEMU": first_line("qemu-system-x86_64", "--version") or "not found",
    }
