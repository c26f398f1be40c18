"""A relay's decisions as a pure state machine: events in, instructions out, time a parameter.

Children attach to it as to a controller, and it attaches to the controller for all of them. What it guarantees:

- It never speaks for itself: every word a child hears is the controller's, so leases, fences and the dead-man
  switch work as if nobody stood between. A child is acked what the controller has said is durable, nothing else.
- It keeps no state of its own. When its stream to the controller breaks, it ends its children's streams and forgets
  all: they come back, here or elsewhere, and say again what was not acked. A crash is the same.
- A block names every (agent, epoch, numbers) merged in it. The controller applies it whole or not at all; then it says
  where each agent stands, and the next block is made of what still follows. What was merged is kept apart until then.
- Only one block is on its way at a time, so a slow controller gets fewer and larger ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from loadproof.metrics import Sums, add_sums
from loadproof_agent import records as r
from loadproof_agent.config import NS_PER_MS, NS_PER_S
from loadproof_agent.relay import events as e
from loadproof_agent.relay import records as rr
from loadproof_agent.relay.children import Child, Held, Key

P = TypeVar("P")
Up = Literal["down", "greeting", "open", "left"]
BEATS_A_LEASE = 6
BEATS_NS_MAX = 3 * NS_PER_S
"""Heartbeats pass on as often as a lease is renewed, and at least every 3 s: so old are readings of workers."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Bounds of one relay. Times in nanoseconds."""

    children_max: int = 1_000
    block_ns: int = NS_PER_S
    """A block is made this often, while anything waits; twice as often as its children report, where that is less."""
    block_bytes_max: int = 3 * 1024 * 1024
    """Sum of the blocks merged into one; the controller takes messages of 8 MiB, and sums of small counts need more
    bytes than each of them."""
    resend_ns: int = 5 * NS_PER_S


@dataclass(slots=True)
class _OnItsWay:
    block: rr.RelayBlock
    sent_ns: int
    parts: list[Key] = field(default_factory=list)


