"""The service with real agent processes, a tiny suite, and a target on loopback that counts what it really got."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from controller_runs import listening
from loadproof.bundle import build_bundle
from loadproof.config import build_plan, load_project, rules_for, run_spec
from loadproof_agent.launch import local_agent_command
from loadproof_controller.clock import ClockEstimate
from loadproof_controller.request import Progress, RunRequest
from loadproof_controller.service import ControllerService
from loadproof_report.evidence import evidence_of
from loadproof_report.result import DeliveryResult
from loadproof_report.rundata import BundleInfo

SUITE = """
from loadproof import Suite

suite = Suite("Tiny", base_url="${TARGET}")


@suite.setup
async def make(run) -> dict:
    return {"tenant": 7}


@suite.transaction("Look", weight=3)
async def look(user) -> None:
    async with user.step("Get"):
        response = await user.http.get("/look", params={"t": user.shared["tenant"]}, name="/look")
        response.check(status=200)


@suite.transaction("Fail", weight=1)
async def fail(user) -> None:
    async with user.step("Get"):
        response = await user.http.get("/fail", name="/fail")
        response.check(status=200)
"""
CONFIG = """
[suite]
module = "suite.py"

[profiles.smoke]
arrivals = [{ rate = "60/s", for = "2s" }]
graceful_stop = "3s"

[profiles.users]
users = [{ users = 3, for = "2s" }]
pace = "200ms"
graceful_stop = "3s"

[[rules]]
transaction = "Fail"
require = "success_rate >= 50%"
abort_after = "1s"
profiles = ["abort"]

