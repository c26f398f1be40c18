"""The rules of failing and measuring, as a suite's author meets them: run through `loadproof.testing`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from loadproof import Suite, VirtualUser
from loadproof.testing import FakeTarget, Recording, run_transaction

Body = Callable[[VirtualUser], Awaitable[None]]


async def run(body: Body, *, user_start: Body | None = None, **options: Any) -> Recording:
    """Run `body` as the only transaction of a suite against a target that knows /ok, /bad and /slow."""
    suite = Suite("Rules")
    suite.transaction("T")(body)
    if user_start is not None:
        suite.on_user_start(user_start)
    async with FakeTarget() as target:
        target.answer("GET", "/ok", json={"a": 1})
        target.answer("GET", "/bad", status=503, json={"error": "down"})
        target.answer("GET", "/slow", delay_s=0.05)
        target.answer("GET", "/hang", delay_s=60)
        return await run_transaction(suite, "T", target=target, **options)


def errors(seen: Recording) -> list[tuple[str, str, str, str]]:
    return [(error.step, error.endpoint, error.category, error.message) for error in seen.errors]


def steps(seen: Recording) -> list[tuple[str, bool]]:
    return [(step.name, step.ok) for step in seen.steps]


def endpoint_counts(seen: Recording, step: str, endpoint: str) -> tuple[int, int]:
    merged = seen.merged()
    ok, failed = (
        merged.histogram("T", step=step, endpoint=endpoint, outcome=outcome, measure="service").n
        for outcome in ("ok", "failed")
    )
    return ok, failed


async def test_a_transaction_without_failures_is_ok_and_measured_at_every_level() -> None:
    """Transaction, steps and endpoints each have one sample; nothing is an error."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            (await user.http.get("/ok")).check(status=200, json={"a": 1})
        async with user.step("Two"):
            await user.http.get("/ok", name="/named")
        user.check("all is well", ok=True)

    seen = await run(body)
    assert (seen.ok, seen.errors) == (True, [])
    assert steps(seen) == [("One", True), ("Two", True)]
    assert endpoint_counts(seen, "One", "GET /ok") == endpoint_counts(seen, "Two", "GET /named") == (1, 0)
    assert [check.name for check in seen.checks] == ["status of GET /ok", "json of GET /ok", "all is well"]
    assert seen.delta.step_order == {("T", "One"): 1, ("T", "Two"): 2}
    delivery = seen.delta.delivery["T", "test"]
    assert (delivery.started, delivery.completed, delivery.failed) == (1, 1, 0)
    assert 0 < sum(step.service_ms for step in seen.steps) <= seen.service_ms <= seen.response_ms


async def test_a_failed_check_ends_the_transaction_at_its_step() -> None:
    """The step fails, what follows in it is not run, later steps are not reached, the endpoint counts as failed."""
    reached: list[str] = []

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            (await user.http.get("/ok")).check(json={"a": 2})
            reached.append("behind the check")
        async with user.step("Two"):
            reached.append("two")

    seen = await run(body)
    assert not seen.ok
    assert steps(seen) == [("One", False)]
    assert errors(seen) == [("One", "GET /ok", "check", "json: $.a: expected 2, found 1")]
    assert endpoint_counts(seen, "One", "GET /ok") == (0, 1)
    assert reached == []
    with pytest.raises(KeyError, match="not reached"):
        seen.step("Two")


async def test_a_soft_check_counts_a_failure_and_goes_on() -> None:
    """Step and transaction are failed, yet the rest runs; its own steps are judged on their own."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            (await user.http.get("/ok")).check(json={"a": 2}, soft=True)
            user.check("also wrong", False, "really", soft=True)
        async with user.step("Two"):
            await user.http.get("/ok")

    seen = await run(body)
    assert not seen.ok
    assert steps(seen) == [("One", False), ("Two", True)]
    assert [error[3] for error in errors(seen)] == ["json: $.a: expected 2, found 1", "also wrong: really"]


async def test_a_bad_status_fails_the_step_at_its_end() -> None:
    """A status of 400 or more that no check accepts is an http_status error, exactly once."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            await user.http.get("/bad")
        async with user.step("Two"):
            raise AssertionError("never reached")

    seen = await run(body)
    assert steps(seen) == [("One", False)]
    assert errors(seen) == [("One", "GET /bad", "http_status", "status 503")]
    assert endpoint_counts(seen, "One", "GET /bad") == (0, 1)
    assert {key.status: count for key, count in seen.delta.statuses.items()} == {503: 1}


