"""How an agent keeps its certificate good over days: in virtual time, with a controller that refuses now and then."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from loadproof_agent.attached import keep_renewed
from loadproof_agent.enrolment import Membership
from loadproof_agent.errors import AgentError, UplinkError
from virtual_time import run_virtual, virtual_ns

HOUR = 3_600.0
DAY = 24 * HOUR
BEGAN_S = 1_000.0
"""Where virtual time begins."""


class Controller:
    """Gives certificates of 24 hours, or what `answers` has for the next calls. `asleep_s` jumps the wall clock."""

    def __init__(self, *answers: AgentError | str) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, float]] = []
        self.asleep_s = 0.0

    def wall(self) -> float:
        return virtual_ns() / 1e9 + self.asleep_s

    def member(self, name: str = "a") -> Membership:
        now_s = self.wall()
        return Membership(name, "127.0.0.1:1", object(), "", now_s + DAY / 2, now_s + DAY)

    async def join(self) -> Membership:
        return self._answer("join")

    async def renew(self, _member: Membership) -> Membership:
        return self._answer("renew")

    def _answer(self, call: str) -> Membership:
        self.calls.append((call, round((self.wall() - BEGAN_S) / HOUR, 2)))
        answer = self.answers.pop(0) if self.answers else "a"
        if isinstance(answer, AgentError):
            raise answer
        return self.member(answer)


class Agent:
    """A supervisor as renewing sees it."""

    def __init__(self, *, attached: bool = True) -> None:
        self.attached = attached
        self.shown: list[Any] = []
        self.stopped = False

    def use(self, credentials: Any) -> None:
        self.shown.append(credentials)

    def stop(self) -> None:
        self.stopped = True


def live(controller: Controller, agent: Agent, hours: float, *, asleep_h: float = 0.0) -> AgentError | None:
    """Renew for `hours`; after the first the machine sleeps for `asleep_h`. Returns why it gave up, if it did."""

    async def run() -> AgentError | None:
        started = asyncio.create_task(keep_renewed(controller, controller.member(), agent))
        await asyncio.sleep(HOUR)
        controller.asleep_s = asleep_h * HOUR
        await asyncio.wait([started], timeout=(hours - 1) * HOUR)
        if started.done():
            return started.result()
        started.cancel()
        return None

    return run_virtual(run())


def unreachable() -> UplinkError:
    return UplinkError("unavailable", "the controller at 127.0.0.1:1: unavailable", retry=True)


def revoked() -> UplinkError:
    return UplinkError("unauthenticated", "the token is missing, wrong, expired or revoked", retry=False)


def test_a_certificate_is_renewed_at_half_its_life_for_as_long_as_the_agent_lives() -> None:
    """Three days are six renewals; the new certificate is shown each time."""
    controller, agent = Controller(), Agent()
    assert live(controller, agent, 73) is None
    assert [call for call, _ in controller.calls] == ["renew"] * 6
    assert [hour for _, hour in controller.calls] == [12.0, 24.0, 36.0, 48.0, 60.0, 72.0]
    assert len(agent.shown) == 6


def test_a_renewal_that_fails_is_tried_each_minute_and_the_certificate_lives_on() -> None:
    """Hours of outage at half of its life cost nothing."""
    controller, agent = Controller(*[unreachable() for _ in range(120)]), Agent()
    assert live(controller, agent, 15) is None
    assert {call for call, _ in controller.calls} == {"renew"}
    assert (controller.calls[-1][1], len(agent.shown)) == (14.0, 1)


def test_an_agent_that_slept_through_its_certificate_joins_again(caplog: pytest.LogCaptureFixture) -> None:
    """Within a minute of waking up, with one clear line; a controller that is not up yet is waited for."""
    controller, agent = Controller(unreachable(), unreachable()), Agent(attached=False)
    with caplog.at_level(logging.INFO):
        assert live(controller, agent, 3, asleep_h=30) is None
    assert [call for call, _ in controller.calls] == ["join"] * 3
    assert controller.calls[0][1] < 31.02 + 0.02
    assert (len(agent.shown), agent.stopped) == (1, False)
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("the certificate of a has expired before it was renewed; it joins again") == 1
    assert lines[-1] == "the certificate of a is renewed"


def test_an_agent_that_may_not_join_again_ends_with_the_reason() -> None:
    """Its certificate is over, its token revoked, its stream gone: nothing mends that."""
    controller, agent = Controller(revoked()), Agent(attached=False)
    error = live(controller, agent, 3, asleep_h=30)
    assert agent.stopped
    assert error is not None
    assert (error.exit_code, error.text) == (
        5, "the certificate of a has expired, and the token is missing, wrong, expired or revoked",
    )  # fmt: skip


def test_a_stream_that_is_open_outlives_its_certificate() -> None:
    """A run is not lost because the agent may not join again: only a new stream would be refused."""
    controller, agent = Controller(*[revoked() for _ in range(10_000)]), Agent()
    assert live(controller, agent, 3, asleep_h=30) is None
    assert not agent.stopped
