"""Agents and workers that are killed, stopped and resumed: counts stay the target's own, and the report says it."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time
from pathlib import Path

import pytest

from fault_scene import (
    LEASE_S,
    NS_PER_S,
    SILENCE_S,
    Scene,
    arrivals_of,
    fault_scene,
    gone,
    most_in_a_second,
    ran_twice,
    silent_s,
)

pytestmark = [pytest.mark.timeout(300)]
RATE = 60
MORE_SEEDS = [
    pytest.param(seed, policy, marks=pytest.mark.slow) for seed in range(3, 8) for policy in ("continue", "redeal")
]


async def test_without_a_fault_everything_agrees(tmp_path: Path) -> None:
    """The measure for the other tests: two agents over TCP through the proxy, all counts equal, code 0."""
    async with fault_scene(tmp_path, "a1", "a2") as scene:
        outcome = await scene.run(seconds=2)
        assert outcome.requests() == outcome.completed == len(scene.target.got) == 2 * RATE
    assert outcome.balanced()
    assert outcome.code == (0 if outcome.went_well() else 3)


@pytest.mark.parametrize(("seed", "policy"), [(1, "continue"), (2, "redeal"), *MORE_SEEDS])
async def test_a_killed_agent_is_counted_out(tmp_path: Path, seed: int, policy: str) -> None:
    """After `kill -9` of an agent at any moment nothing is counted that was not done, and the report names the loss."""
    moment = random.Random(seed).randrange(5, 90)
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=4, on_agent_loss=policy))
        await scene.target.received(moment)
        victim = scene.agents["a2"]
        workers = victim.workers()
        victim.signal(signal.SIGKILL)
        assert await gone(workers), "the workers of a killed agent leave by themselves"
        outcome = await running
        assert outcome.requests() <= len(scene.target.got)
        assert not ran_twice(scene)
    assert outcome.balanced()
    assert "agent a2 was lost" in outcome.events("agent_lost")[0]
    assert "a2 was lost" in outcome.finding("agent_lost")
    assert "a2 was lost" in outcome.finding("missed_or_lost")
    assert (outcome.result.verdict.decision, outcome.code) == ("NOT_PROVEN", 3)
    if policy == "redeal":
        assert "shards of agent a2 go to a1" in outcome.events("redealt")[0]


@pytest.mark.parametrize(
    ("seed", "policy"), [(1, "redeal"), *(pytest.param(seed, "continue", marks=pytest.mark.slow) for seed in (2, 3))]
)
async def test_an_agent_that_is_restarted_under_its_name_counts_nothing_twice(
    tmp_path: Path, seed: int, policy: str
) -> None:
    """Killed at any moment and started again in mid-run it is another process; what the first had goes elsewhere."""
    moment = random.Random(seed).randrange(5, 90)
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=60, on_agent_loss=policy))
        await scene.target.received(moment)
        kinds = ["agent_lost", "agent_spare", *(["redealt"] if policy == "redeal" else [])]
        waiting = [group.create_task(scene.happened(kind)) for kind in kinds]
        await scene.restart("a2")
        texts = [await each for each in waiting]
        assert scene.service.stop("fault-1")
        outcome = await running
        assert outcome.requests() <= len(scene.target.got)
        assert not ran_twice(scene)
    assert outcome.balanced()
    assert "agent a2 was lost" in texts[0]
    assert "agent a2 attached after the run began" in texts[1]
    assert (outcome.result.verdict.decision, bool(outcome.events("redealt"))) == ("NOT_PROVEN", policy == "redeal")


ONCE_SUITE = """
from dataclasses import dataclass
from loadproof import Suite

suite = Suite("Faulty", base_url="${TARGET}")


@dataclass(frozen=True, slots=True)
class Row:
    number: int


rows = suite.dataset("rows", "rows.csv", row=Row, order="unique")


@suite.transaction("Take", data=rows)
async def take(user, row):
    async with user.step("Take"):
        (await user.http.get(f"/row/{row.number}", name="/row/{number}")).check(status=200)
    await user.think(0.03)
"""
ONCE_ITERATIONS = 1_200
ONCE = {
    "suite": ONCE_SUITE,
    "profile": f"users = [{{ users = 6, iterations = {ONCE_ITERATIONS} }}]\nseed = 7",
    "files": {"rows.csv": "number\n" + "\n".join(map(str, range(ONCE_ITERATIONS))) + "\n"},
}


def rows_of(scene: Scene) -> list[str]:
    """Return the rows the target was asked for, in order."""
    return [entry.path for entry in scene.target.got]


async def test_users_of_a_killed_agent_go_on_elsewhere_and_use_no_row_twice(tmp_path: Path) -> None:
    """Closed model, unique rows, `kill -9`: another agent goes on behind what was reserved, and the rest is counted."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(on_agent_loss="redeal", **ONCE))
        await scene.target.received(150)
        scene.agents["a2"].signal(signal.SIGKILL)
        outcome = await running
        assert len(set(rows_of(scene))) == len(rows_of(scene))
        assert outcome.requests("GET /row/{number}") <= len(scene.target.got)
    assert "go to a1 after what their users had reserved" in outcome.events("redealt")[0]
    lost = sum(event.data["count"] for event in outcome.data.events if event.kind == "iterations_lost")
    assert outcome.started + lost == ONCE_ITERATIONS
    assert lost <= 3 * 2 * 100
    assert outcome.started > ONCE_ITERATIONS // 2


