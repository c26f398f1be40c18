"""The virtual user, as a transaction sees it."""

from __future__ import annotations

import logging
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from loadproof.http import HttpClient
from loadproof.runtime.context import RunContext
from loadproof.runtime.scope import Scope
from loadproof.runtime.step import Step
from loadproof.runtime.think import Think

if TYPE_CHECKING:
    import aiohttp

STEPS_KEPT = 32
"""Contexts of steps that a user keeps for the next time; a transaction with more names makes them anew."""
_logger = logging.getLogger("loadproof.user")


class VirtualUser:
    """One simulated user: connections, cookies, state, and everything it does is recorded.

    `id` is unique in the run: the number of the arrival it was made for (open model) or of the user (closed model).
    `state` is a namespace of its own, free to use. `shared` is what the suite's set-up returned; treat it as read-only.
    """

    __slots__ = ("_aiohttp", "_http", "_log", "_random", "_random_k", "_scope", "_think", "id", "started", "state")

    def __init__(self, context: RunContext, user_id: int) -> None:
        self.id = user_id
        self.state = SimpleNamespace()
        self.started = context.user_start is None
        self._scope = Scope(context)
        self._http: HttpClient | None = None
        self._aiohttp: aiohttp.ClientSession | None = None
        self._random: random.Random | None = None
        self._random_k = -1
        self._think: Think | None = None
        self._log: logging.LoggerAdapter[logging.Logger] | None = None

    @property
    def http(self) -> HttpClient:
        """The HTTP client of this user; its requests are recorded in the step they are made in."""
        client = self._http
        if client is None:
            context = self._scope.context
            client = self._http = HttpClient(
                context.engine, base_url=context.base_url, headers=context.headers, scope=self._scope
            )
        return client

    @property
    def aiohttp(self) -> aiohttp.ClientSession:
        """An `aiohttp.ClientSession` for what `http` does not do, recorded into the same series.

        `trace_request_ctx={"name": "/products/{sku}", "accept": [404]}` names the endpoint and accepts a status of 400
        or more, which otherwise fails the step.
        """
        session = self._aiohttp
        if session is None or session.closed:
            from loadproof.http.aiohttp_bridge import open_aiohttp_session  # aiohttp is slow to import

            context = self._scope.context
            session = self._aiohttp = open_aiohttp_session(
                context.engine, base_url=context.base_url, headers=context.headers, scope=self._scope
            )
        return session

    @property
    def shared(self) -> Any:
        """What the suite's set-up returned, None without one."""
        return self._scope.context.shared

    @property
    def random(self) -> random.Random:
        """A generator seeded by the run's seed and this transaction's number: the same draws on any machine."""
        scope = self._scope
        source = self._random
        if source is None:
            source = self._random = random.Random(scope.context.seed_of(scope.k))
            self._random_k = scope.k
        elif self._random_k != scope.k:
            source.seed(scope.context.seed_of(scope.k))
            self._random_k = scope.k
        return source

    @property
    def think(self) -> Think:
        """`await user.think(1.5)` waits as a person does; see `Think` for drawn waits, as `think(1, 3)`."""
        think = self._think
        if think is None:
            think = self._think = Think(self._scope, lambda: self.random)
        return think

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger; its lines reach the run's events, at most some hundred a second."""
        log = self._log
        if log is None:
            log = self._log = logging.LoggerAdapter(_logger, {"user": self.id})
        return log

    @property
    def waited(self) -> bool:
        """Whether the latest transaction has waited for an answer, and so let other users run."""
        return self._scope.waited

    def step(self, name: str) -> Step:
        """Return the context of a step: `async with user.step("Search"): ...`. Steps follow one another, never nest."""
        steps = self._scope.steps
        step = steps.get(name)
        if step is None:
            step = Step(self._scope, name)
            if len(steps) < STEPS_KEPT:
                steps[name] = step
        return step

    def check(self, name: str, ok: object, detail: str = "", *, soft: bool = False) -> None:
        """Fail the step (or, outside one, the transaction) unless `ok` is true.

        `soft=True` counts the failure and goes on. Raises CheckFailed otherwise.
        """
        if ok:
            self._scope.check_held(name)
        else:
            self._scope.check_broke(name, f"{name}: {detail}" if detail else name, soft=soft)

    def __repr__(self) -> str:
        return f"<VirtualUser {self.id}>"
