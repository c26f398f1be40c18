"""A worker that runs nothing: it counts arrivals as started and done when they are due, and fails on request.

`python scripted_worker.py FD`. The run's spec says how to fail, in `variables`: `fault` (exit, crash, block, babble,
bad-delta; before the load: hang-import, problem) and `fault_at_ms`. The first worker to get there claims the fault by a
file in the suite's folder, so that its replacement is well, except with `fault_always`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

from loadproof.metrics import Delivery, Delta, SecondStats, encode_delta
from loadproof.plan import ArrivalSchedule, plan_from_dict
from loadproof_agent.pipe import messages as m
from loadproof_agent.pipe.connection import PipeConnection

NS = 1_000_000_000


class ScriptedWorker:
    def __init__(self, pipe: PipeConnection) -> None:
        self.pipe = pipe
        self.prepare: m.Prepare | None = None
        self.assign: m.Assign | None = None
        self.start: m.Start | None = None
        self.stop_ns: int | None = None
        self.next_k: dict[int, int] = {}
        self.accounted: dict[int, int] = {}
        self.finished = -1
        self.from_ns = 0

    def heard(self, message: object) -> bool:
        match message:
            case m.Prepare():
                self.prepared(message)
            case m.Assign():
                self.assign = message
                for shard, first_k in message.shards:
                    self.next_k.setdefault(shard, first_k)
                    self.accounted.setdefault(shard, 0)
            case m.Start():
                self.start = message
            case m.Stop(at_ns, immediate):
                print("stopped at once" if immediate else "stopped", flush=True)
                assert self.start is not None
                self.stop_ns = at_ns or time.monotonic_ns() - self.start.start_at_ns
            case m.Setup():
                print("setting up", flush=True)
                self.pipe.post(m.SetupDone(b'{"tenant":1}'))
            case m.Teardown(shared):
                self.pipe.post(m.TeardownDone(None if shared == b'{"tenant":1}' else m.Problem("teardown", "?")))
            case m.Exit():
                return False
        return True

    def prepared(self, message: m.Prepare) -> None:
        self.prepare = message
        self.plan = plan_from_dict(message.plan)
        self.schedule = ArrivalSchedule(self.plan)
        self.variables = message.spec["variables"]
        fault = self.variables.get("fault", "")
        if fault == "hang-import":
            time.sleep(3600)
        problems = (m.Problem("import", "suite.py does not import", "Traceback"),) if fault == "problem" else ()
        self.pipe.post(m.Prepared(problems))

    def beat(self) -> None:
        self.pipe.post(m.Beat(time.monotonic_ns(), 1, 10, 1_000_000, "Browse", "Open"))
        if self.start is None or self.assign is None or self.prepare is None:
            return
        now_ns = time.monotonic_ns() - self.start.start_at_ns
        if now_ns < 0:
            return
        fault = self.variables.get("fault", "")
        if fault and now_ns >= int(self.variables.get("fault_at_ms", "0")) * 1_000_000 and self.claims():
            self.fail(fault)
        self.work(now_ns)

    def claims(self) -> bool:
        assert self.prepare is not None
        if "fault_always" in self.variables:
            return True
        with contextlib.suppress(FileExistsError):
            (Path(self.prepare.bundle_dir) / "fault.claimed").touch(exist_ok=False)
            return True
        return False

    def fail(self, fault: str) -> None:
        if fault == "exit":
            print("the suite calls exit", flush=True)
            os._exit(0)
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "block":
            time.sleep(3600)
        if fault == "babble":
            self.pipe._writer.write(b"\x00\x00\x00\x02hi")  # type: ignore[union-attr]
        if fault == "bad-delta":
            self.pipe.post(m.Snapshot(b"nonsense"))

    def work(self, now_ns: int) -> None:
        assert self.prepare is not None
        assert self.assign is not None
        assert self.start is not None
        planned_ns = self.plan.duration_ns
        assert planned_ns is not None
        end_ns = planned_ns if self.stop_ns is None else min(self.stop_ns, planned_ns)
        until_ns = min(now_ns, end_ns, self.assign.lease_end_ns - self.start.start_at_ns)
        delta = Delta(from_ns=self.from_ns, to_ns=max(until_ns, self.from_ns))
        for shard, _first_k in self.assign.shards:
            for arrival in self.schedule.shard(shard, self.prepare.shard_count, self.next_k[shard]):
                if arrival.at_ns >= until_ns:
                    break
                self.next_k[shard] = arrival.k + 1
                self.accounted[shard] += 1
                name = self.plan.transactions[arrival.transaction].name
                phase = self.plan.phases[arrival.phase].name
                delivery = delta.delivery.setdefault((name, phase), Delivery())
                delivery.started += 1
                delivery.completed += 1
                second = delta.seconds.setdefault((arrival.at_ns // NS, name), SecondStats())
                second.started += 1
                second.completed += 1
        over = until_ns >= end_ns
        if self.finished >= self.assign.fence:
            return
        if delta.delivery or over:
            self.from_ns = delta.to_ns
            self.pipe.post(m.Snapshot(encode_delta(delta)))
        if over:
            self.finished = self.assign.fence
            shards = tuple((shard, first_k, self.accounted[shard]) for shard, first_k in self.assign.shards)
            self.pipe.post(m.Finished(self.assign.fence, shards))


async def main(descriptor: int) -> None:
    async with PipeConnection(socket.socket(fileno=descriptor)) as pipe:
        worker = ScriptedWorker(pipe)

        async def beating() -> None:
            while True:
                await asyncio.sleep(0.05)
                worker.beat()

        async with asyncio.TaskGroup() as group:
            beats = group.create_task(beating())
            async for message in pipe:
                if not worker.heard(message):
                    break
            beats.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
