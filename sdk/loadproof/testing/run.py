"""`run_transaction`: what a worker does for one arrival, without a worker."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadproof._errors import UsageError
from loadproof._suite import Suite, TransactionDefinition
from loadproof._user import VirtualUser
from loadproof.metrics import Recorder
from loadproof.plan import mix64
from loadproof.runtime.client import engine_of
from loadproof.runtime.context import RunContext
from loadproof.runtime.execute import close_user, execute
from loadproof.runtime.hooks import run_hook
from loadproof.runtime.redact import Redactor
from loadproof.testing.recording import Notes, Recording
from loadproof.testing.target import FakeTarget

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_TEST_RUN = 0x7465737472756E21


async def run_transaction(
    suite: Suite,
    name: str,
    *,
    target: FakeTarget | str | None = None,
    row: Any = None,
    shared: Any = None,
    seed: int = 1,
    k: int = 0,
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
    setup: bool = False,
) -> Recording:
    """Run the suite's transaction `name` once with a new virtual user and return what was recorded.

    `target` is a `FakeTarget`, a base URL, or None for the suite's own. `row` is the dataset's row it gets; needed if
    it draws one. `shared` is what `user.shared` gives; with `setup=True` the suite's set-up hook runs and decides.
    `variables` fill `${VAR}`, by default from the environment; values of `secrets` too, and they appear nowhere.
    `user.random` is seeded by (`seed`, `k`).

    A failing transaction raises nothing: look at `Recording.ok` and `.errors`. Raises UsageError for an unknown name or
    a missing row, HookFailed when set-up fails.
    """
    definition = _definition(suite, name, row)
    secrets = secrets or {}
    variables = os.environ if variables is None else variables
    base_url = _base_url(suite, target, variables, secrets)
    recorder = Recorder(seed, "test")
    recording = Recording(name)
    tls = suite.resolved_tls(Path(suite.file).parent, variables, secrets)
    async with engine_of(suite, tls, Redactor(secrets), timeout_ns=int(timeout_s * _NS_PER_S)) as engine:
        context = RunContext(
            engine=engine,
            base_url=base_url,
            headers=suite.resolved_headers(variables, secrets),
            seed=seed,
            seed_of=lambda number: mix64(seed, number),
            shared=shared,
            user_start=suite.hooks.user_start,
            redactor=Redactor(secrets),
            zero_ns=time.monotonic_ns(),
            trace_high=_TEST_RUN,
            agent_id="test",
            count=recorder.count,
        )
        if setup and suite.hooks.setup is not None:
            context.shared = await run_hook(suite.hooks.setup, context, "test", suite.name, "test")
        context.observer = Notes(recording)
        recording.shared = context.shared
        await _execute(definition, context, recorder, recording, row, k)
    return recording


async def _execute(
    definition: TransactionDefinition,
    context: RunContext,
    recorder: Recorder,
    recording: Recording,
    row: Any,
    k: int,
) -> None:
    user = VirtualUser(context, k)
    series = recorder.transaction(recording.transaction, "test")
    now_ns = context.zero_ns = context.clock()
    series.turn(0)
    series.started += 1
    try:
        recording.ok = await execute(user, definition, row, series, k, now_ns, now_ns)
    finally:
        await close_user(user)
    recording.response_ms = (series.response_ok or series.response_failed)[0] / _NS_PER_MS
    recording.service_ms = (series.service_ok or series.service_failed)[0] / _NS_PER_MS
    recording.delta = recorder.take(0, context.clock() - context.zero_ns, {})


def _definition(suite: Suite, name: str, row: Any) -> TransactionDefinition:
    definition = suite.transactions.get(name)
    if definition is None:
        known = ", ".join(repr(one) for one in suite.transactions) or "none"
        raise UsageError(f"suite {suite.name!r} has no transaction {name!r}; it has: {known}")
    if definition.takes_row and row is None:
        raise UsageError(f"transaction {name!r} draws from a dataset; give run_transaction a row=")
    return definition


def _base_url(
    suite: Suite, target: FakeTarget | str | None, variables: Mapping[str, str], secrets: Mapping[str, str]
) -> str:
    if isinstance(target, FakeTarget):
        if not target.url:
            raise UsageError("the FakeTarget is not listening; use it inside `async with FakeTarget() as target`")
        return target.url
    return suite.resolved_base_url(variables, secrets) if target is None else target
