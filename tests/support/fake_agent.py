"""A scripted agent: speaks the real protocol over real gRPC, makes its numbers up from the plan, starts no process.

It "runs" its shards in no time: at Start it reports every arrival of its grants, at Stop it says Final. Tests override
the `on_*` methods to misbehave, and wait on `seen(...)` instead of sleeping.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc.aio
import numpy as np
import orjson

from loadproof.histogram import LAYOUT_ID, counts_from_samples
from loadproof.metrics import (
    Delivery,
    Delta,
    SecondStats,
    SeriesKey,
    SeriesTotals,
    add_totals,
    encode_delta,
    encode_totals,
    series_totals,
)
from loadproof.plan import NS_PER_S, ArrivalSchedule, Plan, plan_from_dict
from loadproof_proto.v1 import agent_pb2 as pb
from loadproof_proto.v1.agent_pb2_grpc import AgentServiceStub

HEARTBEAT_S = 0.05


class FakeAgent:
    """One attachment after another to `address` as one process (`epoch`)."""

    def __init__(
        self, address: str, agent_id: str, identity: str, *, workers: int = 1, clock_ahead_ns: int = 0
    ) -> None:
        self.address, self.agent_id, self.identity, self.workers = address, agent_id, identity, workers
        self.clock_ahead_ns = clock_ahead_ns
        self.epoch = random.getrandbits(64)
        self.received: list[pb.AttachResponse] = []
        self.plan: Plan | None = None
        self.grants: dict[int, int] = {}
        self.fence = 0
        self.run_id = ""
        self.seq = 0
        self.acked = 0
        self.totals: dict[SeriesKey, SeriesTotals] = {}
        self.reported = 0
        self.hello_fields: dict[str, Any] = {}
        self.start_at_ns = self.began_ns = 0
        self._seen: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._call: Any = None
        self._stub: Any = None
        self._hung_up = False
        self._write_lock = asyncio.Lock()

    # --- for tests ----------------------------------------------------------------------------------------------------

    def kinds(self) -> list[str]:
        """Return the kinds of messages received, without pings, acks and lease renewals' repetitions."""
        kinds = [str(message.WhichOneof("message")) for message in self.received]
        return [kind for kind, _ in itertools.groupby(kind for kind in kinds if kind not in {"ping", "ack"})]

    def seen(self, kind: str) -> asyncio.Event:
        """Return the event that is set once a message of `kind` has been handled."""
        return self._seen[kind]

    @contextlib.asynccontextmanager
    async def attached(self) -> AsyncIterator[FakeAgent]:
        """Run the agent beside the test; leaving ends its stream."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.run())
            try:
                yield self
            finally:
                task.cancel()

    # --- the stream ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Attach, answer until the controller ends the stream, then return."""
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            self._stub = AgentServiceStub(channel)
            self._call, self._hung_up = self._stub.Attach(), False
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self.send(hello=self.hello())
                async with asyncio.TaskGroup() as tasks:
                    beat = tasks.create_task(self._beat())
                    await self._answer()
                    beat.cancel()

    async def _answer(self) -> None:
        while True:
            try:
                message = await self._call.read()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # here: a task group would wrap it
                return
            if message is grpc.aio.EOF:
                return
            self.received.append(message)
            kind = str(message.WhichOneof("message"))
            await getattr(self, f"on_{kind}")(getattr(message, kind))
            self._seen[kind].set()
            if self._hung_up:  # reading a cancelled call would look like a cancellation of this task
                return

    async def send(self, **message: Any) -> None:
        """Write one message; `send(hello=...)`."""
        async with self._write_lock:
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await self._call.write(pb.AttachRequest(**message))

    def hang_up(self) -> None:
        """Drop the connection once the message at hand is handled."""
        self._hung_up = True

    async def _beat(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            while True:
                await self.beat()
                await asyncio.sleep(HEARTBEAT_S)

    def now_ns(self) -> int:
        """Return this agent's own monotonic clock."""
        return time.monotonic_ns() + self.clock_ahead_ns

    # --- what it says -------------------------------------------------------------------------------------------------

    def hello(self) -> pb.Hello:
        """Return how it introduces itself."""
        fields: dict[str, Any] = {
            "protocol_min": 1, "protocol_max": 1, "layout_id": LAYOUT_ID, "agent_id": self.agent_id,
            "epoch": self.epoch, "version": "0", "python": "3", "host": "fake", "pid": 1, "cores": 1,
            "workers": self.workers, "identity": self.identity, "capacity_permille": 1000,
        }  # fmt: skip
        return pb.Hello(**{**fields, **self.hello_fields})

    async def beat(self) -> None:
        """Send one heartbeat."""
        reading = pb.WorkerReading(index=0, pid=2, cpu_permille=100, memory_bytes=1000, began_ns=self.began_ns)
        beat = pb.Heartbeat(run_id=self.run_id, monotonic_ns=self.now_ns(), workers=[reading])
        await self.send(heartbeat=beat)

    async def snapshot(self, delta: Delta, *, seqs: tuple[int, int] | None = None) -> None:
        """Send `delta` under the next number, or again under `seqs`."""
        if seqs is None:
            self.seq += 1
            seqs = (self.seq, self.seq)
            self.totals = add_totals(self.totals, series_totals(delta))
        where = pb.SnapshotRange(agent_id=self.agent_id, epoch=self.epoch, from_seq=seqs[0], to_seq=seqs[1])
        await self.send(snapshot=pb.SnapshotBlock(run_id=self.run_id, ranges=[where], delta=encode_delta(delta)))

    async def final(self) -> None:
        """Say that its part is over."""
        shards = [pb.ShardFinal(shard=s, fence=self.fence, first_k=k, accounted=0) for s, k in self.grants.items()]
        final = pb.Final(
            run_id=self.run_id, epoch=self.epoch, last_seq=self.seq, shards=shards, totals=encode_totals(self.totals)
        )
        await self.send(final=final)

    def delta_of(self, ks: Iterable[tuple[int, int, int, int]], latency_us: int = 5_000) -> Delta:
        """Return a delta in which the arrivals (k, at_ns, transaction, phase) started on time and took `latency_us`."""
        assert self.plan is not None
        delta = Delta()
        samples: defaultdict[SeriesKey, list[int]] = defaultdict(list)
        for _k, at_ns, transaction, phase in ks:
            name, phase_name = self.plan.transactions[transaction].name, self.plan.phases[phase].name
            delivery = delta.delivery.setdefault((name, phase_name), Delivery())
            delivery.started += 1
            delivery.completed += 1
            second = delta.seconds.setdefault((at_ns // NS_PER_S, name), SecondStats())
            second.started += 1
            second.completed += 1
            delta.to_ns = max(delta.to_ns, at_ns + 1)
            for measure in ("response", "service"):
                samples[SeriesKey(name, "", "", phase_name, "ok", measure)].append(latency_us)
        delta.series = {key: counts_from_samples(np.array(values)) for key, values in samples.items()}
        return delta

    def arrivals(self) -> list[tuple[int, int, int, int]]:
        """Return the arrivals of its grants in time order."""
        assert self.plan is not None
        schedule, count = ArrivalSchedule(self.plan), self.shard_count
        found = [
            (a.k, a.at_ns, a.transaction, a.phase)
            for shard, first_k in self.grants.items()
            for a in schedule.shard(shard, count, first_k)
        ]
        return sorted(found, key=lambda row: row[1])

    # --- what it is told ----------------------------------------------------------------------------------------------

    async def on_welcome(self, message: pb.Welcome) -> None:
        pass

    async def on_refusal(self, message: pb.Refusal) -> None:
        pass

    async def on_ping(self, message: pb.Ping) -> None:
        now = self.now_ns()
        await self.send(
            pong=pb.Pong(id=message.id, sent_ns=message.sent_ns, received_ns=now, answered_ns=self.now_ns())
        )

    async def on_prepare(self, message: pb.Prepare) -> None:
        self.run_id, self.shard_count = message.run_id, message.shard_count
        self.seq, self.totals = 0, {}
        self.plan = plan_from_dict(orjson.loads(message.plan))
        await self.send(prepare_result=pb.PrepareResult(run_id=self.run_id))

    async def on_setup(self, message: pb.Setup) -> None:
        await self.send(setup_result=pb.SetupResult(run_id=self.run_id, shared=b'{"tenant":1}'))

    async def on_lease(self, message: pb.Lease) -> None:
        if message.fence >= self.fence:
            self.fence = message.fence
            self.grants = {grant.shard: grant.first_k for grant in message.shards}

    async def on_start(self, message: pb.Start) -> None:
        self.start_at_ns = message.start_at_ns
        await self.snapshot(self.delta_of(self.arrivals()))
        await self.final()

    async def on_stop(self, message: pb.Stop) -> None:
        await self.final()

    async def on_teardown(self, message: pb.Teardown) -> None:
        await self.send(teardown_result=pb.TeardownResult(run_id=self.run_id))

    async def on_ack(self, message: pb.SnapshotAck) -> None:
        self.acked = max(self.acked, message.seq)

    async def on_end(self, message: pb.End) -> None:
        self.run_id = ""

    async def on_reserved(self, message: pb.Reserved) -> None:
        pass
