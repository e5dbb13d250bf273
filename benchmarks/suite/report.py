"""Writes the report: targets, charts, and every series with its meaning, success rate and spread."""
from . import targets
from .bench import MANY
from .forks import WAYS

SCI = ", pandas and scikit-learn"
MET = {True: "met", False: "**not met**", None: "not measured"}


def number(value):
    """Three digits are enough."""
    if abs(value) >= 10000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
    yield ""


def _targets(results):
    yield "## Targets"
    yield ""
    yield from _table(("what", "goal", "measured", ""), ((one.what, one.goal, one.value or "", MET[one.met]) for one in targets.all_of(results)))


def _ratios(results):
    """How many times as long a peer takes as forkd does."""
    median = results.median
    ours = [("one, no pool", "peer", "", median("fork-first-eval", WAYS[0])),
            ("one, prewarmed pool", "peer", "", median("fork-first-eval", WAYS[2])),
            (f"{MANY}", "peer-many", "", median("fan-out", MANY)),
            (f"{MANY}, prewarmed pool", "peer-many", "", median("fan-out", f"{MANY}, prewarmed pool")),
            (f"{MANY}{SCI}", "peer-many", SCI, median("fan-out", f"{MANY}{SCI}"))]
    ours = [one for one in ours if one[3] is not None]
    peers = list(dict.fromkeys(x.removesuffix(SCI) for series in ("peer", "peer-many") for x in results.xs(series)))
    if not ours or not peers:
        return
    yield "## Peers / forkd"
    yield ""
    yield "How many times as long the peer takes; below 1 it is faster. Containers and processes compute on the native CPU and share the host's kernel."
    yield ""

    def cell(peer, series, suffix, mine):
        theirs = median(series, peer + suffix)
        return "" if theirs is None else f"{theirs / mine:.2f}"

    yield from _table(("peer", *(f"{label}: {number(mine)} ms" for label, _, _, mine in ours)),
                      ((peer, *(cell(peer, series, suffix, mine) for _, series, suffix, mine in ours)) for peer in peers))


def _series(results):
    groups = {}
    for one in results.catalog.values():
        groups.setdefault(one.group, []).append(one)
    for group, series in groups.items():
        if not any(results.xs(one.name) for one in series):
            continue
        yield f"## {group}"
        yield ""
        for one in series:
            xs = results.xs(one.name)
            if not xs:
                continue
            loads = results.loads[one.name]
            yield f"**{one.name}** ({one.unit}; load of the machine {min(loads):.1f} to {max(loads):.1f}): {one.meaning}."
            yield ""
            yield from _table((one.x, "median", "p90", "p99", "least", "most", "ok"), (_row(results, one.name, x) for x in xs))


def _row(results, series, x):
    summary = results.summary(series, x)
    if summary is None:
        return (x, "failed", "", "", "", "", f"0/{results.attempts(series, x)}")
    values = (summary.median, summary.percentile(90), summary.percentile(99), min(summary.values), max(summary.values))
    return (x, *map(number, values), summary.success)


def write(path, results, facts, charts, chart_folder):
    """charts: (name, title) of the files in chart_folder, relative to the report."""
    lines = [
        "# Benchmarks", "",
        "Written by `benchmarks/run`; do not edit. It measures forkd through HTTP on loopback, and every peer found on the machine, in one run, and asserts nothing.", "",
        *_table(("run", ""), facts.items()),
        *_targets(results),
        *_ratios(results),
    ]
    for name, title in charts:
        lines += [f"![{title}]({chart_folder}/{name}.svg)", ""]
    if results.notes:
        lines += ["## Left out, failed, or to be known", "", *(f"* {note}" for note in results.notes), ""]
    lines += list(_series(results))
    lines += [
        "## How to repeat it", "",
        "```sh", "benchmarks/run --peers              # installs what it finds missing: runc, crun, criu, gVisor's runsc (wants root and Go)",
        "benchmarks/run                      # later; --quick for five minutes; a data directory may be named", "```", "",
        "Nothing else should run on the machine. Every single measurement is in `target/benchmarks/results.csv`: series, x, value, unit, run, ok. A failed one has no value,",
        "and `ok` in the tables counts the others. p99 of fewer than a hundred measurements is the greatest of them. The daemon is one of its own with its own port; every",
        "sandbox, branch, template of other sizes, container and file made here is removed at the end. The root images stay in the data directory for the next run.", "",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def print_targets(results):
    for one in targets.all_of(results):
        print(f"   {one.what:78s} {one.goal:12s} {one.value or '':>14s}  {MET[one.met].strip('*')}", flush=True)
