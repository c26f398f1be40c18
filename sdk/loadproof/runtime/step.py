"""`async with user.step(name)`: a class with slots, because `@asynccontextmanager` costs three times as much."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from loadproof._errors import StepFailed
from loadproof.metrics.recorder import StepSeries
from loadproof.runtime.failures import category_of, message_of, traceback_of
from loadproof.runtime.scope import Scope


class Step:
    """A named part of a transaction, timed without think time. Steps follow one another; they do not nest."""

    __slots__ = ("_began", "_name", "_scope", "_series", "_think")

    def __init__(self, scope: Scope, name: str) -> None:
        self._scope = scope
        self._name = name
        self._series: StepSeries | None = None
        self._began = self._think = 0

    async def __aenter__(self) -> Self:
        scope = self._scope
        series = scope.series
        if scope.step_series is not None:
            if scope.starting:
                return self  # inside on_user_start all is one step, "(user start)"
            scope.refuse(f"step {self._name!r} begins inside step {scope.step_name!r}; end one before the next begins")
        if series is None:
            scope.refuse(f"step {self._name!r} is outside a transaction")
        if not self._name:
            scope.refuse("a step needs a name")
        if scope.pending is not None:
            scope.settle()
        ordinal = scope.ordinal = scope.ordinal + 1
        found = series.by_name.get(self._name)
        if found is None or ordinal < found.ordinal:
            found = series.step(self._name, ordinal)
        self._series = scope.step_series = found
        scope.step_name = self._name
        scope.step_failed = False
        self._think = scope.think_ns
        context = scope.context
        self._began = context.turned_ns = context.clock()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        series = self._series
        if series is None:
            return
        self._series = None
        scope = self._scope
        context = scope.context
        ended_ns = context.turned_ns = context.clock()
        took = ended_ns - self._began - (scope.think_ns - self._think)
        failure: StepFailed | None = None
        if scope.step_series is series:
            if scope.pending is not None:
                try:
                    scope.settle()
                except StepFailed as settled:
                    failure = settled
            if error is not None:
                self._note(error)
            failed = scope.step_failed
            if failed:
                scope.where = self._name
            scope.step_series = None
            scope.step_name = ""
        else:
            failed = error is not None  # the transaction was over before its step
        (series.failed if failed else series.ok).append(took)
        observer = context.observer
        if observer is not None:
            observer.step(self._name, took, ok=not failed)
        if failure is not None and error is None:
            raise failure

    def _note(self, error: BaseException) -> None:
        """Count an exception that leaves the step, unless it was counted where it was raised."""
        scope = self._scope
        scope.step_failed = scope.failed = True
        if isinstance(error, asyncio.CancelledError | GeneratorExit) or scope.counted(error):
            return  # who cancelled is known at the transaction's end
        scope.keep(error)
        scope.fail(category_of(error), message_of(error), detail=traceback_of(error))
