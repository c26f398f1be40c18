"""Runs each transaction of a suite once, in this process, and writes down what it did: for `loadproof try`.

The same code runs the transaction as in a worker; there is no controller, no agent and no load. Set-up runs before and
teardown after, as in a run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loadproof._suite import TransactionDefinition
from loadproof._user import VirtualUser
from loadproof.config import Project
from loadproof.http import HttpEngine, TargetPolicy
from loadproof.metrics.recorder import Recorder
from loadproof.plan.model import NS_PER_S
from loadproof.runtime.client import engine_of
from loadproof.runtime.context import RunContext
from loadproof.runtime.execute import close_user, execute
from loadproof.runtime.hooks import HookFailed, run_hook
from loadproof.runtime.redact import Redactor
from loadproof_cli.errors import InfrastructureProblem

DEFAULT_TIMEOUT_NS = 30 * NS_PER_S
BODY_SHOWN_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class RequestTried:
    """One request. `status` 0: there was no response, and `error` says why; `body` is shown of a bad one only."""

    endpoint: str
    url: str
    service_ns: int
    status: int
    size_bytes: int
    error: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class CheckTried:
    """One check; `message` says how it broke."""

    name: str
    held: bool
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What made the transaction fail, as a run would count it."""

    category: str
    message: str


@dataclass(slots=True)
class StepTried:
    """One step with what happened in it, in order. `service_ns` None: it has not ended, or is no step of the suite."""

    name: str
    service_ns: int | None = None
    ok: bool = True
    events: list[RequestTried | CheckTried | Failure] = field(default_factory=list)


@dataclass(slots=True)
class Trial:
    """One transaction, run once."""

    name: str
    row: str = ""
    ok: bool = False
    took_ns: int = 0
    steps: list[StepTried] = field(default_factory=list)


class Notebook:
    """Writes down what one transaction does (`loadproof.runtime.context.Observer`)."""

    def __init__(self, redactor: Redactor) -> None:
        self.steps: list[StepTried] = []
        self._redactor = redactor

    def request(self, step: str, endpoint: str, service_ns: int, response: Any, error: BaseException | None) -> None:
        """A request ended with a response or an error."""
        hide = self._redactor.text
        if response is None:
            tried = RequestTried(endpoint, "", service_ns, 0, 0, hide(str(error)))
        else:
            body = ""
            if response.status >= 400:
                body = self._redactor.body(response.body, response.headers.get("content-type", ""))
            shown = body[:BODY_SHOWN_CHARACTERS_MAX]
            size = len(response.body)
            tried = RequestTried(endpoint, hide(str(response.url)), service_ns, response.status, size, body=shown)
        self._in(step).events.append(tried)

    def check(self, step: str, name: str, message: str, *, held: bool) -> None:
        """A check was tried."""
        self._in(step).events.append(CheckTried(name, held, self._redactor.text(message)))

    def step(self, name: str, service_ns: int, *, ok: bool) -> None:
        """A step ended."""
        step = self._in(name)
        step.service_ns = service_ns
        step.ok = ok

    def error(self, step: str, endpoint: str, category: str, message: str) -> None:
        """A failure was counted."""
        where = self._in(step or "(no step)")
        where.ok = False
        if category != "check":
            where.events.append(Failure(category, f"{message} ({endpoint})" if endpoint else message))

    def _in(self, name: str) -> StepTried:
        if not self.steps or self.steps[-1].name != name or self.steps[-1].service_ns is not None:
            known = next((step for step in self.steps if step.name == name), None)
            if known is not None and known.service_ns is None:
                return known
            self.steps.append(StepTried(name))
        return self.steps[-1]


class Trials:
    """Tries transactions of a project, one after another, with users of their own."""

    def __init__(self, project: Project, secrets: dict[str, str]) -> None:
        self._project = project
        self._secrets = secrets
        self._redactor = Redactor(secrets)
        suite = project.suite
        self._base_url = suite.resolved_base_url(project.variables, secrets)
        self._headers = suite.resolved_headers(project.variables, secrets)
        self._tls = suite.resolved_tls(project.folder, project.variables, secrets)
        self._timeout_ns = suite.timeout_ns or DEFAULT_TIMEOUT_NS

    async def run(self, definitions: Sequence[TransactionDefinition], row: int) -> list[Trial]:
        """Run set-up, each transaction once with row number `row` (from 0) of its data, teardown.

        Raises InfrastructureProblem when set-up or teardown fails, CancelledError when it was cancelled.
        """
        environment = self._project.environment
        rate = environment.max_rate / 1_000 if environment.max_rate is not None else None
        policy = TargetPolicy(environment.targets, rate)
        async with engine_of(
            self._project.suite, self._tls, self._redactor, policy=policy, timeout_ns=self._timeout_ns
        ) as engine:
            shared = await self._hook("setup", engine)
            try:
                trials = [await self._once(engine, definition, row, shared) for definition in definitions]
            finally:
                await self._hook("teardown", engine, shared)
        return trials

    def _context(self, engine: HttpEngine, shared: Any = None) -> RunContext:
        return RunContext(
            engine=engine,
            base_url=self._base_url,
            headers=self._headers,
            shared=shared,
            user_start=self._project.suite.hooks.user_start,
            redactor=self._redactor,
            zero_ns=time.monotonic_ns(),
        )

    async def _hook(self, name: str, engine: HttpEngine, *arguments: Any) -> Any:
        hook = getattr(self._project.suite.hooks, name)
        if hook is None:
            return None
        try:
            return await run_hook(hook, self._context(engine), "try", self._project.suite.name, "(try)", *arguments)
        except HookFailed as error:
            detail = f"\n{error.detail}" if error.detail else ""
            raise InfrastructureProblem(f"{name} failed: {error.message}{detail}") from error

    async def _once(self, engine: HttpEngine, definition: TransactionDefinition, row: int, shared: Any) -> Trial:
        context = self._context(engine, shared)
        notebook = Notebook(self._redactor)
        context.observer = notebook
        rows = self._project.rows[definition.data.name].rows if definition.data is not None else []
        drawn = rows[row % len(rows)] if rows else None
        user = VirtualUser(context, 0)
        series = Recorder(0, "try").transaction(definition.name, "")
        now = context.clock()
        try:
            ok = await execute(user, definition, drawn, series, 0, now, now)
        finally:
            await close_user(user)
        _stop_if_interrupted()
        shown = self._redactor.text(repr(drawn)) if definition.takes_row else ""
        return Trial(definition.name, shown, ok, context.clock() - now, notebook.steps)


def _stop_if_interrupted() -> None:
    """A transaction takes a cancellation as its own failure, as in a run; here it means the whole command."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
