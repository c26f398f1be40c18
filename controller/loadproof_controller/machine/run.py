"""The state machine of one run: `RunMachine.handle(event, now) -> instructions`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.config import NS_PER_S, MachineConfig
from loadproof_controller.machine.ending import Ending
from loadproof_controller.machine.members import Member
from loadproof_controller.machine.memory import recall, remember_member, remember_run
from loadproof_controller.machine.redealing import Redealing
from loadproof_controller.machine.relayed import take_block
from loadproof_controller.machine.sequence import SequenceBook
from loadproof_controller.machine.state import BEFORE_LOAD, LOAD, OVER
from loadproof_controller.messages import Reserved, Setup, UserDraws
from loadproof_controller.sharding import SHARDS_MAX, shard_count_for

HURRY_NS = 5 * NS_PER_S
"""How long agents get after an immediate stop before their Finals are overdue."""
SPARE_PHASES = frozenset({"preparing", "ready", "setup", "running"})
"""When an agent that comes late may still be of use."""
FREQUENT = (ev.Tick, ev.HeartbeatReceived, ev.BeatsReceived, ev.SnapshotReceived, ev.BlockReceived)
"""After anything else every agent is looked at again."""
NUMBERS = (do.LogAndApply, do.LogAndApplyBlock, do.LogDraws, do.Record)
"""What is carried out before the state that follows from it is logged."""


class RunMachine(Redealing, Ending):
    """One run from the wish to have it to its end; see `RunState` for what may be read of it."""

    def __init__(self, config: MachineConfig, now_ns: int, sequence: SequenceBook | None = None) -> None:
        super().__init__(config, now_ns, sequence)
        self._handlers: dict[type, Callable[[Any], None]] = {
            ev.AgentAttached: self._on_attached,
            ev.AgentDetached: self._on_detached,
            ev.AgentRefused: self._on_refused,
            ev.HeartbeatReceived: lambda event: self._beat(event.agent_id, event.epoch, event.monotonic_ns),
            ev.BeatsReceived: self._on_beats,
            ev.Prepared: self._on_prepared,
            ev.SetupDone: self._on_setup_done,
            ev.TeardownDone: self._on_teardown_done,
            ev.SnapshotReceived: self._on_snapshot,
            ev.BlockReceived: lambda event: take_block(self, event),
            ev.FinalReceived: self._on_final,
            ev.DrawsReserved: self._on_draws,
            ev.StopRequested: self._on_stop,
            ev.Tick: self._on_tick,
        }

    @classmethod
    def recalled(
        cls,
        config: MachineConfig,
        now_ns: int,
        sequence: SequenceBook,
        run: Mapping[str, Any],
        members: Iterable[Mapping[str, Any]],
        draws: Iterable[UserDraws],
    ) -> RunMachine:
        """Return the machine of a run whose controller crashed, from its log; see `memory.recall`."""
        machine = cls(config, now_ns, sequence)
        recall(machine, run, members, draws)
        return machine

    def handle(self, event: ev.Event, now_ns: int) -> list[do.Instruction]:
        """Take one event at `now_ns` of the controller's monotonic clock; return what is to be done, in order.

        After the end every event is ignored. `now_ns` never runs backwards (a lower one counts as the last).
        """
        self._now = max(self._now, now_ns)
        self._out = []
        self._touched = {}
        if not isinstance(event, FREQUENT):
            self._quiet_until_ns = 0
        before = self._facts()
        if self.phase not in OVER:
            self._handlers[type(event)](event)
        if self._touched or self._facts() != before:
            state = do.LogState(remember_run(self), tuple(remember_member(m) for m in self._touched.values()))
            sends = (i for i, instruction in enumerate(self._out) if not isinstance(instruction, NUMBERS))
            self._out.insert(next(sends, len(self._out)), state)
        return self._out

    def _facts(self) -> tuple[Any, ...]:
        return (
            self.phase, self.start_ns, self.stop_offset_ns, self.outcome, self._setup_agent, self._teardown_agent,
            self._immediate, self.leases.fence,
        )  # fmt: skip

    # --- agents come and go -------------------------------------------------------------------------------------------

    def _on_attached(self, event: ev.AgentAttached) -> None:
        known = self.members.get(event.agent_id)
        if self.phase == "pending":
            self._join(event)
            if len(self.members) >= self.config.agents_wanted:
                self._prepare()
        elif known is None:
            self._join_late(event)
        elif known.epoch != event.epoch:
            known.attached = False
            if known.working:
                self._lose(known, "its process was replaced by a new one")
            if not known.refused and self.phase not in OVER:
                self._join_late(event)
        elif not known.refused:
            known.attached, known.detached_ns = True, None
            self._welcome_back(known)

    def _join(self, event: ev.AgentAttached, *, spare: bool = False) -> Member:
        member = Member(event.agent_id, event.epoch, event.workers, event.weight, event.local, spare=spare, late=spare)
        known = self.members.get(event.agent_id)
        if known is not None and known.shards_held:
            self.departed.append(known)
        self.members[event.agent_id] = member
        self._touch(member)
        return member

    def _join_late(self, event: ev.AgentAttached) -> None:
        """An agent that comes after the run began: a spare where the policy has a use for one, else a guest."""
        came = f"agent {event.agent_id} attached after the run began"
        if not self.config.redeals or self.phase not in SPARE_PHASES:
            self._record("agent_spare", f"{came} and takes no part in it")
            return
        member = self._join(event, spare=True)
        self._record("agent_spare", f"{came} and is kept in reserve", member)
        self._out.append(do.SendPrepare(event.agent_id))

    def _welcome_back(self, member: Member) -> None:
        """Say again what the broken stream may have swallowed. The lease follows with the next heartbeat."""
        self._record("agent_back", f"agent {member.agent_id} is attached again", member)
        member.renew_at_ns, member.back_ns = 0, self._now
        if not member.overdue:
            self._reinstate(member)
        if self.phase == "teardown" and self._teardown_agent in {None, member.agent_id}:
            self._teardown_again(member)
        if not member.prepared and self.phase in (SPARE_PHASES if member.spare else BEFORE_LOAD):
            self._out.append(do.SendPrepare(member.agent_id))
        elif self.phase == "setup" and member.agent_id == self._setup_agent:
            self._out.append(do.Send(member.agent_id, Setup(self.config.run_id)))
        if self.phase in LOAD and not member.spare:
            self._ack(member)
            if self.start_ns is not None:
                self._out.append(do.SendStart(member.agent_id, self.start_ns, self.shared))
            if self.stop_offset_ns is not None:
                self._send_stop(member)

    def _on_detached(self, event: ev.AgentDetached) -> None:
        member = self.member(event.agent_id, event.epoch)
        if member is None or not member.attached:
            return
        member.attached, member.detached_ns = False, self._now
        if self.phase == "pending":
            del self.members[member.agent_id]
        elif self.phase in BEFORE_LOAD and member.local and not member.spare:
            self._lose(member, "its connection ended")
        elif self.phase == "teardown":
            if member.agent_id == self._teardown_agent:
                self._record("teardown_failed", f"agent {member.agent_id} was lost during teardown", member)
                self._teardown_next()
        elif member.working or member.spare:  # over a network it may be back in a moment
            self._record("agent_detached", f"the connection to agent {member.agent_id} ended", member)

    def _on_refused(self, event: ev.AgentRefused) -> None:
        member = self.member(event.agent_id, event.epoch)
        if member is None or member.refused:
            return
        self._record("agent_refused", f"agent {member.agent_id} was put out: {event.reason}", member)
        member.attached = False
        was_expected = member.working
        member.refused = True
        self._touch(member)
        if self.phase == "pending":
            del self.members[member.agent_id]
        elif was_expected:
            self._lose(member, event.reason)
        if self.phase == "teardown" and member.agent_id == self._teardown_agent:
            self._teardown_next()

    def _on_beats(self, event: ev.BeatsReceived) -> None:
        for agent_id, epoch, clock_ns in event.beats:
            self._beat(agent_id, epoch, clock_ns)

    def _beat(self, agent_id: str, epoch: int, clock_ns: int) -> None:
        member = self.member(agent_id, epoch)
        if member is None or not member.attached:
            return
        member.heartbeat_ns = self._now
        member.heartbeat_clock_ns = max(member.heartbeat_clock_ns, clock_ns)
        if self.phase == "ready":
            self._barrier()
        elif self.phase in LOAD:
            if member.lost and not member.overdue:
                self._reinstate(member)
            if member.lease_until_ns is not None and member.working and self._now >= member.renew_at_ns:
                self._out.append(do.Send(member.agent_id, self.leases.renew(member, self._now)))

    def _lose(self, member: Member, why: str) -> None:
        member.lost, member.lost_ns = True, self._now
        self._touch(member)
        text = f"agent {member.agent_id} was lost: {why}"
        self._record("agent_lost", text, member)
        if self.phase in BEFORE_LOAD:
            self._fail(f"agent {member.agent_id} was lost before the load began ({self.phase}): {why}")
        elif self.phase in LOAD:
            if self.config.on_agent_loss == "fail":
                self._fail(text)
            self._conclude_if_complete()

    def _reinstate(self, member: Member) -> None:
        """An agent thought dead is back: it goes on with the shards nobody has taken from it."""
        if member.lost and not member.refused and self.phase in LOAD:
            member.lost = False
            member.renew_at_ns = self._quiet_until_ns = 0
            self._touch(member)
            held = "its shards are with other agents now" if member.fenced else "it goes on with its shards"
            self._record("agent_returned", f"agent {member.agent_id} was thought lost and returned: {held}", member)

    # --- before the load ----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.phase, self._deadline_ns = "preparing", self._now + self.config.prepare_limit_ns
        workers = sum(member.workers for member in self.regulars)
        wanted = self.config.shard_count or shard_count_for(workers)
        self.shard_count = min(max(wanted, len(self.members)), SHARDS_MAX)
        self._out.extend(do.SendPrepare(name) for name in sorted(self.members))

    def _on_prepared(self, event: ev.Prepared) -> None:
        member = self.member(event.agent_id, event.epoch)
        if member is None or member.prepared:
            return
        if member.spare:
            self._spare_prepared(member, event)
            return
        if self.phase != "preparing":
            return
        if event.problems:
            texts = [f"{problem.code}: {problem.text}" for problem in event.problems]
            details = [problem.detail for problem in event.problems if problem.detail]
            self._record(
                "prepare_failed",
                f"agent {member.agent_id} cannot run the suite: {'; '.join(texts)}",
                member,
                details="\n".join(details),
            )
            self._fail(f"agent {member.agent_id} cannot run the suite: {'; '.join(texts)}")
            return
        member.prepared = True
        self._touch(member)
        if all(other.prepared for other in self.members.values() if not other.spare):
            self.phase = "ready"
            self._barrier()

    def _spare_prepared(self, spare: Member, event: ev.Prepared) -> None:
        if not event.problems:
            spare.prepared = True
            self._touch(spare)
            return
        texts = "; ".join(f"{problem.code}: {problem.text}" for problem in event.problems)
        self._record("spare_unfit", f"agent {spare.agent_id} cannot run the suite and is no reserve: {texts}", spare)

    def _barrier(self) -> None:
        """Every agent is ready and was heard of: leases count from heartbeats, so there must be one."""
        if any(member.heartbeat_ns is None for member in self.members.values() if not member.spare):
            return
        self.phase, self._deadline_ns = "setup", self._now + self.config.setup_limit_ns
        self._setup_agent = self.regulars[0].agent_id
        self._record("setup", f"set-up runs on agent {self._setup_agent}")
        self._out.append(do.Send(self._setup_agent, Setup(self.config.run_id)))

    def _on_setup_done(self, event: ev.SetupDone) -> None:
        if self.phase != "setup" or event.agent_id != self._setup_agent:
            return
        if self.member(event.agent_id, event.epoch) is None:
            return
        if event.problem is not None:
            text = f"set-up failed on agent {event.agent_id}: {event.problem.text}"
            self._record("setup_failed", text, details=event.problem.detail)
            self._fail(text)
            return
        self.shared = event.shared
        if self.outcome is not None:
            self._teardown()
        else:
            self._begin()

    def _begin(self) -> None:
        self.phase, self._deadline_ns = "running", None
        self.start_ns = self._now + self.config.start_lead_ns
        regulars = self.regulars
        self.leases.deal_all(regulars, self.shard_count)
        self._touch(*regulars)
        for member in regulars:
            self._out.append(do.Send(member.agent_id, self.leases.renew(member, self._now)))
            self._out.append(do.SendStart(member.agent_id, self.start_ns, self.shared))
        self._record(
            "started",
            f"{len(regulars)} agent{' starts' if len(regulars) == 1 else 's start'} {self.shard_count} shards",
        )

    # --- the load -----------------------------------------------------------------------------------------------------

    def _on_snapshot(self, event: ev.SnapshotReceived) -> None:
        member = self.member(event.agent_id, event.epoch)
        if member is None or member.refused or self.start_ns is None:
            return
        verdict = self.sequence.judge(event.agent_id, event.epoch, event.from_seq, event.to_seq)
        if verdict == "apply":
            self._out.append(do.LogAndApply(event.agent_id, event.epoch, event.from_seq, event.to_seq, event.payload))
            self.sequence.take(event.agent_id, event.epoch, event.to_seq)
            self._more_came(member)
        pause_ns = self.config.ack_pause_ns
        if verdict == "apply" and self.phase == "running" and self._now < member.acked_ns + pause_ns:
            self._acks_owed.setdefault(member.agent_id, self._now + pause_ns)
        else:
            self._ack(member)
        self._complete_if_final(member)

    def _on_final(self, event: ev.FinalReceived) -> None:
        member = self.member(event.agent_id, event.epoch)
        if member is None or member.refused or member.final or self.start_ns is None:
            return
        if not {grant.shard for grant in member.grants} <= {shard.shard for shard in event.shards}:
            return  # said before the shards of another agent reached it: it will say Final again
        member.last_seq = event.last_seq
        self._touch(member)
        self._ack(member)
        self._complete_if_final(member)

    def _complete_if_final(self, member: Member) -> None:
        applied = self.sequence.last(member.agent_id, member.epoch)
        if member.final or member.last_seq is None or applied < member.last_seq:
            return
        self._reinstate(member)
        member.final = True
        self._touch(member)
        self._out.append(do.CheckTotals(member.agent_id, member.epoch))
        self._record("agent_final", f"agent {member.agent_id} has finished its part", member)
        self._conclude_if_complete()

    def _on_draws(self, event: ev.DrawsReserved) -> None:
        member = self.member(event.agent_id, event.epoch)
        if member is None or not member.live:
            return
        draws = self.leases.reserve(member, event.draws)
        if not draws:
            return  # its users are another agent's now
        self._out.append(do.LogDraws(event.agent_id, event.epoch, draws))
        self._out.append(do.Send(event.agent_id, Reserved(self.config.run_id, event.request)))

    def _conclude_if_complete(self) -> None:
        """Go on to teardown once no part is expected any more and no lost agent can still be loading the target."""
        if self.phase not in LOAD or self._somebody_works():
            return
        if not self._immediate and any(self._may_still_load(member) for member in self.everyone):
            return
        if self._reserve_takes_over():
            return
        if self.outcome is None and not any(member.final for member in self.members.values()):
            self.outcome = do.EndRun("failed", "infrastructure", "every agent was lost")
        self._teardown()

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _on_stop(self, event: ev.StopRequested) -> None:
        self._immediate = self._immediate or event.immediate
        if self.outcome is None:
            how = "at once" if event.immediate else "after what runs is finished"
            self._record("stop_requested", f"the run is to end {how}: {event.reason}", by=event.by)
            self.outcome = do.EndRun("aborted", event.by, event.reason)
        elif not event.immediate:
            return
        if self.phase in LOAD:
            self._stop_load()
        elif self.phase == "teardown":
            self._hurry_teardown()
        elif self.phase != "setup" or event.immediate:
            self._teardown()

    def _fail(self, reason: str) -> None:
        """End the run for trouble of its own; what an earlier decision said stays."""
        if self.outcome is None:
            self.outcome = do.EndRun("failed", "infrastructure", reason)
        if self.phase in LOAD:
            self._immediate = True
            self._stop_load()
        else:
            self._teardown()

    def _stop_load(self) -> None:
        if self.stop_offset_ns is None:
            lead = 0 if self._immediate else self.config.stop_lead_ns
            offset = max(self._now + lead - (self.start_ns or 0), 1)
            self.stop_offset_ns = min(offset, self.config.duration_ns or offset)
        if self.phase == "running":
            self.phase = "draining"
        wait = HURRY_NS if self._immediate else self.config.stop_lead_ns + self.config.graceful_stop_ns
        self._deadline_ns = self._now + wait
        for name in sorted(self.members):
            if self.members[name].working:
                self._send_stop(self.members[name])
        self._conclude_if_complete()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _on_tick(self, _event: ev.Tick) -> None:
        self._ack_owed()
        if self.phase in LOAD:
            self._watch_agents()
            self._watch_load()
        elif self.phase == "teardown" and self._setup_agent is None:  # after our own restart
            self._end()
        elif self._deadline_ns is not None and self._now >= self._deadline_ns:
            self._overdue()
        elif self.phase in BEFORE_LOAD:
            for member in self.regulars:
                if not member.attached and self._detached_for(member) >= self.config.lease_ns:
                    self._lose(member, "its connection ended")
                    return

    def _ack_owed(self) -> None:
        """Ack what waited for more and waited long enough, the oldest first; all of it once the load is over."""
        for agent_id, due_ns in list(self._acks_owed.items()):
            if self._now < due_ns and self.phase == "running":
                return
            self._ack(self.members[agent_id])

    def _overdue(self) -> None:
        config = self.config
        if self.phase == "pending":
            have = ", ".join(sorted(self.members)) or "none"
            limit = f"{config.attach_limit_ns / NS_PER_S:g} s"
            self._fail(f"{len(self.members)} of {config.agents_wanted} agents attached within {limit} ({have})")
        elif self.phase in {"preparing", "ready"}:
            slow = ", ".join(
                sorted(n for n, m in self.members.items() if not (m.spare or (m.prepared and m.heartbeat_ns)))
            )
            self._fail(f"not ready within {config.prepare_limit_ns // NS_PER_S} s: agent {slow}")
        elif self.phase == "setup":
            self._fail(f"set-up on agent {self._setup_agent} took over {config.setup_limit_ns // NS_PER_S} s")
        elif self.phase == "teardown":
            self._record("teardown_failed", f"teardown on agent {self._teardown_agent} did not end in time")
            self._teardown_next()

    def _watch_agents(self) -> None:
        """Lose agents whose time is over; as leases only grow longer, all are looked at again when the first may be."""
        if self._now < self._quiet_until_ns:
            return
        for member in self.everyone:
            if self.phase not in LOAD:
                return
            lease_over = member.lease_until_ns is not None and self._now >= member.lease_until_ns
            if member.working and lease_over and not self._just_back(member):
                self._lose(member, self._silence_of(member))
            elif member.working and member.local and self._detached_for(member) >= self.config.detach_grace_local_ns:
                self._lose(member, "its process ended")
            if member.lost and lease_over and member.grants and self.config.redeals:
                self._redeal(member)
        self._quiet_until_ns = min(map(self._quiet_until, self.everyone), default=0)

    def _just_back(self, member: Member) -> bool:
        """Return whether it is attached again since so short a time that its first heartbeat may be on the way."""
        grace_ns = self.config.lease_ns // 2
        return member.attached and member.back_ns is not None and self._now < member.back_ns + grace_ns

    def _silence_of(self, member: Member) -> str:
        if member.heartbeat_ns is None:
            return "nothing was heard of it since the controller was restarted"
        return f"nothing was heard of it for {(self._now - member.heartbeat_ns) / NS_PER_S:.3g} s"

    def _watch_load(self) -> None:
        if self.phase == "running" and self.start_ns is not None and self.config.duration_ns is not None:
            end_ns = self.start_ns + self.config.duration_ns
            if self._now >= end_ns:
                self.phase, self._deadline_ns = "draining", end_ns + self.config.graceful_stop_ns
        if self._deadline_ns is not None and self._now >= self._deadline_ns:
            if self.phase == "draining":
                self.phase, self._deadline_ns = "collecting", self._now + self.config.collect_limit_ns
            elif self.phase == "collecting":
                for member in [member for member in self.members.values() if member.working]:
                    member.overdue = True  # its heartbeats bring it back no more, only its Final does
                    self._lose(member, "it did not report the end of its part in time")
        self._conclude_if_complete()