async def test_a_bad_status_fails_the_step_before_the_next_request() -> None:
    """The second request is never sent."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            await user.http.get("/bad")
            await user.http.get("/ok")

    seen = await run(body)
    assert errors(seen) == [("One", "GET /bad", "http_status", "status 503")]
    assert [request.endpoint for request in seen.requests] == ["GET /bad"]


async def test_a_bad_status_that_a_check_accepts_is_fine() -> None:
    """Asking for 503 and getting it is a success, of the endpoint too."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            (await user.http.get("/bad")).check(status=503)
            await user.http.get("/ok")

    seen = await run(body)
    assert (seen.ok, seen.errors) == (True, [])
    assert endpoint_counts(seen, "One", "GET /bad") == (1, 0)


async def test_a_check_of_something_else_does_not_accept_a_bad_status() -> None:
    """A JSON check that holds says nothing about the status."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            (await user.http.get("/bad")).check(json={"error": "down"})

    assert errors(await run(body)) == [("One", "GET /bad", "http_status", "status 503")]


async def test_a_wrong_status_is_counted_once() -> None:
    """A status check that fails is the error; the bad status is not a second one."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            (await user.http.get("/bad")).check(status=200, soft=True)

    assert errors(await run(body)) == [("One", "GET /bad", "check", "expected status 200, found status 503")]


async def test_parallel_requests_of_a_step_are_all_settled() -> None:
    """Responses that arrive side by side are each counted, and a bad one among them fails the step."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"), asyncio.TaskGroup() as group:
            for path in ("/ok", "/bad", "/ok"):
                group.create_task(get(user, path))

    async def get(user: VirtualUser, path: str) -> None:
        await user.http.get(path)

    seen = await run(body)
    assert errors(seen) == [("One", "GET /bad", "http_status", "status 503")]
    assert endpoint_counts(seen, "One", "GET /ok") == (2, 0)
    assert endpoint_counts(seen, "One", "GET /bad") == (0, 1)


async def test_an_exception_fails_the_step_it_leaves() -> None:
    """It is counted as Type: text, once, in its step; the sample tells where."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            raise ValueError("no such thing")

    seen = await run(body)
    assert errors(seen) == [("One", "", "exception", "ValueError: no such thing")]
    (stats,) = seen.delta.errors.values()
    assert stats.count == 1
    assert "test_runtime_transactions.py" in stats.samples[0].detail


async def test_an_exception_outside_of_steps_fails_the_transaction() -> None:
    """Its error has no step; steps before it stay ok."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            await user.http.get("/ok")
        raise KeyError("gone")

    seen = await run(body)
    assert steps(seen) == [("One", True)]
    assert errors(seen) == [("", "", "exception", "KeyError: 'gone'")]


@pytest.mark.parametrize("leaving", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
async def test_nothing_that_user_code_raises_leaves_the_transaction(leaving: BaseException) -> None:
    """Even what ends a process is only an exception of this transaction."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            raise leaving

    seen = await run(body)
    assert (seen.ok, steps(seen)) == (False, [("One", False)])
    assert [error.category for error in seen.errors] == ["exception"]


async def test_sys_exit_is_contained() -> None:
    """A suite that calls sys.exit() fails its transaction."""

    async def body(user: VirtualUser) -> None:
        sys.exit(1)

    assert errors(await run(body)) == [("", "", "exception", "SystemExit: 1")]


