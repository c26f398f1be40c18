"""The agent as `loadproof run` starts it: its own process, one line on standard input, real workers, real suite."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from agent_scene import Scene, plan_of, scene
from fake_controller import FakeController
from loadproof_agent import records as r
from loadproof_agent.launch import local_agent_command

SUITE = """
import os, time
from loadproof import Suite

suite = Suite("Shop", base_url="http://127.0.0.1:9")

@suite.setup
async def begin(run):
    return {"tenant": 1}

@suite.teardown
async def end(run, shared):
    assert shared == {"tenant": 1}

@suite.transaction("Browse", weight=3)
async def browse(user):
    async with user.step("Open"):
        user.check("shared", user.shared == {"tenant": 1})

@suite.transaction("Buy")
async def buy(user):
    async with user.step("Pay"):
        # FAULT
        pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "suite.py").write_text(SUITE, encoding="utf-8")
    (folder / "loadproof.toml").write_text("[suite]\nmodule = 'suite.py'\n", encoding="utf-8")
    return folder


@asynccontextmanager
async def local_agent(controller: FakeController, **line: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the agent's process; it is gone afterwards whatever happened."""
    process = await asyncio.create_subprocess_exec(
        *local_agent_command(),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"SHOP_TOKEN": "hunter2"},
    )
    try:
        said = {"address": controller.address, "identity": "once", "agent_id": "local-1", "workers": 1} | line
        assert process.stdin is not None
        process.stdin.write(json.dumps(said).encode() + b"\n")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_real_workers_run_a_real_suite(suite: Path) -> None:
    """Set-up, every arrival, teardown and Final, with the shared value in every user, under supervisor and uvloop."""
    async with FakeController() as controller, local_agent(controller, workers=2) as process:
        s = Scene(controller, await controller.attached(), suite)
        assert (s.stream.hello.agent_id, s.stream.hello.identity, s.stream.hello.workers) == ("local-1", "once", 2)
        s.prepare(plan_of(1))
        assert (await s.stream.next(r.PrepareResult)).problems == ()
        s.stream.say(r.Setup("run-1"))
        shared = (await s.stream.next(r.SetupResult)).shared
        s.lease(0, 1, 2, 3)
        s.start(shared)
        final = await s.collect()
        delivery = s.merged.delivery
        assert sum(part.started + part.dropped + part.missed for part in delivery.values()) == 200
        assert sum(part.failed for part in delivery.values()) == 0
        assert sum(shard.accounted for shard in final.shards) == 200
        s.stream.say(r.Teardown("run-1", shared))
        assert (await s.stream.next(r.TeardownResult)).problem is None
        s.stream.say(r.End("run-1"))
        await s.stream.next(r.Heartbeat, where=lambda beat: not beat.run_id and not beat.workers)
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0


async def test_end_of_input_ends_agent_and_workers_in_the_middle_of_load(suite: Path) -> None:
    """The dead-man switch of local agents: a parent that dies takes the load with it; SIGINT is not for them."""
    async with FakeController() as controller, local_agent(controller) as process:
        s = Scene(controller, await controller.attached(), suite)
        s.prepare(plan_of(60))
        await s.stream.next(r.PrepareResult)
        s.lease(0, 1, 2, 3)
        s.start(b'{"tenant":1}')
        await s.stream.next(r.SnapshotBlock)
        beat = await s.stream.next(r.Heartbeat, where=lambda beat: bool(beat.workers) and beat.workers[0].pid > 0)
        worker = psutil.Process(beat.workers[0].pid)
        environment = worker.environ()
        assert "hunter2" not in environment.values()
        process.send_signal(signal.SIGINT)
        await s.stream.next(r.Heartbeat)
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0
        assert not worker.is_running()


async def test_blocked_user_code_is_named_by_transaction_and_step(suite: Path) -> None:
    """A worker whose loop user code holds is killed, and the report can say which transaction and step did it."""
    text = SUITE.replace("# FAULT", "time.sleep(3600)")
    (suite / "suite.py").write_text(text, encoding="utf-8")
    async with scene(suite, command=(), blocked_ns=1_500_000_000) as s:
        s.prepare(plan_of(60))
        await s.stream.next(r.PrepareResult)
        s.lease(0, 1, 2, 3)
        s.start(b'{"tenant":1}')
        event = await s.stream.next(r.WorkerEvent)
        assert (event.kind, event.transaction, event.step) == ("blocked", "Buy", "Pay")


async def test_refusal_is_one_line_naming_both_sides_and_status_5() -> None:
    """Versions that do not fit are told apart by whoever reads the agent's only line."""
    async with FakeController() as controller:
        controller.greeting = lambda _: r.Refusal("layout", "the controller keeps layout hdr-us-4-24h")
        async with local_agent(controller) as process:
            assert process.stderr is not None
            text = (await process.stderr.read()).decode()
            assert await process.wait() == 5
            assert text.count("\n") == 1
            assert "hdr-us-4-24h" in text
            assert "hdr-us-3-24h" in text


@pytest.mark.parametrize("line", [b"", b"{", b'{"address": "unix:/x"}', b"[]", b'{"address":"' + b"x" * 70_000])
async def test_a_bad_line_is_one_line_of_words_and_status_2(line: bytes) -> None:
    """An agent started by hand says how it wants to be started."""
    process = await asyncio.create_subprocess_exec(
        *local_agent_command(), stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate(line + b"\n")
    assert process.returncode == 2
    assert errors.count(b"\n") == 1
    assert b"Traceback" not in errors
