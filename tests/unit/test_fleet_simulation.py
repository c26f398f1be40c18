"""Controller and agents in a seeded world: what must hold does so at every step of every seed; mistakes are caught."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import tree
from fleet_sim import Violation, simulate
from fleet_sim.mutants import MUTANTS, RELAY_MUTANTS, mutated
from fleet_sim.simulation import RELAY_EVERY, Simulation

SEEDS = 1_000
PARTS = 10
MUTANT_SEEDS = 400


@pytest.mark.parametrize("part", range(PARTS))
def test_every_invariant_holds_in_a_thousand_seeds(part: int) -> None:
    """No seed starts an arrival twice, merges more than was run, loses what was acked, or runs for ever."""
    for seed in range(part, SEEDS, PARTS):
        simulate(seed)


def test_the_command_behind_make_simulate_runs_seeds_in_processes_of_its_own() -> None:
    """It ends, says how many failed, and its exit code says so too."""
    env = {**os.environ, "PYTHONPATH": str(tree.ROOT / "tests" / "support")}
    command = [sys.executable, "-m", "fleet_sim", "9", "40"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("9 seeds from 40: 0 failed")


def test_a_seed_replays_exactly() -> None:
    """Two runs of one seed take the same steps to the same digest."""
    first, second = simulate(7), simulate(7)
    assert first.world.steps == second.world.steps
    assert first.trace == second.trace
    assert first.oracle.merged.digest() == second.oracle.merged.digest()


def test_the_seeds_reach_what_they_are_for() -> None:
    """Within a hundred seeds agents are lost, come back, are re-dealt, coalesce, and controllers crash in mid-run.

    Some of those go on from a checkpoint and what was logged behind it.
    """
    kinds: set[str] = set()
    coalesced = from_checkpoints = 0
    for seed in range(100):
        simulation = simulate(seed)
        kinds.update(note.kind for note in simulation.controller.notes)
        kinds.update(fault.split()[1] for fault in simulation.trace)
        coalesced += sum(process.coalesced for process in simulation.processes)
        controller = simulation.controller
        from_checkpoints += controller.saved is not None and controller.life > 0 and bool(controller.disk)
    assert kinds >= {"agent_lost", "agent_returned", "redealt", "agent_spare", "crash", "restart", "pause", "partition"}
    assert coalesced
    assert from_checkpoints


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_mistake_is_caught(name: str) -> None:
    """Each mistake planted in the machines breaks an invariant within the seeds that are always run."""
    with mutated(name):
        caught = next((str(error) for error in map(_broken_by, range(MUTANT_SEEDS)) if error is not None), None)
    assert caught is not None, f"{MUTANT_SEEDS} seeds did not notice: {name}"
    assert re.match(r"seed \d+: ", caught)


@pytest.mark.parametrize("name", RELAY_MUTANTS)
def test_a_planted_mistake_of_relays_is_caught(name: str) -> None:
    """Each mistake planted in a relay, or in how its blocks are taken, breaks an invariant within seeds with relays."""
    with mutated(name):
        seeds = range(0, MUTANT_SEEDS, RELAY_EVERY)
        caught = next((str(error) for error in map(_broken_by, seeds) if error is not None), None)
    assert caught is not None, f"the seeds with relays did not notice: {name}"


def test_seeds_with_relays_reach_what_they_are_for() -> None:
    """Within a few of them relays crash, restart and are cut off, agents move, and blocks are refused."""
    kinds: set[str] = set()
    homes: dict[tuple[str, int], set[str]] = {}
    blocks = ranges = refused = 0
    for seed in range(0, 280, RELAY_EVERY):
        simulation = simulate(seed)
        kinds.update(fault.split()[1] for fault in simulation.trace)
        for process in simulation.processes:
            homes.setdefault(process.name, set()).update(process.homes)
        blocks += simulation.oracle.blocks_applied
        ranges += sum(relay.merged_ranges for relay in simulation.relays)
        refused += simulation.controller.relays.refused
    assert kinds >= {"relay_kill", "relay_pause", "relay_cut", "relay_partition", "crash", "cut"}
    assert ranges > blocks > 100
    assert refused > 10
    assert sum(len(places) > 1 for places in homes.values()) > 20
    assert any({"", "r0", "r1"} <= places for places in homes.values())


@pytest.mark.parametrize("seed", range(6))
def test_digests_are_the_same_with_and_without_relays(seed: int) -> None:
    """Where nothing breaks, a fleet gives the same digest through no relay, one, or three."""
    digests, blocks = set(), 0
    for relays in (0, 1, 3):
        simulation = Simulation(seed, relays=relays, calm=True)
        simulation.run()
        assert simulation.controller.machine.phase == "finished"
        assert simulation.oracle.counts("started").total() == simulation.schedule.total
        digests.add(simulation.oracle.merged.digest())
        blocks += simulation.oracle.blocks_applied
    assert len(digests) == 1
    assert blocks > 20


def _broken_by(seed: int) -> Violation | None:
    try:
        simulate(seed)
    except Violation as violation:
        return violation
    return None
