"""Drives the controller's state machine by hand, in virtual time."""

from __future__ import annotations

from typing import Any

from loadproof_controller import messages as m
from loadproof_controller.machine import MachineConfig, RunMachine
from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do

S = 1_000_000_000


class Driver:
    """A machine, a clock that tests move, and everything the machine ever wanted."""

    def __init__(self, agents: int = 2, **config: Any) -> None:
        fields: dict[str, Any] = {"duration_ns": 60 * S, "graceful_stop_ns": 5 * S, **config}
        self.now = 100 * S
        self.machine = RunMachine(MachineConfig("run", agents, **fields), self.now)
        self.names = [f"a{i}" for i in range(agents)]
        self.did: list[do.Instruction] = []

    def feed(self, event: ev.Event, after_s: float = 0) -> list[do.Instruction]:
        """Let `after_s` go by, feed `event`, return the instructions."""
        self.now += int(after_s * S)
        out = self.machine.handle(event, self.now)
        self.did += out
        return out

    def tick(self, after_s: float) -> list[do.Instruction]:
        """Let time go by in steps of at most a second, with ticks."""
        out: list[do.Instruction] = []
        while after_s > 0:
            out += self.feed(ev.Tick(), min(after_s, 1.0))
            after_s -= 1.0
        return out

    def beat(self, *names: str) -> list[do.Instruction]:
        """Feed a heartbeat of each agent."""
        out: list[do.Instruction] = []
        for name in names or self.names:
            out += self.feed(ev.HeartbeatReceived(name, 1, self.now + 7 * S))
        return out

    def attach_all(self, *, local: bool = False) -> None:
        """Attach every agent and hear a heartbeat of each."""
        for name in self.names:
            self.feed(ev.AgentAttached(name, 1, workers=2, weight=2000, local=local))
        self.beat()

    def start(self, *, local: bool = False) -> None:
        """Go through to `running`."""
        self.attach_all(local=local)
        for name in self.names:
            self.feed(ev.Prepared(name, 1))
        self.feed(ev.SetupDone(self.names[0], 1, b'{"x":1}'))
        assert self.phase == "running"

    @property
    def phase(self) -> str:
        """Return the run's phase."""
        return self.machine.phase

    @property
    def start_ns(self) -> int:
        """Return the run's zero."""
        assert self.machine.start_ns is not None
        return self.machine.start_ns

    def lost(self, name: str) -> bool:
        """Say whether the agent is thought lost."""
        return self.machine.members[name].lost

    def final_heard(self, name: str) -> bool:
        """Say whether the agent's part is complete."""
        return self.machine.members[name].final

    def lease_until_ns(self, name: str) -> int:
        """Return the moment after which the agent cannot hold a lease."""
        until_ns = self.machine.members[name].lease_until_ns
        assert until_ns is not None
        return until_ns

    def final(self, name: str, last_seq: int = 0) -> list[do.Instruction]:
        """Feed the Final of an agent for the shards it holds."""
        member = self.machine.members[name]
        shards = tuple(m.ShardFinal(g.shard, member.fence, g.first_k, 0) for g in member.grants)
        return self.feed(ev.FinalReceived(name, 1, last_seq, shards))

    def messages(self, kind: type, agent_id: str | None = None) -> list[Any]:
        """Return the messages of `kind` ever sent (to `agent_id`)."""
        return [
            i.message
            for i in self.did
            if isinstance(i, do.Send) and isinstance(i.message, kind) and agent_id in {None, i.agent_id}
        ]

    def records(self, kind: str) -> list[do.Record]:
        """Return what was noted under `kind`."""
        return [i for i in self.did if isinstance(i, do.Record) and i.kind == kind]

    def end(self) -> do.EndRun:
        """Return how the run ended; there is exactly one end, and it comes last."""
        ends = [i for i in self.did if isinstance(i, do.EndRun)]
        assert len(ends) == 1
        assert self.did[-1] is ends[0]
        return ends[0]
