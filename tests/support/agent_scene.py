"""A supervisor attached to a fake controller, and the usual conversation between the two."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from fake_controller import AgentStream, FakeController
from loadproof.bundle import build_bundle
from loadproof.metrics import Delta, decode_delta, merge_delta
from loadproof.plan import NS_PER_S, ArrivalPhase, Plan, RunSpec, TransactionPlan
from loadproof_agent import records as r
from loadproof_agent.config import AgentConfig, Limits
from loadproof_agent.supervisor import Supervisor

SCRIPTED = (sys.executable, str(Path(__file__).with_name("scripted_worker.py")))
MS = 1_000_000
RATE_PER_S = 200


def plan_of(seconds: float) -> Plan:
    rate = RATE_PER_S * 1_000
    return Plan(
        suite="Shop",
        profile="smoke",
        model="open",
        phases=(ArrivalPhase("all", rate, rate, round(seconds * NS_PER_S)),),
        transactions=(TransactionPlan("Browse", 3), TransactionPlan("Buy", 1)),
    )


class Scene:
    """A fake controller, one supervisor attached to it, and the usual conversation."""

    def __init__(
        self, controller: FakeController, stream: AgentStream, suite: Path, supervisor: Supervisor | None = None
    ) -> None:
        self.controller = controller
        self.supervisor = supervisor
        self.stream = stream
        bundle = build_bundle(suite)
        controller.bundle = bundle.data
        self.bundle = bundle
        self.started = 0
        self.missed = 0
        self.seq = 0
        self.merged = Delta()

    def prepare(self, plan: Plan, shard_count: int = 4, *, requirements: str | None = None, **variables: str) -> None:
        spec = RunSpec(module="suite.py", variables=variables, requirements=requirements)
        self.stream.say(
            r.Prepare(
                run_id="run-1",
                plan=orjson.dumps(plan.to_dict()),
                spec=orjson.dumps(spec.to_dict()),
                bundle_sha256=self.bundle.sha256,
                bundle_bytes=len(self.bundle.data),
                shard_count=shard_count,
                snapshot_ms=200,
                secrets={"TOKEN": "hunter2"},
            )
        )

    def lease(self, *shards: int, fence: int = 1, duration_ms: int = 60_000) -> None:
        self.stream.say(r.Lease("run-1", fence, tuple(r.ShardGrant(shard) for shard in shards), duration_ms))

    def start(self, shared: bytes = b"null") -> None:
        self.stream.say(r.Start("run-1", time.monotonic_ns() + 50 * MS, shared))

    async def collect(self) -> r.Final:
        """Take and ack every snapshot until Final; counts what came, each number once."""
        while True:
            record: Any = await self.stream.next(
                object, where=lambda record: isinstance(record, r.SnapshotBlock | r.Final)
            )
            if isinstance(record, r.Final):
                return record
            self.apply(record)

    def apply(self, block: r.SnapshotBlock) -> None:
        (origin,) = block.ranges
        if origin.from_seq == self.seq + 1:
            self.seq = origin.to_seq
            delta = decode_delta(block.delta)
            self.merged = merge_delta(self.merged, delta)
            for delivery in delta.delivery.values():
                self.started += delivery.started
                self.missed += delivery.missed
        self.stream.say(r.SnapshotAck("run-1", origin.agent_id, origin.epoch, self.seq))


@asynccontextmanager
async def scene(
    suite: Path,
    *,
    workers: int = 1,
    command: tuple[str, ...] = SCRIPTED,
    packages_dir: Path | None = None,
    **limits: Any,
) -> AsyncIterator[Scene]:
    """Attach a supervisor to a fake controller; both are gone afterwards."""
    async with FakeController() as controller, asyncio.TaskGroup() as group:
        config = AgentConfig(
            address=controller.address,
            agent_id="a1",
            identity="once",
            workers=workers,
            worker_command=command,
            packages_dir=packages_dir,
            limits=Limits(tick_ns=50 * MS, reconnect_ms=(20, 100), **limits),
        )
        supervisor = Supervisor(config)
        running = group.create_task(supervisor.run())
        stream = await controller.attached()
        try:
            yield Scene(controller, stream, suite, supervisor)
        finally:
            supervisor.stop()
            await asyncio.wait([running])
