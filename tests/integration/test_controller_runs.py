"""Runs through the real service, with scripted agents over real gRPC on a Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from controller_runs import closed_plan, listening, open_plan, request_for
from fake_agent import FakeAgent
from loadproof.metrics import Delta, ErrorKey, ErrorStats, MergedState
from loadproof.plan import ArrivalSchedule
from loadproof_controller import checkpointing
from loadproof_controller.errors import RunLogError
from loadproof_controller.request import Progress
from loadproof_controller.runlog import RunLog, replay
from loadproof_proto.v1 import agent_pb2 as pb
from loadproof_report.evidence import evidence_of, start_skew_us
from loadproof_report.result import DeliveryResult


async def test_a_run_of_two_agents_ends_in_data_that_holds_every_arrival(tmp_path: Path) -> None:
    """Two agents run every arrival of the plan exactly once, and the result says so."""
    plan = open_plan()
    async with listening() as service, AsyncExitStack() as stack:
        agents = []
        for name in ("a", "b"):
            service.expect_local(f"secret-{name}", name)
            agent = FakeAgent(service.address, name, f"secret-{name}", workers=2)
            agents.append(await stack.enter_async_context(agent.attached()))
        async with asyncio.timeout(20):
            data = await service.run(request_for(plan, tmp_path, agents_wanted=2))
    assert data.status == "finished"
    assert data.aborted_by is None
    assert data.planned == ArrivalSchedule(plan).planned()
    assert {key: d.started for key, d in data.merged.delivery.items()} == data.planned
    assert sorted(shard for info in data.fleet for shard in info.shards) == list(range(16))
    assert [info.final for info in data.fleet] == [True, True]
    assert replay(tmp_path / "run.log").merged.digest() == data.merged.digest()
    assert agents[0].kinds()[:4] == ["welcome", "prepare", "setup", "lease"]
    assert "setup" not in agents[1].kinds()
    assert agents[0].acked == 1


class FailingAgent(FakeAgent):
    """One for which every arrival fails, and that says another agent saw it."""

    def delta_of(self, ks: Iterable[tuple[int, int, int, int]], latency_us: int = 5_000) -> Delta:
        """Return the delta, with a failure for each arrival."""
        arrivals = list(ks)
        delta = super().delta_of(arrivals, latency_us)
        key = ErrorKey("Search", "", "", "timeout", "no answer", "load")
        delta.errors[key] = ErrorStats(len(arrivals), 0, 1, [], {"somebody": 1})
        return delta


async def test_failures_are_counted_by_the_agent_that_reported_them(tmp_path: Path) -> None:
    """Each agent's own, whatever it says of others; the log reads back alike."""
    async with listening() as service, AsyncExitStack() as stack:
        for name in ("a", "b"):
            service.expect_local(name, name)
            await stack.enter_async_context(FailingAgent(service.address, name, name).attached())
        async with asyncio.timeout(20):
            data = await service.run(request_for(open_plan(), tmp_path, agents_wanted=2))
    (stats,) = data.merged.errors.values()
    assert (set(stats.agents), sum(stats.agents.values())) == ({"a", "b"}, stats.count)
    assert replay(tmp_path / "run.log").merged.errors == data.merged.errors


async def test_shards_are_dealt_by_workers_and_measured_capacity(tmp_path: Path) -> None:
    """An agent of half the workers, each six times as fast, gets three times the shards."""
    async with listening() as service, AsyncExitStack() as stack:
        for name, workers, capacity in (("a", 4, 500), ("b", 2, 3000)):
            service.expect_local(name, name)
            agent = FakeAgent(service.address, name, name, workers=workers)
            agent.hello_fields = {"capacity_permille": capacity}
            await stack.enter_async_context(agent.attached())
        async with asyncio.timeout(20):
            data = await service.run(request_for(open_plan(), tmp_path, agents_wanted=2, shard_count=16))
    assert {info.agent_id: len(info.shards) for info in data.fleet} == {"a": 4, "b": 12}


