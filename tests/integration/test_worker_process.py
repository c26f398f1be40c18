"""A real worker process over its pipe: preparing, hooks, health, orders in mid-run, and how it ends."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import signal
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import orjson
import pytest

from loadproof.plan import NS_PER_S, ArrivalPhase, DatasetPlan, Plan, RunSpec, TransactionPlan, UserPhase
from loadproof_agent.pipe import messages as m
from worker_driver import WorkerDriver, local_target, running_worker

SUITE = """
    import os, sys, time, asyncio
    from loadproof import Suite, VirtualUser

    suite = Suite("Tiny", base_url="${URL}")
    names = suite.dataset("names", "names.jsonl")

    @suite.setup
    async def set_up(run):
        answer = await run.http.get("/tenant")
        return {"tenant": answer.json()["path"], "run": run.id}

    @suite.teardown
    async def tear_down(run, shared):
        await run.http.get("/gone" + shared["tenant"])

    @suite.on_user_start
    async def start(user: VirtualUser):
        user.state.greeting = "hello"

    @suite.transaction("Look")
    async def look(user: VirtualUser):
        async with user.step("Open"):
            await user.http.get("/things/1", name="/things/{id}")

    @suite.transaction("Name", data=names)
    async def name(user: VirtualUser, row: dict):
        async with user.step("Say"):
            user.check("shared arrives", user.shared["tenant"] == "/tenant")
            user.log.info("%s %s %s", user.state.greeting, row["name"], os.environ["SHOP_KEY"])
            await user.http.get("/say/" + row["name"], name="/say/{name}")

    @suite.transaction("Block")
    async def block(user: VirtualUser):
        async with user.step("Hold the loop"):
            time.sleep(0.6)

    @suite.transaction("Leave")
    async def leave(user: VirtualUser):
        async with user.step("Exit"):
            sys.exit(3)

    @suite.transaction("Hang")
    async def hang(user: VirtualUser):
        async with user.step("Wait"):
            await user.http.get("/hang")
"""
ROWS = b'{"name": "ada"}\n{"name": "bob"}\n'


def write_suite(folder: Path) -> Path:
    (folder / "suite.py").write_text(dedent(SUITE))
    (folder / "names.jsonl").write_bytes(ROWS)
    return folder


def plan_of(*names: str, rate: int = 20, seconds: float = 1.0, rows: bytes = ROWS, **fields: object) -> Plan:
    phase = ArrivalPhase("steady", rate * 1000, rate * 1000, int(seconds * NS_PER_S))
    mix = tuple(TransactionPlan(name, 1, dataset="names" if name == "Name" else None) for name in names)
    datasets = (DatasetPlan("names", hashlib.sha256(rows).hexdigest(), 2),) if "Name" in names else ()
    return Plan("Tiny", "smoke", "open", (phase,), mix, datasets, **fields)  # type: ignore[arg-type]


async def prepared(worker: WorkerDriver, folder: Path, plan: Plan, url: str, **fields: object) -> Sequence[m.Problem]:
    spec = RunSpec("suite.py", {"URL": url}, secret_names=("SHOP_KEY",))
    answer = await worker.prepare(write_suite(folder), plan, spec=spec, secrets={"SHOP_KEY": "swordfish"}, **fields)
    return answer.problems


async def test_hooks_data_shared_value_and_log_lines(tmp_path: Path) -> None:
    """Set-up's value reaches every user, rows reach their transaction, teardown gets the value, secrets stay in."""
    async with local_target() as target, running_worker() as worker:
        assert await prepared(worker, tmp_path, plan_of("Name"), target.url) == ()
        await worker.pipe.send(m.Setup())
        done = await worker.until(m.SetupDone)
        assert (orjson.loads(done.shared), done.problem) == ({"tenant": "/tenant", "run": "run-1"}, None)
        await worker.start(shared=done.shared)
        await worker.until(m.Finished)
        await worker.pipe.send(m.Teardown(done.shared))
        assert (await worker.until(m.TeardownDone)).problem is None
        merged = worker.merged()

    assert (merged.delivery["Name", "steady"].completed, merged.delivery["Name", "steady"].failed) == (20, 0)
    paths = [path for _, path, _ in target.requests]
    assert paths[0] == "/tenant"
    assert paths[-1] == "/gone/tenant"
    assert paths.count("/say/ada") == paths.count("/say/bob") == 10
    lines = [one.text for one in worker.heard if isinstance(one, m.Log)]
    assert "user 0: hello ada [redacted:SHOP_KEY]" in lines
    assert not [line for line in lines if "swordfish" in line]


