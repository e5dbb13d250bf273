"""What a matplotlib figure shows, in the shape that E2B's clients read."""

import math

from matplotlib import dates as mdates
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer
from matplotlib.patches import Wedge

POINTS_MAX = 100_000
UNIT = {"(": ")", "[": "]"}


def number(value):
    value = float(value)
    return value if math.isfinite(value) else None


def unit(label):
    """In brackets at the end, as people write it."""
    for left, right in UNIT.items():
        if label.endswith(right) and left in label:
            return label[label.rindex(left) + 1:-1] or None
    return None


def scale(axis):
    if isinstance(axis.get_converter() if hasattr(axis, "get_converter") else axis.converter, mdates.DateConverter):
        return "datetime"
    if type(axis.get_major_locator()).__module__.endswith("dates"):
        return "datetime"
    if type(axis.get_major_locator()).__name__ == "StrCategoryLocator":
        return "categorical"
    return axis.get_scale()


def reading(axis):
    """How a number on an axis is told."""
    kind = scale(axis)
    if kind == "datetime":
        return lambda value: mdates.num2date(float(value)).isoformat()
    if kind == "categorical":
        names = {place: name for name, place in axis.units._mapping.items()} if axis.units is not None else {}
        return lambda value: str(names.get(int(value), value))
    return number


def axes_of(ax):
    return {
        "title": ax.get_title() or ax.figure._suptitle.get_text() if ax.figure._suptitle else ax.get_title(),
        "x_label": ax.get_xlabel() or None, "y_label": ax.get_ylabel() or None,
        "x_unit": unit(ax.get_xlabel()), "y_unit": unit(ax.get_ylabel())}


def ticks_of(ax):
    found = {}
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        read = reading(axis)
        low, high = sorted(axis.get_view_interval())
        places = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
        found[f"{name}_ticks"] = [read(place) for place in places]
        found[f"{name}_tick_labels"] = [str(label) for label in axis.get_major_formatter().format_ticks(places)]
        found[f"{name}_scale"] = scale(axis)
    return found


def points(ax, pairs):
    read_x, read_y = reading(ax.xaxis), reading(ax.yaxis)
    return [[read_x(x), read_y(y)] for x, y in list(pairs)[:POINTS_MAX]]


def lines(ax):
    elements = []
    for i, line in enumerate(ax.get_lines()):
        label = line.get_label()
        elements.append({
            "label": label if not label.startswith("_") else f"Line {i}",
            "points": points(ax, zip(line.get_xdata(orig=False), line.get_ydata(orig=False)))})
    return {"type": "line", **axes_of(ax), **ticks_of(ax), "elements": elements}


def scatter(ax, collections):
    elements = []
    for i, collection in enumerate(collections):
        label = collection.get_label()
        elements.append({
            "label": label if not label.startswith("_") else f"Scatter {i}",
            "points": points(ax, collection.get_offsets())})
    return {"type": "scatter", **axes_of(ax), **ticks_of(ax), "elements": elements}


def bars(ax, containers):
    elements = []
    for i, container in enumerate(containers):
        label = container.get_label()
        group = label if label and not label.startswith("_") else f"Group {i}"
        upright = getattr(container, "orientation", "vertical") != "horizontal"
        axis = ax.xaxis if upright else ax.yaxis
        names = dict(zip(axis.get_majorticklocs(), axis.get_major_formatter().format_ticks(axis.get_majorticklocs())))
        for patch in container.patches:
            middle = patch.get_x() + patch.get_width() / 2 if upright else patch.get_y() + patch.get_height() / 2
            nearest = min(names, key=lambda place: abs(place - middle), default=None)
            name = names[nearest] if nearest is not None and abs(nearest - middle) < 0.5 else str(middle)
            elements.append({"label": name, "group": group, "value": number(patch.get_height() if upright else patch.get_width())})
    return {"type": "bar", **axes_of(ax), "elements": elements}


def pie(ax, wedges):
    texts = [text.get_text() for text in ax.texts if not text.get_text().endswith("%")]
    elements = []
    for i, wedge in enumerate(wedges):
        label = wedge.get_label()
        elements.append({
            "label": label if label and not label.startswith("_") else texts[i] if i < len(texts) else f"Wedge {i}",
            "angle": number(abs(wedge.theta2 - wedge.theta1)), "radius": number(wedge.r)})
    return {"type": "pie", **axes_of(ax), "elements": elements}


def boxes(ax):
    """A box plot is lines: for each box its outline, two whiskers, two caps, its median, its outliers."""
    found, names = [], [label.get_text() for label in ax.get_xticklabels()]
    outlines = [line for line in ax.get_lines() if len(line.get_xdata()) == 5]
    for i, outline in enumerate(outlines):
        x, y = list(map(float, outline.get_xdata())), list(map(float, outline.get_ydata()))
        left, right, middle = min(x), max(x), (min(x) + max(x)) / 2
        low, high = min(y), max(y)
        near = [line for line in ax.get_lines() if line is not outline and len(line.get_xdata()) and abs(sum(map(float, line.get_xdata())) / len(line.get_xdata()) - middle) < 1e-6]
        medians = [float(line.get_ydata()[0]) for line in near if len(line.get_ydata()) == 2 and abs(float(min(line.get_xdata())) - left) < 1e-6 and abs(float(max(line.get_xdata())) - right) < 1e-6]
        ends = [float(value) for line in near if len(line.get_ydata()) == 2 and line.get_linestyle() != "None" for value in line.get_ydata()]
        outliers = [float(value) for line in near if line.get_linestyle() == "None" for value in line.get_ydata()]
        found.append({
            "label": names[i] if i < len(names) else str(i + 1), "min": min([*ends, low]), "first_quartile": low,
            "median": medians[0] if medians else None, "third_quartile": high, "max": max([*ends, high]), "outliers": outliers})
    return {"type": "box_and_whisker", **axes_of(ax), "elements": found}


def looks_like_boxes(ax):
    drawn = ax.get_lines()
    outlines = [line for line in drawn if len(line.get_xdata()) == 5 and float(line.get_xdata()[0]) == float(line.get_xdata()[-1])]
    return bool(outlines) and len(drawn) >= 6 * len(outlines)


def chart_of_axes(ax):
    wedges = [patch for patch in ax.patches if isinstance(patch, Wedge)]
    if wedges:
        return pie(ax, wedges)
    containers = [container for container in ax.containers if isinstance(container, BarContainer)]
    if containers:
        return bars(ax, containers)
    if looks_like_boxes(ax):
        return boxes(ax)
    collections = [collection for collection in ax.collections if isinstance(collection, PathCollection)]
    if collections:
        return scatter(ax, collections)
    if ax.get_lines():
        return lines(ax)
    return None


def chart_of(figure):
    """None where there is nothing to tell, or telling it fails: the picture is there all the same."""
    try:
        charts = [chart for chart in map(chart_of_axes, figure.axes) if chart is not None]
    except Exception:  # noqa: BLE001
        return None
    if not charts:
        return None
    if len(charts) == 1:
        return charts[0]
    title = figure._suptitle.get_text() if figure._suptitle else ""
    return {"type": "superchart", "title": title, "elements": charts}
