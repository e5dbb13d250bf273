"""Branches of a running child: how long it stands still, whether many in a row cost more, and what depth costs."""
import itertools
import time

from .bench import CODE, PYTHON, sized
from .client import Refused
from .results import Series

# Full ones last: what they have written is still on its way to the disk for a while.
MODES = ("diff", "live", "full")
GUEST_MIB = (256, 512, 4096)
BUSY_MIB = (512, 4096)
DIVERGED_MIB = (1, 40, 200)
FAST = 0
FLAT, COMPACTED = "flat", "3, compacted"
SERIES = [
    Series("pause", "Branch of an idle child", "ms", "mode, guest MiB, diverged MiB", "how long the source stood still, as the daemon tells it (whole milliseconds)"),
    Series("branch", "Branch of an idle child", "ms", "mode, guest MiB, diverged MiB", "the whole request, until the snapshot is durable"),
    Series("busy-pause", "Branch of a child that writes memory", "ms", "mode, guest MiB, MiB/s",
           "the same pause while a process in the guest writes memory; fast: as fast as it can"),
    Series("busy-wrote", "Branch of a child that writes memory", "MiB/s", "mode, guest MiB, MiB/s", "what that process really wrote per second, branches included"),
    Series("no-wait", "Branch of a child that writes memory", "ms", "guest MiB, MiB/s", "round trip of a live branch with wait:false"),
    Series("no-wait-pause", "Branch of a child that writes memory", "ms", "guest MiB, MiB/s", "the pause of these branches"),
    Series("row-pause", "Branches in a row", "ms", "branches in a row", "pause of each diff branch of one child, in order (column run of the CSV)"),
    Series("row-start", "Branches in a row", "ms", "branches in a row", "from the fork request of a child of each such branch to its first eval, in order"),
    Series("depth-start", "Chain depth", "ms", "depth", "fork to first eval from the end of a chain of so many links; flat: a branch without parent_tag with the content of depth 3. The first fork of each is left out"),
    Series("depth-first-start", "Chain depth", "ms", "depth", "the very first fork from it, which assembles its memory"),
]

# A process of its own in the guest; it tells how many MiB it has written.
WRITER = """
import os, sys, time
told = os.open('/tmp/wrote', os.O_CREAT | os.O_WRONLY)
rate, size, m = float(sys.argv[1]), int(sys.argv[2]), 1 << 20
memory = bytearray(size * m)
chunks = [bytes([n]) * m for n in range(1, 8)]
begin, wrote = time.monotonic(), 0
while True:
    at = wrote % size * m
    memory[at:at + m] = chunks[wrote % 7]
    wrote += 1
    if wrote % 16 == 0:
        os.pwrite(told, b'%12d' % wrote, 0)
    if rate:
        ahead = begin + wrote / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        elif ahead < -1:
            begin -= ahead
"""


def _branch(bench, child, mode, **more):
    """A branch in that mode; mode full is what a request without any asks for."""
    return bench.client.branch(child, **({} if mode == "full" else {"mode": mode}), **more)


def _offered(bench, mode, problem):
    if isinstance(problem, Refused) and problem.status == 501:
        bench.results.note(f"branch in mode {mode}: not offered by this build")
        return False
    return True


def idle(bench):
    sizes = (512, 4096) if bench.quick else GUEST_MIB
    for mib in sizes:
        for diverged in DIVERGED_MIB:
            if diverged > mib // 2:
                bench.results.note(f"a branch of a {mib} MiB guest with {diverged} MiB diverged: left out, so much does not fit beside its kernel and interpreter")
                continue
            child, = bench.client.fork(sized(mib))
            bench.client.eval(child, f"ballast = bytearray(b'x') * ({diverged if diverged > 1 else 0} << 20); len(ballast)")
            for mode in MODES:
                _cell(bench, child, mode, f"{mode}, {mib}, {diverged}")
            bench.client.end(child)
    bench.show("pause")


def _cell(bench, child, mode, x):
    for _ in bench.rounds(11, 4, 8):
        begin = time.perf_counter()
        try:
            snapshot = _branch(bench, child, mode)
        except (Refused, OSError) as problem:
            if not _offered(bench, mode, problem):
                return
            bench.results.fail("pause", x, problem)
            continue
        bench.results.add("branch", x, (time.perf_counter() - begin) * 1e3)
        bench.results.add("pause", x, snapshot["pause_ms"])
        bench.client.forget(snapshot["tag"])


