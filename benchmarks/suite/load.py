"""How many requests the daemon answers."""
import threading
import time

from .bench import ANSWER, CODE, PYTHON, check
from .results import Series

SERIES = [
    Series("rate", "Daemon", "per s", "request and clients",
           "answers per second; clients are threads of one Python process, each with its own connection and, for eval, its own child"),
]


def _rate(bench, x, clients, work):
    seconds = 2 if bench.quick else 4
    counts, problems = [0] * clients, []
    end = time.monotonic() + seconds

    def client(number):
        try:
            while time.monotonic() < end:
                work(number)
                counts[number] += 1
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        bench.results.fail("rate", x, problems[0])
    else:
        bench.results.add("rate", x, sum(counts) / (time.monotonic() - begin))


def rates(bench):
    for _ in bench.rounds(3, 1):
        for clients in (1, 4):
            _rate(bench, f"healthz, {clients}", clients, lambda _: bench.client.call("GET", "/healthz"))
    children = bench.client.fork(PYTHON, 16)
    for child in children:
        bench.client.eval(child, CODE)
    for _ in bench.rounds(3, 1, 40):
        for clients in (1, 4, 16):
            _rate(bench, f"eval, {clients}", clients, lambda number: check(bench.client.eval(children[number], CODE), ANSWER))
    bench.show("rate")
