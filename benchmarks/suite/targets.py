"""What forkd wants to reach, each beside what this run measured."""
import dataclasses
import statistics

from .bench import MANY
from .branches import COMPACTED, FLAT, GUEST_MIB
from .containers import RESTORE, RUNC, RUNSC
from .forks import WAYS
from .host import CORES

SCI = ", pandas and scikit-learn"


@dataclasses.dataclass(frozen=True)
class Target:
    """value is None when it was not measured; met is None when it cannot be told."""
    what: str
    goal: str
    value: str | None
    met: bool | None


def _most(what, value, limit, unit, digits=1):
    goal = f"≤ {limit:g}{unit}"
    return Target(what, goal, None, None) if value is None else Target(what, goal, f"{value:.{digits}f}{unit}", value <= limit)


def _least(what, value, limit, unit):
    goal = f"≥ {limit:g}{unit}"
    return Target(what, goal, None, None) if value is None else Target(what, goal, f"{value:.1f}{unit}", value >= limit)


def _ratio(above, below):
    return above / below if above is not None and below else None


def _ends(results, series, x):
    """Median of the last five through that of the first five, in order of measurement."""
    summary = results.summary(series, x)
    if summary is None or len(summary.values) < 10:
        return None
    return statistics.median(summary.values[-5:]) / max(1.0, statistics.median(summary.values[:5]))


def all_of(results):
    median, many = results.median, median_many(results)
    for way, limit in zip(WAYS, (140, 90, 12), strict=True):
        yield _most(f"fork of one to its first eval, {way}", median("fork-first-eval", way), limit, " ms")
    ratio = median("fan-out-ratio", MANY)
    yield _most("100 forked and evaluated / (100 x CPU per child / cores)", ratio, 1.2, "", 2)
    yield _most("… in all (stretch)", many and many / 1e3, 5, " s")
    for peer in (RUNSC, RESTORE):
        yield _least(f"… faster than {peer}, {CORES} at once", _ratio(median("peer-many", peer), many), 4, "x")
    yield _least("100 with pandas and scikit-learn, faster than runc run", _ratio(median("peer-many", RUNC + SCI), median("fan-out", f"{MANY}{SCI}")), 3, "x")
    pooled = median("fan-out", f"{MANY}, prewarmed pool")
    yield _most("100 from a prewarmed pool", pooled and pooled / 1e3, 1.2, " s", 2)
    yield _most("PSS of an idle child, 100 alive", median("pss", "idle"), 34, " MiB")
    diff = {mib: median("pause", f"diff, {mib}, 40") for mib in GUEST_MIB}
    diff = {mib: value for mib, value in diff.items() if value is not None}
    yield _most("diff pause, 40 MiB diverged, the worst guest size", max(diff.values(), default=None), 10, " ms")
    spread = max(diff.values()) / max(1.0, min(diff.values())) if len(diff) > 1 else None
    yield _most(f"… largest / smallest of {min(diff, default=256)} MiB to {max(diff, default=4096)} MiB", spread, 1.3, "", 2)
    live = results.summary("busy-pause", "live, 512, 64")
    yield _most("live pause p50, 512 MiB guest writing 64 MiB/s", live and live.median, 8, " ms")
    yield _most("… p99", live and live.percentile(99), 15, " ms")
    yield _most("live pause p50, 4 GiB guest writing 64 MiB/s (8 ms + 8 ms per GiB)", median("busy-pause", "live, 4096, 64"), 40, " ms")
    for mib in (512, 4096):
        trip, pause = median("no-wait", f"{mib}, 64"), median("no-wait-pause", f"{mib}, 64")
        yield _most(f"live with wait:false, {mib} MiB: round trip less the pause", None if trip is None else trip - pause, 10, " ms")
    for branches in (20, 100):
        yield _most(f"{branches} branches in a row: pause, last / first", _ends(results, "row-pause", branches), 1.2, "", 2)
        yield _most(f"{branches} branches in a row: child start, last / first", _ends(results, "row-start", branches), 1.2, "", 2)
    flat = [value for value in (median("depth-start", FLAT), median("depth-start", COMPACTED)) if value]
    yield _most("child of a chain of depth 3 / of the same content, flat or compacted, the faster", _ratio(median("depth-start", 3), min(flat, default=None)), 1.15, "", 2)
    yield _most("warm eval p50", median("request", "warm eval"), 4, " ms")
    yield _most("warm exec true p50", median("request", "warm exec true"), 30, " ms")
    yield _thousand(results)


def median_many(results):
    return results.median("fan-out", MANY)


def _thousand(results):
    what, goal = "1000 forked and kept paused", "done, or refused with the arithmetic"
    took = results.median("thousand", 1000)
    if took is not None:
        return Target(what, goal, f"done in {took / 1e3:.1f} s, {results.median('thousand-pss', 1000) / 1024:.1f} GiB PSS", True)
    if results.attempts("thousand", 1000):
        reason = next((note for note in results.notes if note.startswith("thousand (1000)")), "failed")
        return Target(what, goal, reason.partition("failed: ")[2], "MiB" in reason or "bytes" in reason or "GiB" in reason)
    return Target(what, goal, None, None)
