"""A real worker process, driven over its pipe, against a real server: the open model."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from loadproof.plan import NS_PER_S, ArrivalPhase, ArrivalSchedule, Plan, RunSpec, TransactionPlan
from loadproof_agent.pipe import messages as m
from worker_driver import local_target, running_worker

SUITE = """
    from loadproof import Suite, VirtualUser

    suite = Suite("Tiny", base_url="${URL}")

    @suite.transaction("Look")
    async def look(user: VirtualUser) -> None:
        async with user.step("Open"):
            answer = await user.http.get("/things/1", name="/things/{id}")
            answer.check(status=200, json={"price": 5})
        async with user.step("Read"):
            await user.http.get("/read")
"""


def write_suite(folder: Path, text: str = SUITE) -> Path:
    (folder / "suite.py").write_text(dedent(text))
    return folder


def open_plan(rate: int = 50, seconds: float = 1.0, **fields: object) -> Plan:
    phase = ArrivalPhase("steady", rate * 1000, rate * 1000, int(seconds * NS_PER_S))
    return Plan("Tiny", "smoke", "open", (phase,), (TransactionPlan("Look", 1),), **fields)  # type: ignore[arg-type]


async def test_a_worker_runs_a_suite_from_prepare_to_finished(tmp_path: Path) -> None:
    """Every planned arrival is started, measured and reported; the last snapshot comes before Finished."""
    plan = open_plan()
    async with local_target() as target, running_worker() as worker:
        spec = RunSpec("suite.py", {"URL": target.url})
        assert (await worker.prepare(write_suite(tmp_path), plan, spec=spec)).problems == ()
        await worker.start()
        finished = await worker.until(m.Finished)
        await worker.pipe.send(m.Exit())
        assert await worker.process.wait() == 0

    total = ArrivalSchedule(plan).total
    assert finished == m.Finished(1, ((0, 0, total),))
    merged = worker.merged()
    delivery = merged.delivery["Look", "steady"]
    assert (delivery.started + delivery.dropped + delivery.missed, delivery.completed) == (total, delivery.started)
    assert delivery.failed == 0
    assert merged.histogram("Look").n == delivery.completed
    assert merged.histogram("Look", step="Open", measure="service").n == delivery.completed
    assert merged.histogram("Look", step="Open", endpoint="GET /things/{id}", measure="service").n == delivery.completed
    assert len(target.requests) == 2 * delivery.started
    order = [type(one) for one in worker.heard if isinstance(one, m.Snapshot | m.Finished)]
    assert order[-1] is m.Finished
    assert order.count(m.Finished) == 1