async def test_catching_a_failure_does_not_unmake_it() -> None:
    """A swallowed failed check still fails step and transaction, and is counted once."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            try:
                user.check("wrong", False)
            except Exception:
                await user.http.get("/ok")
        async with user.step("Two"):
            await user.http.get("/ok")

    seen = await run(body)
    assert (seen.ok, steps(seen)) == (False, [("One", False), ("Two", True)])
    assert len(seen.errors) == 1


async def test_an_error_raised_from_a_counted_one_is_not_counted_again() -> None:
    """`raise X from failure` tells the same failure in other words."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            try:
                user.check("wrong", False)
            except Exception as error:
                raise RuntimeError("in other words") from error

    assert [error.message for error in (await run(body)).errors] == ["wrong"]


async def test_a_connection_that_fails_is_a_transport_error_of_its_endpoint() -> None:
    """Nobody listening is `connect`, with status 0 at the endpoint, counted once."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            await user.http.get("http://127.0.0.1:1/nobody")

    seen = await run(body)
    assert [(error.step, error.endpoint, error.category) for error in seen.errors] == [
        ("One", "GET /nobody", "connect")
    ]
    assert endpoint_counts(seen, "One", "GET /nobody") == (0, 1)
    assert [key.status for key in seen.delta.statuses] == [0]


async def test_a_request_that_takes_too_long_is_a_timeout() -> None:
    """The engine's timeout is category `timeout`, and so is asyncio's in user code."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            await user.http.get("/hang", timeout=0.01)

    async def by_hand(user: VirtualUser) -> None:
        async with user.step("One"), asyncio.timeout(0.01):
            await user.http.get("/hang")

    assert [error.category for error in (await run(body)).errors] == ["timeout"]
    assert [error.category for error in (await run(by_hand)).errors] == ["timeout"]


async def test_think_time_is_in_no_latency() -> None:
    """Neither the step's nor the transaction's times contain the wait."""

    took_ms: list[float] = []

    async def body(user: VirtualUser) -> None:
        began = time.monotonic()
        async with user.step("One"):
            await user.think(0.3)
            await user.http.get("/slow")
        await user.think(0.2)
        took_ms.append((time.monotonic() - began) * 1000)

    seen = await run(body)
    assert 45 < seen.step("One").service_ms <= seen.service_ms
    # Both ends of each relation are of the same clock, so a busy machine changes nothing.
    assert seen.step("One").service_ms < took_ms[0] - 490
    assert seen.service_ms < took_ms[0] - 490 + (seen.service_ms - seen.step("One").service_ms)


async def test_drawn_waits_are_seeded() -> None:
    """The same (seed, k) draws the same, another k something else."""

    async def draw(k: int) -> list[float]:
        drawn: list[float] = []

        async def body(user: VirtualUser) -> None:
            drawn.append(user.random.random())
            await user.think(0.0, 0.001)
            await user.think.lognormal(0.0001)
            await user.think.exponential(0.0001)
            drawn.append(user.random.random())

        assert (await run(body, seed=7, k=k)).ok
        return drawn

    assert await draw(3) == await draw(3) != await draw(4)


@pytest.mark.parametrize("seconds", [-1, float("nan"), 3601])
async def test_an_impossible_wait_is_refused(seconds: float) -> None:
    """Negative, endless and undefined waits are mistakes."""

    async def body(user: VirtualUser) -> None:
        await user.think(seconds)

    assert [error.category for error in (await run(body)).errors] == ["exception"]


async def test_requests_outside_of_steps_are_counted_apart() -> None:
    """Their step is called "(no step)", and a bad status there fails the transaction at its end."""

    async def body(user: VirtualUser) -> None:
        await user.http.get("/ok")
        await user.http.get("/bad")

    seen = await run(body)
    assert endpoint_counts(seen, "(no step)", "GET /ok") == (1, 0)
    assert errors(seen) == [("(no step)", "GET /bad", "http_status", "status 503")]


async def test_steps_do_not_nest() -> None:
    """A step inside a step is refused with words that say what to do."""

    async def body(user: VirtualUser) -> None:
        async with user.step("Outer"), user.step("Inner"):
            pass

    (error,) = (await run(body)).errors
    assert (error.category, error.step) == ("exception", "Outer")
    assert "end one before the next begins" in error.message


