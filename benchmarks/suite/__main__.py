"""python -m suite [--quick] [--seconds=N] ROOT DATA OUT: called by benchmarks/run."""
import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from . import branches, charts, e2b, fanout, forks, host, load, peers, report
from .bench import ANSWER, CODE, PACKAGES, PYTHON, SCI, SCI_ANSWER, SCI_CODE, SCI_IMPORT, SCI_PACKAGES, Bench, sized
from .client import Daemon
from .containers import find_runsc
from .results import Results

LIMITS = {True: 300, False: 1500}


def facts(root, client, work, quick):
    """Machine, versions and load: what the figures are worth."""
    def git(*arguments):
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=False).stdout.strip()

    runsc = find_runsc(work)
    found = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "forkd": f"{client.call('GET', '/version')['version']} at {git('rev-parse', '--short=10', 'HEAD') or '?'}"
                 + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else ""),
        "kind of run": "`--quick`: few rounds, not for quoting" if quick else "full",
        **host.machine(),
        "runc": host.first_line("runc", "--version"),
        "crun": host.first_line("crun", "--version"),
        "gVisor": runsc and (host.go_module(runsc) or host.first_line(runsc, "--version")),
        "CRIU": host.first_line("criu", "--version"),
        "load at the start": f"{host.load():.2f}",
    }
    return {name: value or "not found" for name, value in found.items()}


def templates(bench):
    """Builds those that are not there. They are not part of what is measured."""
    wanted = [(sized(mib), PACKAGES, mib, ()) for mib in ((512, 4096) if bench.quick else branches.GUEST_MIB)]
    if not bench.quick:
        wanted.append((SCI, SCI_PACKAGES, 512, [f"import {SCI_IMPORT}"]))
    made = []
    for tag, packages, mib, warm in wanted:
        print(f"== template {tag}", flush=True)
        try:
            if bench.client.template(tag, packages, mib, warm, lambda text: print(f"   {text}", flush=True)):
                made.append(tag)
            bench.templates.add(tag)
        except Exception as problem:
            bench.results.note(f"template {tag}: failed, what needs it is left out or fails: {problem}")
    return made


def measure(bench, forkd, only):
    if only == "e2b":
        bench.step("E2B's JavaScript SDK", e2b.measure, forkd)
        return
    bench.step("one child", forks.first_eval)
    bench.step("single requests", forks.requests)
    bench.step("fan-out", fanout.fan_out, PYTHON, "", CODE, ANSWER)
    bench.step("fan-out from a prewarmed pool", fanout.from_pool)
    if SCI in bench.templates:
        bench.step("fan-out with pandas and scikit-learn", fanout.fan_out, SCI, ", pandas and scikit-learn", SCI_CODE, SCI_ANSWER)
    # Early: where the time of a run ends, what has no peer is left out first.
    peers.measure(bench)
    bench.step("branches of a child that writes memory", branches.busy)
    bench.step("branches of an idle child", branches.idle)
    bench.step("branches in a row", branches.row)
    bench.step("chain depth", branches.depth)
    bench.step("request rates", load.rates)
    bench.step("E2B's JavaScript SDK", e2b.measure, forkd)
    if bench.quick:
        bench.results.note("a thousand children: left out by --quick")
    else:
        bench.step("a thousand children", fanout.thousand)


def main():
    options = argparse.ArgumentParser(prog="benchmarks/run")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--seconds", type=int)
    options.add_argument("--only", choices=["e2b"])
    options.add_argument("root", type=pathlib.Path)
    options.add_argument("data", type=pathlib.Path)
    options.add_argument("out", type=pathlib.Path)
    options = options.parse_args()
    # An interrupt or a SIGTERM still removes everything.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    data, out = options.data.resolve(), options.out.resolve()
    results = Results()
    for subject in (forks, fanout, branches, load, e2b, peers):
        results.declare(subject.SERIES)
    data.mkdir(parents=True, exist_ok=True)
    print("== the daemon under test", flush=True)
    daemon = Daemon(str(options.root / "forkd"), data, out / "daemon.log")
    made, about = [], {}
    try:
        if data == out / "data":
            daemon.client.clear({PYTHON}, ())  # what a run left behind that was killed
        bench = Bench(daemon, results, out, options.quick, options.seconds or LIMITS[options.quick])
        made = [] if options.only else templates(bench)
        about = facts(options.root, daemon.client, out, options.quick)
        bench.began = time.monotonic()
        measure(bench, str(options.root / "forkd"), options.only)
        about["load at the end"] = f"{host.load():.2f}"
        about["took"] = f"{(time.monotonic() - bench.began) / 60:.1f} min, templates not counted"
    finally:
        with contextlib.suppress(Exception):
            bench.clear()
            daemon.client.forget(*(tag for tag in made if tag != PYTHON))
        daemon.stop()
        for name in ("a", "q"):
            (out / name).unlink(missing_ok=True)
        remove(out / name for name in ("bundles", "runsc", "criu", "runc", "crun"))
        results.write_csv(out / "results.csv")
    finish(options, results, about, out)


def remove(folders):
    """Again and again for a while: a container that is ending may still hold its root."""
    end = time.monotonic() + 10
    for folder in folders:
        while folder.exists() and time.monotonic() < end:
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.1)


def finish(options, results, about, out):
    """A quick run's report stays out of the documentation."""
    documents = out if options.quick or options.only else options.root.resolve() / "docs"
    pictures, folder = documents / "benchmarks", "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    (out / "charts").mkdir(exist_ok=True)
    drawn = charts.draw(results, pictures, out / "charts")
    report.write(documents / "BENCHMARKS.md", results, about, drawn, folder)
    report.print_targets(results)
    for name in (out / "results.csv", documents / "BENCHMARKS.md"):
        print(f"== wrote {os.path.relpath(name)}", flush=True)


if __name__ == "__main__":
    main()
