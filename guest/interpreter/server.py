"""The code interpreter's server inside a guest: HTTP on port 49999, as E2B's clients know it.

Started once, in the template; forks go on with its warm kernels. Nothing here wakes up while nothing is asked: a guest whose
services only wait is stopped.
"""

import asyncio
import base64
import gc
import json
import os
import signal

import tornado.httpserver
import tornado.ioloop
import tornado.iostream
import tornado.web

from contexts import Contexts, Refused
from kernels import in_background
from languages import Kernels

PORT = 49999
KEEPALIVE_SECONDS = 5
BODY_BYTES_MAX = 64 << 20
HEADER_BYTES_MAX = 2 << 20  # The environment of a sandbox comes in one, in base64.
STUCK_SECONDS = float(os.environ.get("FORKD_INTERPRETER_STUCK_SECONDS", "300"))


def is_environment(env):
    """Whether a process can have it."""
    try:
        return isinstance(env, dict) and all(
            name and "=" not in name and b"\0" not in (name + value).encode() for name, value in env.items())
    except (TypeError, UnicodeEncodeError):
        return False


def line(event):
    try:
        return (json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # One half of a surrogate pair has no UTF-8, as '😀'[0] is in JavaScript.
        return (json.dumps(event, separators=(",", ":")) + "\n").encode()


class Handler(tornado.web.RequestHandler):
    contexts = None

    def message(self):
        try:
            body = json.loads(self.request.body or b"{}")
        except ValueError as e:
            raise Refused(400, f"the body is not JSON: {e}") from e
        if not isinstance(body, dict):
            raise Refused(400, "the body is not a JSON object")
        return body

    def environment(self):
        """What every run has, as the daemon says it."""
        header = self.request.headers.get("X-Sandbox-Env")
        return json.loads(base64.b64decode(header)) if header else {}

    def write_error(self, status_code, **kwargs):
        failure = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(failure, Refused):
            self.set_status(failure.status)
            self.finish(str(failure).encode(errors="backslashreplace"))
        else:
            self.finish(f"{type(failure).__name__}: {failure}" if failure else "")

    def log_exception(self, kind, value, trace):
        if not isinstance(value, Refused):
            super().log_exception(kind, value, trace)


class Health(Handler):
    """Says so once all that is to be warm is."""

    ready = False

    def get(self):
        if not self.ready:
            raise Refused(503, "it is still warming up")
        self.finish("OK")


class Execute(Handler):
    """Runs code and tells what happens as it happens, a line of JSON for each event."""

    async def post(self):
        ask = self.message()
        code = ask.get("code")
        if not isinstance(code, str):
            raise Refused(400, "code is missing")
        env = ask.get("env_vars") or {}
        if not is_environment(env):
            raise Refused(400, "env_vars must be an object of strings that a process's environment can have")
        context = await self.contexts.find(ask.get("context_id"), ask.get("language"))
        if self.gone:
            return
        self.set_header("Content-Type", "application/x-ndjson")
        self.running = context.begin()
        signs = tornado.ioloop.PeriodicCallback(self.keep_alive, KEEPALIVE_SECONDS * 1000)
        signs.start()
        try:
            if ask.get("warm"):
                await context.run(self.running, code, {}, None, self.tell, counted=False)
            else:
                await context.run(self.running, code, env, self.environment(), self.tell)
        finally:
            signs.stop()
        await self.tell({"type": "end_of_execution"})

    async def keep_alive(self):
        if self.sending is None:
            await self.tell({"type": "keepalive"})

    async def tell(self, event):
        """No faster than the client takes it: what it has not taken would be kept in memory."""
        if self.running.given_up:
            return
        self.write(line(event))
        self.sending = sent = self.flush()
        try:
            if sent.done():
                sent.result()  # Fails if there is nobody any more.
            else:
                await asyncio.wait_for(sent, STUCK_SECONDS)
        except (asyncio.TimeoutError, tornado.iostream.StreamClosedError):
            self.running.give_up()
        finally:
            self.sending = None

    def on_connection_close(self):
        """Nobody waits for it any more: the next one must not have to wait for it either."""
        self.gone = True
        if self.running is not None:
            self.running.give_up()

    running = sending = None
    gone = False


class ContextList(Handler):
    def get(self):
        self.finish_json([context.view() for context in self.contexts.all()])

    async def post(self):
        ask = self.message()
        context = await self.contexts.create(ask.get("language") or "python", ask.get("cwd"))
        self.finish_json(context.view())

    def finish_json(self, answer):
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer))


class OneContext(Handler):
    async def delete(self, name):
        await self.contexts.remove(name)


class Restart(Handler):
    async def post(self, name):
        await self.contexts.restart(name)


async def rehearse(port):
    """A request as a client makes it; it leaves nothing behind."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"code": "1 + 1", "warm": True})
    writer.write(f"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
    await reader.read()
    writer.close()


def main():
    # Whoever started us may have had it ignored, which kernels would inherit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    home = os.path.dirname(os.path.abspath(__file__))
    languages = [name for name in os.environ.get("FORKD_INTERPRETER_WARM", "python,javascript").split(",") if name]
    Handler.contexts = Contexts(Kernels(home))
    server = tornado.httpserver.HTTPServer(
        tornado.web.Application(
            [
                ("/health", Health),
                ("/execute", Execute),
                ("/contexts", ContextList),
                ("/contexts/([^/]+)", OneContext),
                ("/contexts/([^/]+)/restart", Restart),
            ],
            log_function=lambda handler: None,
        ),
        max_buffer_size=BODY_BYTES_MAX,
        max_body_size=BODY_BYTES_MAX,
        max_header_size=HEADER_BYTES_MAX,
    )

    async def start():
        port = int(os.environ.get("FORKD_INTERPRETER_PORT", PORT))
        server.listen(port, address="127.0.0.1")  # Who comes early, after a reboot, waits for the language asked for only.
        for language in languages:
            await Handler.contexts.warm(language)
        for _ in range(5):
            await rehearse(port)
        gc.collect()
        gc.freeze()
        Health.ready = True

    loop = tornado.ioloop.IOLoop.current()
    loop.add_callback(lambda: in_background(start()) and None)
    loop.start()


if __name__ == "__main__":
    main()
