"""What must hold when a run is over."""

from __future__ import annotations

from collections import Counter
from functools import reduce
from typing import TYPE_CHECKING

from fleet_sim.world import S, Tally, merge
from loadproof.metrics import MergedState
from loadproof_report.evidence import start_skew_us
from loadproof_report.rundata import AgentInfo

if TYPE_CHECKING:
    from fleet_sim.agents import Process
    from fleet_sim.simulation import Simulation

REAL_MERGE_EVERY = 20
"""One seed in so many also goes through the real merged state."""
HAND_OVER_NS = 2 * S
"""How long a worker keeps its numbers to itself."""


def verify(sim: Simulation) -> None:
    """Raise `Violation` when a finished simulation does not add up."""
    for process in sim.processes:
        _acked_is_merged(sim, process)
    _finals_are_exact(sim)
    _nothing_is_beyond_the_plan(sim)
    _losses_are_explained(sim)
    _digest_is_one(sim)
    _starts_are_known(sim)
    oracle = sim.oracle
    if oracle.setups > 1:
        oracle.fail(f"set-up ran {oracle.setups} times")


def _acked_is_merged(sim: Simulation, process: Process) -> None:
    tallies = sim.oracle.numbers.get(process.name, [])[: process.acked_seq]
    for tally in tallies:
        if not set(tally.arrivals) <= sim.oracle._known:
            sim.oracle.fail(f"acked by the controller and not merged: numbers of {process.name}")


def _finals_are_exact(sim: Simulation) -> None:
    oracle, machine = sim.oracle, sim.controller.machine
    for process in sim.processes:
        member = machine.member(process.agent_id, process.epoch)
        if member is None or not member.final:
            continue
        merged = oracle.merged_of.get(process.name, Tally())
        recorded = oracle.recorded.get(process.name, Tally())
        if merged.digest() != recorded.digest():
            oracle.fail(f"{process.name} is complete, yet of {sum(recorded.counts.values())} recorded "
                        f"{sum(merged.counts.values())} are merged")  # fmt: skip
    status, ended = machine.phase, machine.load_ended_ns or 0
    if status != "finished" or ended < sim.healed_ns + 10 * S:
        return
    for process in sim.processes:
        member = machine.member(process.agent_id, process.epoch)
        if _orphan_without_its_shards(sim, process):
            continue
        if process.alive and member is not None and not member.spare and not member.final:
            oracle.fail(f"{process.name} lives, was reachable for 10 s, and is not complete")


def _orphan_without_its_shards(sim: Simulation, process: Process) -> bool:
    """Say whether it takes no lease any more, after the orphan grace, and can't report what it was dealt since."""
    member, said = sim.controller.machine.member(*process.name), sim.finals.get(process.name)
    if member is None or said is None or not process.orphaned:
        return False
    return not {grant.shard for grant in member.grants} <= {shard.shard for shard in said.shards}


def _nothing_is_beyond_the_plan(sim: Simulation) -> None:
    oracle, machine = sim.oracle, sim.controller.machine
    if machine.start_ns is None or machine.stop_offset_ns is not None:
        return
    planned: Counter[tuple[str, str]] = Counter()
    for arrival in sim.schedule.arrivals:
        planned[sim.plan.transactions[arrival.transaction].name, sim.plan.phases[arrival.phase].name] += 1
    accounted = oracle.counts("started") + oracle.counts("dropped") + oracle.counts("missed")
    for key, n in accounted.items():
        if n > planned[key]:
            oracle.fail(f"{n} arrivals of {key} are accounted for, {planned[key]} were planned")
    lost = sum(planned.values()) - sum(accounted.values())
    if lost != len(oracle.missing(None)):
        oracle.fail(f"{lost} are lost by subtraction, {len(oracle.missing(None))} by name")


def _losses_are_explained(sim: Simulation) -> None:
    """What a live agent held all the time is never lost; of a dead one only what it was not acked for."""
    oracle, machine = sim.oracle, sim.controller.machine
    if machine.start_ns is None or machine.phase != "finished":
        return
    for arrival in oracle.missing(machine.stop_offset_ns):
        shard = arrival.k % machine.shard_count
        holders = oracle.holders.get(shard, [])
        if len(holders) != 1 or len(oracle.dealt[shard]) != 1:
            continue  # dealt anew, or never taken: what lay between belongs to nobody
        process = holders[0]
        member = machine.member(process.agent_id, process.epoch)
        broken = process.name in oracle.workers_died or process.orphaned or not process.alive
        if member is not None and member.final and not broken:
            oracle.fail(f"arrival {arrival.k} at {arrival.at_ns / S:.3f} s was {process.name}'s and nobody counted it")
        decided_ns = oracle.decided_ns.get(arrival.k)
        if not process.alive and decided_ns is not None and not process.stood_still:
            acked_ns = process.cuts[process.acked_seq]
            deaths = oracle.workers_died.get(process.name, [])
            died_with_worker = any(decided_ns <= died_ns <= decided_ns + HAND_OVER_NS for died_ns in deaths)
            if decided_ns < acked_ns - HAND_OVER_NS and not died_with_worker:
                oracle.fail(
                    f"arrival {arrival.k} is lost, decided {(acked_ns - decided_ns) / S:.3f} s before what the dead"
                    f" {process.name} was acked for"
                )


def _digest_is_one(sim: Simulation) -> None:
    oracle = sim.oracle
    shuffled = list(oracle.applied)
    sim.world.random.shuffle(shuffled)
    if reduce(merge, shuffled, Tally()).digest() != oracle.merged.digest():
        oracle.fail("the same deltas in another order give another digest")
    if sim.seed % REAL_MERGE_EVERY == 0:
        digests = set()
        for order in (oracle.applied, shuffled):
            state = MergedState()
            for tally in order:
                state.apply(tally.as_delta())
            digests.add(state.digest())
        if len(digests) > 1:
            oracle.fail("the real merged state depends on the order of deltas")


def _starts_are_known(sim: Simulation) -> None:
    """When agents began, and how far apart, is never further from the truth than the report says."""
    fleet, really_ns = [], []
    for process in sim.processes:
        book = sim.controller.books.get(process.name)
        if book is None or book.began_ns is None:
            continue
        began_ns = process.began[book._began_there_ns]
        if abs(book.began_ns - began_ns) > book.began_known_ns + 1:
            sim.oracle.fail(
                f"{process.name} began {book.began_ns - began_ns} ns from when it is said to have, known to"
                f" {book.began_known_ns} ns"
            )
        known_us = -(-book.began_known_ns // 1_000)
        offset_us = book.began_ns // 1_000
        fleet.append(AgentInfo(process.agent_id, 0, "", 1, 1, "", "", start_offset_us=offset_us,
                               start_uncertainty_us=known_us))  # fmt: skip
        really_ns.append(began_ns)
    found = start_skew_us(fleet)
    if found is not None:
        skew_us, known_us = found
        really_us = (max(really_ns) - min(really_ns)) / 1_000
        if abs(skew_us - really_us) > known_us + 2:
            sim.oracle.fail(f"agents began {really_us} us apart, reported are {skew_us} us, known to {known_us} us")
