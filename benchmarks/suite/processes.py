"""Peers that are plain processes: a cold interpreter, fork(2) of a warm one, and CRIU. The floor below everything."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import time

from . import host
from .bench import ANSWER, CODE, IMPORT, MANY, PYTHON, SCI, SCI_ANSWER, SCI_CODE, SCI_IMPORT, check
from .containers import rootfs

COLD, FORK, CRIU = "python3 -c", "os.fork() of a warm python", "CRIU restore"

# In the same files as everything else. Prints one JSON list per line: milliseconds one by one, then of all at once.
FORKER = """
import json, os, sys, time
import {imports}
{code}
def child(end):
    os.write(end, (str({code}) + '\\n').encode())
    os._exit(0)
def start():
    get, put = os.pipe()
    pid = os.fork()
    if not pid:
        child(put)
    os.close(put)
    return get, pid
def finish(get, pid):
    answer = b''
    while more := os.read(get, 4096):
        answer += more
    os.close(get)
    os.waitpid(pid, 0)
    assert answer.decode().strip() == {answer!r}, answer
def many(n):
    begin = time.perf_counter()
    for one in [start() for _ in range(n)]:
        finish(*one)
    return (time.perf_counter() - begin) * 1e3
print(json.dumps([many(1) for _ in range({rounds})]))
print(json.dumps([many({many}) for _ in range(3)]))
"""


def _python(bench, tag, code):
    done = subprocess.run(["chroot", str(rootfs(bench, tag) / "rootfs"), "python3", "-c", code], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"python3: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def _cold(bench, tag, imports, code, answer, suffix=""):
    def once(_=None):
        check(_python(bench, tag, f"import {imports}; print({code})"), answer)

    once()
    for _ in bench.rounds(15, 7, 15):
        bench.timed("peer", COLD + suffix, once)
    if suffix:
        return
    busy, begin = host.busy_millis(), time.perf_counter()
    problems = [one for one in bench.at_once(once, range(MANY), host.CORES) if one]
    bench.results.add("peer-many", COLD + suffix, (time.perf_counter() - begin) * 1e3, ok=not problems)
    bench.results.add("peer-many-cpu", COLD + suffix, (host.busy_millis() - busy) / MANY)


def _fork(bench, tag, imports, code, answer, suffix=""):
    program = FORKER.format(imports=imports, code=code, answer=answer, rounds=15, many=MANY)
    one, many = map(json.loads, _python(bench, tag, program).splitlines())
    for value in one:
        bench.results.add("peer", FORK + suffix, value)
    for value in many:
        bench.results.add("peer-many", FORK + suffix, value)


def plain(bench):
    if os.geteuid():
        bench.results.note("python3 -c and os.fork(): left out, running in the guest's files wants root")
        return
    for function in (_cold, _fork):
        function(bench, PYTHON, IMPORT, CODE, ANSWER)
        if SCI in bench.templates:
            function(bench, SCI, SCI_IMPORT, SCI_CODE, SCI_ANSWER, ", pandas and scikit-learn")


def criu(bench):
    """Saves a warm interpreter and restores it again and again, where CRIU knows this kernel."""
    if not shutil.which("criu") or os.geteuid():
        bench.results.note("CRIU: left out, it wants root and the package criu; benchmarks/run --peers installs it")
        return
    able = subprocess.run(["criu", "check"], capture_output=True, text=True, check=False)
    if able.returncode:
        problems = [line for line in (able.stderr + able.stdout).splitlines() if "Error" in line and "exited" not in line]
        bench.results.note(f"CRIU: left out, {host.first_line('criu', '--version')} cannot work on this kernel: {(problems or ['criu check failed'])[0].strip()}")
        return
    folder = pathlib.Path(bench.work, "criu")
    shutil.rmtree(folder, ignore_errors=True)
    folder.joinpath("image").mkdir(parents=True)
    output, go = folder / "output", folder / "go"
    code = (f"import {IMPORT}, os, time\n{CODE}\nprint('warm', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.001)\n"
            f"print({CODE}, flush=True)")
    with open(output, "w") as file:
        process = subprocess.Popen(["/usr/bin/python3", "-c", code], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        end = time.monotonic() + 20
        while "warm" not in output.read_text() and time.monotonic() < end:
            time.sleep(0.02)
        subprocess.run(["criu", "dump", "-t", str(process.pid), "-D", str(folder / "image"), "-o", "dump.log"], check=True, timeout=60)
        process.wait(20)
        saved = output.read_text()
        go.touch()
        for _ in bench.rounds(15, 7):
            output.write_text(saved)  # CRIU wants the file as long as it was
            bench.timed("peer", CRIU, _restore, folder, output)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(20)


def _restore(folder, output):
    subprocess.run(["criu", "restore", "-D", str(folder / "image"), "-o", "restore.log"], check=True, timeout=60)
    check(output.read_text().splitlines()[-1], ANSWER)
