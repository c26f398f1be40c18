"""The run's state machine against random lives of agents: what must hold holds at every step, and every run ends."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loadproof_controller import messages as m
from loadproof_controller.machine import OVER, MachineConfig, RunMachine
from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do

S = 1_000_000_000
LEASE_NS = 15 * S
AGENTS = st.integers(0, 3)


class Process:
    """One agent process as it really is: what it recorded, what it may still send."""

    def __init__(self, agent_id: str, epoch: int) -> None:
        self.agent_id, self.epoch = agent_id, epoch
        self.attached = False
        self.recorded: list[int] = []
        self.grants: tuple[m.ShardGrant, ...] = ()


class RunLife(RuleBasedStateMachine):
    """Events in any order, also those that make no sense; instructions checked against what really happened."""

    @initialize(
        wanted=st.integers(1, 3),
        policy=st.sampled_from(["fail", "continue", "redeal"]),
        local=st.booleans(),
        model=st.sampled_from(["open", "closed"]),
        started=st.sampled_from([True, True, True, False]),
    )
    def begin(self, wanted: int, policy: Any, local: bool, model: str, started: bool) -> None:
        self.now = 1_000 * S
        config = MachineConfig(
            "run", wanted, shard_count=7, duration_ns=40 * S, graceful_stop_ns=5 * S, lease_ns=LEASE_NS,
            on_agent_loss=policy, arrivals_before=(lambda offset: offset // S) if model == "open" else None,
        )  # fmt: skip
        self.local = local
        self.machine = RunMachine(config, self.now)
        self.processes = [Process(f"a{i}", 1) for i in range(4)]
        self.old: list[Process] = []
        self.applied: dict[tuple[str, int], list[int]] = {}
        self.setups: set[tuple[str, int]] = set()
        self.teardowns = self.ends = 0
        self.valid_until: dict[int, dict[str, int]] = {}
        if started:
            for i in range(wanted):
                self.attach(i)
            self.beat_all()
            self.all_prepared()
            self.setup_done(1)
            assert self.machine.phase == "running"

    def feed(self, event: ev.Event) -> None:
        over = self.machine.phase in OVER
        out = self.machine.handle(event, self.now)
        assert not (over and out), "something happened after the end"
        for position, instruction in enumerate(out):
            self.check(instruction, out[:position])
        if any(isinstance(i, do.EndRun) for i in out):
            assert isinstance(out[-1], do.EndRun)

    def check(self, instruction: do.Instruction, before: list[do.Instruction]) -> None:
        if isinstance(instruction, do.LogAndApply):
            got = self.applied.setdefault((instruction.agent_id, instruction.epoch), [])
            assert instruction.from_seq == len(got) + 1, "applied out of order or twice"
            got.extend(instruction.payload)
        elif isinstance(instruction, do.EndRun):
            self.ends += 1
            reachable = [member for member in self.machine.members.values() if member.attached and not member.refused]
            assert self.teardowns or not self.setups or not reachable, "set up and never taken down"
        elif isinstance(instruction, do.Send):
            self.check_message(instruction.agent_id, instruction.message, before)

    def check_message(self, agent_id: str, message: Any, before: list[do.Instruction]) -> None:
        if isinstance(message, m.SnapshotAck):
            applied = self.applied.get((agent_id, message.epoch), [])
            assert message.seq <= len(applied), "acked before it was logged"
        elif isinstance(message, m.Setup):
            self.setups.update((p.agent_id, p.epoch) for p in self.processes if p.agent_id == agent_id)
            assert not any(isinstance(i, do.SendStart) for i in before)
        elif isinstance(message, m.Teardown):
            self.teardowns += 1
        elif isinstance(message, m.Lease):
            self.check_lease(agent_id, message)

    def check_lease(self, agent_id: str, lease: m.Lease) -> None:
        """A shard may be granted only when every other holder's lease is over, by that holder's own clock."""
        end_ns = lease.echo_ns + lease.duration_ms * 1_000_000
        for grant in lease.shards:
            holders = self.valid_until.setdefault(grant.shard, {})
            for other, until in holders.items():
                assert other == agent_id or until <= self.now, "a shard leased twice at the same time"
            holders[agent_id] = max(holders.get(agent_id, 0), end_ns)
        for process in self.processes:
            if process.agent_id == agent_id:
                process.grants = lease.shards

    # --- what agents do -----------------------------------------------------------------------------------------------

    @rule(i=AGENTS)
    def attach(self, i: int) -> None:
        process = self.processes[i]
        process.attached = True
        self.feed(ev.AgentAttached(process.agent_id, process.epoch, 2, 2_000, self.local))

    @rule(i=AGENTS)
    def detach(self, i: int) -> None:
        process = self.processes[i]
        process.attached = False
        self.feed(ev.AgentDetached(process.agent_id, process.epoch))

    @rule(i=AGENTS)
    def restart(self, i: int) -> None:
        self.detach(i)
        self.old.append(self.processes[i])
        self.processes[i] = Process(self.processes[i].agent_id, self.processes[i].epoch + 1)
        self.attach(i)

    @rule(i=AGENTS, delay_ms=st.integers(0, 20_000))
    def beat(self, i: int, delay_ms: int) -> None:
        """A heartbeat, perhaps an old one that was long on its way."""
        process = self.processes[i]
        if process.attached:
            self.feed(ev.HeartbeatReceived(process.agent_id, process.epoch, self.now - delay_ms * 1_000_000))

    @rule()
    def beat_all(self) -> None:
        for i in range(4):
            self.beat(i, 0)

    @rule(i=AGENTS, works=st.booleans())
    def prepared(self, i: int, works: bool) -> None:
        problems = () if works else (m.Problem("import", "broken"),)
        self.feed(ev.Prepared(self.processes[i].agent_id, self.processes[i].epoch, problems))

    @rule()
    def all_prepared(self) -> None:
        for process in self.processes:
            self.feed(ev.Prepared(process.agent_id, process.epoch))

    @precondition(lambda self: self.setups)
    @rule(works=st.integers(0, 4))
    def setup_done(self, works: int) -> None:
        for process in self.processes:
            problem = None if works else m.Problem("setup", "broken")
            self.feed(ev.SetupDone(process.agent_id, process.epoch, b"1", problem))

    @rule(i=AGENTS, first=st.integers(-2, 2), count=st.integers(1, 3), old=st.booleans())
    def snapshot(self, i: int, first: int, count: int, old: bool) -> None:
        """The next numbers, or seen ones, or ones beyond a gap; also from a process that was replaced."""
        process = self.old[i % len(self.old)] if old and self.old else self.processes[i]
        key = (process.agent_id, process.epoch)
        from_seq = max(1, len(self.applied.get(key, [])) + 1 + first)
        while len(process.recorded) < from_seq + count - 1:
            process.recorded.append(len(process.recorded) + 1)
        payload = process.recorded[from_seq - 1 : from_seq - 1 + count]
        self.feed(ev.SnapshotReceived(process.agent_id, process.epoch, from_seq, from_seq + count - 1, payload))

    @rule(i=AGENTS, ahead=st.integers(0, 1))
    def final(self, i: int, ahead: int) -> None:
        process = self.processes[i]
        last = len(self.applied.get((process.agent_id, process.epoch), [])) + ahead
        shards = tuple(m.ShardFinal(grant.shard, 1, 0, 0) for grant in process.grants)
        self.feed(ev.FinalReceived(process.agent_id, process.epoch, last, shards))

    @rule(i=AGENTS)
    def refuse(self, i: int) -> None:
        process = self.processes[i]
        process.attached = False
        self.feed(ev.AgentRefused(process.agent_id, process.epoch, "garbage"))

    @rule(i=AGENTS)
    def teardown_done(self, i: int) -> None:
        self.feed(ev.TeardownDone(self.processes[i].agent_id, self.processes[i].epoch))

    @rule(by=st.sampled_from(["person", "rule"]), immediate=st.booleans())
    def stop(self, by: Any, immediate: bool) -> None:
        self.feed(ev.StopRequested(by, "enough", immediate))

    @rule(ms=st.integers(1, 20_000))
    def tick(self, ms: int) -> None:
        self.now += ms * 1_000_000
        self.feed(ev.Tick())

    @rule(seconds=st.integers(1, 20))
    def quiet_time(self, seconds: int) -> None:
        """Time in which every attached agent beats."""
        for _ in range(seconds):
            self.beat_all()
            self.tick(1_000)

    @rule(i=AGENTS, seconds=st.integers(1, 20))
    def cut_off(self, i: int, seconds: int) -> None:
        """One agent is away for a while and comes back as if nothing had happened."""
        self.detach(i)
        self.quiet_time(seconds)
        self.attach(i)
        self.quiet_time(2)

    # --- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def never_more_than_was_recorded(self) -> None:
        if not hasattr(self, "machine"):
            return
        for process in [*self.processes, *self.old]:
            applied = self.applied.get((process.agent_id, process.epoch), [])
            assert applied == process.recorded[: len(applied)]

    @invariant()
    def setup_at_most_once(self) -> None:
        """One process is asked; it may be asked again after a broken stream, and does it once."""
        assert not hasattr(self, "machine") or len(self.setups) <= 1

    def teardown(self) -> None:
        """Whatever happened, time alone ends the run."""
        if hasattr(self, "machine"):
            for _ in range(400):
                self.tick(2_000)
            assert self.machine.phase in OVER
            assert self.ends == 1


TestRunLife = RunLife.TestCase
TestRunLife.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
