"""What a log says beside the numbers measured: kept up while it is written, and made again from it by the same code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from loadproof_controller.messages import UserDraws

LOG_VERSION = 1
Event = tuple[int, str, str, str]
"""Moment, kind, text, agent id."""


@dataclass(slots=True)
class LogFacts:
    """What the records of a log come to. `seqs` is the last applied number by (agent id, epoch).

    `run_state` and `members` (by agent id and epoch, in the order they came) are what the machine last remembered.
    `worker_events` is the last number of a worker's event by (agent id, epoch): what a reconnect brings again.
    """

    run_id: str = ""
    plan_json: bytes = b""
    request: bytes = b""
    seqs: dict[tuple[str, int], int] = field(default_factory=dict)
    draws: dict[tuple[int, int], UserDraws] = field(default_factory=dict)
    run_state: dict[str, Any] = field(default_factory=dict)
    members: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    worker_events: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, kind: str, values: Sequence[Any]) -> bool:
        """Add one record; False when it cannot follow those before it. Raises what a malformed one raises."""
        if kind == "run":
            version, self.run_id, self.plan_json = values
            return bool(version == LOG_VERSION)
        if kind == "delta":
            agent_id, epoch, from_seq, to_seq, _ = values
            if from_seq != self.seqs.get((agent_id, epoch), 0) + 1:
                return False
            self.seqs[agent_id, epoch] = to_seq
        elif kind == "block":
            ranges, _ = values
            if any(from_seq != self.seqs.get((name, epoch), 0) + 1 for name, epoch, from_seq, *_ in ranges):
                return False
            self.seqs.update({(name, epoch): to_seq for name, epoch, _, to_seq, *_ in ranges})
        elif kind == "draws":
            for user, dataset, draws in values[2]:
                known = self.draws.get((user, dataset))
                self.draws[user, dataset] = UserDraws(user, dataset, max(draws, known.draws if known else 0))
        elif kind == "request":
            self.request = values[0]
        elif kind == "state":
            self.run_state = values[0]
            self.members.update({(facts["agent_id"], facts["epoch"]): facts for facts in values[1]})
        elif kind == "event":
            self.events.append((values[0], values[1], values[2], values[3]))
            if len(values) > 4:
                epoch, number = values[4:6]
                self.worker_events[values[3], epoch] = max(number, self.worker_events.get((values[3], epoch), 0))
        return True

    def snapshot(self) -> LogFacts:
        """Return a copy that later records do not reach: nothing inside is ever changed, only replaced."""
        return LogFacts(
            self.run_id, self.plan_json, self.request, dict(self.seqs), dict(self.draws), self.run_state,
            dict(self.members), list(self.events), dict(self.worker_events),
        )  # fmt: skip

    def pack(self) -> bytes:
        """Return everything as bytes."""
        packed: bytes = msgpack.packb(
            [
                self.run_id, self.plan_json, self.request, [[*name, seq] for name, seq in self.seqs.items()],
                [[draw.user, draw.dataset, draw.draws] for draw in self.draws.values()], self.run_state,
                list(self.members.values()), self.events,
                [[*name, number] for name, number in self.worker_events.items()],
            ]
        )  # fmt: skip
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> LogFacts:
        """Read what `pack` wrote. Raises ValueError, TypeError or KeyError on anything else."""
        run_id, plan_json, request, seqs, draws, run_state, members, events, *later = msgpack.unpackb(
            data, strict_map_key=False
        )
        worker_events = later[0] if later else []  # a checkpoint of an earlier version has none
        return cls(
            run_id,
            plan_json,
            request,
            {(agent_id, epoch): seq for agent_id, epoch, seq in seqs},
            {(user, dataset): UserDraws(user, dataset, n) for user, dataset, n in draws},
            run_state,
            {(facts["agent_id"], facts["epoch"]): facts for facts in members},
            [(at_ns, kind, text, agent_id) for at_ns, kind, text, agent_id in events],
            {(agent_id, epoch): number for agent_id, epoch, number in worker_events},
        )
