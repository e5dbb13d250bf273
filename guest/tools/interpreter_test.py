"""The code interpreter's server on this machine, spoken to as the daemon does; see ../interpreter/check."""

import base64
import concurrent.futures
import contextlib
import functools
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interpreter")
LIMIT_SECONDS = 60
RUN_SECONDS = 120  # Signs of life come all the time.
GROUP_SECONDS, KILL_SECONDS = 0.7, 4.0
LINE_BYTES_MAX = 1 << 20
LANGUAGES = ("python", "javascript", "bash", "java")
KERNELS = {"python": "python_kernel.py", "javascript": "kernel.mjs", "bash": "bash_kernel.py", "java": "JavaKernel"}
PRINT = {
    "python": "print('hé')", "javascript": "console.log('hé')", "bash": "echo hé", "java": 'System.out.println("hé");'}

BUSY = {
    "python": "import time\ntime.sleep(60)", "javascript": "while (true) {}", "bash": "while :; do :; done", "java": "while (true) { }"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parents():
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    found[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    return found


def descendants(pid):
    known, found = parents(), {pid}
    while True:
        more = {child for child, parent in known.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


def until(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Run:
    """What came of one."""

    def __init__(self, events):
        self.events = events
        self.stdout, self.stderr = self.said("stdout"), self.said("stderr")
        self.error = next((event for event in events if event["type"] == "error"), None)
        self.results = [event for event in events if event["type"] == "result"]
        self.text = next((event["text"] for event in self.results if event["is_main_result"]), None)

    def said(self, kind):
        return "".join(event["text"] for event in self.events if event["type"] == kind)


class Asked(http.client.HTTPConnection):
    """A run whose answer is read when it is wanted."""

    answer, first = None, ""

    def until_begun(self, sign="number_of_executions"):
        """The first such event says that its code is run."""
        self.answer = self.getresponse()
        while sign not in self.first:
            line = self.answer.readline().decode()
            if not line:
                raise AssertionError(f"it has ended without {sign}: {self.first}")
            self.first += line
        return self


@functools.cache
def classes():
    """Those of Java's kernel, compiled."""
    folder = tempfile.mkdtemp(prefix="forkd-interpreter-classes-")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    subprocess.run(
        ["javac", "-nowarn", "-d", folder, os.path.join(SOURCE, "JavaKernel.java")], check=True, stderr=subprocess.DEVNULL,
        timeout=LIMIT_SECONDS, env={**os.environ, "PATH": path()})
    return folder


@functools.cache
def server_of_all():
    """A start takes seconds, and the first run in each language as well."""
    server = Server()
    unittest.addModuleCleanup(server.close)
    return server


def path():
    return (os.path.join(os.environ["JAVA_HOME"], "bin") + ":" if "JAVA_HOME" in os.environ else "") + os.environ["PATH"]


class Server:
    def __init__(self, keep=False):
        self.folder = tempfile.mkdtemp(prefix="forkd-interpreter-test-")
        self.home = os.path.join(self.folder, "home")
        os.mkdir(self.home)
        code = os.path.join(self.folder, "code")
        shutil.copytree(SOURCE, code)
        shutil.copytree(classes(), os.path.join(code, "classes"))
        os.mkdir(os.path.join(self.folder, "bin"))
        self.port = free_port()
        self.log = open(os.path.join(self.folder, "log"), "w+b")
        command = [sys.executable, os.path.join(code, "server.py")]
        if keep:
            command = ["/bin/sh", os.path.join(code, "keep"), *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True, env={
                **os.environ, "PATH": f"{self.folder}/bin:{path()}", "HOME": self.home, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": self.folder,
                "FORKD_INTERPRETER_PORT": str(self.port), "FORKD_INTERPRETER_WARM": "python",
                "FORKD_INTERPRETER_GROUP_SECONDS": str(GROUP_SECONDS), "FORKD_INTERPRETER_KILL_SECONDS": str(KILL_SECONDS),
                "FORKD_INTERPRETER_LINE_BYTES_MAX": str(LINE_BYTES_MAX)})
        try:
            until("it is ready", self.ready, LIMIT_SECONDS)
        except AssertionError:
            self.close()
            raise

    def ready(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            raise AssertionError(self.log.read().decode())
        try:
            return self.ask("GET", "/health")[0] == 200
        except OSError:
            return False

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def begin(self, code, headers=None, **wish):
        """A run whose answer is not read yet."""
        connection = Asked("127.0.0.1", self.port, timeout=LIMIT_SECONDS)
        connection.request("POST", "/execute", json.dumps({"code": code, **wish}), headers or {})
        return connection

    def finish(self, connection):
        try:
            answer = connection.answer or connection.getresponse()
            text, end = bytearray(connection.first.encode()), time.monotonic() + RUN_SECONDS
            while piece := answer.read1():
                text += piece
                if time.monotonic() > end:
                    raise AssertionError(f"it has not ended after {RUN_SECONDS} s: {text[-200:]}")
        finally:
            connection.close()
        if answer.status != 200:
            raise AssertionError(f"{answer.status}: {text.decode()}")
        events = [json.loads(line) for line in text.splitlines()]
        if events[-1]["type"] != "end_of_execution":
            raise AssertionError(f"it was cut off after {events[-3:]}")
        return Run(events)

    def run(self, code, headers=None, **wish):
        return self.finish(self.begin(code, headers, **wish))

    def give_up(self, code, after=0.2, sign="number_of_executions", **wish):
        """What a client does whose time is over, so long after the code has begun."""
        connection = self.begin(code, **wish).until_begun(sign)
        time.sleep(after)
        self.leave(connection)

    @staticmethod
    def leave(connection):
        connection.sock.shutdown(socket.SHUT_RDWR)
        if connection.answer is not None:
            connection.answer.close()
        connection.close()

    def kernels(self, language):
        """The processes of all of them, and what they have started."""
        found = set()
        for pid in descendants(self.process.pid):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                if KERNELS[language].encode() in file.read():
                    found |= {pid} | descendants(pid)
        return found

    def context(self, language="python"):
        return json.loads(self.ask("POST", "/contexts", {"language": language})[1])["id"]

    @contextlib.contextmanager
    def held(self, command):
        """What is started from that command waits until this is over."""
        real, file = shutil.which(command, path=path()), os.path.join(self.folder, "bin", command)
        with open(file + ".new", "w", encoding="utf-8") as out:
            out.write(f'#!/bin/sh\n: > "{self.folder}/held"\nwhile [ -e "{file}" ]; do sleep 0.02; done\nexec "{real}" "$@"\n')
        os.chmod(file + ".new", 0o755)
        os.rename(file + ".new", file)
        try:
            yield
        finally:
            os.unlink(file)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, "held"))

    def until_held(self):
        until("something is started and waits", lambda: os.path.exists(os.path.join(self.folder, "held")))

    def close(self):
        family = descendants(self.process.pid) | {self.process.pid}
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(LIMIT_SECONDS)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Interpreter(unittest.TestCase):
    """One server for all: what a test leaves behind must not matter to the next."""

    @classmethod
    def setUpClass(cls):
        cls.server = server_of_all()

    def each_at_once(self, work, languages=LANGUAGES, workers=len(LANGUAGES)):
        """Kernels of different languages do not wait for each other, so neither do their tests, which mostly wait."""
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            done = {language: pool.submit(work, language) for language in languages}
        for language, future in done.items():
            with self.subTest(language):
                future.result()

    def run_code(self, code, **wish):
        return self.server.run(code, **wish)

    def forget_default(self, language):
        """The next run without a context has to start a kernel."""
        for context in json.loads(self.server.ask("GET", "/contexts")[1]):
            if context["language"] == language:
                self.assertEqual(self.server.ask("DELETE", f"/contexts/{context['id']}")[0], 200)

    def answers(self, language):
        """Two and two is four, not what the run before it was."""
        for a in (2, 3):
            code = f"echo $(({a} + {a}))" if language == "bash" else f"{a} + {a}"
            run = self.run_code(code, language=language)
            self.assertEqual((run.text or run.stdout.strip(), run.error), (str(2 * a), None))


class Output(Interpreter):
    def test_printed_text_has_a_time_in_every_language(self):
        """Python's client looks for it in each event; the text comes whole."""
        for language in LANGUAGES:
            with self.subTest(language):
                run = self.run_code(PRINT[language], language=language)
                self.assertEqual((run.stdout, run.error), ("hé\n", None))
                for event in run.events:
                    if event["type"] == "stdout":
                        self.assertAlmostEqual(event["timestamp"] / 1e6, time.time(), delta=60)

    def test_a_line_is_told_as_one(self):
        """Though Python writes its end by itself; a beginning without an end is told as well, soon. So a busy machine may part them."""
        for language in LANGUAGES:
            whole = 0
            for _ in range(10):
                run = self.run_code(PRINT[language], language=language)
                told = [event["text"] for event in run.events if event["type"] == "stdout"]
                self.assertEqual("".join(told), "hé\n")
                whole += told == ["hé\n"]
            self.assertGreaterEqual(whole, 5, language)
        connection = self.server.begin("import time\nprint('beginning', end='')\ntime.sleep(3)\nprint('end')")
        began, answer = time.monotonic(), connection.getresponse()
        while "beginning" not in (line := answer.readline().decode()):
            self.assertNotIn("end_of_execution", line)
        self.assertLess(time.monotonic() - began, 2)
        connection.close()

    def test_statuses_of_bash(self):
        """A command that fails, a shell that ends, and one that goes on."""
        errors = [self.run_code(code, language="bash").error for code in ("false", "true", "(exit 7)", "exit 3", "true")]
        self.assertEqual(
            [error and (error["name"], error["value"]) for error in errors],
            [("ExitStatus", "1"), None, ("ExitStatus", "7"), ("ShellExit", "the shell has ended with status 3"), None])

    def test_a_sandboxs_environment_outlives_a_bash(self):
        """One that ends is replaced by one that has it as well."""
        header = {"X-Sandbox-Env": base64.b64encode(b'{"OF_THE_SANDBOX": "all"}').decode()}
        told = [self.run_code(code, language="bash", headers=header).stdout for code in ("echo $OF_THE_SANDBOX", "exit 3", "echo $OF_THE_SANDBOX")]
        self.assertEqual(told, ["all\n", "", "all\n"])
        self.run_code("unset OF_THE_SANDBOX", language="bash", headers={"X-Sandbox-Env": base64.b64encode(b"{}").decode()})

    def test_what_children_print_is_the_runs_output(self):
        """They inherit the descriptors: it comes in order, and the next runs get their own results."""
        codes = {
            "javascript": (
                "console.log('a'); require('child_process').spawnSync('sh', ['-c', 'echo out; echo err >&2; cat'], {stdio: 'inherit'});"
                " console.log('z')"),
            "java": (
                'System.out.println("a");\nnew ProcessBuilder("sh", "-c", "echo out; echo err >&2; cat").inheritIO().start().waitFor();\n'
                'System.out.println("z");'),
            "python": (
                "import subprocess\nprint('a')\n_ = subprocess.run(['sh', '-c', 'echo out; echo err >&2; cat'])\nprint('z')"),
            "bash": "echo a; sh -c 'echo out; echo err >&2; cat'; echo z",
        }
        for language, code in codes.items():
            with self.subTest(language):
                run = self.run_code(code, language=language)
                self.assertEqual((run.stdout, run.stderr, run.error), ("a\nout\nz\n", "err\n", None))
                self.answers(language)

    def test_half_of_a_surrogate_pair(self):
        """Has no UTF-8; wherever it stands, the run has its result or error and its end, and no kernel is lost."""
        self.run_code("kept = 1")
        self.run_code("kept=1", language="bash")
        half = "\ud83d"
        self.assertEqual(self.run_code("'😀'[0]", language="javascript").text, half)
        self.assertEqual(self.run_code('"😀".substring(0, 1)', language="java").text, half)
        self.assertEqual(self.run_code(f"'{half}'", language="javascript").text, half)
        self.assertEqual(self.run_code("'\\ud83d'").text, "\\ud83d")
        self.assertEqual(self.run_code("from IPython.display import display, HTML\ndisplay(HTML('\\ud83d'))").results[0]["html"], half)
        self.assertEqual(self.run_code("raise ValueError('\\ud83d')").error["value"], half)
        self.assertIsNotNone(self.run_code(f"'{half}'").error)
        self.assertEqual(self.run_code(f"echo '{half}'", language="bash").stdout, "?\n")
        self.assertEqual((self.run_code("kept").text, self.run_code("echo $kept", language="bash").stdout), ("1", "1\n"))
        self.assertEqual(self.server.ask("POST", "/contexts", {"language": half})[0], 400)

    def test_a_python_kernel_that_cannot_answer(self):
        """Its runs end all the same, say so, and lose nothing."""
        context = self.server.context()
        code = "kept, kernel = 1, get_ipython().kernel\nkernel.finish_metadata = lambda *_: 1 / 0"
        self.assertEqual(self.run_code(code, context_id=context).error["name"], "NoAnswer")
        self.assertEqual(self.run_code("1 / 0", context_id=context).error["name"], "ZeroDivisionError")
        run = self.run_code("del kernel.finish_metadata\nkept", context_id=context)
        self.assertEqual((run.text, run.error), ("1", None))
        self.server.ask("DELETE", f"/contexts/{context}")

    def test_an_environment_that_no_process_can_have(self):
        """It is refused: a Python kernel would end of it."""
        for env in ({"A=B": "c"}, {"": "c"}, {"A": "b\0c"}, {"A\0": "c"}, {"A": "\ud83d"}, {"A": 1}, ["A"]):
            with self.subTest(env):
                self.assertEqual(self.server.ask("POST", "/execute", {"code": "1", "env_vars": env})[0], 400)

    def test_commands_in_python(self):
        """Those of IPython, and those of the C library."""
        self.assertEqual(self.run_code("!echo out").stdout.strip(), "out")
        self.assertEqual(self.run_code("import os\n_ = os.system('echo out; echo err >&2')").stdout, "out\n")
        self.assertEqual(self.run_code("x = !echo out\nx[0]").text, "out")

    def test_a_child_that_makes_its_output_non_blocking(self):
        """Node does so, and the descriptor is shared: what is printed afterwards is whole all the same."""
        for language, code in (
                ("python", "import subprocess\n_ = subprocess.run(['node', '-e', 'process.stdout.write(\"x\")'])\nprint('y' * 500_000)"),
                ("javascript", "require('child_process').spawnSync('node', ['-e', 'process.stdout.write(\"x\")'], {stdio: 'inherit'});"
                               " console.log('y'.repeat(500_000))")):
            with self.subTest(language):
                self.assertEqual(self.run_code(code, language=language).stdout, "x" + "y" * 500_000 + "\n")

    def test_much_output_is_whole(self):
        """20 MiB and more, as many lines, as one, and as results."""
        line = "0123456789abcdef" * 64
        codes = {
            "python": f"for _ in range(20 << 10): print('{line}')", "javascript": f"for (let i = 0; i < 20 << 10; i++) console.log('{line}')",
            "bash": f"for ((i = 0; i < 20 << 10; i++)); do echo {line}; done",
            "java": f'for (int i = 0; i < 20 << 10; i++) System.out.println("{line}");'}
        wanted = hashlib.sha256(f"{line}\n".encode() * (20 << 10)).hexdigest()

        def work(language):
            run = self.run_code(codes[language], language=language)
            self.assertEqual((hashlib.sha256(run.stdout.encode()).hexdigest(), run.error), (wanted, None))

        self.each_at_once(work)
        self.assertEqual(len(self.run_code("import sys\n_ = sys.stdout.write('é' * (10 << 20))").stdout), 10 << 20)
        shown = self.run_code("from IPython.display import display, HTML\nfor i in range(3000): display(HTML(str(i)))")
        self.assertEqual([result["html"] for result in shown.results], [str(i) for i in range(3000)])

    def test_a_client_that_does_not_read(self):
        """The server does not keep for it what it prints without end, and others are served meanwhile."""
        def resident_kib():
            with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

        self.answers("javascript")
        codes = ("while True: print('x' * 10_000)", "from IPython.display import display, HTML\nwhile True: display(HTML('x' * 10_000))")
        contexts = [self.server.context() for _ in codes]
        before = resident_kib()
        connections = [self.server.begin(code, context_id=context) for code, context in zip(codes, contexts)]
        time.sleep(3)
        self.answers("javascript")
        self.assertLess(resident_kib() - before, 40 << 10)
        for connection, context in zip(connections, contexts):
            connection.close()
            self.assertEqual(self.run_code("1 + 1", context_id=context).text, "2")
            self.server.ask("DELETE", f"/contexts/{context}")

    def test_what_is_printed_after_a_run_is_not_the_next_ones(self):
        """Nor does whoever prints it have to wait for a run."""
        self.run_code("setTimeout(() => { console.log('late'); display('late') }, 200)", language="javascript")
        self.run_code("(sleep 0.2; seq 100000; touch ~/printed) &", language="bash")
        until("the background process has printed it all", lambda: os.path.exists(os.path.join(self.server.home, "printed")))
        run = self.run_code("'mine'", language="javascript")
        self.assertEqual((run.stdout, [result["text"] for result in run.results]), ("", ["mine"]))
        self.assertEqual(self.run_code("echo mine", language="bash").stdout, "mine\n")

    def test_a_large_environment(self):
        """The daemon sends it with each run; it may have 128K characters, which base64 makes more of."""
        wanted = {f"NAME{i}": "é" * 1000 for i in range(128)}
        header = base64.b64encode(json.dumps(wanted).encode()).decode()
        for language, code in (("python", "import os\nlen(os.environ['NAME127'])"), ("javascript", "process.env.NAME127.length"),
                               ("bash", "echo ${#NAME127}"), ("java", 'System.getProperty("NAME127").length()')):
            with self.subTest(language):
                run = self.run_code(code, language=language, headers={"X-Sandbox-Env": header})
                self.assertEqual((run.text or run.stdout.strip(), run.error), ("1000", None))
        self.run_code("1", headers={"X-Sandbox-Env": base64.b64encode(b"{}").decode()})


class Protocol(Interpreter):
    def test_code_that_writes_into_the_protocol(self):
        """Its kernel is replaced, it is told so, and the run after it as well."""
        context = self.server.context("javascript")
        code = (
            "var fs = require('fs'); var link = (fd) => { try { return fs.readlinkSync(`/proc/self/fd/${fd}`) } catch { return '' } };"
            " for (const fd of fs.readdirSync('/proc/self/fd')) { if (link(fd).startsWith('pipe:') && link(fd) !== link(1) && link(fd) !== link(2)"
            " && (parseInt(/flags:\\s+(\\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`))[1], 8) & 3) === 1) fs.writeSync(Number(fd), 'rubbish\\n') }")
        before = descendants(self.server.process.pid)
        run = self.run_code(code, context_id=context)
        self.assertEqual(run.error["name"], "KernelReplaced")
        self.assertIn("forkd's own descriptor", run.error["value"])
        after = self.run_code("6 * 7", context_id=context)
        self.assertEqual((after.text, after.error), ("42", None))
        self.assertIn("what it held is lost", after.stderr)
        self.assertEqual(self.run_code("7 * 7", context_id=context).stderr, "")
        until("as many kernels as before", lambda: len(descendants(self.server.process.pid)) == len(before))

    def test_a_result_beyond_all_bounds(self):
        """It is refused, not mistaken for something else."""
        run = self.run_code(f"'x'.repeat({2 * LINE_BYTES_MAX})", language="javascript")
        self.assertEqual(run.error["name"], "KernelReplaced")
        self.assertEqual(self.run_code("6 * 7", language="javascript").text, "42")
        self.answers("javascript")


class Interrupts(Interpreter):
    def after(self, code, then, wanted, language, seconds, **wish):
        """Gives up one run; the next is answered in time."""
        self.server.give_up(code, language=language, **wish)
        began = time.monotonic()
        run = self.run_code(then, language=language)
        self.assertEqual((run.text or run.stdout.strip(), run.error), (wanted, None))
        self.assertLess(time.monotonic() - began, seconds)
        return run

    def leaves_while_a_kernel_starts(self, then=lambda: None, **wish):
        """What its client wanted is not run, and the next one does not wait for it."""
        file = os.path.join(self.server.home, "has-run")
        with self.server.held("setpriv"):
            connection = self.server.begin(f"require('fs').writeFileSync('{file}', ''); while (true) {{}}", **wish)
            then()
            self.server.until_held()
            self.server.leave(connection)
            time.sleep(0.2)
        self.assertEqual(self.run_code("6 * 7", **wish).text, "42")
        self.assertFalse(os.path.exists(file))

    def test_a_client_that_leaves_before_its_code_is_run(self):
        """While there is no kernel yet, while one is started instead of one that died, and after a restart."""
        self.forget_default("javascript")
        self.leaves_while_a_kernel_starts(language="javascript")
        context = self.server.context("javascript")
        os.kill(int(self.run_code("process.pid", context_id=context).text), signal.SIGKILL)
        time.sleep(0.2)
        self.leaves_while_a_kernel_starts(context_id=context)
        busy = self.server.begin(BUSY["javascript"], context_id=context).until_begun()
        restart = threading.Thread(target=self.server.ask, args=("POST", f"/contexts/{context}/restart"), daemon=True)

        def then():
            time.sleep(0.2)
            restart.start()

        self.leaves_while_a_kernel_starts(then, context_id=context)
        self.assertEqual(self.server.finish(busy).error["name"], "KernelStopped")
        restart.join(LIMIT_SECONDS)
        self.server.ask("DELETE", f"/contexts/{context}")

    def test_a_rehearsal_is_given_up_as_well(self):
        """It may come from a client, and would block its context as a run does."""
        for language, code in BUSY.items():
            with self.subTest(language):
                self.server.give_up(code, language=language, warm=True)
                self.answers(language)

    def test_a_runs_environment_ends_with_it_in_bash(self):
        """However the run is left; what was there before is there again."""
        self.run_code("export BEFORE=old; unset SECRET", language="bash")
        env, show = {"SECRET": "s1", "BEFORE": "new"}, "echo ${SECRET-}; echo $BEFORE; env | grep -c '^SECRET=' || :"
        for code in ("continue", "f() { return 3; }; f", "set -u; eval 'echo \"'", "set +u"):
            with self.subTest(code):
                self.run_code(code, language="bash", env_vars=env)
                self.assertEqual(self.run_code(show, language="bash").stdout, "\nold\n0\n")
        self.assertEqual(self.run_code(show, language="bash", env_vars=env).stdout, "s1\nnew\n1\n")
        self.assertEqual(self.run_code("(exit 7)", language="bash", env_vars=env).error["value"], "7")
        self.after("while :; do :; done", show, "old\n0", "bash", 8, env_vars=env)

    def test_what_interrupted_javascript_has_left(self):
        """Prints nothing into the runs that follow, and does not go on with its timers."""
        sleep = "var sleep = (ms) => new Promise((done) => setTimeout(done, ms));"
        self.run_code(f"var kept = 1; var turns = 0; {sleep}", language="javascript")
        for code in (
                "for (;;) { await sleep(20); console.log('LEAK') }",
                "for (;;) { try { await sleep(20); turns++ } catch {} }",
                "for (;;) { try { await require('timers/promises').setTimeout(20); turns++; process.stdout.write('LEAK') } catch {} }",
                "import { setTimeout as nap } from 'timers/promises'\nfor (;;) { await nap(20); turns++ }",
                "for (;;) { await require('fs').promises.stat('/'); console.error('LEAK'); await 1 }",
                "setInterval(() => { turns++; console.log('LEAK') }, 20); while (true) {}",
                "setInterval(() => display('LEAK'), 20); await new Promise(() => {})",
                "require('child_process').exec('sleep 1', () => { console.log('LEAK') }); await new Promise(() => {})"):
            with self.subTest(code):
                self.server.give_up(code, after=0.1, language="javascript")
                before = self.run_code("turns", language="javascript").text
                run = self.run_code("await sleep(100); [turns, kept].join()", language="javascript")
                self.assertEqual((run.stdout, run.stderr, run.error, run.text, len(run.results)), ("", "", None, f"{before},1", 1))
        run = self.run_code("await sleep(500); kept", language="javascript")
        self.assertEqual((run.stdout, run.stderr, run.text), ("", "", "1"))
        run = self.run_code(
            "setTimeout((x) => console.log(x), 20, 'later'); await require('util').promisify(setTimeout)(100, 'soon')", language="javascript")
        self.assertEqual((run.stdout, run.text), ("later\n", "soon"))

    def test_java_that_is_interrupted_while_it_is_compiled(self):
        """Is not begun: here it takes a second to find out what is in the list."""
        file, lists = os.path.join(self.server.home, "java-has-run"), ", ".join(["List.of(1, 2L, 3.0, List.of(4))"] * 60)
        self.answers("java")
        self.server.give_up(f'{{ new FileOutputStream("{file}").close(); var x = List.of({lists}); while (true) {{ }} }}', after=0.3, language="java")
        self.answers("java")
        self.assertFalse(os.path.exists(file))

    def test_what_can_be_interrupted_keeps_its_state(self):
        """At once, or when all it has started is interrupted."""
        keep = {"python": "kept = 1", "javascript": "var kept = 1", "bash": "kept=1", "java": "int kept = 1;"}
        codes = {
            "bash": (
                "while :; do :; done; kept=2", "for i in 1 2 3; do sleep 5; done; kept=2", "sleep 100 | cat; kept=2",
                "f() { while :; do :; done; kept=2; }; g() { f; kept=2; }; g; kept=2", "set -u; x=$(while :; do :; done); kept=2"),
            "javascript": ("require('child_process').execSync('sleep 20'); kept = 2", "while (true) {}", "await new Promise(() => {})"),
            "java": ("while (true) { }", "Thread.sleep(60_000);\nkept = 2;"),
            "python": ("while True: pass", "import time\ntime.sleep(60)", "import subprocess\nsubprocess.run(['sleep', '60'])", "!sleep 60")}

        def work(language):
            self.run_code(keep[language], language=language)
            for code in codes[language]:
                run = self.after(code, "echo $kept" if language == "bash" else "kept", "1", language, 8)
                self.assertEqual(run.stderr, "", code)

        self.each_at_once(work, codes, workers=2)

    def test_what_cannot_be_interrupted_is_replaced(self):
        """The context is free again, and says that what it held is lost."""
        codes = {
            "python": ("import signal\n_ = signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('on')\nwhile True: pass",),
            "bash": ("trap '' INT; echo on; while :; do :; done",),
            "javascript": (
                "await null; console.log('on'); while (true) {}", "process.on('SIGINT', () => {}); await null; console.log('on'); while (true) {}"),
            "java": ('sun.misc.Signal.handle(new sun.misc.Signal("INT"), signal -> {});\nSystem.out.println("on");\nwhile (true) { }',)}

        def work(language):
            then, wanted = ("echo 42", "42") if language == "bash" else ("6 * 7", "42")
            for code in codes[language]:
                self.run_code(then, language=language)
                before = len(self.server.kernels(language))
                run = self.after(code, then, wanted, language, KILL_SECONDS + 15, sign="stdout")
                self.assertIn("what it held is lost", run.stderr, code)
                self.answers(language)
                until("no kernel is left over", lambda: len(self.server.kernels(language)) <= before)

        self.each_at_once(work)


class ContextTest(Interpreter):
    def busy_and_waiting(self, language, context):
        runs = [self.server.begin(BUSY[language], context_id=context).until_begun(), self.server.begin(PRINT[language], context_id=context)]
        time.sleep(0.5)
        return runs

    def test_a_kernel_that_starts_keeps_nobody_else_waiting(self):
        """Though it takes long. Two that wait for it get one and the same."""
        self.answers("bash")
        self.forget_default("javascript")
        with self.server.held("setpriv"):
            slow = [self.server.begin("globalThis.x = (globalThis.x ?? 0) + 1", language="javascript") for _ in range(2)]
            self.server.until_held()
            self.answers("bash")
            self.answers("python")
        self.assertEqual(sorted(self.server.finish(run).text for run in slow), ["1", "2"])

    def test_what_is_no_name_or_folder_is_refused(self):
        """Not looked for, and no number is taken for a descriptor."""
        for wish in ({"cwd": 0}, {"cwd": 1}, {"cwd": ["/"]}, {"cwd": "/nowhere"}, {"cwd": "/a\0b"}, {"language": 1}):
            with self.subTest(wish):
                self.assertEqual(self.server.ask("POST", "/contexts", wish)[0], 400)
        for wish in ({"context_id": []}, {"context_id": 1}):
            with self.subTest(wish):
                self.assertEqual(self.server.ask("POST", "/execute", {"code": "1", **wish})[0], 400)

    def test_busy_contexts_are_restarted_and_removed_without_a_trace(self):
        """No kernel goes on, or is started for nobody; who waits hears of it."""
        def work(language):
            self.run_code(PRINT[language], language=language)
            before = self.server.kernels(language)
            context = self.server.context(language)
            one = len(self.server.kernels(language))
            runs = self.busy_and_waiting(language, context)
            self.assertEqual(self.server.ask("POST", f"/contexts/{context}/restart")[0], 200)
            self.assertEqual(self.server.finish(runs[0]).error["name"], "KernelStopped")
            self.assertEqual(self.server.finish(runs[1]).stdout, "hé\n")
            self.assertEqual(self.run_code(PRINT[language], context_id=context).stdout, "hé\n")
            until("one kernel", lambda: len(self.server.kernels(language)) == one)
            runs = self.busy_and_waiting(language, context)
            self.assertEqual(self.server.ask("DELETE", f"/contexts/{context}")[0], 200)
            for run in runs:
                self.assertEqual(self.server.finish(run).error["name"], "KernelStopped")
            time.sleep(1)
            until("none", lambda: self.server.kernels(language) == before)

        self.each_at_once(work)


class Kept(unittest.TestCase):
    def test_a_server_that_is_killed_is_started_again(self):
        """By the code that it runs; kernels of the old one do not live on."""
        server = Server(keep=True)
        self.addCleanup(server.close)
        busy = server.begin("while (true) {}", language="javascript").until_begun()
        old = descendants(server.process.pid)
        for language, code in (("python", "import os, signal\nos.kill({}, signal.SIGKILL)"), ("bash", "kill -KILL {}")):
            connection = server.begin(code.format(self.main(server)), language=language)
            with self.assertRaises((AssertionError, OSError, http.client.HTTPException)):
                server.finish(connection)
            until("it is there again", server.ready, LIMIT_SECONDS)
            self.assertEqual(server.run("echo 42", language="bash").stdout, "42\n")
        self.assertEqual(server.run("6 * 7").text, "42")
        busy.close()
        until("the old ones have ended", lambda: not [pid for pid in old if pid in parents()])

    @staticmethod
    def main(server):
        """The server is the one child of what keeps it."""
        return next(child for child, parent in parents().items() if parent == server.process.pid)


class Charts(Interpreter):
    def chart(self, code):
        run = self.run_code("import matplotlib.pyplot as plt\n" + code + "\nplt.show()")
        self.assertIsNone(run.error)
        self.assertTrue(run.results[0]["png"])
        return run.results[0]["chart"]

    def test_scatter(self):
        """A series for each call, its points, the axes."""
        chart = self.chart("plt.scatter([1, 2], [3, 4], label='a')\nplt.scatter([5], [6], label='b')\nplt.xlabel('t (s)')\nplt.title('T')")
        self.assertEqual((chart["type"], chart["title"], chart["x_unit"]), ("scatter", "T", "s"))
        self.assertEqual(chart["elements"], [{"label": "a", "points": [[1, 3], [2, 4]]}, {"label": "b", "points": [[5, 6]]}])

    def test_pie(self):
        """A wedge each, with its angle."""
        chart = self.chart("plt.pie([1, 3], labels=['one', 'three'], autopct='%1.0f%%')")
        self.assertEqual(chart["type"], "pie")
        self.assertEqual([(wedge["label"], round(wedge["angle"]), wedge["radius"]) for wedge in chart["elements"]], [("one", 90, 1), ("three", 270, 1)])

    def test_box(self):
        """Quartiles, ends of the whiskers, outliers."""
        chart = self.chart("plt.boxplot([[1, 2, 3, 4, 5, 50], [2, 4, 6]], labels=['a', 'b'])")
        self.assertEqual(chart["type"], "box_and_whisker")
        self.assertEqual(chart["elements"], [
            {"label": "a", "min": 1, "first_quartile": 2.25, "median": 3.5, "third_quartile": 4.75, "max": 5, "outliers": [50]},
            {"label": "b", "min": 2, "first_quartile": 3, "median": 4, "third_quartile": 5, "max": 6, "outliers": []}])

    def test_superchart(self):
        """One of several, each with its kind."""
        chart = self.chart("figure, (a, b) = plt.subplots(1, 2)\n_ = a.plot([1, 2])\n_ = b.bar(['x'], [3])\n_ = figure.suptitle('both')")
        self.assertEqual((chart["type"], chart["title"], [one["type"] for one in chart["elements"]]), ("superchart", "both", ["line", "bar"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
