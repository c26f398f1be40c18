"""The controller is killed in mid-run and started again: agents go on, resend, and all is counted once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

import killable_controller
from fault_scene import SUITE
from fault_target import CountingTarget
from loadproof_agent.launch import local_agent_command
from service_mode import deployed, until
from shop_cli import counted_suite, loadproof_here, run_json
from shop_process import running_shop

pytestmark = [pytest.mark.timeout(300)]
PROFILE = '[suite]\nmodule = "suite.py"\n\n[profiles.fault]\narrivals = [{ rate = "50/s", for = "6s" }]\n'


@contextlib.asynccontextmanager
async def agent(socket: str, name: str) -> AsyncIterator[None]:
    """Run an agent process beside the test."""
    process = await asyncio.create_subprocess_exec(
        *local_agent_command(), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    line = {"address": f"unix:{socket}", "identity": name * 2, "agent_id": name, "workers": 1}
    process.stdin.write(orjson.dumps(line) + b"\n")
    try:
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def controller(mode: str, socket: str, home: Path, url: str) -> asyncio.subprocess.Process:
    """Start a controller process."""
    return await asyncio.create_subprocess_exec(
        sys.executable, killable_controller.__file__, mode, socket, str(home), url, "a1", "a2"
    )


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7))])
async def test_a_killed_controller_goes_on_from_its_log(tmp_path: Path, seed: int) -> None:
    """After `kill -9` at any moment and a restart every arrival is counted once: none twice, lost or started anew."""
    after = random.Random(seed).randrange(5, 250)
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "suite.py").write_text(SUITE)
    (tmp_path / "suite" / "loadproof.toml").write_text(PROFILE)
    with tempfile.TemporaryDirectory(prefix="lp") as folder:
        socket = f"{folder}/s"
        async with CountingTarget() as target, contextlib.AsyncExitStack() as stack:
            first = await controller("run", socket, tmp_path, target.url)
            for name in ("a1", "a2"):
                await stack.enter_async_context(agent(socket, name))
            await target.received(after)
            first.send_signal(signal.SIGKILL)
            await first.wait()
            second = await controller("resume", socket, tmp_path, target.url)
            assert await second.wait() == 0
            outcome = orjson.loads((tmp_path / "outcome.json").read_bytes())
            assert outcome["status"] == "finished"
            assert outcome["planned"] == 300
            assert outcome["started"] + outcome["dropped"] + outcome["missed"] + outcome["lost"] == 300
            assert outcome["lost"] == 0
            assert outcome["completed"] == outcome["started"] == len(target.got)
            assert "controller_restarted" in outcome["events"]
            assert "final_mismatch" not in outcome["events"]
            assert outcome["events"].count("agent_final") == 2


MEDIUM = """
[profiles.medium]
arrivals = [{ rate = "20/s", for = "15s" }]
graceful_stop = "5s"
"""


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("load")
def test_a_killed_service_takes_its_run_up_again(tmp_path: Path) -> None:
    """`loadproof controller` is killed in mid-run and started again: the run goes on, all is counted once, and the run
    began when it began.
    """
    home = tmp_path / "service"
    home.mkdir()
    with running_shop() as shop, deployed(home, {"one": []}) as place:
        suite = counted_suite(tmp_path / "suite", MEDIUM)
        env = {"SHOP_URL": shop.url, **place.operator}
        submitted = loadproof_here("run", suite, "-p", "medium", "--detach", cwd=tmp_path, env=env)
        assert submitted.code == 0, submitted
        until(lambda: sum(shop.counts().values()) > 30)
        entry = place.data / "runs" / submitted.out.strip() / "entry.json"
        began = orjson.loads(entry.read_bytes())["started_at"]
        assert place.controller.end(signal.SIGKILL) == -signal.SIGKILL
        place.restart_controller()
        followed = loadproof_here("runs", submitted.out.strip(), "--out", "result", cwd=tmp_path, env=env)
        assert followed.code in {0, 3}, followed
        delivery = run_json(tmp_path / "result")["delivery"]
        assert orjson.loads(entry.read_bytes())["started_at"] == began
        assert delivery["planned"] == 300
        assert delivery["lost"] == 0
        assert delivery["started"] == shop.counts()["GET /search"] + shop.counts()["GET /health"]
        assert delivery["started"] + delivery["dropped"] + delivery["missed"] == 300
