"""The supervisor against a scripted controller over real gRPC, with scripted workers as real processes."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import psutil
import pytest

from agent_scene import MS, RATE_PER_S, SCRIPTED, Scene, plan_of, scene
from fake_controller import FakeController
from loadproof.plan import NS_PER_S
from loadproof_agent import records as r
from loadproof_agent.config import AgentConfig
from loadproof_agent.errors import RefusedError
from loadproof_agent.supervisor import Supervisor


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "suite.py").write_text("# nothing\n", encoding="utf-8")
    (folder / "loadproof.toml").write_text("[suite]\nmodule = 'suite.py'\n", encoding="utf-8")
    return folder


async def test_runs_its_shards_to_the_last_arrival_and_says_final(suite: Path) -> None:
    """A prepared, leased and started agent reports every arrival of its shards exactly once, then Final."""
    async with scene(suite, workers=2) as s:
        assert (s.stream.hello.agent_id, s.stream.hello.identity, s.stream.hello.workers) == ("a1", "once", 2)
        s.prepare(plan_of(1))
        assert (await s.stream.next(r.PrepareResult)).problems == ()
        s.stream.say(r.Setup("run-1"))
        assert (await s.stream.next(r.SetupResult)).shared == b'{"tenant":1}'
        s.lease(0, 1, 2)
        s.start()
        final = await s.collect()
        assert (s.started, s.missed) == (150, 0)
        assert [shard.accounted for shard in final.shards] == [50, 50, 50]
        assert (final.last_seq, final.lost) == (s.seq, 0)
        s.stream.say(r.Teardown("run-1", b'{"tenant":1}'))
        assert (await s.stream.next(r.TeardownResult)).problem is None
        assert any("setting up" in line for batch in s.stream.all(r.LogBatch) for line in batch.lines)
        assert s.controller.fetched == 1
        s.stream.say(r.End("run-1"))
        beat = await s.stream.next(r.Heartbeat, where=lambda beat: not beat.run_id)
        assert beat.workers == ()


async def test_refused_agent_names_both_sides_and_leaves(suite: Path) -> None:
    """A refusal for the version ends the agent with both versions in its words and exit code 5."""
    async with FakeController() as controller:
        controller.greeting = lambda _: r.Refusal("version", "the controller speaks protocol 2")
        supervisor = Supervisor(AgentConfig(address=controller.address, agent_id="a1"))
        with pytest.raises(RefusedError, match=r"protocol 2.*protocol 1.*hdr-us-3-24h") as refused:
            await supervisor.run()
        assert refused.value.exit_code == 5


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("exit", "exited", "the suite calls exit"),
        ("crash", "crashed", "SIGSEGV"),
        ("block", "blocked", "no sign of life"),
        ("babble", "crashed", "no message"),
        ("bad-delta", "crashed", "can't be read"),
    ],
)
async def test_failing_worker_is_named_replaced_and_accounted(suite: Path, fault: str, kind: str, words: str) -> None:
    """A worker that dies is reported with its step, replaced, and every arrival is started, missed or lost."""
    async with scene(suite, workers=2, blocked_ns=700 * MS) as s:
        s.prepare(plan_of(1.5), fault=fault, fault_at_ms="200")
        assert (await s.stream.next(r.PrepareResult)).problems == ()
        s.lease(0, 1, 2, 3)
        s.start()
        final = await s.collect()
        event, replaced = s.stream.all(r.WorkerEvent)
        assert event.kind == kind
        assert words in event.text
        assert (event.transaction, event.step) == ("Browse", "Open")
        assert replaced.kind == "replaced"
        assert [event.number, replaced.number] == [1, 2]
        assert s.started + s.missed + final.lost == 300
        assert s.started > 150
        assert s.missed > 0
        assert sum(shard.accounted for shard in final.shards) == s.started + s.missed
        if fault == "block":
            before = s.stream.received[: s.stream.received.index(event)]
            silences = [w.silent_ms for beat in before if isinstance(beat, r.Heartbeat) for w in beat.workers]
            assert max(silences) >= 200, "heartbeats go on and show the silence while a worker is stuck"


async def test_failing_prepare_is_a_problem_not_a_crash(suite: Path) -> None:
    """A worker that can't import the suite, or does not come back from it, is an answer with words."""
    async with scene(suite, workers=2) as s:
        s.prepare(plan_of(1), fault="problem")
        (problem,) = (await s.stream.next(r.PrepareResult)).problems
        assert (problem.code, problem.text, problem.detail) == ("import", "suite.py does not import", "Traceback")
    async with scene(suite, prepare_ns=500 * MS) as s:
        s.prepare(plan_of(1), fault="hang-import")
        (problem,) = (await s.stream.next(r.PrepareResult)).problems
        assert problem.code == "worker"
        assert "preparing" in problem.text


async def test_wrong_bundle_is_a_problem(suite: Path) -> None:
    """A bundle whose bytes do not have the announced hash is never unpacked."""
    async with scene(suite) as s:
        s.controller.bundle = s.bundle.data[:-1] + b"!"
        s.prepare(plan_of(1))
        (problem,) = (await s.stream.next(r.PrepareResult)).problems
        assert problem.code == "bundle"
        assert "sha256" in problem.text


