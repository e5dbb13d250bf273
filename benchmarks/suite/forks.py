"""From a fork to an answer: one child, and single requests to one child."""
import time

from . import host
from .bench import ANSWER, CODE, PYTHON, check
from .client import Refused
from .results import Series

WAYS = ("no pool", "pool", "prewarmed pool")
SERIES = [
    Series("fork-first-eval", "One child", "ms", "children come from",
           "POST /v1/sandboxes with n=1 until the answer of the child's first numpy eval; the handshake that proves the child unique is in it"),
    Series("fork-first-eval-cpu", "One child", "ms", "children come from", "CPU time of the child's VMM at that moment"),
    Series("fork", "One child", "ms", "children come from", "the fork request alone, of the same rounds"),
    Series("request", "One child", "ms", "request",
           "one request to one child: the first eval after the fork request answered, the second, later ones, and the same for exec of true"),
]


def pool(bench, size, prewarm, tag=PYTHON, seconds=120):
    """Asks for a pool of ready children and waits for it. False when this daemon has no such route."""
    try:
        bench.client.call("PUT", f"/v1/snapshots/{tag}/pool", {"size": size, "prewarm": prewarm})
    except Refused as refused:
        if refused.status in (404, 405, 501):
            return False
        raise
    end = time.monotonic() + seconds
    while size:
        ready = bench.client.call("GET", f"/v1/snapshots/{tag}/pool").get("ready", 0)
        if ready >= size:
            break
        if time.monotonic() > end:
            raise RuntimeError(f"the pool has {ready} of {size} children ready after {seconds} s")
        time.sleep(0.02)
    return True


def _one(bench, way):
    client, begin = bench.client, time.perf_counter()
    child = bench.timed("fork", way, client.fork, PYTHON)
    if child is None:
        bench.results.fail("fork-first-eval", way, "the fork failed")
        return
    child = child[0]
    try:
        check(client.eval(child, CODE), ANSWER)
        wall = (time.perf_counter() - begin) * 1e3
        bench.results.add("fork-first-eval", way, wall)
        bench.results.add("fork-first-eval-cpu", way, host.cpu_millis(client.sandbox(child)["pid"]))
    except Exception as problem:
        bench.results.fail("fork-first-eval", way, problem)
    finally:
        client.end(child)


def first_eval(bench):
    for _ in range(3):  # the daemon's own code is compiled and the template's zygote is made; not measured
        child, = bench.client.fork(PYTHON)
        bench.client.eval(child, CODE)
        bench.client.end(child)
    for _ in bench.rounds(40, 15):
        _one(bench, WAYS[0])
    for way, prewarm in ((WAYS[1], False), (WAYS[2], True)):
        for _ in bench.rounds(40, 15):
            if not pool(bench, 4, prewarm):
                bench.results.note(f"fork from a {way}: not offered by this build")
                break
            time.sleep(0.3)  # refilling is not measured
            _one(bench, way)
    pool(bench, 0, False)
    for series in ("fork-first-eval", "fork"):
        bench.show(series)


def requests(bench):
    client = bench.client
    for _ in bench.rounds(20, 8):
        child, other = client.fork(PYTHON, 2)
        for name in ("first eval", "second eval"):
            bench.timed("request", name, lambda: check(client.eval(child, CODE), ANSWER))
        for name in ("first exec true", "second exec true"):
            bench.timed("request", name, lambda: check(client.exec(other, "true")["exit_code"], 0))
        client.end(child, other)
    child, = client.fork(PYTHON)
    for _ in range(5):
        client.eval(child, CODE)
        client.exec(child, "true")
    for _ in bench.rounds(200, 60):
        bench.timed("request", "warm eval", lambda: check(client.eval(child, CODE), ANSWER))
    for _ in bench.rounds(100, 30):
        bench.timed("request", "warm exec true", lambda: check(client.exec(child, "true")["exit_code"], 0))
    bench.show("request")