[profiles.abort]
arrivals = [{ rate = "40/s", for = "30s" }]
graceful_stop = "3s"
"""


class Target:
    """Counts the requests it answered."""

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        self.got[request.path] += 1
        return web.json_response({"t": request.query.get("t")}, status=500 if request.path == "/fail" else 200)


@contextlib.asynccontextmanager
async def target() -> AsyncIterator[tuple[Target, str]]:
    """Serve a target on a free loopback port."""
    counting = Target()
    app = web.Application()
    app.router.add_get("/{tail:.*}", counting.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield counting, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def real_agent(
    service: ControllerService, agent_id: str, workers: int = 1
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a local agent as the command line does; the end of its standard input ends it."""
    identity = secrets.token_hex(16)
    service.expect_local(identity, agent_id)
    process = await asyncio.create_subprocess_exec(
        *local_agent_command(), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    line = {"address": service.address, "identity": identity, "agent_id": agent_id, "workers": workers}
    process.stdin.write(orjson.dumps(line) + b"\n")
    try:
        yield process
    finally:
        process.stdin.close()
        async with asyncio.timeout(20):
            await process.wait()


def real_request(folder: Path, url: str, profile: str, **fields: object) -> RunRequest:
    """Write the suite and freeze a request to run `profile` of it against `url`."""
    suite = folder / "suite"
    suite.mkdir()
    (suite / "suite.py").write_text(SUITE)
    (suite / "loadproof.toml").write_text(CONFIG)
    project = load_project(suite, environ={"TARGET": url})
    plan = build_plan(project, profile)
    bundle = build_bundle(suite)
    log = folder / "log"
    log.mkdir()
    return RunRequest(
        run_id="real-1",
        plan=plan,
        spec=run_spec(project),
        bundle=bundle.data,
        bundle_info=BundleInfo(bundle.sha256),
        folder=log,
        rules=rules_for(project, plan),
        **fields,  # type: ignore[arg-type]
    )


async def test_two_real_agents_run_the_plan_and_the_target_agrees(tmp_path: Path) -> None:
    """Planned, reported and really received are the same numbers, for each transaction."""
    seen: list[Progress] = []

    async def watch(progress: Progress) -> None:
        seen.append(progress)

    async with target() as (counting, url), listening() as service, contextlib.AsyncExitStack() as stack:
        for name in ("local-1", "local-2"):
            await stack.enter_async_context(real_agent(service, name))
        async with asyncio.timeout(60):
            data = await service.run(real_request(tmp_path, url, "smoke", agents_wanted=2, on_progress=watch))
    assert data.status == "finished"
    assert sum(data.planned.values()) == 120
    accounted = {k: d.started + d.dropped + d.missed for k, d in data.merged.delivery.items()}
    assert accounted == data.planned
    started = {name: d.started for (name, _phase), d in data.merged.delivery.items()}
    assert (counting.got["/look"], counting.got["/fail"]) == (started["Look"], started["Fail"])
    assert not [event for event in data.events if event.kind in {"final_mismatch", "overcount", "agent_lost"}]
    assert all(info.final and info.clock_offset_us is not None for info in data.fleet)
    assert any(progress.elapsed_ns is not None and progress.transactions[0].started for progress in seen)


async def test_when_agents_began_is_within_what_is_said_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine both clocks are one, so the truth is known: their offset is 0, and nobody begins early by more
    than the clock was known when the start was ordered, which may have become better since.
    """
    ordered_us: list[int] = []
    to_agent = ClockEstimate.to_agent

    def ordered(clock: ClockEstimate, at_ns: int) -> int:
        ordered_us.append(clock.uncertainty_ns // 1_000 + 1)
        return to_agent(clock, at_ns)

    monkeypatch.setattr(ClockEstimate, "to_agent", ordered)
    async with target() as (_counting, url), listening() as service, contextlib.AsyncExitStack() as stack:
        for name in ("local-1", "local-2"):
            await stack.enter_async_context(real_agent(service, name))
        async with asyncio.timeout(60):
            data = await service.run(real_request(tmp_path, url, "smoke", agents_wanted=2))
    for info in data.fleet:
        assert info.clock_offset_us is not None
        assert info.clock_uncertainty_us is not None
        assert abs(info.clock_offset_us) <= info.clock_uncertainty_us + 1
    late_us = [info.start_offset_us for info in data.fleet if info.start_offset_us is not None]
    known_us = [info.start_uncertainty_us for info in data.fleet if info.start_uncertainty_us is not None]
    assert (len(late_us), len(known_us)) == (2, 2)
    early_us = max(ordered_us)
    assert all(late + known + early_us + 2 >= 0 for late, known in zip(late_us, known_us, strict=True))
    evidence = evidence_of(data, DeliveryResult())
    assert evidence.start_skew_us == max(late_us) - min(late_us)
    assert evidence.start_skew_uncertainty_us == sum(known_us)
    assert evidence.start_skew_us <= max(late_us) + max(known_us) + early_us + 2


async def test_a_suite_that_breaks_on_the_agent_fails_the_run_with_its_reason(tmp_path: Path) -> None:
    """What is wrong is said once, with the agent's name, and no load is started."""
    async with target() as (counting, url), listening() as service, real_agent(service, "local-1"):
        request = real_request(tmp_path, url, "smoke")
        broken = dataclasses.replace(request, spec=dataclasses.replace(request.spec, module="missing.py"))
        async with asyncio.timeout(60):
            data = await service.run(broken)
    assert (data.status, data.aborted_by) == ("failed", "infrastructure")
    assert "agent local-1 cannot run the suite" in data.abort_reason
    assert not counting.got


async def test_users_run_and_every_iteration_is_accounted_for(tmp_path: Path) -> None:
    """In the closed model what was started is what was planned, and the target saw it."""
    async with target() as (counting, url), listening() as service, real_agent(service, "local-1", workers=2):
        async with asyncio.timeout(60):
            data = await service.run(real_request(tmp_path, url, "users"))
    assert data.status == "finished"
    assert data.planned == {key: d.started for key, d in data.merged.delivery.items()}
    assert sum(counting.got.values()) == sum(data.planned.values()) > 0
    assert not [event for event in data.events if event.kind == "final_mismatch"]


async def test_a_broken_rule_stops_the_run(tmp_path: Path) -> None:
    """Half of what is due never starts; what was planned until the stop is still accounted for."""
    async with target() as (_counting, url), listening() as service, real_agent(service, "local-1"):
        async with asyncio.timeout(60):
            data = await service.run(real_request(tmp_path, url, "abort"))
    assert (data.status, data.aborted_by) == ("aborted", "rule")
    assert "success_rate >= 50%" in data.abort_reason
    assert sum(data.planned.values()) < 1200
    accounted = {k: d.started + d.dropped + d.missed for k, d in data.merged.delivery.items()}
    assert accounted == {key: count for key, count in data.planned.items() if count}


async def test_a_person_stops_the_run_and_gets_a_whole_report(tmp_path: Path) -> None:
    """After a graceful stop every arrival until then is accounted for, none is lost."""
    async with target() as (_counting, url), listening() as service, real_agent(service, "local-1"):

        async def stop_early(progress: Progress) -> None:
            if progress.elapsed_ns is not None and progress.elapsed_ns > 0:
                service.stop(progress.run_id, reason="Ctrl+C")

        async with asyncio.timeout(60):
            data = await service.run(real_request(tmp_path, url, "smoke", on_progress=stop_early))
    assert (data.status, data.aborted_by, data.abort_reason) == ("aborted", "person", "Ctrl+C")
    accounted = {k: d.started + d.dropped + d.missed for k, d in data.merged.delivery.items()}
    assert accounted == {key: count for key, count in data.planned.items() if count}
    assert data.fleet[0].final


async def test_a_killed_agent_is_named_and_its_rest_is_lost(tmp_path: Path) -> None:
    """The run goes on without it: planned = started + dropped + missed + lost, and lost is not hidden."""
    async with target() as (_counting, url), listening() as service, contextlib.AsyncExitStack() as stack:
        victim = await stack.enter_async_context(real_agent(service, "local-1"))
        await stack.enter_async_context(real_agent(service, "local-2"))

        async def kill(progress: Progress) -> None:
            if any(transaction.started for transaction in progress.transactions) and victim.returncode is None:
                victim.kill()

        async with asyncio.timeout(60):
            data = await service.run(real_request(tmp_path, url, "smoke", agents_wanted=2, on_progress=kill))
    assert data.status == "finished"
    assert [info.lost for info in data.fleet] == [True, False]
    accounted = sum(d.started + d.dropped + d.missed for d in data.merged.delivery.values())
    assert 60 <= accounted < sum(data.planned.values()) == 120
    assert "its process ended" in next(event.text for event in data.events if event.kind == "agent_lost")
