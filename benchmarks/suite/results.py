"""What was measured: one row per measurement, what each series means, and what failed and why."""
import csv
import dataclasses
import math
import os
import statistics


@dataclasses.dataclass(frozen=True)
class Series:
    """name: in the CSV; unit: of every value; x: what x says; meaning: one sentence for the report."""
    name: str
    group: str
    unit: str
    x: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Row:
    series: str
    x: str
    value: float | None
    run: int
    ok: bool


@dataclasses.dataclass(frozen=True)
class Summary:
    """Of the measurements of one series at one x; the figures are of those that succeeded."""
    values: tuple
    attempts: int

    @property
    def median(self):
        return statistics.median(self.values)

    def percentile(self, percent):
        """The smallest measured value that so many percent do not exceed."""
        return sorted(self.values)[max(0, math.ceil(len(self.values) * percent / 100) - 1)]

    @property
    def success(self):
        return f"{len(self.values)}/{self.attempts}"


class Results:
    def __init__(self):
        self.catalog, self.rows, self.notes, self.loads = {}, [], [], {}

    def declare(self, series):
        for one in series:
            self.catalog[one.name] = one

    def add(self, series, x, value, ok=True):
        if series not in self.catalog:
            raise KeyError(f"series {series} is not declared")
        run = sum(row.series == series and row.x == str(x) for row in self.rows)
        self.loads.setdefault(series, []).append(os.getloadavg()[0])
        self.rows.append(Row(series, str(x), value, run, ok))

    def fail(self, series, x, reason):
        self.add(series, x, None, ok=False)
        self.note(f"{series} ({x}): failed: {reason}")

    def note(self, text):
        """Something a reader must know beside the figures. Said once."""
        if text not in self.notes:
            self.notes.append(text)
            print(f"!! {text}", flush=True)

    def xs(self, series):
        return list(dict.fromkeys(row.x for row in self.rows if row.series == series))

    def summary(self, series, x):
        """None when nothing was attempted or nothing succeeded."""
        rows = [row for row in self.rows if row.series == series and row.x == str(x)]
        values = tuple(row.value for row in rows if row.ok and row.value is not None)
        return Summary(values, len(rows)) if values else None

    def median(self, series, x):
        summary = self.summary(series, x)
        return summary.median if summary else None

    def attempts(self, series, x):
        return sum(row.series == series and row.x == str(x) for row in self.rows)

    def write_csv(self, path):
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["series", "x", "value", "unit", "run", "ok"])
            for row in self.rows:
                value = "" if row.value is None else f"{row.value:.3f}"
                writer.writerow([row.series, row.x, value, self.catalog[row.series].unit, row.run, int(row.ok)])
