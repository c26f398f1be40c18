"""Whether a relay's block says what it claims to, and whose fault it is when it does not."""

from __future__ import annotations

from dataclasses import dataclass

from loadproof.metrics import Block, CodecError, RunningTotals, add_sums, attribute, decode_block, sums_of
from loadproof_controller.errors import HostileData
from loadproof_controller.hostile import DeltaCheck
from loadproof_controller.machine import RunMachine
from loadproof_controller.machine.events import BlockReceived
from loadproof_controller.relays.links import RelayedLink, RelayLink
from loadproof_controller.relays.messages import BlockAnswer, RelayBlock, unwanted


@dataclass(frozen=True, slots=True)
class BadBlock:
    """A block of one agent alone that cannot be: it costs that agent its attachment."""

    link: RelayedLink
    error: Exception


def read_block(
    relay: RelayLink, block: RelayBlock, run_id: str, machine: RunMachine, check: DeltaCheck, elapsed_ns: int
) -> BlockReceived | BadBlock | None:
    """Return what a block means to the run, None where its relay has the answer already.

    One that cannot be is refused as a whole. The relay then sends the parts alone, so that it falls on one agent.
    """
    if block.run_id != run_id:
        relay.send(unwanted(block))
        return None
    payload = None
    try:
        if machine.sequence.judge_all(where.numbers for where in block.ranges) == "apply":
            payload = (block.delta, checked_block(block, check, elapsed_ns))
    except (CodecError, HostileData) as error:
        relay.send(BlockAnswer(block.number, "data"))
        first = block.ranges[0]
        link = relay.children.get((first.agent_id, first.epoch))
        alone = len(block.ranges) == 1 and machine.member(first.agent_id, first.epoch) is not None
        return BadBlock(link, error) if alone and link is not None else None
    return BlockReceived(relay.relay_id, block.number, block.ranges, payload)


def checked_block(block: RelayBlock, check: DeltaCheck, elapsed_ns: int) -> Block:
    """Return the block's delta, `elapsed_ns` after the run's start. Raises `CodecError` and `HostileData`.

    What the ranges say their agents counted must add up to what is in it: a block that was merged in part is refused.
    """
    delta = decode_block(block.delta)
    check.block(delta, elapsed_ns)
    held = RunningTotals()
    held.add(delta)
    if add_sums(where.sums for where in block.ranges) != sums_of(held.totals()):
        raise HostileData("a relay's block holds something else than its agents counted")
    began = [where.started for where in block.ranges if where.started is not None]
    started = sum(part.started for part in delta.rest.delivery.values())
    if len(began) == len(block.ranges) and sum(began) != started:
        raise HostileData("a relay's block holds other starts than its agents'")
    agents = {where.agent_id for where in block.ranges}
    if len(agents) == 1:
        attribute(delta.rest, *agents)
    elif any(not stats.agents.keys() <= agents for stats in delta.rest.errors.values()):
        raise HostileData("a relay's block names agents of failures that are not in it")
    return delta
