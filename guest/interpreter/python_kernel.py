"""Python kernels, forked from one process that has imported what they need: a kernel of its own takes seconds to start.

Standard input: a line of JSON {"file","cwd","out","err"} for each kernel wanted; standard output: {"started":pid,"file"} and
{"ended":pid}.
"""

import ctypes
import gc
import io
import json
import os
import select
import signal
import sys
import warnings

PR_SET_PDEATHSIG = 1
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
    import packing  # noqa: F401


def outlet(path, fd):
    """A file that writes at once, and the descriptor that other processes get."""
    theirs = os.open(path, os.O_WRONLY)
    os.dup2(theirs, fd)
    os.close(theirs)
    # Opened again: a child that makes its own non-blocking does not make this so.
    return io.TextIOWrapper(open(path, "wb", 0), encoding="utf-8", errors="backslashreplace", write_through=True)


def serve_kernel(ask):
    """In a process of its own; does not return."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Nobody would end it without the server, with which its parent ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    sys.stdin = open(os.devnull, encoding="utf-8")
    # What the kernel says of itself is for nobody.
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
    os.chdir(ask["cwd"])
    import zmq
    from ipykernel.kernelapp import IPKernelApp

    from packing import pack

    class Kernel(IPKernelApp):
        # Output goes where that of other processes goes: nothing is lost, and who prints too fast has to wait.
        outstream_class = None

    app = Kernel.instance()
    app.initialize(["-f", ask["file"], "--HistoryManager.enabled=False", "--IPKernelApp.parent_handle=0", "--no-secure"])
    # Results must not be lost either when they come faster than they are taken.
    app.iopub_thread.socket.setsockopt(zmq.XPUB_NODROP, 1)
    app.session.pack = pack
    sys.stdout, sys.stderr = outlet(ask["out"], 1), outlet(ask["err"], 2)
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
            say.write(json.dumps({"started": pid, "file": ask["file"]}) + "\n")
            say.flush()


if __name__ == "__main__":
    main()