async def test_everything_that_is_wrong_is_told_before_any_load(tmp_path: Path) -> None:
    """A missing transaction and a data file that is not the plan's are both problems of one answer."""
    async with running_worker() as worker:
        plan = plan_of("Name", "No such", rows=b"other")
        codes = [problem.code for problem in await prepared(worker, tmp_path, plan, "http://127.0.0.1:1")]
    assert sorted(codes) == ["plan.dataset", "plan.transaction"]


@pytest.mark.parametrize("line", ["raise RuntimeError('broken swordfish')", "import sys; sys.exit(0)", "def ("])
async def test_a_suite_that_cannot_be_imported_is_a_problem_not_a_crash(tmp_path: Path, line: str) -> None:
    """Whatever the import raises is told, without secrets, and the worker lives on."""
    (tmp_path / "suite.py").write_text(line)
    async with running_worker() as worker:
        answer = await worker.prepare(tmp_path, plan_of("Look"), secrets={"SHOP_KEY": "swordfish"})
        assert [problem.code for problem in answer.problems] == ["suite.import"]
        assert "swordfish" not in repr(answer.problems)
        await worker.pipe.send(m.Exit())
        assert await worker.process.wait() == 0


async def test_a_failing_set_up_is_told(tmp_path: Path) -> None:
    """The hook's error comes back as a problem with words."""
    async with running_worker() as worker:
        await prepared(worker, tmp_path, plan_of("Look"), "http://127.0.0.1:1")
        await worker.pipe.send(m.Setup())
        done = await worker.until(m.SetupDone)
    assert done.problem is not None
    assert done.problem.code == "setup"
    assert "ConnectError" in done.problem.text


async def test_a_blocked_loop_is_named_while_it_lasts_and_measured(tmp_path: Path) -> None:
    """A beat tells transaction and step during the stall; the snapshot has the longest stretch."""
    async with running_worker() as worker:
        await prepared(worker, tmp_path, plan_of("Block", rate=1), "http://127.0.0.1:1")
        await worker.start()
        beat = await worker.until(m.Beat, lambda beat: beat.transaction != "")
        await worker.until(m.Finished)
    assert (beat.transaction, beat.step) == ("Block", "Hold the loop")
    stretches = [delta.health.user_cpu_us.get(("Block", "Hold the loop"), 0) for delta in worker.deltas()]
    assert max(stretches) > 300_000
    assert any(delta.health.lag is not None for delta in worker.deltas())
    assert all(delta.health.memory_bytes > 0 for delta in worker.deltas())


async def test_sys_exit_in_a_transaction_is_one_failed_transaction(tmp_path: Path) -> None:
    """The worker outlives what its users raise."""
    async with running_worker() as worker:
        await prepared(worker, tmp_path, plan_of("Leave"), "http://127.0.0.1:1")
        await worker.start()
        await worker.until(m.Finished)
        merged = worker.merged()
    assert merged.delivery["Leave", "steady"].failed == 20
    assert {(key.category, key.message, key.step) for key in merged.errors} == {
        ("exception", "SystemExit: <n>", "Exit")
    }


