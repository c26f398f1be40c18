"""What the state machine of a run remembers, and what can be said of it without changing it."""

from __future__ import annotations

from typing import Any, Literal

from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.config import MachineConfig
from loadproof_controller.machine.leasing import LeaseBook
from loadproof_controller.machine.members import Member
from loadproof_controller.machine.sequence import SequenceBook
from loadproof_controller.messages import SnapshotAck, Stop

Phase = Literal[
    "pending",
    "preparing",
    "ready",
    "setup",
    "running",
    "draining",
    "collecting",
    "teardown",
    "finished",
    "aborted",
    "failed",
]
BEFORE_LOAD: frozenset[Phase] = frozenset({"pending", "preparing", "ready", "setup"})
LOAD: frozenset[Phase] = frozenset({"running", "draining", "collecting"})
FOREVER_NS = 1 << 63
OVER: frozenset[Phase] = frozenset({"finished", "aborted", "failed"})
COLLECT_LIMITS_MAX = 20
"""So many times the time to collect a run waits at its end for agents that go on handing over what they hold."""


class RunState:
    """The state of one run.

    `members` are its agents by id, `departed` those whose name a newer process has. `start_ns` is the run's zero by the
    controller's clock, None before it is ordered;
    `stop_offset_ns` is where the load was cut short, None when it ran its length; `load_ended_ns` is when the last part
    was complete.
    """

    def __init__(self, config: MachineConfig, now_ns: int, sequence: SequenceBook | None = None) -> None:
        self.config = config
        self.phase: Phase = "pending"
        self.members: dict[str, Member] = {}
        self.departed: list[Member] = []
        self.shard_count = 0
        self.start_ns: int | None = None
        self.stop_offset_ns: int | None = None
        self.load_ended_ns: int | None = None
        self.outcome: do.EndRun | None = None
        self.sequence = sequence or SequenceBook()
        self.leases = LeaseBook(config)
        self.shared = b"null"
        self._setup_agent: str | None = None
        self._teardown_agent: str | None = None
        self._teardown_tried: list[str] = []
        self._immediate = False
        self._deadline_ns: int | None = now_ns + config.attach_limit_ns
        self._collect_end_ns: int | None = None
        self._now = now_ns
        self._out: list[do.Instruction] = []
        self._touched: dict[tuple[str, int], Member] = {}
        self._acks_owed: dict[str, int] = {}
        self._quiet_until_ns = 0
        self._at_work: Member | None = None

    def member(self, agent_id: str, epoch: int) -> Member | None:
        """Return the run's agent of that name and process, if it has one."""
        found = self.members.get(agent_id)
        return found if found is not None and found.epoch == epoch else None

    @property
    def everyone(self) -> list[Member]:
        """Return every process that ever was in the run, the departed first."""
        return [*self.departed, *self.members.values()]

    @property
    def regulars(self) -> list[Member]:
        """Return the agents the run began with or that took over shards, by name: all but the spares."""
        return [self.members[name] for name in sorted(self.members) if not self.members[name].spare]

    def _touch(self, *members: Member) -> None:
        """Note that these agents' durable facts change: they are logged before the next message."""
        self._touched.update({(member.agent_id, member.epoch): member for member in members})

    def _may_still_load(self, member: Member) -> bool:
        gone = member.local and not member.attached
        held = member.lease_until_ns or 0
        return not member.final and not gone and not member.fenced and self._now < held

    def _somebody_works(self) -> bool:
        """Return whether a part is still expected. One that was found at work is asked first, not all of a fleet."""
        known = self._at_work
        if known is None or not known.working or self.members.get(known.agent_id) is not known:
            self._at_work = next((member for member in reversed(self.members.values()) if member.working), None)
        return self._at_work is not None

    def _quiet_until(self, member: Member) -> int:
        """Return until when time alone does nothing to the agent, by what is known now."""
        if member.lost:
            return self._now if member.grants and self.config.redeals else FOREVER_NS
        if not member.working or member.lease_until_ns is None:
            return FOREVER_NS
        if member.local and member.detached_ns is not None:
            return min(member.lease_until_ns, member.detached_ns + self.config.detach_grace_local_ns)
        return member.lease_until_ns

    def _detached_for(self, member: Member) -> int:
        return -1 if member.detached_ns is None else self._now - member.detached_ns

    # --- instructions of one line -------------------------------------------------------------------------------------

    def _ack(self, member: Member) -> None:
        member.acked_ns = self._now
        self._acks_owed.pop(member.agent_id, None)
        seq = self.sequence.last(member.agent_id, member.epoch)
        ack = SnapshotAck(self.config.run_id, member.agent_id, member.epoch, seq)
        self._out.append(do.Send(member.agent_id, ack))

    def _more_came(self, member: Member) -> None:
        """An agent that is waited for at the end handed over a part of what it holds: it gets time for the rest."""
        if self.phase != "collecting" or self._immediate or not member.working:
            return
        limit_ns = self.config.collect_limit_ns
        if self._collect_end_ns is None:
            self._collect_end_ns = self._now + COLLECT_LIMITS_MAX * limit_ns
        self._deadline_ns = min(self._now + limit_ns, self._collect_end_ns)

    def _send_stop(self, member: Member) -> None:
        reason = self.outcome.reason if self.outcome else ""
        stop = Stop(self.config.run_id, self.stop_offset_ns or 1, self._immediate, reason)
        self._out.append(do.Send(member.agent_id, stop))

    def _record(self, kind: str, text: str, member: Member | None = None, **data: Any) -> None:
        self._out.append(do.Record(kind, text, member.agent_id if member else "", data))
