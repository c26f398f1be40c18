"""Agents in reserve, and the last one that works."""

from __future__ import annotations

import pytest

from loadproof_controller.machine import events as ev
from machine_driver import Driver


def driven(*, prepared: bool = True) -> Driver:
    """A run of one agent, and another that came late."""
    drive = Driver(agents=1, on_agent_loss="redeal")
    drive.start()
    drive.feed(ev.AgentAttached("late", 1, workers=2, weight=2000, local=False))
    if prepared:
        drive.feed(ev.Prepared("late", 1))
    drive.beat("late")
    return drive


def test_a_reserve_takes_over_from_the_last_agent_that_worked() -> None:
    """When the only agent is lost, the run goes on with the spare, which gets all of its shards."""
    drive = driven()
    shards = {grant.shard for grant in drive.machine.members["a0"].grants}
    drive.feed(ev.AgentDetached("a0", 1))
    while not drive.lost("a0"):
        drive.beat("late")
        drive.tick(1)
    assert drive.phase == "running"
    assert {grant.shard for grant in drive.machine.members["late"].grants} == shards
    assert "go to late" in drive.records("redealt")[0].text
    while drive.phase == "running":
        drive.beat("late")
        drive.tick(1)
    drive.final("late")
    assert (drive.phase, drive.machine.outcome) == ("teardown", None)


@pytest.mark.parametrize("prepared", [True, False])
def test_a_reserve_that_cannot_take_over_does_not_keep_the_run(prepared: bool) -> None:
    """One that is not ready, or was not heard of lately, is nobody to wait for: every agent was lost."""
    drive = driven(prepared=prepared)
    drive.feed(ev.AgentDetached("a0", 1))
    for _ in range(17):
        if not prepared:
            drive.beat("late")
        drive.tick(1)
    assert drive.machine.outcome is not None
    assert drive.machine.outcome.reason == "every agent was lost"
    assert drive.phase == "teardown"
