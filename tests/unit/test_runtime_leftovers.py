"""What is left over when a transaction ends early, late or not at all: nothing is lost or reaches the next one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from loadproof import Suite, VirtualUser
from loadproof.metrics import Recorder, TransactionSeries
from loadproof.runtime.context import NO_STEP, USER_START, RunContext
from loadproof.runtime.execute import abandon, execute
from loadproof.testing import FakeTarget, run_transaction


def lone_user() -> tuple[VirtualUser, TransactionSeries]:
    """Return a user of no worker and the series of its transaction."""
    engine: Any = None  # nobody makes a request
    user = VirtualUser(RunContext(engine=engine, clock=time.monotonic_ns, zero_ns=0), 0)
    return user, Recorder(0, "").transaction("T", "test")


@pytest.mark.parametrize("where", ["in no step", "in on_user_start"])
@pytest.mark.parametrize("how", ["check", "exception"])
async def test_a_response_counts_also_where_what_follows_it_fails(where: str, how: str) -> None:
    """Outside steps too the endpoint has its sample and its status: failed by a check, ok before an exception."""

    async def ask(user: VirtualUser) -> None:
        answer = await user.http.get("/ok")
        if how == "check":
            answer.check(json={"a": 2})
        raise RuntimeError("of another cause")

    async def body(user: VirtualUser) -> None:
        return

    suite = Suite("Rules")
    step = NO_STEP if where == "in no step" else USER_START
    suite.transaction("T")(ask if step == NO_STEP else body)
    if step == USER_START:
        suite.on_user_start(ask)
    async with FakeTarget() as target:
        target.answer("GET", "/ok", json={"a": 1})
        seen = await run_transaction(suite, "T", target=target)
    samples = {key.outcome: counts.n for key, counts in seen.delta.series.items() if key.endpoint == "GET /ok"}
    assert samples == {"failed" if how == "check" else "ok": 1}
    assert [(key.step, key.status, count) for key, count in seen.delta.statuses.items()] == [(step, 200, 1)]
    assert len(seen.errors) == 1


async def test_what_fails_between_two_transactions_fails_neither() -> None:
    """A check of a task that outlives its transaction finds nobody to blame; the user's next one starts clean."""
    late: list[asyncio.Task[None]] = []
    suite = Suite("Rules")

    @suite.transaction("T")
    async def body(user: VirtualUser) -> None:
        async def later() -> None:
            await asyncio.sleep(0)
            user.check("too late", ok=False, soft=True)

        if not late:
            late.append(asyncio.create_task(later()))

    user, series = lone_user()
    assert await execute(user, suite.transactions["T"], None, series, 0, 0, 0)
    await late[0]
    assert await execute(user, suite.transactions["T"], None, series, 1, 0, 0)


async def test_after_a_transaction_that_was_given_up_the_next_one_starts_clean() -> None:
    """It has been counted; what it does when it ends at last is nobody's failure."""
    suite = Suite("Rules")
    released = asyncio.Event()

    @suite.transaction("T")
    async def body(user: VirtualUser) -> None:
        if not released.is_set():
            async with user.step("One"):
                await released.wait()
                raise RuntimeError("at last")

    user, series = lone_user()
    given_up = asyncio.create_task(execute(user, suite.transactions["T"], None, series, 0, 0, 0))
    await asyncio.sleep(0)
    abandon(user, time.monotonic_ns(), 0, 0)
    released.set()
    assert not await given_up
    assert await execute(user, suite.transactions["T"], None, series, 1, 0, 0)
    assert (len(series.response_failed), len(series.response_ok)) == (1, 1)
