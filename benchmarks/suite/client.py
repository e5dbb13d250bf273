"""The daemon under test, started and stopped here, and a client of its REST interface on loopback."""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time


class Refused(Exception):
    """An answer other than 2xx."""

    def __init__(self, status, body):
        self.status = status
        super().__init__(f"{status}: {body.get('error', body) if isinstance(body, dict) else body}")


class Client:
    """Any number of threads; each has a connection of its own that is kept open."""

    def __init__(self, port, token):
        self.port, self.token, self.local = port, token, threading.local()

    def call(self, method, path, body=None, timeout=120):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.settimeout(timeout)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except BaseException:
            self.local.connection = None
            connection.close()
            raise
        if connection.sock is None:  # the daemon closed it
            self.local.connection = None
        value = json.loads(text) if text and "json" in (answer.getheader("Content-Type") or "") and b"\n{" not in text else text.decode()
        if answer.status >= 300:
            raise Refused(answer.status, value)
        return value

    def fork(self, tag, n=1, timeout=120, **more):
        """Ids with one child each in the answer's order."""
        return [child["id"] for child in self.call("POST", "/v1/sandboxes", {"snapshot_tag": tag, "n": n, **more}, timeout)]

    def eval(self, child, code, timeout=120):
        answer = self.call("POST", f"/v1/sandboxes/{child}/eval", {"code": code, "timeout_secs": timeout}, timeout + 10)
        if answer["error"]:
            raise RuntimeError(f"eval raised {answer['error']}")
        return answer["result"]

    def exec(self, child, *args, **more):
        return self.call("POST", f"/v1/sandboxes/{child}/exec", {"args": list(args), **more})

    def branch(self, child, **body):
        return self.call("POST", f"/v1/sandboxes/{child}/branch", body)

    def sandbox(self, child):
        return self.call("GET", f"/v1/sandboxes/{child}")

    def end(self, *children):
        for child in children:
            self.call("DELETE", f"/v1/sandboxes/{child}")

    def forget(self, *tags):
        for tag in tags:
            self.call("DELETE", f"/v1/snapshots/{tag}?force=true")

    def tags(self):
        return [snapshot["tag"] for snapshot in self.call("GET", "/v1/snapshots")]

    def template(self, tag, packages, memory_mib=512, warm=(), progress=lambda text: None):
        """Builds a template. True when it was not there before."""
        if tag in self.tags():
            return False
        body = {"tag": tag, "packages": packages, "memory_mib": memory_mib, "warm": list(warm)}
        lines = self.call("POST", "/v1/templates", body, timeout=900)
        last = json.loads(lines.strip().splitlines()[-1]) if isinstance(lines, str) else lines
        if last.get("error"):
            raise RuntimeError(f"template {tag}: {last['error']}")
        progress(f"template {tag} built")
        return True

    def template_known(self, tag):
        """Builds a template that the daemon knows how to make. True when it was not there before."""
        if tag in self.tags():
            return False
        lines = self.call("POST", "/v1/templates", {"tag": tag}, timeout=1200)
        last = json.loads(lines.strip().splitlines()[-1]) if isinstance(lines, str) else lines
        if last.get("error"):
            raise RuntimeError(f"template {tag}: {last['error']}")
        return True

    def forget_connection(self):
        """The daemon closes one that was idle for long; who comes back begins with another."""
        connection, self.local.connection = getattr(self.local, "connection", None), None
        if connection is not None:
            connection.close()

    def clear(self, tags, sandboxes):
        """Ends every sandbox and removes every snapshot but those."""
        for child in [one["id"] for one in self.call("GET", "/v1/sandboxes")]:
            if child not in sandboxes:
                with contextlib.suppress(Refused):
                    self.end(child)
        for tag in [tag for tag in self.tags() if tag not in tags]:
            with contextlib.suppress(Refused):
                self.forget(tag)


class Daemon:
    """A daemon of its own on a free port of loopback. It does not end sandboxes when it stops: they may be somebody's own."""

    def __init__(self, forkd, data, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = open(log, "w")
        self.data = pathlib.Path(data)
        self.process = subprocess.Popen(
            [forkd, "serve", f"--bind=127.0.0.1:{self.port}", f"--data-dir={data}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, "FORKD_QUIET": "1"})
        deadline = time.monotonic() + 120
        while True:
            try:
                self.client = Client(self.port, (self.data / "token").read_text().strip())
                self.client.call("GET", "/version")
                return
            except (OSError, http.client.HTTPException):
                if self.process.poll() is not None:
                    raise SystemExit(f"the daemon did not start; see {log}") from None
                if time.monotonic() > deadline:
                    self.stop()
                    raise SystemExit(f"the daemon did not answer within 120 s; see {log}") from None
                time.sleep(0.05)

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
