"""A bash that stays: its folder, variables and functions live from run to run."""

import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys

CHUNK = 65536
protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def say(event):
    protocol.write(json.dumps(event) + "\n")
    protocol.flush()


class Shell:
    """Code goes in by descriptor 3, statuses come out by 4; 1 and 2 are the code's own."""

    # What is read is one command for each run, ended by a NUL: it may have any lines in it.
    LOOP = r"""
trap : INT
while IFS= read -r -d '' -u 3 __code; do
  eval "$__code" 3<&- 4>&- </dev/null
  printf '%s\0' "$?" >&4
done
"""

    def __init__(self):
        code_read, self.code = os.pipe()
        self.status, status_write = os.pipe()
        self.out, out_write = os.pipe()
        self.err, err_write = os.pipe()

        def descriptors():
            # Out of the way first: one may sit where another one is to go.
            moved = [(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 20), target)
                     for source, target in ((code_read, 3), (status_write, 4), (out_write, 1), (err_write, 2))]
            for source, target in moved:
                os.dup2(source, target)

        self.process = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc", "-c", self.LOOP], stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=descriptors)
        for fd in (code_read, status_write, out_write, err_write):
            os.close(fd)
        for fd in (self.out, self.err, self.status):
            os.set_blocking(fd, False)
        self.count = 0
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.out, selectors.EVENT_READ, "stdout")
        self.selector.register(self.err, selectors.EVENT_READ, "stderr")
        self.selector.register(self.status, selectors.EVENT_READ, "status")
        self.interrupted = False

    def close(self):
        self.selector.close()
        for fd in (self.code, self.status, self.out, self.err):
            os.close(fd)

    def send(self, code):
        data = code.replace("\0", "").encode() + b"\0"
        while data:
            data = data[os.write(self.code, data):]

    def drain(self, fd, kind):
        while True:
            try:
                chunk = os.read(fd, CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                return
            say({"type": kind, "text": chunk.decode("utf-8", "replace")})

    def run(self, code, quiet=False):
        """The status it ended with; none when the shell has ended."""
        self.send(code)
        answer = b""
        while True:
            for key, _ in self.selector.select():
                if key.data != "status":
                    self.drain(key.fd, key.data)
                    continue
                piece = os.read(key.fd, 64)
                if not piece:
                    self.drain(self.out, "stdout")
                    self.drain(self.err, "stderr")
                    return None
                answer += piece
            if answer.endswith(b"\0"):
                if not quiet:
                    self.drain(self.out, "stdout")
                    self.drain(self.err, "stderr")
                return int(answer[:-1])


shell = None


def interrupt(*_):
    """Whatever the shell runs; the shell itself takes no notice."""
    if shell is not None:
        shell.interrupted = True
        subprocess.run(["pkill", "-INT", "-P", str(shell.process.pid)], check=False)
        os.kill(shell.process.pid, signal.SIGINT)


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def exports(env):
    return "".join(f"export {name}={quoted(value)}\n" for name, value in env.items() if name.isidentifier())


def with_environment(env, code):
    """For one run: what was there before is put back."""
    names = [name for name in env if name.isidentifier()]
    if not names:
        return code
    save = "".join(f'__old_{name}="${{{name}-}}"; __had_{name}="${{{name}+x}}"\n' for name in names)
    back = "".join(
        f'if [ -n "$__had_{name}" ]; then export {name}="$__old_{name}"; else unset {name}; fi; unset __old_{name} __had_{name}\n' for name in names)
    return f"{save}{exports(env)}eval {quoted(code)}\n__status=$?\n{back}(exit $__status)"


def main():
    global shell
    signal.signal(signal.SIGINT, interrupt)
    shell = Shell()
    say({"type": "done"})
    for line in sys.stdin:
        ask = json.loads(line)
        if ask["do"] == "run":
            shell.count += 1
            shell.interrupted = False
            say({"type": "number_of_executions", "execution_count": shell.count})
            status = shell.run(with_environment(ask.get("env") or {}, ask["code"]))
            if status is None:
                code = shell.process.wait()
                say({"type": "error", "name": "ShellExit", "value": f"the shell has ended with status {code}", "traceback": ""})
                shell.close()
                shell = Shell()
            elif shell.interrupted:
                say({"type": "error", "name": "KeyboardInterrupt", "value": "", "traceback": "KeyboardInterrupt"})
            elif status:
                say({"type": "error", "name": "ExitStatus", "value": str(status), "traceback": f"exit status {status}"})
        elif ask["do"] == "environment":
            shell.run(exports(ask["env"]), quiet=True)
        elif ask["do"] == "reseed":
            shell.run(f"RANDOM={int.from_bytes(os.urandom(2), 'little')}", quiet=True)
        elif ask["do"] == "forget":
            shell.count = 0
        say({"type": "done"})


if __name__ == "__main__":
    main()