async def test_a_run_with_checkpoints_reads_back_as_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a checkpoint each second the log is a checkpoint and a tail, and says what the run said."""
    monkeypatch.setattr(checkpointing, "CHECKPOINT_NS", 1)
    monkeypatch.setattr(checkpointing, "WRITING_SHARE_MAX", 1)
    async with listening() as service:
        service.expect_local("a", "a")
        async with FakeAgent(service.address, "a", "a").attached(), asyncio.timeout(20):
            data = await service.run(request_for(open_plan(seconds=2.5), tmp_path))
    back = replay(tmp_path / "run.log")
    assert back.checkpoint is not None
    assert (back.merged.digest(), back.run_state["phase"]) == (data.merged.digest(), "finished")
    assert not {"checkpoint_failed", "log_failed"} & {event.kind for event in data.events}


class Waiting(FakeAgent):
    """Reports nothing at Start; says Final when it is told to stop."""

    async def on_start(self, message: pb.Start) -> None:
        self.start_at_ns = message.start_at_ns


async def test_the_start_is_told_in_each_agents_own_clock(tmp_path: Path) -> None:
    """Agents whose clocks are hours apart begin at the same moment, to within what the report says."""
    ahead = {"a": 0, "b": 5_000_000_000_000}
    async with listening() as service, AsyncExitStack() as stack:
        agents = []
        for name, clock_ahead_ns in ahead.items():
            service.expect_local(name, name)
            agent = FakeAgent(service.address, name, name, clock_ahead_ns=clock_ahead_ns)
            agents.append(await stack.enter_async_context(agent.attached()))
        async with asyncio.timeout(20):
            data = await service.run(request_for(open_plan(), tmp_path, agents_wanted=2))
    starts = [agent.start_at_ns - agent.clock_ahead_ns for agent in agents]
    uncertain_us = sum(info.clock_uncertainty_us or 0 for info in data.fleet)
    assert abs(starts[0] - starts[1]) <= (uncertain_us + 2) * 1_000
    offset_us = data.fleet[1].clock_offset_us
    assert offset_us is not None
    assert abs(offset_us - 5_000_000_000) <= uncertain_us + 2


async def test_how_far_apart_agents_really_began_is_measured(tmp_path: Path) -> None:
    """Each says when its first worker began, by its own clock; on the controller's the difference is what it was."""

    class Slow(Waiting):
        behind_ns = 0

        async def on_start(self, message: pb.Start) -> None:
            self.began_ns = message.start_at_ns + self.behind_ns
            await self.beat()
            await self.snapshot(self.delta_of(self.arrivals()))
            await self.final()

    async with listening() as service, AsyncExitStack() as stack:
        for name, behind_ns in (("a", 1_000_000), ("b", 251_000_000)):
            service.expect_local(name, name)
            agent = Slow(service.address, name, name, clock_ahead_ns=behind_ns * 20_000)
            agent.behind_ns = behind_ns
            await stack.enter_async_context(agent.attached())
        async with asyncio.timeout(20):
            data = await service.run(request_for(open_plan(), tmp_path, agents_wanted=2))
    found = start_skew_us(data.fleet)
    assert found is not None
    assert abs(found[0] - 250_000) <= 2 * found[1] + 4
    evidence = evidence_of(data, DeliveryResult())
    assert evidence.start_skew_us == found[0]
    assert [f.code for f in evidence.findings if f.code == "start_skew"]


async def test_a_silent_agents_shards_go_to_the_other_after_the_fence(tmp_path: Path) -> None:
    """Policy redeal: what lies before the fence is lost and counted, what lies after is run by the other agent."""

    class Heir(Waiting):
        async def on_lease(self, message: pb.Lease) -> None:
            before = self.fence
            await super().on_lease(message)
            if before == 1 and self.fence == 2:
                await self.snapshot(self.delta_of(self.arrivals()))
                await self.final()

    class Mute(Waiting):
        async def beat(self) -> None:
            if not self.start_at_ns:
                await super().beat()

    async with listening() as service, AsyncExitStack() as stack:
        for kind, name in ((Heir, "a"), (Mute, "b")):
            service.expect_local(name, name)
            await stack.enter_async_context(kind(service.address, name, name).attached())
        request = request_for(
            open_plan(seconds=20.0), tmp_path, agents_wanted=2, lease_s=0.5, on_agent_loss="redeal", shard_count=4
        )
        async with asyncio.timeout(20):
            data = await service.run(request)
    (event,) = [event for event in data.events if event.kind == "redealt"]
    planned = sum(data.planned.values())
    reported = sum(delivery.started for delivery in data.merged.delivery.values())
    assert (event.agent_id, event.data["shards"]) == ("b", 2)
    lost = sum(k % 4 in data.fleet[1].shards for k in range(event.data["first_k"]))
    assert planned - reported == lost
    assert data.fleet[0].shards == (0, 1, 2, 3)
    assert replay(tmp_path / "run.log").run_state["fence"] == 2