class RelayMachine(Generic[P]):
    """Decides what a relay does. `P` is a delta, or whatever a simulation counts with.

    `decode` reads the block of a child of that id (None: it can't be read), `merge` adds payloads, `encode` makes
    bytes of one for a controller that reads deltas up to that version, `sums` says what a payload counts, `started` how
    many arrivals or iterations began in it.
    """

    def __init__(
        self,
        hello: rr.RelayHello,
        *,
        decode: Callable[[bytes, str], P | None],
        merge: Callable[[Sequence[P]], P],
        encode: Callable[[P, int], bytes],
        sums: Callable[[P], Sums],
        started: Callable[[P], int] | None = None,
        limits: RelayLimits | None = None,
    ) -> None:
        self.hello = hello
        self.limits = limits or RelayLimits()
        self.up: Up = "down"
        self.children: dict[Key, Child[P]] = {}
        self._links: dict[int, Child[P]] = {}
        self._decode, self._merge, self._encode, self._sums, self._started = decode, merge, encode, sums, started
        self._delta_version = 1
        self._on_its_way: _OnItsWay | None = None
        self._number = 0
        self._block_due_ns = self._beats_due_ns = 0
        self._block_ns = self.limits.block_ns
        self._heartbeat_ns = self._greeted_heartbeat_ns = 1_000 * NS_PER_MS
        self._out: list[e.Instruction] = []

    def handle(self, event: e.Event, now_ns: int) -> list[e.Instruction]:
        """Take one event at `now_ns`; returns the instructions to carry out, in order."""
        self._out = []
        match event:
            case e.ChildSpoke(link, record, message, token_id):
                self._child_spoke(link, record, message, token_id)
            case e.ChildLeft(link):
                self._child_left(link)
            case e.Heard(record, told):
                self._heard(record, told, now_ns)
            case e.Tick():
                self._tick(now_ns)
            case e.UplinkOpened():
                self.up = "greeting"
                self._send(self.hello)
            case e.UplinkClosed():
                self._forget()
        return self._out

    def _send(self, record: rr.FromRelay) -> None:
        self._out.append(e.SendUp(record))

    def _forget(self) -> None:
        """Nothing that was said on a broken stream is known to have arrived: the children say it again."""
        for link in self._links:
            self._out.append(e.EndChild(link))
        self.up = "left" if self.up == "left" else "down"
        self.children.clear()
        self._links.clear()
        self._on_its_way = None
        self._number = 0

    # --- children -----------------------------------------------------------------------------------------------------

    def _child_spoke(self, link: int, record: r.FromAgent | None, message: Any, token_id: str) -> None:
        if isinstance(record, r.Hello):
            self._child_came(link, record, message, token_id)
            return
        child = self._links.get(link)
        if child is None or self.up != "open":
            return
        if isinstance(record, r.Heartbeat):
            child.beat = record
        elif isinstance(record, r.SnapshotBlock):
            self._hold(child, record)
        else:
            self._send(rr.ChildSaid(child.agent_id, child.epoch, message))

    def _child_came(self, link: int, hello: r.Hello, message: Any, token_id: str) -> None:
        key = (hello.agent_id, hello.epoch)
        child = self.children.get(key)
        if self.up != "open" or link in self._links or len(self._links) >= self.limits.children_max:
            self._out.append(e.EndChild(link))  # no refusal: the child tries again, here or elsewhere
            return
        if child is None:
            child = self.children[key] = Child(hello.agent_id, hello.epoch, link)
        elif child.link is not None:
            self._end_child(child)
        child.link, child.beat = link, None
        self._links[link] = child
        self._send(rr.ChildSaid(hello.agent_id, hello.epoch, message, token_id))

    def _child_left(self, link: int) -> None:
        child = self._links.pop(link, None)
        if child is None:
            return
        child.link = None
        self._send(rr.ChildGone(child.agent_id, child.epoch))
        self._drop_if_idle(child)

    def _end_child(self, child: Child[P]) -> None:
        if child.link is not None:
            self._out.append(e.EndChild(child.link))
            del self._links[child.link]
            child.link = None

    def _drop_if_idle(self, child: Child[P]) -> None:
        """What a child that left had handed over is still delivered; then nothing of it is kept."""
        if child.link is None and not child.held:
            self.children.pop(child.key, None)

    def _hold(self, child: Child[P], block: r.SnapshotBlock) -> None:
        if len(block.ranges) != 1 or (block.ranges[0].agent_id, block.ranges[0].epoch) != child.key:
            text = "a snapshot in the name of another agent"
            assert child.link is not None
            self._out.append(e.EndChild(child.link, r.Refusal("protocol", text)))
            return
        child.start_run(block.run_id)
        where = block.ranges[0]
        if not child.takes(where.from_seq, where.to_seq):
            return
        payload = self._decode(block.delta, child.agent_id)
        counted = Sums() if payload is None else self._sums(payload)
        started = self._started(payload) if payload is not None and self._started is not None else None
        child.held.append(Held(where.from_seq, where.to_seq, block.delta, payload, counted, started))

    # --- the controller -----------------------------------------------------------------------------------------------

    def _heard(self, record: rr.FromHead, told: r.FromController | None, now_ns: int) -> None:
        match record:
            case rr.RelayWelcome() if self.up == "greeting":
                self.up = "open"
                self._heartbeat_ns = self._greeted_heartbeat_ns = max(record.heartbeat_ms, 1) * NS_PER_MS
                self._delta_version = record.delta_version
                self._block_due_ns, self._beats_due_ns = now_ns + self.limits.block_ns, now_ns
            case rr.RelayRefusal(code, text):
                self.up = "left"
                self._out.append(e.Leave(code, text))
            case rr.ChildTold(agent_id, epoch, message):
                self._told((agent_id, epoch), told, message)
            case rr.ChildClosed(agent_id, epoch):
                child = self.children.get((agent_id, epoch))
                if child is not None:
                    self._end_child(child)
                    self._drop_if_idle(child)
            case rr.Renewals():
                self._renewed(record)
            case rr.BlockAnswer():
                self._answered(record, now_ns)

    def _told(self, key: Key, told: r.FromController | None, message: Any) -> None:
        child = self.children.get(key)
        if child is None:
            return
        if isinstance(told, r.Lease):
            child.start_run(told.run_id)
            child.lease = told
            self._beat_for(told.duration_ms)
        elif isinstance(told, r.SnapshotAck) and told.run_id == child.run_id:
            child.settle(told.seq)
        elif isinstance(told, r.Prepare):
            self._block_ns = max(told.snapshot_ms * NS_PER_MS // 2, self.limits.block_ns)
        elif isinstance(told, r.End):
            child.start_run("")
            self._heartbeat_ns = self._greeted_heartbeat_ns
        if child.link is not None:
            self._out.append(e.SendChild(child.link, message))
        self._drop_if_idle(child)

    def _beat_for(self, lease_ms: int) -> None:
        """Heartbeats renew leases, and a lease wants that six times while it lasts: no more often is of use."""
        wanted_ns = min(lease_ms * NS_PER_MS // BEATS_A_LEASE, BEATS_NS_MAX)
        self._heartbeat_ns = max(wanted_ns, self._greeted_heartbeat_ns)

    def _renewed(self, renewals: rr.Renewals) -> None:
        for renewal in renewals.renewals:
            child = self.children.get((renewal.agent_id, renewal.epoch))
            if child is None or child.link is None or child.lease is None:
                continue
            lease = child.lease
            if (lease.run_id, lease.fence) == (renewals.run_id, renewal.fence):
                renewed = dataclasses.replace(lease, echo_ns=renewal.echo_ns, duration_ms=renewals.duration_ms)
                self._out.append(e.SendChild(child.link, renewed))

    def _answered(self, answer: rr.BlockAnswer, now_ns: int) -> None:
        sent = self._on_its_way
        if sent is None or sent.block.number != answer.number:
            return
        self._on_its_way = None
        if answer.verdict == "applied":
            for where in sent.block.ranges:
                self._settle(sent, (where.agent_id, where.epoch), where.to_seq)
            return
        self._block_due_ns = now_ns
        for state in answer.states:
            if not state.unwanted:
                self._settle(sent, (state.agent_id, state.epoch), state.last_seq)
            elif (child := self.children.get((state.agent_id, state.epoch))) is not None:
                child.held.clear()
                self._drop_if_idle(child)
        if answer.verdict == "data":
            for key in sent.parts:
                self._set_apart(key, alone=len(sent.parts) == 1)

    def _set_apart(self, key: Key, *, alone: bool) -> None:
        """One of a block's parts cannot be. Each travels alone from here on, so that it falls on nobody else."""
        child = self.children.get(key)
        if child is None:
            return
        child.apart = True
        if alone:
            child.held.clear()
            self._drop_if_idle(child)

    def _settle(self, sent: _OnItsWay, key: Key, last_seq: int) -> None:
        child = self.children.get(key)
        if child is None or child.run_id != sent.block.run_id:
            return
        child.settle(last_seq)
        child.apart = child.apart and len(sent.parts) > 1
        if child.link is not None and last_seq:
            ack = r.SnapshotAck(child.run_id, child.agent_id, child.epoch, last_seq)
            self._out.append(e.SendChild(child.link, ack))
        self._drop_if_idle(child)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _tick(self, now_ns: int) -> None:
        if self.up != "open":
            return
        if now_ns >= self._beats_due_ns:
            self._beats_due_ns = now_ns + self._heartbeat_ns
            self._beat()
        sent = self._on_its_way
        if sent is not None:
            if now_ns - sent.sent_ns >= self.limits.resend_ns:
                sent.sent_ns = now_ns
                self._send(sent.block)
        elif now_ns >= self._block_due_ns:
            self._make_block(now_ns)

    def _beat(self) -> None:
        beats = tuple(_beat_of(child, child.beat) for child in self._links.values() if child.beat is not None)
        for child in self._links.values():
            child.beat = None
        if beats:
            self._send(rr.RelayBeats(beats))

    def _make_block(self, now_ns: int) -> None:
        self._block_due_ns = now_ns + self._block_ns
        parts = self._parts()
        if not parts:
            return
        self._number += 1
        ranges = []
        for child, held in parts:
            counted = add_sums(block.sums for block in held)
            known = [block.started for block in held if block.started is not None]
            started = sum(known) if len(known) == len(held) else None
            ranges.append(rr.RelayedRange(*child.key, held[0].from_seq, held[-1].to_seq, *counted, started))
        blocks = [block for _child, held in parts for block in held]
        payloads = [block.payload for block in blocks if block.payload is not None]
        data = blocks[0].data if len(blocks) == 1 else self._encode(self._merge(payloads), self._delta_version)
        block = rr.RelayBlock(parts[0][0].run_id, self._number, tuple(ranges), data)
        self._on_its_way = _OnItsWay(block, now_ns, [child.key for child, _held in parts])
        self._send(block)

    def _parts(self) -> list[tuple[Child[P], list[Held[P]]]]:
        """Return what the next block is made of: one block of one child that travels alone, or all that fits."""
        waiting = [child for child in self.children.values() if child.held]
        alone = next((child for child in waiting if child.apart or child.held[0].payload is None), None)
        if alone is not None:
            return [(alone, [alone.held[0]])]
        parts: list[tuple[Child[P], list[Held[P]]]] = []
        names: set[str] = set()  # the process before and the one after it may both have something left
        room = self.limits.block_bytes_max
        for child in waiting:
            if child.run_id != waiting[0].run_id or child.agent_id in names:
                continue
            fits: list[Held[P]] = []
            for block in child.held:
                if block.payload is None or (len(block.data) > room and (parts or fits)):
                    break
                fits.append(block)
                room -= len(block.data)
            if fits:
                names.add(child.agent_id)
                parts.append((child, fits))
        return parts


def _beat_of(child: Child[Any], beat: r.Heartbeat) -> rr.ChildBeat:
    return rr.ChildBeat(
        child.agent_id,
        child.epoch,
        beat.run_id,
        beat.monotonic_ns,
        in_flight=sum(worker.in_flight for worker in beat.workers),
        cpu_permille=max((worker.cpu_permille for worker in beat.workers), default=0),
        memory_bytes=max((worker.memory_bytes for worker in beat.workers), default=0),
        began_ns=min((worker.began_ns for worker in beat.workers if worker.began_ns), default=0),
        machine_cpu_permille=beat.machine_cpu_permille,
        unacked=beat.unacked,
    )