def busy(bench):
    for mib, rate in itertools.product(BUSY_MIB, (64, FAST)):
        label = f"{mib}, {rate or 'fast'}"
        child, = bench.client.fork(sized(mib))
        answer = bench.client.exec(child, "python3", "-c", WRITER, str(rate), "128", background=True)
        if "guest_pid" not in answer:
            raise RuntimeError(f"the writer did not start: {answer}")
        time.sleep(2.5)
        for mode in ("live", "diff"):
            before, begin = _wrote(bench, child), time.monotonic()
            _busy_cell(bench, child, mode, f"{mode}, {label}")
            if bench.results.attempts("busy-pause", f"{mode}, {label}"):
                bench.results.add("busy-wrote", f"{mode}, {label}", (_wrote(bench, child) - before) / (time.monotonic() - begin))
        _no_wait(bench, child, label)
        bench.client.end(child)
    for series in ("busy-pause", "busy-wrote", "no-wait"):
        bench.show(series)


def _wrote(bench, child):
    return int(bench.client.exec(child, "cat", "/tmp/wrote")["stdout"] or 0)


def _busy_cell(bench, child, mode, x):
    for _ in bench.rounds(40, 8, 15):
        try:
            snapshot = _branch(bench, child, mode)
        except (Refused, OSError) as problem:
            if not _offered(bench, mode, problem):
                return
            bench.results.fail("busy-pause", x, problem)
            continue
        bench.results.add("busy-pause", x, snapshot["pause_ms"])
        bench.client.forget(snapshot["tag"])
        time.sleep(0.05)


def _no_wait(bench, child, x):
    for _ in bench.rounds(15, 5, 10):
        begin = time.perf_counter()
        try:
            snapshot = _branch(bench, child, "live", wait=False)
        except (Refused, OSError) as problem:
            if not _offered(bench, "live", problem):
                return
            bench.results.fail("no-wait", x, problem)
            continue
        wall, end = (time.perf_counter() - begin) * 1e3, time.monotonic() + 60
        while snapshot["status"] == "writing" and time.monotonic() < end:
            time.sleep(0.02)
            snapshot = bench.client.call("GET", f"/v1/snapshots/{snapshot['tag']}")
        if snapshot["status"] == "ready":
            bench.results.add("no-wait", x, wall)
            bench.results.add("no-wait-pause", x, snapshot["pause_ms"])
        else:
            bench.results.fail("no-wait", x, f"the snapshot became {snapshot['status']}: {snapshot.get('warning', '')}")
        bench.client.forget(snapshot["tag"])


def _start(bench, series, x, tag):
    """One child of a snapshot up to its first eval."""
    begin = time.perf_counter()
    try:
        child, = bench.client.fork(tag)
        bench.client.eval(child, CODE)
    except (Refused, RuntimeError, OSError) as problem:
        bench.results.fail(series, x, problem)
        return
    bench.results.add(series, x, (time.perf_counter() - begin) * 1e3)
    bench.client.end(child)


def row(bench):
    for branches in ((20,) if bench.quick else (20, 100)):
        source, = bench.client.fork(PYTHON)
        bench.client.eval(source, "history = []")
        tags = []
        for number in range(branches):
            bench.client.eval(source, f"history.append({number})")
            try:
                snapshot = bench.client.branch(source, diff=True)
            except (Refused, OSError) as problem:
                bench.results.fail("row-pause", branches, problem)
                continue
            tags.append(snapshot["tag"])
            bench.results.add("row-pause", branches, snapshot["pause_ms"])
            _start(bench, "row-start", branches, snapshot["tag"])
        bench.client.end(source)
        bench.client.forget(*tags)
    for series in ("row-pause", "row-start"):
        bench.show(series)


def depth(bench):
    deepest, parent, tags = (4 if bench.quick else 8), PYTHON, {}
    for level in range(1, deepest + 1):
        child, = bench.client.fork(parent)
        bench.client.eval(child, f"level{level} = bytearray(b'x') * (4 << 20); {level}")
        snapshot = bench.client.branch(child, diff=True, parent_tag=parent)
        bench.client.end(child)
        tags[level] = parent = snapshot["tag"]
    child, = bench.client.fork(PYTHON)
    for level in range(1, 4):
        bench.client.eval(child, f"level{level} = bytearray(b'x') * (4 << 20); {level}")
    tags = {FLAT: bench.client.branch(child, diff=True)["tag"], **tags}
    bench.client.end(child)
    try:
        bench.client.call("POST", f"/v1/snapshots/{tags[3]}/compact", {"to": "bench-compacted"})
        tags = {COMPACTED: "bench-compacted", **tags}
    except Refused as refused:
        bench.results.note(f"compaction of a chain of depth 3: {refused}")
    for level, tag in tags.items():
        _start(bench, "depth-first-start", level, tag)
    # Taking turns: what else the machine does falls on all depths alike.
    for _ in bench.rounds(20, 6, 90):
        for level, tag in tags.items():
            _start(bench, "depth-start", level, tag)
    bench.show("depth-start")