async def test_progress_is_told_and_an_error_in_it_does_not_end_the_run(tmp_path: Path) -> None:
    """A display that breaks is left alone; the run finishes and says so."""
    seen: list[Progress] = []
    running = asyncio.Event()

    async def show(progress: Progress) -> None:
        seen.append(progress)
        if progress.phase == "running":
            running.set()
            raise RuntimeError("no terminal")

    async with listening() as service:
        service.expect_local("a", "a")
        async with Waiting(service.address, "a", "a").attached(), asyncio.TaskGroup() as tasks:
            request = request_for(closed_plan(), tmp_path, on_progress=show)
            run = tasks.create_task(service.run(request))
            await running.wait()
            service.stop("run-1")
    assert run.result().status == "aborted"
    assert "progress_failed" in {event.kind for event in run.result().events}
    assert (seen[-1].agents_attached, seen[-1].agents_wanted, seen[-1].verdict) == (1, 1, "no rules")


async def test_a_log_that_cannot_be_written_is_said_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs durability, never the run; the evidence names it."""
    append = RunLog.append

    def full(log: RunLog, kind: str, *values: Any) -> None:
        if kind == "delta":
            raise RunLogError(str(log.path), "No space left on device")
        append(log, kind, *values)

    monkeypatch.setattr(RunLog, "append", full)
    async with listening() as service:
        service.expect_local("a", "a")
        async with FakeAgent(service.address, "a", "a").attached(), asyncio.timeout(20):
            data = await service.run(request_for(open_plan(), tmp_path))
    assert data.status == "finished"
    assert sum(delivery.started for delivery in data.merged.delivery.values()) == 40
    assert [event.kind for event in data.events].count("log_failed") == 1


async def test_a_mistake_of_the_controller_ends_the_run_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An internal error is reported as one, and no text of it reaches an agent."""

    def broken(_state: MergedState, _deltas: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(MergedState, "apply_all", broken)
    async with listening() as service:
        service.expect_local("a", "a")
        async with FakeAgent(service.address, "a", "a").attached() as agent, asyncio.timeout(20):
            data = await service.run(request_for(open_plan(), tmp_path))
            await agent.seen("end").wait()
    assert (data.status, data.aborted_by) == ("failed", "infrastructure")
    assert data.abort_reason == "internal error: RuntimeError"
    assert not any(b"hunter2" in message.SerializeToString() for message in agent.received)


async def test_a_cancelled_run_tells_its_agents_to_stop_at_once(tmp_path: Path) -> None:
    """Whoever cancels `run` gets the cancellation, the agents get an immediate stop."""
    async with listening() as service:
        service.expect_local("a", "a")
        async with Waiting(service.address, "a", "a").attached() as agent, asyncio.TaskGroup() as tasks:
            run = tasks.create_task(service.run(request_for(closed_plan(seconds=60), tmp_path)))
            await agent.seen("start").wait()
            run.cancel()
            await agent.seen("stop").wait()
    stop = next(message.stop for message in agent.received if message.WhichOneof("message") == "stop")
    assert stop.immediate


async def test_leaving_the_service_ends_streams_and_frees_the_address(tmp_path: Path) -> None:
    """`async with` is the shutdown contract: agents see the end of their stream, the socket can be used again."""
    for _ in range(2):
        async with asyncio.TaskGroup() as tasks:
            async with listening() as service:
                service.expect_local("a", "a")
                agent = FakeAgent(service.address, "a", "a")
                running = tasks.create_task(agent.run())
                await agent.seen("welcome").wait()
            async with asyncio.timeout(20):
                await running
    assert not service.stop("run-1")


async def test_an_agent_that_still_holds_a_run_of_the_past_is_told_to_forget_it() -> None:
    """It was away when the run ended."""
    async with listening() as service:
        service.expect_local("a", "a")
        agent = FakeAgent(service.address, "a", "a")
        agent.hello_fields = {"run_id": "run-0"}
        async with agent.attached():
            await agent.seen("end").wait()
    assert [message.end.run_id for message in agent.received if message.WhichOneof("message") == "end"] == ["run-0"]
