"""Partitions, resets, half-open, slow and late networks between real agents and a real controller over TCP."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from pathlib import Path

import pytest

from fault_scene import (
    LEASE_S,
    NS_PER_S,
    SILENCE_S,
    Outcome,
    Scene,
    arrivals_of,
    fault_scene,
    most_in_a_second,
    ran_twice,
    silent_s,
)

pytestmark = pytest.mark.timeout(300)
RATE = 60


def everything_agrees(scene: Scene, outcome: Outcome) -> None:
    """Nothing died, so what the target got, what was merged and what the agents say are the same."""
    assert outcome.requests() == outcome.completed == len(scene.target.got)
    assert not ran_twice(scene)
    assert not outcome.events("final_mismatch")
    assert outcome.balanced()


async def test_a_short_partition_loses_nothing(tmp_path: Path) -> None:
    """A silence shorter than the lease holds data back; all of it arrives, in order, and nobody is lost."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=3, lease_s=6 * LEASE_S))
        await scene.target.received(30)
        scene.agents["a2"].proxy.blackhole()
        await scene.target.received(30 + RATE)
        scene.agents["a2"].proxy.pass_on()
        outcome = await running
        everything_agrees(scene, outcome)
    assert (outcome.result.delivery.missed, outcome.result.delivery.lost) == (0, 0)
    assert not outcome.events("agent_lost")


async def test_a_partition_longer_than_the_lease_stops_the_load_until_it_heals(tmp_path: Path) -> None:
    """An agent cut off beyond its lease stops, is called lost, returns when the network heals, and tells all it did."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=6))
        await scene.target.received(40)
        scene.agents["a2"].proxy.blackhole()
        await scene.happened("agent_lost")
        await scene.target.received(len(scene.target.got) + RATE // 2)  # a second in which a1 loads alone
        scene.agents["a2"].proxy.pass_on()
        outcome = await running
        everything_agrees(scene, outcome)
        assert most_in_a_second(scene) <= RATE * 1.25
    lost = outcome.events("agent_lost")[0]
    assert "agent a2 was lost: nothing was heard of it for" in lost
    assert silent_s(lost) >= SILENCE_S
    assert "goes on with its shards" in outcome.events("agent_returned")[0]
    assert outcome.result.delivery.missed > 0
    assert "were never started" in outcome.finding("missed_or_lost")
    assert re.search(r"Agent a2 was lost at \d+:\d\d and came back\.", outcome.finding("missed_or_lost"))
    assert outcome.code == 3


async def test_an_agent_cut_off_and_then_killed_loses_what_it_did_not_hand_over_and_no_more(tmp_path: Path) -> None:
    """What waits at an agent dies with it. It is counted as lost, under its name, and all it was acked for is there."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=5))
        await scene.target.received(2 * RATE)  # of a2, too, something was merged by now
        scene.agents["a2"].proxy.blackhole()
        await scene.target.received(len(scene.target.got) + RATE // 2)
        scene.agents["a2"].signal(signal.SIGKILL)
        outcome = await running
        not_reported = len(scene.target.got) - outcome.requests()
        assert not ran_twice(scene)
    assert outcome.balanced()
    assert 0 < not_reported <= outcome.result.delivery.lost
    assert "a2 was lost" in outcome.finding("missed_or_lost")
    assert outcome.code == 3


async def test_an_orphan_stops_its_load_within_the_grace(tmp_path: Path) -> None:
    """Without a word from the controller for the grace time an agent stops, however long its lease; then it reports."""
    grace_s = 1.0
    async with fault_scene(tmp_path, "a1", "a2", orphan_grace_s=grace_s) as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=5, lease_s=20))
        await scene.target.received(40)
        cut_ns = time.monotonic_ns()
        scene.agents["a2"].proxy.blackhole()
        await scene.target.received(40 + 2 * RATE)
        scene.agents["a2"].proxy.pass_on()
        outcome = await running
        everything_agrees(scene, outcome)
        last_ns, _ = arrivals_of(scene, outcome, "a2")[-1]
        assert last_ns - cut_ns < (grace_s + 2.0) * NS_PER_S, "the dead man's switch"
        other_ns, _ = arrivals_of(scene, outcome, "a1")[-1]
        assert other_ns > last_ns + NS_PER_S
    assert outcome.result.delivery.lost > 0
    assert "were never reported back" in outcome.finding("missed_or_lost")
    assert outcome.code == 3


async def test_resets_cost_nothing(tmp_path: Path) -> None:
    """Connections that are reset again and again are made anew, and what they may have swallowed is said again."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=4, lease_s=6 * LEASE_S))
        for count in (30, 80, 130, 180):
            await scene.target.received(count)
            for agent in scene.agents.values():
                agent.proxy.reset()
        outcome = await running
        everything_agrees(scene, outcome)
        assert all(agent.proxy.connections >= 3 for agent in scene.agents.values())
    assert (outcome.result.delivery.missed, outcome.result.delivery.lost) == (0, 0)
    assert "a1" in " ".join(outcome.events("agent_back"))


async def test_a_reset_while_agents_prepare_costs_nothing(tmp_path: Path) -> None:
    """An agent whose connection breaks before the load is waited for, and told again what to do."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=1, lease_s=6 * LEASE_S))
        await scene.in_phase("preparing")
        scene.agents["a1"].proxy.reset()
        outcome = await running
        everything_agrees(scene, outcome)
        assert outcome.completed == RATE
        assert scene.agents["a1"].proxy.connections >= 2


async def test_a_half_open_connection_is_noticed(tmp_path: Path) -> None:
    """An agent that talks and hears nothing loses its lease, drops the stream, and is back once answers pass."""
    async with fault_scene(tmp_path, "a1", "a2", contact_ns=NS_PER_S) as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=7))
        await scene.target.received(40)
        scene.agents["a2"].proxy.half_open()
        await scene.happened("agent_lost")
        scene.agents["a2"].proxy.pass_on()
        outcome = await running
        everything_agrees(scene, outcome)
        assert most_in_a_second(scene) <= RATE * 1.25
    assert outcome.events("agent_returned")
    assert outcome.result.delivery.missed > 0
    assert outcome.code == 3


async def test_slow_and_late_networks_only_take_longer(tmp_path: Path) -> None:
    """At 5 KB/s and with 300 ms of delay each way all numbers arrive; how well the clock is known is said."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        scene.agents["a2"].proxy.delay(0.3)
        running = group.create_task(scene.run(seconds=3, lease_s=6 * LEASE_S))
        await scene.target.received(20)
        scene.agents["a1"].proxy.slow(5_000)
        outcome = await running
        everything_agrees(scene, outcome)
    assert (outcome.result.delivery.missed, outcome.result.delivery.lost) == (0, 0)
    assert "The clock of agent a2 is known to" in outcome.finding("clock_uncertain")


async def test_nothing_is_left_of_a_refused_connection(tmp_path: Path) -> None:
    """An agent that can't get through any more goes on trying, and takes part in the next run when it can."""
    async with fault_scene(tmp_path, "a1", reconnect_ms=[20, 100]) as scene:
        first = await scene.run(seconds=0.5)
        scene.agents["a1"].proxy.refuse()
        await scene.agents["a1"].proxy.dialled(scene.agents["a1"].proxy.connections + 3)
        assert scene.service.fleet.get("a1") is None
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(scene.run(seconds=0.5))
            await scene.agents["a1"].proxy.dialled(scene.agents["a1"].proxy.connections + 2)
            scene.agents["a1"].proxy.pass_on()
            second = await waiting
        everything_agrees(scene, second)
    assert first.completed == second.completed == RATE // 2
