"""What a suite gets that forgets an `await`, or awaits in another way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from loadproof import Suite, VirtualUser
from loadproof.runtime.failures import message_of
from loadproof.testing import FakeTarget, Recording, run_transaction


async def run(body: Callable[[VirtualUser], Awaitable[None]]) -> Recording:
    suite = Suite("Awaiting")
    suite.transaction("T")(body)
    async with FakeTarget() as target:
        target.answer("GET", "/ok", json={"a": 1})
        return await run_transaction(suite, "T", target=target)


async def test_a_forgotten_await_is_said_to_be_one() -> None:
    """On a new connection and on one that is there: Python itself speaks of attributes of futures."""

    async def cold(user: VirtualUser) -> None:
        response: Any = user.http.get("/ok")
        try:
            response.check(status=200)
        finally:
            await response

    async def warm(user: VirtualUser) -> None:
        await user.http.get("/ok")
        await cold(user)

    for body in (cold, warm):
        (error,) = (await run(body)).errors
        assert error.category == "exception"
        assert error.message.startswith("AttributeError: ")
        assert error.message.endswith("has no attribute 'check' (is an await missing before it?)")


async def test_a_request_is_no_coroutine_on_any_connection() -> None:
    """What only takes a coroutine refuses the first request as it would all later ones, so that `try` shows it."""

    async def body(user: VirtualUser) -> None:
        request: Any = user.http.get("/ok")
        assert not asyncio.iscoroutine(request)
        (first, *_) = await asyncio.gather(request, user.http.get("/ok"), user.http.get("/ok"))
        assert first.status == 200
        request = user.http.get("/ok")
        assert not asyncio.iscoroutine(request)
        await asyncio.wait_for(request, 30)

    seen = await run(body)
    assert seen.ok, seen.errors


def test_an_object_that_hides_what_it_is_fails_with_its_own_error() -> None:
    """Proxies outside of their context refuse to tell their class, and the failure must be counted all the same."""

    class Proxy:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("outside of its context")

    error = AttributeError("'Proxy' object has no attribute 'name'", name="name", obj=Proxy())
    assert message_of(error) == "AttributeError: 'Proxy' object has no attribute 'name'"