async def test_user_start_counts_in_response_time_only() -> None:
    """Signing in is the step "(user start)"; service time begins behind it."""

    async def sign_in(user: VirtualUser) -> None:
        async with user.step("a step in there is part of it"):
            await user.http.get("/slow")
        user.state.token = "t"

    async def body(user: VirtualUser) -> None:
        assert user.state.token == "t"

    seen = await run(body, user_start=sign_in)
    assert seen.ok
    assert seen.response_ms >= 45
    assert seen.service_ms < seen.response_ms - 40
    assert endpoint_counts(seen, "(user start)", "GET /slow") == (1, 0)
    assert seen.merged().histogram("T", step="(user start)", measure="service").n == 1


@pytest.mark.parametrize("how", ["raises", "bad status", "soft check"])
async def test_a_failing_user_start_fails_the_arrival_there(how: str) -> None:
    """Whatever goes wrong in it, the transaction fails at "(user start)" and its function is not called."""

    async def sign_in(user: VirtualUser) -> None:
        if how == "raises":
            raise RuntimeError("no account")
        if how == "bad status":
            await user.http.get("/bad")
        user.check("signed in", how != "soft check", soft=True)

    async def body(user: VirtualUser) -> None:
        raise AssertionError("must not run")

    seen = await run(body, user_start=sign_in)
    assert not seen.ok
    assert [error.step for error in seen.errors] == ["(user start)"]
    assert seen.service_ms == 0


async def test_a_sample_explains_an_error_without_secrets() -> None:
    """Request and response are kept, credentials and secret values are not."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            answer = await user.http.post(
                "/bad?token=abc123&page=2",
                headers={"Authorization": "Bearer abcdef123456", "X-Plain": "swordfish"},
                json={"password": "hunter2", "name": "swordfish"},
            )
            answer.check(status=200)

    seen = await run(body, secrets={"KEY": "swordfish"})
    (stats,) = seen.delta.errors.values()
    sample = stats.samples[0]
    everything = f"{sample.request}\n{sample.response}\n{sample.detail}"
    for hidden in ("abc123", "abcdef123456", "swordfish", "hunter2"):
        assert hidden not in everything
    assert "page=2" in sample.request
    assert "X-Plain: [redacted:KEY]" in sample.request
    assert sample.response.startswith("404")
    assert len(sample.trace_id) == 32


async def test_every_request_of_a_transaction_has_one_trace_with_spans() -> None:
    """The traceparent header is well-formed; the trace id is the transaction's, the span the request's."""
    suite = Suite("Traced")

    @suite.transaction("T")
    async def body(user: VirtualUser) -> None:
        await user.http.get("/ok")
        await user.http.get("/ok")

    async with FakeTarget() as target:
        target.answer("GET", "/ok")
        await run_transaction(suite, "T", target=target, k=5)
    traces = [request.headers["traceparent"].split("-") for request in target.requests]
    assert [len(part) for part in traces[0]] == [2, 32, 16, 2]
    assert traces[0][1] == traces[1][1]
    assert traces[0][2] != traces[1][2]


async def test_aiohttp_requests_are_recorded_in_the_same_series() -> None:
    """`user.aiohttp` counts endpoints, statuses and failures like `user.http`, each failure once."""

    async def body(user: VirtualUser) -> None:
        async with user.step("One"):
            async with user.aiohttp.get("/ok", trace_request_ctx={"name": "/named"}) as answer:
                assert answer.status == 200
            async with user.aiohttp.get("/bad", trace_request_ctx={"accept": [503]}) as answer:
                assert answer.status == 503
        async with user.step("Two"), user.aiohttp.get("http://127.0.0.1:1/nobody"):
            pass

    seen = await run(body)
    assert steps(seen) == [("One", True), ("Two", False)]
    assert endpoint_counts(seen, "One", "GET /named") == endpoint_counts(seen, "One", "GET /bad") == (1, 0)
    assert [(error.step, error.category) for error in seen.errors] == [("Two", "connect")]
