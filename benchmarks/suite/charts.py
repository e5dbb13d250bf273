"""Charts of a run, as SVG for the documentation and PNG beside the results."""
import math

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker  # noqa: E402: the backend is chosen first

from .bench import MANY
from .branches import DIVERGED_MIB, GUEST_MIB, MODES
from .forks import WAYS

OURS, THEIRS = "#2563a8", "#b0b4ba"
SCI = ", pandas and scikit-learn"
# The same file for the same figures: no date, no random ids.
pyplot.rcParams.update({"svg.hashsalt": "forkd", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                        "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True})


def _save(figure, folders, name):
    figure.tight_layout()
    svg, png = folders
    figure.savefig(svg / f"{name}.svg", metadata={"Date": None})
    figure.savefig(png / f"{name}.png", dpi=130)
    pyplot.close(figure)


def _bars(results, folders, name, title, unit, bars, scale=1.0):
    """Bars from the quickest: (label, series, x, whether it is ours). False when there is nothing to show."""
    found = [(label, results.summary(series, x), ours) for label, series, x, ours in bars]
    found = sorted(((label, summary, ours) for label, summary, ours in found if summary), key=lambda one: -one[1].median)
    if not found:
        return False
    figure, axes = pyplot.subplots(figsize=(7.5, 0.9 + 0.32 * len(found)))
    medians = [summary.median / scale for _, summary, _ in found]
    above = [max(0.0, summary.percentile(90) / scale - median) for (_, summary, _), median in zip(found, medians, strict=True)]
    axes.barh([label for label, _, _ in found], medians, xerr=[[0] * len(found), above], color=[OURS if ours else THEIRS for *_, ours in found],
              error_kw={"ecolor": "#555", "lw": 1})
    for place, (median, more) in enumerate(zip(medians, above, strict=True)):
        axes.annotate(f"{median:.0f}" if median >= 100 else f"{median:.3g}", (median + more, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xscale("log")
    axes.set_xlim(left=10 ** math.floor(math.log10(max(0.01, min(medians)) / 2)), right=max(map(sum, zip(medians, above, strict=True))) * 2)
    axes.set_xlabel(f"{unit}, logarithmic; bar: median, whisker: p90")
    axes.set_title(title, loc="left", weight="bold")
    axes.grid(axis="y", visible=False)
    _save(figure, folders, name)
    return True


def _lines(folders, name, title, xlabel, ylabel, lines, logx=False):
    """Lines by label, each a list of (x, y)."""
    lines = {label: points for label, points in lines.items() if points}
    if not lines:
        return False
    figure, axes = pyplot.subplots(figsize=(7.5, 3.2))
    for label, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o" if len(points) <= 20 else None, ms=4, label=label)
    if logx:
        axes.set_xscale("log", base=2)
        ticks = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, loc="left", weight="bold")
    axes.legend(frameon=False, ncols=2)
    _save(figure, folders, name)
    return True


def _peers(results, series, suffix=""):
    return [(x, series, x, False) for x in results.xs(series) if (SCI in x) == bool(suffix)]


def draw(results, svg, png):
    """Draws what was measured; gives back (name, title) of each chart, in order."""
    folders, median = (svg, png), results.median
    drawn = []

    def one(done, name, title):
        if done:
            drawn.append((name, title))

    title = "One, from nothing to the answer of a numpy line"
    one(_bars(results, folders, "first-eval", title, "ms", [(f"forkd, {way}", "fork-first-eval", way, True) for way in WAYS] + _peers(results, "peer")),
        "first-eval", title)
    title = "A hundred, each with its answer"
    ours = [("forkd", "fan-out", MANY, True), ("forkd, prewarmed pool", "fan-out", f"{MANY}, prewarmed pool", True)]
    one(_bars(results, folders, "hundred", title, "s", ours + _peers(results, "peer-many"), 1e3), "hundred", title)
    title = "A hundred with pandas and scikit-learn"
    one(_bars(results, folders, "hundred-sci", title, "s", [("forkd", "fan-out", f"{MANY}{SCI}", True)]
              + [(x.removesuffix(SCI), *rest) for x, *rest in _peers(results, "peer-many", SCI)], 1e3), "hundred-sci", title)
    title = "Pause of an idle guest by its size and by what diverged"
    lines = {f"{mode}, {diverged} MiB diverged": [(mib, median("pause", f"{mode}, {mib}, {diverged}")) for mib in GUEST_MIB
                                                   if median("pause", f"{mode}, {mib}, {diverged}") is not None]
             for mode in MODES if mode != "full" for diverged in DIVERGED_MIB}
    one(_lines(folders, "pause", title, "guest memory, MiB", "pause, ms", lines, logx=True), "pause", title)
    title = "Pause of a guest that writes memory"
    bars = [(f"{mode}, {mib} MiB, {rate} MiB/s" if rate != "fast" else f"{mode}, {mib} MiB, fast", "busy-pause", f"{mode}, {mib}, {rate}", mode == "live")
            for mode in ("live", "diff") for mib in GUEST_MIB for rate in (64, "fast")]
    one(_bars(results, folders, "busy-pause", title, "ms", bars), "busy-pause", title)
    longest = max(results.xs("row-pause"), key=int, default="20")
    title = f"{longest} branches of one child in a row"
    lines = {label: list(enumerate(results.summary(series, longest).values, 1)) if results.summary(series, longest) else []
             for label, series in (("pause", "row-pause"), ("start of a child, to its first eval", "row-start"))}
    one(_lines(folders, "row", title, "branch", "ms", lines), "row", title)
    title = "Start of a child by the depth of its chain"
    lines = {"median": [(int(x), median("depth-start", x)) for x in results.xs("depth-start") if x.isdigit() and median("depth-start", x) is not None]}
    one(_lines(folders, "depth", title, "links", "fork to first eval, ms", lines), "depth", title)
    return drawn
