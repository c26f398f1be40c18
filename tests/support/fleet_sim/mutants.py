"""Mistakes put into the real machines on purpose: each must be caught, or the checks prove nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from fleet_sim.controller import Controller
from fleet_sim.workers import Worker
from fleet_sim.world import Tally
from loadproof.metrics import Sums
from loadproof_agent import records as r
from loadproof_agent.relay import events as re
from loadproof_agent.relay.machine import RelayMachine
from loadproof_agent.spool import Numbered, SnapshotQueue
from loadproof_controller.ledger import AgentBook
from loadproof_controller.machine import RunMachine
from loadproof_controller.machine.sequence import SequenceBook

FOREVER_NS = 1 << 62


def _no_dedupe(book: SequenceBook, agent_id: str, epoch: int, from_seq: int, _to_seq: int) -> str:
    return "apply" if from_seq <= book.last(agent_id, epoch) + 1 else "wait"


def _accept_gaps(book: SequenceBook, agent_id: str, epoch: int, _from_seq: int, to_seq: int) -> str:
    return "seen" if to_seq <= book.last(agent_id, epoch) else "apply"


def _coalesce_in_flight(queue: Any, payload: Any) -> int:
    if len(queue._in_flight) > 1:
        from fleet_sim.world import decode, encode, merge

        a, b = queue._in_flight.popleft(), queue._in_flight.popleft()
        both = encode(merge(decode(a.payload), decode(b.payload)))
        queue._in_flight.appendleft(Numbered(a.from_seq, b.to_seq, both))
    return _push(queue, payload)


_push = SnapshotQueue.push


def _drop_oldest(queue: Any, payload: Any) -> int:
    queue.last_seq += 1
    if len(queue._unsent) >= queue._unsent_max:
        queue._unsent.popleft()
    queue._unsent.append(Numbered(queue.last_seq, queue.last_seq, payload))
    return int(queue.last_seq)


def _ack_before_flush(controller: Controller, *record: Any) -> None:
    import msgpack

    controller.unflushed.append(msgpack.packb(record))
    if len(controller.unflushed) > 3:
        for data in controller.unflushed:
            kind, *values = msgpack.unpackb(data, strict_map_key=False)
            if kind == "delta":
                controller.sim.oracle.durable[values[0], values[1]] = values[3]
        controller.disk += controller.unflushed
        controller.unflushed.clear()


def _deal_before_the_lease_is_over(machine: Any) -> None:
    for member in machine.everyone:
        if member.working and not member.attached:
            member.lease_until_ns = min(member.lease_until_ns or 0, machine._now)
    _watch_agents(machine)


_watch_agents = RunMachine._watch_agents


def _redeal_ignores_spares(machine: Any) -> Any:
    return [member for member in machine.members.values() if member.working and member.attached]


def _begun_by_no_clock(book: AgentBook, beat: Any, clock: tuple[int, int] | None = None) -> None:
    _heartbeat(book, beat, clock or (0, 0))


_heartbeat = AgentBook.heartbeat


def _no_lease_end(worker: Any, lease_end_ns: int) -> None:
    _renew(worker, lease_end_ns + FOREVER_NS)


_renew = Worker.renew


def _ack_what_is_held(relay: Any, child: Any, block: Any) -> None:
    _hold(relay, child, block)
    if child.held:
        ack = r.SnapshotAck(child.run_id, child.agent_id, child.epoch, child.held[-1].to_seq)
        relay._out.append(re.SendChild(child.link, ack))


_hold = RelayMachine._hold


def _ack_at_the_break(relay: Any) -> None:
    for child in relay._links.values():
        if child.held:
            ack = r.SnapshotAck(child.run_id, child.agent_id, child.epoch, child.held[-1].to_seq)
            relay._out.append(re.SendChild(child.link, ack))
    _forget(relay)
    relay._out = [instruction for instruction in relay._out if not isinstance(instruction, re.EndChild)]


_forget = RelayMachine._forget


def _apply_in_part(book: SequenceBook, ranges: Any) -> str:
    verdicts = {book.judge(*where) for where in ranges}
    return "apply" if "apply" in verdicts else min(verdicts)


def _name_what_is_not_merged(relay: Any) -> Any:
    return [
        (child, [*held[:-1], replace(held[-1], payload=Tally(), sums=Sums())] if len(held) > 1 else held)
        for child, held in _parts(relay)
    ]


_parts = RelayMachine._parts


def _renew_without_the_controller(relay: Any) -> None:
    for child in relay._links.values():
        if child.lease is not None and child.beat is not None:
            lease = replace(child.lease, echo_ns=child.beat.monotonic_ns)
            relay._out.append(re.SendChild(child.link, lease))
    _beat(relay)


_beat = RelayMachine._beat


RELAY_MUTANTS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "relay acks what it holds": (RelayMachine, "_hold", _ack_what_is_held),
    "relay acks what it forgets": (RelayMachine, "_forget", _ack_at_the_break),
    "block applied in part": (SequenceBook, "judge_all", _apply_in_part),
    "relay names what it has not merged": (RelayMachine, "_parts", _name_what_is_not_merged),
    "relay renews leases by itself": (RelayMachine, "_beat", _renew_without_the_controller),
}
"""Caught in seeds with relays only."""


def _remove_before_the_checkpoint_is_written(controller: Controller, packed: bytes, merged: Any) -> None:
    controller.remove_records(len(controller.disk))
    _begin_checkpoint(controller, packed, merged)


_begin_checkpoint = Controller.begin_checkpoint


MUTANTS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "no dedupe": (SequenceBook, "judge", _no_dedupe),
    "accept gaps": (SequenceBook, "judge", _accept_gaps),
    "coalesce in flight": (SnapshotQueue, "push", _coalesce_in_flight),
    "drop oldest": (SnapshotQueue, "push", _drop_oldest),
    "ack before flush": (Controller, "log", _ack_before_flush),
    "remove before the checkpoint": (Controller, "begin_checkpoint", _remove_before_the_checkpoint_is_written),
    "no fencing": (RunMachine, "_watch_agents", _deal_before_the_lease_is_over),
    "no lease end": (Worker, "renew", _no_lease_end),
    "redeal ignores spares": (RunMachine, "_receivers", _redeal_ignores_spares),
    "begun by a clock not known yet": (AgentBook, "heartbeat", _begun_by_no_clock),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Put the mistake in while the context lasts."""
    owner, method, wrong = (MUTANTS | RELAY_MUTANTS)[name]
    with patch.object(owner, method, wrong):
        yield