async def test_stop_ends_the_load_where_it_says(suite: Path) -> None:
    """A stop at an offset leaves exactly the arrivals before it."""
    async with scene(suite) as s:
        s.prepare(plan_of(60))
        await s.stream.next(r.PrepareResult)
        s.lease(0, 1, 2, 3)
        s.start()
        s.stream.say(r.Stop("run-1", at_offset_ns=NS_PER_S, immediate=False, reason="enough"))
        await s.collect()
        assert s.started == RATE_PER_S


async def test_reconnect_resends_unacked_blocks_byte_identical_and_final(suite: Path) -> None:
    """After a broken stream the same epoch attaches again, repeats what was not acked unchanged, and loses nothing."""
    async with scene(suite) as s:
        s.prepare(plan_of(1.5))
        await s.stream.next(r.PrepareResult)
        s.lease(0, 1, 2, 3)
        s.start()
        unacked = [await s.stream.next(r.SnapshotBlock), await s.stream.next(r.SnapshotBlock)]
        await s.controller.hang_up()
        await s.controller.listen()
        first, s.stream = s.stream, await s.controller.attached()
        assert s.stream.hello.epoch == first.hello.epoch
        assert (first.hello.run_id, s.stream.hello.run_id) == ("", "run-1")
        assert (await s.stream.next(r.PrepareResult)).problems == ()
        repeated = [await s.stream.next(r.SnapshotBlock), await s.stream.next(r.SnapshotBlock)]
        assert repeated == unacked
        for block in [*repeated, *repeated]:  # and duplicated acks change nothing
            s.apply(block)
        await s.collect()
        assert s.started == 300
        s.stream.drop()  # Final was said, but whoever heard it may be gone
        s.stream = await s.controller.attached()
        assert (await s.stream.next(r.Final)).last_seq == s.seq


async def test_without_a_word_the_load_stops_within_the_grace(suite: Path) -> None:
    """The dead-man switch: a silent controller ends the load, and gets what was measured when it speaks again."""
    async with scene(suite) as s:
        s.controller.greeting = lambda hello: r.Welcome(1, hello.agent_id, 100, 700)
        s.stream.drop()
        s.stream = await s.controller.attached()
        s.prepare(plan_of(60))
        await s.stream.next(r.PrepareResult)
        s.lease(0, 1, 2, 3)
        s.start()
        await s.stream.next(r.LogBatch, where=lambda batch: any("stopped at once" in line for line in batch.lines))
        for block in s.stream.all(r.SnapshotBlock):
            s.apply(block)
        final = await s.collect()
        assert s.started == sum(shard.accounted for shard in final.shards)
        assert 0 < s.started < 30 * RATE_PER_S


async def test_a_cancelled_supervisor_leaves_no_worker_and_no_folder(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends it, its processes are reaped and its files are gone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with FakeController() as controller:
        config = AgentConfig(controller.address, "a1", workers=2, worker_command=SCRIPTED)
        running = asyncio.ensure_future(Supervisor(config).run())
        s = Scene(controller, await controller.attached(), suite)
        s.prepare(plan_of(60))
        await s.stream.next(r.PrepareResult)
        beat = await s.stream.next(r.Heartbeat, where=lambda beat: len(beat.workers) == 2)
        workers = [psutil.Process(reading.pid) for reading in beat.workers]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not any(worker.is_running() for worker in workers)
        await s.stream.ended.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["suite"]  # noqa: ASYNC240 - a test's own small folder


async def test_the_next_run_gets_fresh_workers(suite: Path) -> None:
    """One agent serves run after run; each has processes of its own."""
    async with scene(suite) as s:
        pids = []
        for _ in range(2):
            s.prepare(plan_of(0.5))
            assert (await s.stream.next(r.PrepareResult)).problems == ()
            s.lease(0, 1, 2, 3)
            s.start()
            s.seq = s.started = 0
            await s.collect()
            assert s.started == 100
            pids += [reading.pid for beat in s.stream.all(r.Heartbeat) for reading in beat.workers]
            s.stream.say(r.End("run-1"))
            await s.stream.next(r.Heartbeat, where=lambda beat: not beat.run_id)
        assert len({pid for pid in pids if pid}) == 2


async def test_a_worker_is_replaced_twice_at_most(suite: Path) -> None:
    """A suite that always kills its worker ends with every arrival missed or lost, not with a loop of restarts."""
    async with scene(suite) as s:
        s.prepare(plan_of(60), fault="exit", fault_at_ms="0", fault_always="1")
        await s.stream.next(r.PrepareResult)
        s.lease(0, 1, 2, 3)
        s.start()
        kinds = [(await s.stream.next(r.WorkerEvent)).kind for _ in range(5)]
        assert kinds == ["exited", "replaced", "exited", "replaced", "exited"]
        s.stream.say(r.Stop("run-1", immediate=True))
        for block in s.stream.all(r.SnapshotBlock):
            s.apply(block)
        final = await s.collect()
        assert s.missed > 0
        assert s.started + s.missed == sum(shard.accounted for shard in final.shards)