async def test_users_of_a_killed_worker_go_on_in_another_and_use_no_row_twice(tmp_path: Path) -> None:
    """The same within one agent: the replacement goes on, and what the dead worker had reserved only is counted."""
    async with fault_scene(tmp_path, "a1", workers=2) as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(**ONCE))
        await scene.target.received(150)
        scene.agents["a1"].workers()[0].kill()
        outcome = await running
        assert len(set(rows_of(scene))) == len(rows_of(scene))
    assert "was replaced" in outcome.events("worker_replaced")[0]
    lost = sum(event.data["count"] for event in outcome.data.events if event.kind == "agent_arrivals_lost")
    assert outcome.started + lost == ONCE_ITERATIONS
    assert not outcome.events("final_mismatch")


async def test_policy_fail_ends_the_run_when_an_agent_dies(tmp_path: Path) -> None:
    """With the policy `fail` a killed agent ends the run early, with the reason and code 5."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=20, on_agent_loss="fail"))
        await scene.target.received(20)
        scene.agents["a2"].signal(signal.SIGKILL)
        outcome = await running
        assert outcome.requests() <= len(scene.target.got)
    assert outcome.result.delivery.planned < 20 * RATE
    assert outcome.result.status == "failed"
    assert "agent a2 was lost" in outcome.finding("run_failed")
    assert outcome.code == 5


@pytest.mark.parametrize("seed", [1, *[pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6)]])
async def test_a_killed_worker_is_replaced_and_named(tmp_path: Path, seed: int) -> None:
    """After `kill -9` of a worker its place is taken by another, and what only it knew is reported as lost."""
    draw = random.Random(seed)
    async with fault_scene(tmp_path, "a1", workers=2) as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=4))
        await scene.target.received(draw.randrange(20, 100))
        draw.choice(scene.agents["a1"].workers()).kill()
        outcome = await running
        assert outcome.requests() <= len(scene.target.got)
        assert len(scene.target.got) - outcome.requests() <= RATE, "at most one snapshot of half the load is lost"
        assert not ran_twice(scene)
    assert outcome.balanced()
    assert "SIGKILL" in outcome.events("worker_crashed")[0]
    assert "was replaced" in outcome.events("worker_replaced")[0]
    assert "SIGKILL" in outcome.finding("worker_lost")
    assert not outcome.events("final_mismatch")
    assert outcome.result.delivery.missed + outcome.result.delivery.lost > 0


async def test_a_pause_shorter_than_the_lease_loses_nothing(tmp_path: Path) -> None:
    """A machine that stands still for less than its lease is not lost, and all that it did is counted."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=4, lease_s=4 * LEASE_S))
        await scene.target.received(40)
        scene.agents["a2"].signal(signal.SIGSTOP, workers=True)
        await scene.target.received(40 + RATE // 3)
        scene.agents["a2"].signal(signal.SIGCONT, workers=True)
        outcome = await running
        assert outcome.requests() == outcome.completed == len(scene.target.got)
        assert not ran_twice(scene)
    assert outcome.balanced()
    assert outcome.result.delivery.lost == 0
    assert not outcome.events("agent_lost")
    assert not outcome.events("final_mismatch")


@pytest.mark.parametrize("policy", ["continue", "redeal"])
async def test_a_pause_longer_than_the_lease_does_not_burst(tmp_path: Path, policy: str) -> None:
    """An agent resumed after its lease starts nothing of the time in between, and what was given away stays away."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=7, on_agent_loss=policy))
        await scene.target.received(40)
        scene.agents["a2"].signal(signal.SIGSTOP, workers=True)
        await scene.happened("redealt" if policy == "redeal" else "agent_lost")
        paused = len(scene.target.got)
        scene.agents["a2"].signal(signal.SIGCONT, workers=True)
        outcome = await running
        assert outcome.requests() == outcome.completed == len(scene.target.got) > paused
        assert not ran_twice(scene)
        assert most_in_a_second(scene) <= RATE * 1.25, "no burst, by the target's own clock"
    assert outcome.balanced()
    assert silent_s(outcome.events("agent_lost")[0]) >= SILENCE_S
    returned = outcome.events("agent_returned")[0]
    assert "agent a2 was thought lost and returned" in returned
    assert ("other agents" if policy == "redeal" else "goes on") in returned
    assert outcome.result.delivery.missed + outcome.result.delivery.lost > 0
    assert outcome.code == 3
    how = "never reported back" if policy == "redeal" else "never started"
    assert f"were {how}" in outcome.finding("missed_or_lost")


async def test_workers_stop_by_themselves_when_the_supervisor_stands_still(tmp_path: Path) -> None:
    """Workers whose supervisor is stopped end their load with the lease they know of."""
    async with fault_scene(tmp_path, "a1", "a2") as scene, asyncio.TaskGroup() as group:
        running = group.create_task(scene.run(seconds=7))
        await scene.target.received(40)
        scene.agents["a2"].signal(signal.SIGSTOP)
        stopped_ns = time.monotonic_ns()
        await scene.happened("agent_lost")
        await scene.target.received(len(scene.target.got) + RATE // 3)
        scene.agents["a2"].signal(signal.SIGCONT)
        outcome = await running
        assert outcome.requests() == outcome.completed == len(scene.target.got)
        assert most_in_a_second(scene) <= RATE * 1.25
        stamps = [at_ns for at_ns, _ in arrivals_of(scene, outcome, "a2")]
        last_ns = max(itertools.pairwise(stamps), key=lambda pair: pair[1] - pair[0])[0]
        assert 0 < last_ns - stopped_ns <= (LEASE_S + 1.0) * NS_PER_S
    assert outcome.balanced()
