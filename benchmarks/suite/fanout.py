"""Many children at once: how long until each has answered, what each costs, and what a thousand take."""
import time

from . import host
from .bench import ANSWER, CODE, MANY, PYTHON, SCI, SCI_ANSWER, SCI_CODE, check
from .client import Refused
from .forks import pool
from .results import Series

SERIES = [
    Series("fan-out", "Fan-out", "ms", "children", "one fork request for so many children, then one eval in each, all asked at once, until the last answer"),
    Series("fan-out-answered", "Fan-out", "percent", "children", "children that gave the right answer"),
    Series("fan-out-fork", "Fan-out", "ms", "children", "of it, the fork request"),
    Series("fan-out-cpu", "Fan-out", "ms", "children",
           "CPU time per child: what all VMMs (the zygote that is copied with them), the daemon and the helpers it waited for used meanwhile, divided by the children"),
    Series("fan-out-machine-cpu", "Fan-out", "ms", "children", "busy CPU time of the whole machine meanwhile per child, this client included"),
    Series("fan-out-ratio", "Fan-out", "x", "children", "wall time / (children x CPU per child / cores): 1 is a machine that was never idle or busy with anything else"),
    Series("pss", "Memory and idle children", "MiB", "child", "PSS of an idle child's VMM with 100 of them alive, each of which has evaluated once"),
    Series("taken-memory", "Memory and idle children", "MiB", "child",
           "MemAvailable of the machine before the 100 less that while they live, divided by them: what PSS does not see is in it, and so is all else on the machine"),
    Series("own-memory", "Memory and idle children", "MiB", "child", "guest memory that such a child does not share with its template"),
    Series("idle-cpu", "Memory and idle children", "ms", "children", "CPU time that all these VMMs together used in 10 s without a request"),
    Series("list", "Daemon", "ms", "sandboxes", "GET /v1/sandboxes with so many alive"),
    Series("thousand", "A thousand", "ms", "children", "one fork request for 1000 children that nobody asks anything: they stay paused"),
    Series("thousand-pss", "A thousand", "MiB", "children", "PSS of all their VMMs together"),
    Series("thousand-available", "A thousand", "MiB", "when", "MemAvailable of the machine"),
]


def _fan_out(bench, x, tag, children, code, answer):
    """Measures once; gives back the children's ids and pids, which live on."""
    client, results, daemon = bench.client, bench.results, bench.daemon.pid
    vmms, daemon_before, machine_before = host.vmm_cpu_millis(bench.daemon.data), host.cpu_millis(daemon, waited=True), host.busy_millis()
    begin = time.perf_counter()
    try:
        born = client.call("POST", "/v1/sandboxes", {"snapshot_tag": tag, "n": children}, 300)
    except (Refused, OSError) as problem:
        results.fail("fan-out", x, problem)
        return []
    forked = time.perf_counter()
    ids = [child["id"] for child in born]

    def ask(child):
        check(client.eval(child, code), answer)

    problems = [problem for problem in bench.at_once(ask, ids) if problem]
    wall = (time.perf_counter() - begin) * 1e3
    machine, used = host.busy_millis() - machine_before, host.cpu_millis(daemon, waited=True) - daemon_before
    per_child = (used + sum(millis - vmms.get(pid, 0) for pid, millis in host.vmm_cpu_millis(bench.daemon.data).items())) / children
    results.add("fan-out", x, wall, ok=not problems)
    results.add("fan-out-answered", x, 100 * (children - len(problems)) / children)
    results.add("fan-out-fork", x, (forked - begin) * 1e3)
    results.add("fan-out-machine-cpu", x, machine / children)
    results.add("fan-out-cpu", x, per_child)
    results.add("fan-out-ratio", x, wall / (children * per_child / host.CORES))
    if problems:
        results.note(f"fan-out of {x}: {len(problems)} of {children} failed, first: {problems[0]}")
    return born


def fan_out(bench, tag, label, code, answer):
    for children in (1, 10, MANY):
        available = host.available_mib()
        for _ in bench.rounds(5 if children < MANY else 3, 3 if children < MANY else 1, 40, least=1):
            born = _fan_out(bench, f"{children}{label}", tag, children, code, answer)
            if children == MANY and tag == PYTHON and not bench.results.attempts("idle-cpu", MANY):
                _idle(bench, born)
                bench.results.add("taken-memory", "idle", (available - host.available_mib()) / len(born))
            bench.client.end(*(child["id"] for child in born))
    for series in ("fan-out", "fan-out-cpu", "fan-out-ratio"):
        bench.show(series)


def from_pool(bench):
    for _ in bench.rounds(3, 1, 60):
        if not pool(bench, MANY, True):
            bench.results.note(f"fan-out from a prewarmed pool of {MANY}: not offered by this build")
            return
        # Before the clock: what refilling costs begins when the first child is taken, and is in the figure.
        born = _fan_out(bench, f"{MANY}, prewarmed pool", PYTHON, MANY, CODE, ANSWER)
        pool(bench, 0, False)
        bench.client.end(*(child["id"] for child in born))
    bench.show("fan-out")


def _idle(bench, born):
    """What children take that have worked once and now do nothing."""
    client, results = bench.client, bench.results
    time.sleep(1)  # the last of them are being paused
    for child in born:
        results.add("pss", "idle", host.pss_mib(child["pid"]))
        results.add("own-memory", "idle", client.sandbox(child["id"]).get("diverged_bytes", 0) / host.MIB)
    for _ in bench.rounds(50, 20, 10):
        bench.timed("list", len(born), client.call, "GET", "/v1/sandboxes")
    time.sleep(1)
    before = sum(host.cpu_millis(child["pid"]) for child in born)
    time.sleep(10)
    results.add("idle-cpu", len(born), sum(host.cpu_millis(child["pid"]) for child in born) - before)
    for series in ("pss", "own-memory", "list", "idle-cpu"):
        bench.show(series)


def sci(bench):
    fan_out(bench, SCI, ", pandas and scikit-learn", SCI_CODE, SCI_ANSWER)


def thousand(bench, children=1000):
    client, results = bench.client, bench.results
    before = host.available_mib()
    results.add("thousand-available", "before", before)
    begin = time.perf_counter()
    try:
        born = client.call("POST", "/v1/sandboxes", {"snapshot_tag": PYTHON, "n": children}, 600)
    except Refused as refused:
        results.fail("thousand", children, f"refused after {(time.perf_counter() - begin) * 1e3:.0f} ms, {refused}")
        return
    results.add("thousand", children, (time.perf_counter() - begin) * 1e3)
    results.add("thousand-available", "while they live", host.available_mib())
    results.add("thousand-pss", children, sum(host.pss_mib(child["pid"]) for child in born))
    begin = time.perf_counter()
    bench.clear()
    results.note(f"{children} children: forked, {before - results.median('thousand-available', 'while they live'):.0f} MiB "
                 f"of MemAvailable taken, all ended in {time.perf_counter() - begin:.1f} s")
    for series in ("thousand", "thousand-pss", "thousand-available"):
        bench.show(series)
