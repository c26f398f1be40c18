"""Agents that came late, where others still work."""

from __future__ import annotations

from loadproof_controller.machine import events as ev
from machine_driver import Driver


def test_a_spare_takes_all_shards_of_a_lost_agent_and_the_others_keep_their_own() -> None:
    """Who works already is loaded as planned: a ready spare comes before it."""
    drive = Driver(agents=2, on_agent_loss="redeal")
    drive.start()
    drive.feed(ev.AgentAttached("late", 1, workers=2, weight=2000, local=False))
    drive.feed(ev.Prepared("late", 1))
    members = drive.machine.members
    theirs, others = ({grant.shard for grant in members[name].grants} for name in ("a0", "a1"))
    drive.feed(ev.AgentDetached("a0", 1))
    while not drive.records("redealt"):
        drive.beat("late", "a1")
        drive.tick(1)
    assert {grant.shard for grant in members["late"].grants} == theirs
    assert {grant.shard for grant in members["a1"].grants} == others
    assert "go to late from" in drive.records("redealt")[0].text
