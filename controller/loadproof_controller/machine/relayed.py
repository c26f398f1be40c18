"""What a run does with a relay's block: it is taken whole or not at all, and the relay is told which.

The answer goes to the relay only, which then acks its children: an agent's numbers are durable before anyone says so. A
refused block costs nothing but a repetition: the answer says where each agent stands, and the relay makes another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do
from loadproof_controller.relays.messages import BlockAnswer, RangeState, RelayedRange

if TYPE_CHECKING:
    from loadproof_controller.machine.members import Member
    from loadproof_controller.machine.run import RunMachine


def take_block(machine: RunMachine, event: ev.BlockReceived) -> None:
    """Log and apply the block if every agent in it is wanted and every range is the next of its agent."""
    members = [machine.member(where.agent_id, where.epoch) for where in event.ranges]
    wanted = [member for member in members if member is not None and _wanted(machine, member)]
    verdict = machine.sequence.judge_all(where.numbers for where in event.ranges)
    if len(wanted) < len(members) or verdict == "wait":
        states = tuple(_state(machine, *pair) for pair in zip(event.ranges, members, strict=True))
        machine._out.append(do.SendRelay(event.relay_id, BlockAnswer(event.number, "again", states)))
        return
    if verdict == "apply":
        machine._out.append(do.LogAndApplyBlock(event.ranges, event.payload))
        for where in event.ranges:
            machine.sequence.take(where.agent_id, where.epoch, where.to_seq)
        for member in wanted:
            machine._more_came(member)
    machine._out.append(do.SendRelay(event.relay_id, BlockAnswer(event.number, "applied")))
    for member in wanted:
        if member.last_seq is not None:
            machine._complete_if_final(member)


def _wanted(machine: RunMachine, member: Member) -> bool:
    return not member.refused and machine.start_ns is not None


def _state(machine: RunMachine, where: RelayedRange, member: Member | None) -> RangeState:
    unwanted = member is None or not _wanted(machine, member)
    return RangeState(where.agent_id, where.epoch, machine.sequence.last(where.agent_id, where.epoch), unwanted)
