"""A bash that stays: its folder, variables and functions live from run to run."""

import fcntl
import json
import os
import signal
import subprocess
import sys

asks, says = map(int, sys.argv[-2:])
os.set_inheritable(asks, False)
os.set_inheritable(says, False)
protocol = os.fdopen(says, "w", encoding="utf-8")


def say(event):
    protocol.write(json.dumps(event) + "\n")
    protocol.flush()


class Shell:
    """Code goes in by descriptor 3, statuses come out by 4; 1 and 2 are the code's own."""

    # What is read is one command for each run, ended by a NUL: it may have any lines in it. An interrupt leaves all functions, one
    # after the other, then all loops but ours; with extdebug the command at which that is done is not run. However a run was left,
    # what it wants undone is undone here.
    LOOP = r"""
__forkd_busy= __forkd_turn= __forkd_back=
__forkd_leave='[ -n "${FUNCNAME-}" ] && return 130; trap - DEBUG; ! continue 1000'
trap '[ -n "$__forkd_busy" ] && { shopt -s extdebug; set -T; trap -- "$__forkd_leave" DEBUG; eval "$__forkd_leave"; }' INT
while printf '%s %s\0' "$__forkd_turn" "$?" >&4; do
  __forkd_busy=
  shopt -u extdebug
  set +T
  eval "$__forkd_back" 2>/dev/null
  __forkd_back=
  IFS= read -r -d '' -u 3 __forkd_code || exit
  __forkd_turn=${__forkd_code%% *}
  eval "${__forkd_code#* }" 3<&- 4>&- </dev/null
done
"""

    def __init__(self):
        code_read, self.code = os.pipe()
        self.status, status_write = os.pipe()

        def descriptors():
            # Out of the way first: one may sit where another one is to go.
            moved = [(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 20), target) for source, target in ((code_read, 3), (status_write, 4))]
            for source, target in moved:
                os.dup2(source, target)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "/bin/bash", "--noprofile", "--norc", "-c", self.LOOP],
            stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=descriptors)
        os.close(code_read)
        os.close(status_write)
        self.count = self.asked = 0
        self.interrupted = False
        self.answer = b""
        self.await_status("")

    def close(self):
        os.close(self.code)
        os.close(self.status)

    def send(self, code):
        data = code.replace("\0", "").encode(errors="replace") + b"\0"
        while data:
            data = data[os.write(self.code, data):]

    def await_status(self, wanted):
        """None when the shell has ended."""
        while True:
            while b"\0" in self.answer:
                one, self.answer = self.answer.split(b"\0", 1)
                number, status = one.decode().split(" ")
                if number == wanted:
                    return int(status)
            piece = os.read(self.status, 64)
            if not piece:
                return None
            self.answer += piece

    def run(self, code):
        """What can be interrupted; see tell."""
        return self.tell(f"__forkd_busy=1; {code}")

    def tell(self, code):
        """The status it ended with; none when the shell has ended."""
        self.asked += 1
        try:
            self.send(f"{self.asked} {code}")
        except BrokenPipeError:
            return None
        return self.await_status(str(self.asked))


shell = None


def interrupt(*_):
    """Comes to the shell and what it runs as well; see lines.py."""
    if shell is not None:
        shell.interrupted = True


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
    return f"{save}__forkd_back={quoted(back)}\n{exports(env)}eval {quoted(code)}"


def main():
    global shell
    signal.signal(signal.SIGINT, interrupt)
    shell, environment = Shell(), {}
    for line in os.fdopen(asks, encoding="utf-8"):
        ask = json.loads(line)
        say({"type": "begin", "id": ask["id"]})
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
                shell.tell(exports(environment))
            elif shell.interrupted:
                say({"type": "error", "name": "KeyboardInterrupt", "value": "", "traceback": "KeyboardInterrupt"})
            elif status:
                say({"type": "error", "name": "ExitStatus", "value": str(status), "traceback": f"exit status {status}"})
        elif ask["do"] == "environment":
            environment = ask["env"]
            shell.tell(exports(environment))
        elif ask["do"] == "reseed":
            shell.tell(f"RANDOM={int.from_bytes(os.urandom(2), 'little')}")
        elif ask["do"] == "forget":
            shell.count = 0
        say({"type": "done"})


if __name__ == "__main__":
    main()
