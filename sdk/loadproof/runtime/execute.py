"""Runs one transaction once and counts what came of it. Nothing that user code raises leaves here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from loadproof._errors import StepFailed
from loadproof._user import VirtualUser
from loadproof.metrics.recorder import TransactionSeries
from loadproof.runtime.context import USER_START
from loadproof.runtime.failures import category_of, message_of, traceback_of
from loadproof.runtime.scope import Scope

NS_PER_S = 1_000_000_000


class Runnable(Protocol):
    """The part of a transaction's definition that running needs."""

    @property
    def function(self) -> Callable[..., Awaitable[Any]]:
        """The coroutine function of the suite."""
        ...

    @property
    def takes_row(self) -> bool:
        """Whether it is called with a row of its dataset."""
        ...


async def execute(
    user: VirtualUser,
    definition: Runnable,
    row: Any,
    series: TransactionSeries,
    k: int,
    intended_ns: int,
    started_ns: int,
    *,
    closed: bool = False,
) -> bool:
    """Run `definition` as transaction number `k` and return whether it was ok.

    `intended_ns` and `started_ns` are on the context's clock. Counted here: completion, latencies, steps, requests and
    errors; not the start. A user's first transaction begins with `on_user_start`: its time is in response
    time, not in service time; when it fails, `user.started` stays False and the user is of no further use. In the
    closed model (`closed`) response time is service time.

    A cancellation (graceful stop is over) counts as a failure of category `cancelled`.
    """
    scope = user._scope
    context = scope.context
    scope.begin(series, k)
    thought_ns = 0  # while the user was started
    try:
        if not user.started:
            await _start_user(user, scope)
            started_ns = context.clock()
            thought_ns = scope.think_ns
        if definition.takes_row:
            await definition.function(user, row)
        else:
            await definition.function(user)
        if scope.pending is not None:
            scope.settle()
    except BaseException as error:  # user code raises what it likes, SystemExit too; none of it ends the worker
        if isinstance(error, GeneratorExit):
            raise
        _contain(scope, error)
    ended_ns = context.turned_ns = context.clock()
    if scope.series is not series:
        scope.end()
        return False  # given up by the worker while it ran
    think_ns = scope.think_ns
    service = ended_ns - started_ns - (think_ns - thought_ns) if user.started else 0
    response = service if closed and user.started else ended_ns - intended_ns - think_ns
    second = (ended_ns - context.zero_ns) // NS_PER_S
    if second != series.now_second:
        series.turn(second)
    ok = not scope.failed
    if ok:
        series.response_ok.append(response)
        series.service_ok.append(service)
    else:
        series.response_failed.append(response)
        series.service_failed.append(service)
    scope.end()
    return ok


async def _start_user(user: VirtualUser, scope: Scope) -> None:
    """Run `on_user_start` as the step "(user start)"."""
    context = scope.context
    assert context.user_start is not None
    assert scope.series is not None
    series = scope.step_series = scope.series.step(USER_START, 0)
    scope.step_name = USER_START
    scope.starting = True
    began = context.clock()
    try:
        await context.user_start(user)
        scope.before_request()
    except BaseException as error:
        _settle(scope)
        if not isinstance(error, asyncio.CancelledError | GeneratorExit) and not scope.counted(error):
            scope.fail(category_of(error), message_of(error), detail=traceback_of(error))
            scope.keep(error)
        scope.where = USER_START
        series.failed.append(context.clock() - began - scope.think_ns)
        raise
    finally:
        scope.starting = False
        scope.step_series = None
        scope.step_name = ""
    took = context.clock() - began - scope.think_ns
    if scope.failed:  # by a soft check: that is no sign-in either
        series.failed.append(took)
        scope.where = USER_START
        raise _counted(scope)
    series.ok.append(took)
    user.started = True


def _counted(scope: Scope) -> StepFailed:
    failure = StepFailed("check", "the virtual user could not be started")
    scope.keep(failure)
    return failure


def _settle(scope: Scope) -> None:
    """Count the responses that waited for a check when what asked for them ended early; their failures are noted."""
    with contextlib.suppress(StepFailed):
        scope.settle()


def _contain(scope: Scope, error: BaseException) -> None:
    """Count what ended a transaction, unless it was counted where it happened."""
    scope.failed = True
    _settle(scope)
    if scope.counted(error):
        return
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            scope.fail("cancelled", "stopped while running", step=scope.where)
            return
    scope.fail(category_of(error), message_of(error), detail=traceback_of(error), step=scope.where)


def abandon(user: VirtualUser, clock_ns: int, intended_ns: int, started_ns: int) -> None:
    """Count a transaction that does not end although it was cancelled, and take its recording away."""
    scope = user._scope
    series = scope.series
    if series is None:
        return
    _settle(scope)
    scope.fail("cancelled", "did not end when it was stopped", step=scope.step_name or scope.where)
    series.turn((clock_ns - scope.context.zero_ns) // NS_PER_S)
    series.response_failed.append(clock_ns - intended_ns)
    series.service_failed.append(clock_ns - started_ns)
    scope.end()


async def close_user(user: VirtualUser) -> None:
    """Close the user's connections. Errors of closing tell nothing about the target and are dropped."""
    http, user._http = user._http, None
    session, user._aiohttp = user._aiohttp, None
    try:
        if http is not None:
            http.close()
        if session is not None:
            await session.close()
    except Exception:  # closing a broken connection may fail in many ways; the user is gone either way
        return
