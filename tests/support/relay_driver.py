"""Drives a relay's state machine by hand, with real deltas, and answers as a controller would."""

from __future__ import annotations

from typing import Any

from loadproof.metrics import Delta, merge_deltas
from loadproof_agent import records as r
from loadproof_agent.relay import events as e
from loadproof_agent.relay import records as rr
from loadproof_agent.relay.machine import RelayLimits, RelayMachine
from loadproof_agent.relay.process import counted, read_delta, write_delta

S = 1_000_000_000
RUN = "run-1"


class RelayDriver:
    """A relay that is attached, a clock that tests move, and everything it ever wanted."""

    def __init__(self, *, delta_version: int = 1, **limits: Any) -> None:
        self.now = 100 * S
        hello = rr.RelayHello(1, 1, "layout", "r", 9)
        self.machine: RelayMachine[Delta] = RelayMachine(
            hello, decode=read_delta, merge=merge_deltas, encode=write_delta, sums=counted, limits=RelayLimits(**limits)
        )
        self.did: list[e.Instruction] = []
        self.links: dict[str, int] = {}
        self.feed(e.UplinkOpened())
        self.feed(e.Heard(rr.RelayWelcome(1, delta_version=delta_version)))

    def feed(self, event: e.Event, after_s: float = 0) -> list[e.Instruction]:
        """Let `after_s` go by, feed `event`, return the instructions."""
        self.now += int(after_s * S)
        out = self.machine.handle(event, self.now)
        self.did += out
        return out

    def attach(self, *names: str) -> None:
        """Have children say Hello, each on a new stream, and hold a lease in the run."""
        for name in names:
            self.links[name] = link = len(self.links) + 1 + max(self.links.values(), default=0)
            hello = r.Hello(1, 1, "layout", name, 7)
            self.feed(e.ChildSpoke(link, hello, b"hello"))
            self.told(name, r.Lease(RUN, 1, (r.ShardGrant(0),), 15_000))

    def told(self, name: str, record: r.FromController) -> list[e.Instruction]:
        """Have the controller say something to a child."""
        return self.feed(e.Heard(rr.ChildTold(name, 7, record), record))

    def snapshot(self, name: str, from_seq: int, data: bytes, to_seq: int | None = None) -> list[e.Instruction]:
        """Have a child send a block."""
        where = r.SnapshotRange(name, 7, from_seq, to_seq or from_seq)
        return self.feed(e.ChildSpoke(self.links[name], r.SnapshotBlock(RUN, (where,), data), b""))

    def block(self, after_s: float = 1.0) -> rr.RelayBlock | None:
        """Let time go by; return the block the relay makes."""
        blocks = [record for record in self.sent(self.feed(e.Tick(), after_s)) if isinstance(record, rr.RelayBlock)]
        assert len(blocks) <= 1
        return blocks[0] if blocks else None

    def answer(self, number: int, verdict: str = "applied", *states: rr.RangeState) -> list[e.Instruction]:
        """Have the controller answer a block."""
        return self.feed(e.Heard(rr.BlockAnswer(number, verdict, states)))

    @staticmethod
    def sent(out: list[e.Instruction]) -> list[rr.FromRelay]:
        """Return what goes to the controller."""
        return [instruction.record for instruction in out if isinstance(instruction, e.SendUp)]

    def acks(self, out: list[e.Instruction]) -> dict[str, int]:
        """Return what children are acked."""
        messages = [i.message for i in out if isinstance(i, e.SendChild) and isinstance(i.message, r.SnapshotAck)]
        return {ack.agent_id: ack.seq for ack in messages}
