"""Python kernels, forked from one process that has imported what they need: a kernel of its own takes seconds to start.

Standard input: a line of JSON {"file","cwd"} for each kernel wanted; standard output: {"started":pid} and {"ended":pid}.
"""

import gc
import json
import os
import select
import signal
import sys
import warnings

MODULES = ("numpy", "pandas", "matplotlib", "matplotlib.pyplot", "matplotlib_inline.backend_inline", "PIL.Image")


def imports():
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    warnings.filterwarnings("ignore")
    import importlib

    import ipykernel.ipkernel  # noqa: F401
    import ipykernel.kernelapp  # noqa: F401
    import IPython.core.completer  # noqa: F401

    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    import charts  # noqa: F401


def serve_kernel(ask):
    """In a process of its own; does not return."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    sys.stdin = open(os.devnull, encoding="utf-8")
    os.chdir(ask["cwd"])
    from ipykernel.iostream import OutStream
    from ipykernel.kernelapp import IPKernelApp

    # Output waits for more so long; the default is what one sees as a delay.
    OutStream.flush_interval = 0.01
    app = IPKernelApp.instance()
    app.initialize(["-f", ask["file"], "--HistoryManager.enabled=False", "--IPKernelApp.parent_handle=0", "--no-secure"])
    import in_kernel

    in_kernel.begin(app.shell)
    app.start()
    os._exit(0)


def main():
    imports()
    gc.collect()
    gc.freeze()
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    say = os.fdopen(os.dup(1), "w", encoding="utf-8")
    say.write('{"ready":true}\n')
    say.flush()
    pending = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            try:
                os.read(woken, 4096)
            except BlockingIOError:
                pass
            while True:
                try:
                    pid, _ = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if not pid:
                    break
                say.write(json.dumps({"ended": pid}) + "\n")
                say.flush()
        if 0 not in ready:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        pending += chunk
        while b"\n" in pending:
            line, pending = pending.split(b"\n", 1)
            ask = json.loads(line)
            pid = os.fork()
            if pid == 0:
                serve_kernel(ask)
            say.write(json.dumps({"started": pid}) + "\n")
            say.flush()


if __name__ == "__main__":
    main()
