"""What every subject gets: the daemon, the results, the clock, and the rule that one failure does not end the run."""
import concurrent.futures
import time
import traceback

from . import host
from .client import Refused

PACKAGES = ["python3", "python3-numpy"]
SCI_PACKAGES = [*PACKAGES, "python3-pandas", "python3-sklearn"]
IMPORT = "numpy"
CODE, ANSWER = "numpy.zeros(5).tolist()", "[0.0, 0.0, 0.0, 0.0, 0.0]"
SCI_IMPORT = "pandas, sklearn.linear_model"
SCI_CODE = ("pandas.Series(sklearn.linear_model.LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]).predict([[4.0]]))"
            ".round(6).tolist()")
SCI_ANSWER = "[9.0]"
PYTHON, SCI = "python", "bench-sci"
MANY = 100


def sized(mib):
    """The template with a guest of that size."""
    return PYTHON if mib == 512 else f"bench-{mib}"


class Wrong(Exception):
    """An answer that is not the expected one."""


def check(found, expected):
    if found != expected:
        raise Wrong(f"answered {found!r} instead of {expected!r}")


class Bench:
    def __init__(self, daemon, results, work, quick, seconds):
        self.daemon, self.client, self.results = daemon, daemon.client, results
        self.work, self.quick = work, quick
        self.began, self.seconds = time.monotonic(), seconds
        # What was there before stays: a data directory may be somebody's own.
        self.kept_tags, self.kept_sandboxes = set(self.client.tags()), {one["id"] for one in self.client.call("GET", "/v1/sandboxes")}
        if self.kept_sandboxes:
            results.note(f"{len(self.kept_sandboxes)} sandboxes of others lived in the data directory during the run")
        self.templates = set()

    def step(self, title, function, *arguments):
        """Runs one subject; whatever it raises is noted, and what it left behind is removed."""
        if time.monotonic() - self.began > self.seconds:
            self.results.note(f"{title}: left out, the {self.seconds} s of this run were over")
            return
        print(f"== {title}   ({time.monotonic() - self.began:.0f} s, load {host.load():.1f})", flush=True)
        try:
            function(self, *arguments)
        except Exception as problem:  # one subject's end is not the run's
            self.results.note(f"{title}: failed: {type(problem).__name__}: {problem}")
            traceback.print_exc(limit=-3)
        try:
            self.clear()
        except Exception as problem:
            self.results.note(f"{title}: could not be cleared away: {problem}")

    def clear(self):
        """Ends what was forked and removes what was branched in this run."""
        self.client.forget_connection()
        self.client.clear(self.kept_tags | self.templates, self.kept_sandboxes)

    def rounds(self, count, quick=None, seconds=20, least=3):
        """Counts rounds until there are enough or the time for this cell is over; never fewer than the least."""
        wanted = (quick or count) if self.quick else count
        end = time.monotonic() + (seconds / 3 if self.quick else seconds)
        for number in range(wanted):
            if number >= least and time.monotonic() > end:
                return
            yield number

    def timed(self, series, x, function, *arguments, **named):
        """Measures a call in milliseconds and gives back its result; a failure is a row, and gives None."""
        begin = time.perf_counter()
        try:
            result = function(*arguments, **named)
        except (Refused, Wrong, RuntimeError, OSError) as problem:
            self.results.fail(series, x, problem)
            return None
        self.results.add(series, x, (time.perf_counter() - begin) * 1e3)
        return result

    def show(self, series):
        """Prints what a series has so far."""
        for x in self.results.xs(series):
            summary, unit = self.results.summary(series, x), self.results.catalog[series].unit
            if summary:
                print(f"   {series:28s} {x:34s} {summary.median:10.1f} {unit:8s} p90 {summary.percentile(90):.1f}, {summary.success} ok", flush=True)

    @staticmethod
    def at_once(function, items, threads=None):
        """Calls the function for all items at once; results and exceptions in order."""
        with concurrent.futures.ThreadPoolExecutor(threads or max(1, len(items))) as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                concurrent.futures.wait(futures)
            except BaseException:  # interrupted: what has not begun does not
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.exception() or future.result() for future in futures]