async def test_a_stop_cuts_the_load_and_what_hangs_is_cancelled(tmp_path: Path) -> None:
    """After the grace time hanging requests end as `cancelled`, and the accounting is exact."""
    async with local_target() as target, running_worker() as worker:
        plan = plan_of("Hang", rate=20, seconds=60, graceful_stop_ns=NS_PER_S // 5)
        await prepared(worker, tmp_path, plan, target.url)
        await worker.start()
        await worker.until(m.Beat, lambda beat: beat.in_flight >= 5)
        await worker.pipe.send(m.Stop(0, immediate=False))
        finished = await worker.until(m.Finished)
        merged = worker.merged()
    delivery = merged.delivery["Hang", "steady"]
    assert delivery.started == delivery.completed == delivery.failed
    assert finished.shards == ((0, 0, delivery.started + delivery.dropped + delivery.missed),)
    assert {key.category for key in merged.errors} == {"cancelled"}


async def test_snapshots_end_at_whole_intervals_even_when_nothing_happens(tmp_path: Path) -> None:
    """Each covers what follows the one before; only the last one ends anywhere."""
    async with local_target() as target, running_worker() as worker:
        await prepared(worker, tmp_path, plan_of("Look", rate=1, seconds=2.5), target.url)
        await worker.start()
        await worker.until(m.Finished)
    spans = [(delta.from_ns, delta.to_ns) for delta in worker.deltas()]
    assert spans[0][0] == 0
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(spans))
    assert all(end % NS_PER_S == 0 for _, end in spans[:-1])


async def test_a_new_assignment_wakes_a_finished_worker(tmp_path: Path) -> None:
    """Shards of a lost worker are taken over after this one has reported its end; totals stay exact."""
    async with local_target() as target, running_worker() as worker:
        plan = plan_of("Look", rate=20, seconds=2.0)
        await prepared(worker, tmp_path, plan, target.url, shard_count=2)
        await worker.start(shards=((0, 0),), delay_s=0.1)
        await worker.pipe.send(m.Assign(2, (), worker.start_at_ns + 60 * NS_PER_S, 10))
        first = await worker.until(m.Finished, lambda one: one.fence == 2)
        await worker.pipe.send(m.Assign(3, ((1, 31),), worker.start_at_ns + 60 * NS_PER_S, 10))
        second = await worker.until(m.Finished, lambda one: one.fence == 3)
        merged = worker.merged()
    assert first.shards == ()
    assert second.shards == ((1, 31, 5),)
    delivery = merged.delivery["Look", "steady"]
    assert delivery.started + delivery.dropped + delivery.missed == 5


async def test_a_closed_profile_runs_as_many_iterations_as_planned(tmp_path: Path) -> None:
    """Ten iterations over three users, nine rows' draws apart."""
    phase = UserPhase("count", 3, 3, None, 10)
    plan = Plan("Tiny", "count", "closed", (phase,), (TransactionPlan("Look", 1),))
    async with local_target() as target, running_worker() as worker:
        await prepared(worker, tmp_path, plan, target.url, shard_count=2)
        await worker.start(shards=((0, 0), (1, 0)))
        finished = await worker.until(m.Finished)
        merged = worker.merged()
    assert merged.delivery["Look", "count"].completed == 10
    assert sum(count for _, _, count in finished.shards) == 10


async def test_signals_are_ignored_and_the_pipes_end_ends_a_worker_in_mid_run(tmp_path: Path) -> None:
    """Ctrl+C in the terminal does not reach the load; a supervisor that is gone takes its workers with it."""
    async with local_target() as target, running_worker() as worker:
        await prepared(worker, tmp_path, plan_of("Hang", seconds=60), target.url)
        await worker.start()
        await worker.until(m.Beat, lambda beat: beat.in_flight > 0)
        worker.process.send_signal(signal.SIGINT)
        worker.process.send_signal(signal.SIGTERM)
        heard = len(worker.heard)
        async with asyncio.timeout(20), worker.changed:
            await worker.changed.wait_for(lambda: len(worker.heard) > heard + 1)
    assert worker.process.returncode == 0  # by itself, not by the last resort


async def test_a_wrong_start_is_a_usage_error() -> None:
    """Without a descriptor there is nothing to obey."""
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadproof_agent.worker", stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert b"usage" in stderr
