"""Contexts: a kernel each, and what is run in it, one after the other."""

import asyncio
import os
import uuid

HOME = os.environ.get("HOME", "/")
CONTEXTS_MAX = 100
ALIASES = {"js": "javascript", "ts": "typescript", "node": "javascript", "py": "python", "python3": "python", "sh": "bash", "shell": "bash"}


class Refused(Exception):
    """A request that cannot be met, and the status that says so."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Running:
    """One execution, from its request to its end."""

    def __init__(self, context):
        self.context = context
        self.given_up = False
        self.active = False

    def give_up(self):
        self.given_up = True
        if self.active:
            self.context.kernel.interrupt()


class Context:
    def __init__(self, name, language, cwd, kernels, kernel):
        self.name = name
        self.kernels = kernels
        self.removed = False
        self.language = language
        self.cwd = cwd
        self.kernel = kernel
        self.turn = asyncio.Lock()

    def view(self):
        return {"id": self.name, "language": self.language, "cwd": self.cwd}

    def begin(self):
        return Running(self)

    async def ready(self):
        """In its turn: starts a kernel in the place of one that has been stopped."""
        if self.kernel.stopped and not self.removed:
            self.kernel = await self.kernels.start(self.language, self.cwd)
            if self.removed:
                await self.kernel.stop()

    async def run(self, running, code, env, environment, tell, counted=True):
        """Not counted, it leaves nothing in the numbers of runs."""
        async with self.turn:
            if running.given_up:
                return
            await self.ready()
            if running.given_up:  # Meanwhile.
                return
            running.active = True
            try:
                await self.kernel.execute(code, env, environment, tell, counted)
            finally:
                running.active = False

    async def restart(self):
        await self.kernel.stop()
        async with self.turn:
            await self.ready()

    async def remove(self):
        self.removed = True
        await self.kernel.stop()


class Contexts:
    def __init__(self, kernels):
        self.kernels = kernels
        self.known = {}
        self.defaults = {}
        self.beginning = 0
        self.starting = {}

    def all(self):
        return list(self.known.values())

    @staticmethod
    def language(name):
        if not isinstance(name, str):
            raise Refused(400, "language must be a string")
        plain = name.lower()
        return ALIASES.get(plain, plain)

    async def warm(self, language):
        context = await self.default(language)
        async with context.turn:
            await context.kernel.warm()

    async def default(self, language):
        there = self.known.get(self.defaults.get(language))
        if there is not None:
            return there
        self.require_language(language)
        # One at a time for each language: two that ask for the same first one share it, and who asks for another does not wait.
        async with self.starting.setdefault(language, asyncio.Lock()):
            there = self.known.get(self.defaults.get(language))
            if there is None:
                there = await self.create(language, None)
                self.defaults[language] = there.name
            return there

    async def find(self, name, language):
        if name is not None and language is not None:
            raise Refused(400, "send context_id or language, not both")
        if name is not None:
            return self.require(name)
        return await self.default(self.language(language or "python"))

    def require(self, name):
        if not isinstance(name, str):
            raise Refused(400, "context_id must be a string")
        context = self.known.get(name)
        if context is None:
            raise Refused(404, f"Context {name} not found")
        return context

    def require_language(self, language):
        if not self.kernels.knows(language):
            raise Refused(400, f"language '{language}' is not known here; there are {', '.join(self.kernels.names())}")

    async def create(self, language, cwd):
        language = self.language(language)
        self.require_language(language)
        if cwd is not None and not isinstance(cwd, str):  # A number would be taken for a descriptor.
            raise Refused(400, "cwd must be a string")
        cwd = cwd or HOME
        if not os.path.isdir(cwd):
            raise Refused(400, f"cwd '{cwd}' does not exist")
        if len(self.known) + self.beginning >= CONTEXTS_MAX:
            raise Refused(429, f"there are {CONTEXTS_MAX} contexts already; remove some first")
        self.beginning += 1
        try:
            kernel = await self.kernels.start(language, cwd)
        finally:
            self.beginning -= 1
        context = Context(str(uuid.uuid4()), language, cwd, self.kernels, kernel)
        self.known[context.name] = context
        return context

    async def remove(self, name):
        context = self.require(name)
        del self.known[name]
        await context.remove()

    async def restart(self, name):
        await self.require(name).restart()
