"""Runs a suite's set-up and teardown: like a transaction, but counted nowhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from loadproof._user import VirtualUser
from loadproof.metrics.recorder import Recorder
from loadproof.runtime.context import RunContext
from loadproof.runtime.execute import close_user
from loadproof.runtime.failures import message_of, traceback_of

if TYPE_CHECKING:
    import random

    import aiohttp

    from loadproof.http import HttpClient


class HookFailed(Exception):
    """A hook raised. `message` is one line without secrets, `detail` the short traceback."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Run:
    """What `@suite.setup` and `@suite.teardown` get: the run's names, and a client for the system under test.

    A status of 400 or more that no check accepts fails the hook, as it fails a step.
    """

    __slots__ = ("_user", "id", "profile", "suite")

    def __init__(self, user: VirtualUser, run_id: str, suite: str, profile: str) -> None:
        self._user = user
        self.id = run_id
        self.suite = suite
        self.profile = profile

    @property
    def http(self) -> HttpClient:
        """An HTTP client with the suite's base URL and headers; its requests are in no report."""
        return self._user.http

    @property
    def aiohttp(self) -> aiohttp.ClientSession:
        """An aiohttp session, see `VirtualUser.aiohttp`."""
        return self._user.aiohttp

    @property
    def random(self) -> random.Random:
        """A generator seeded by the run's seed."""
        return self._user.random

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines reach the run's events."""
        return self._user.log

    def check(self, name: str, ok: object, detail: str = "") -> None:
        """Fail the hook unless `ok` is true."""
        self._user.check(name, ok, detail)


async def run_hook(
    hook: Callable[..., Awaitable[Any]],
    context: RunContext,
    run_id: str,
    suite: str,
    profile: str,
    *arguments: Any,
) -> Any:
    """Call `hook(run, *arguments)` and return what it returns. Raises HookFailed on whatever it raises."""
    user = VirtualUser(context, -1)
    user.started = True
    scope = user._scope
    scope.begin(Recorder(0, "").transaction("(hook)", ""), 0)
    try:
        result = await hook(Run(user, run_id, suite, profile), *arguments)
        scope.before_request()
    except BaseException as error:  # user code raises what it likes
        task = asyncio.current_task()
        if isinstance(error, GeneratorExit) or (task is not None and task.cancelling()):
            raise
        hidden = context.redactor.text
        raise HookFailed(hidden(message_of(error)), hidden(traceback_of(error))) from error
    finally:
        scope.end()
        await close_user(user)
    return result
