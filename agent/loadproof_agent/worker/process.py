"""The worker process: obeys the supervisor's messages, one after the other, until `Exit` or the pipe's end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from loadproof.http import HttpEngine, TargetPolicy
from loadproof.metrics import Recorder
from loadproof.plan import Plan, UserSchedule, plan_from_dict, spec_from_dict, user_seed, user_seed_closed
from loadproof.plan.spec import RunSpec
from loadproof.runtime.client import engine_of
from loadproof.runtime.context import RunContext
from loadproof.runtime.hooks import HookFailed, run_hook
from loadproof.runtime.redact import Redactor
from loadproof_agent.pipe import messages as m
from loadproof_agent.pipe.codec import encode
from loadproof_agent.pipe.connection import PipeClosedError, PipeConnection
from loadproof_agent.worker.guard import end_process
from loadproof_agent.worker.health import CpuMeter, GarbageMonitor, HealthMeter, LoopMonitor, Watchdog
from loadproof_agent.worker.preparing import Prepared, prepare
from loadproof_agent.worker.reporting import PipeLog, Snapshots
from loadproof_agent.worker.runner import Work
from loadproof_agent.worker.running import LoadRun

BEAT_S = 0.25
GC_THRESHOLDS = (20_000, 50, 50)
"""Collections are rare: a hot path that makes few cycles gains nothing from looking for them each 700 allocations."""
FORCED_EXIT = 70
"""Status of a worker whose user code did not let it end when it was told to leave."""
_RATE_SCALE = 1_000


class Worker:
    """One worker, for one run. `run()` returns at `Exit` or when the supervisor's end of the pipe is closed."""

    def __init__(self, pipe: PipeConnection) -> None:
        self._pipe = pipe
        self._monitor = LoopMonitor()
        self._garbage = GarbageMonitor()
        self._watchdog = Watchdog(self._monitor, self.report_stall)
        self._health = HealthMeter(self._monitor, self._garbage, self._watchdog)
        self._cpu = CpuMeter()
        self._group: asyncio.TaskGroup | None = None
        self._engine: HttpEngine | None = None
        self._order: m.Prepare | None = None
        self._plan: Plan | None = None
        self._spec: RunSpec | None = None
        self._suite: Prepared | None = None
        self._context: RunContext | None = None
        self._recorder: Recorder | None = None
        self._load: LoadRun | None = None
        self._assigned: m.Assign | None = None
        self._stopped: m.Stop | None = None

    async def run(self) -> None:
        """Obey until told to leave; user code still running then is cancelled."""
        self._monitor.start()
        self._garbage.start()
        self._watchdog.start()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                beats = group.create_task(self._beat(), name="beats")
                try:
                    async for message in self._pipe:
                        if isinstance(message, m.Exit):
                            break
                        await self._obey(message)
                finally:
                    beats.cancel()
                    _leave_soon()
                    for task in asyncio.all_tasks() - {asyncio.current_task()}:
                        task.cancel()
                    if self._engine is not None:
                        await self._engine.close()
        finally:
            self._watchdog.stop()
            self._garbage.stop()
            self._monitor.stop()

    async def _obey(self, message: Any) -> None:
        match message:
            case m.Prepare():
                await self._prepare(message)
            case m.Setup():
                self._spawn(self._set_up())
            case m.Teardown(shared):
                self._spawn(self._tear_down(shared))
            case m.Assign():
                self._assign(message)
            case m.Renew(lease_end_ns):
                self._renew(lease_end_ns)
            case m.Start(start_at_ns, shared):
                self._start(start_at_ns, shared)
            case m.Reserved():
                if self._load is not None:
                    self._load.reserved(message)
            case m.Stop():
                self._stopped = message
                if self._load is not None:
                    self._load.stop(message.at_ns, immediate=message.immediate)
            case _:
                pass  # a message in the wrong direction says nothing to us

    def _spawn(self, work: Any) -> None:
        assert self._group is not None
        self._group.create_task(work)

    # --- preparing ----------------------------------------------------------------------------------------------------

    async def _prepare(self, order: m.Prepare) -> None:
        try:
            plan, spec = plan_from_dict(order.plan), spec_from_dict(order.spec)
        except (KeyError, TypeError, ValueError) as error:
            self._pipe.post(m.Prepared((m.Problem("plan", f"the plan cannot be read: {error!r}"),)))
            return
        packages = Path(order.packages_dir) if order.packages_dir else None
        found = prepare(Path(order.bundle_dir), plan, spec, order.secrets, packages)
        redactor = Redactor(order.secrets)
        if isinstance(found, list):
            hidden = tuple(m.Problem(p.code, redactor.text(p.text), redactor.text(p.detail)) for p in found)
            self._pipe.post(m.Prepared(hidden))
            return
        self._order, self._plan, self._spec, self._suite = order, plan, spec, found
        await self._build(redactor)
        handler = PipeLog(self._pipe, redactor)
        logging.getLogger("loadproof.user").addHandler(handler)
        logging.getLogger("loadproof.user").setLevel(logging.INFO)
        gc.collect()
        gc.freeze()  # what is here now stays: no collection looks at it again
        gc.set_threshold(*GC_THRESHOLDS)
        self._pipe.post(m.Prepared())

    async def _build(self, redactor: Redactor) -> None:
        order, plan, spec, suite = self._order, self._plan, self._spec, self._suite
        assert order is not None
        assert plan is not None
        assert spec is not None
        assert suite is not None
        policy = TargetPolicy(spec.targets, _share(spec, 1, order.shard_count))
        self._engine = engine = engine_of(suite.suite, suite.tls, redactor, policy=policy, timeout_ns=plan.timeout_ns)
        await engine.start()
        recorder = self._recorder = Recorder(plan.seed, order.agent_id)
        if plan.model == "open":
            seed_of = lambda k: user_seed(plan, k)  # noqa: E731 - two one-line definitions side by side
        else:
            peak = UserSchedule(plan).peak
            seed_of = lambda k: user_seed_closed(plan, k % peak, k // peak)  # noqa: E731
        self._context = RunContext(
            engine=engine,
            base_url=suite.base_url,
            headers=suite.headers,
            seed=plan.seed,
            seed_of=seed_of,
            user_start=suite.suite.hooks.user_start,
            redactor=redactor,
            trace_high=int.from_bytes(hashlib.sha256(order.run_id.encode()).digest()[:8]) or 1,
            agent_id=order.agent_id,
            count=recorder.count,
        )

    # --- hooks --------------------------------------------------------------------------------------------------------

    async def _set_up(self) -> None:
        assert self._suite is not None
        shared, problem = b"null", None
        hook = self._suite.suite.hooks.setup
        if hook is not None:
            try:
                shared = orjson.dumps(await self._hook(hook))
            except HookFailed as error:
                problem = m.Problem("setup", error.message, error.detail)
            except TypeError as error:
                problem = m.Problem("setup", f"set-up must return what JSON can hold: {error}")
        self._say(m.SetupDone(shared, problem))

    async def _tear_down(self, shared: bytes) -> None:
        assert self._suite is not None
        problem = None
        hook = self._suite.suite.hooks.teardown
        if hook is not None:
            try:
                await self._hook(hook, orjson.loads(shared or b"null"))
            except HookFailed as error:
                problem = m.Problem("teardown", error.message, error.detail)
        self._say(m.TeardownDone(problem))

    async def _hook(self, hook: Any, *arguments: Any) -> Any:
        assert self._context is not None
        assert self._plan is not None
        assert self._order is not None
        return await run_hook(
            hook, self._context, self._order.run_id, self._plan.suite, self._plan.profile, *arguments
        )  # fmt: skip

    # --- load ---------------------------------------------------------------------------------------------------------

    def _assign(self, order: m.Assign) -> None:
        self._assigned = order
        if self._spec is not None and self._order is not None and self._engine is not None:
            self._engine.policy.limit(_share(self._spec, max(1, len(order.shards)), self._order.shard_count))
        if self._load is not None:
            self._load.assign(order)

    def _renew(self, lease_end_ns: int) -> None:
        if self._assigned is not None:
            order = self._assigned
            self._assigned = replace(order, lease_end_ns=lease_end_ns)
        if self._load is not None:
            self._load.runner.renew(lease_end_ns)

    def _start(self, start_at_ns: int, shared: bytes) -> None:
        if self._load is not None or self._suite is None:
            return
        order, plan, context, recorder = self._order, self._plan, self._context, self._recorder
        assert order is not None
        assert plan is not None
        assert context is not None
        assert recorder is not None
        context.zero_ns = start_at_ns
        context.shared = orjson.loads(shared or b"null")
        self._monitor.take()
        snapshots = Snapshots(self._pipe, recorder, self._health, order.snapshot_ns)
        snapshots.skip_to(time.monotonic_ns() - start_at_ns)
        work = Work(plan, order.shard_count, self._suite.definitions, self._suite.rows, context, recorder)
        self._load = LoadRun(work, self._pipe, snapshots)
        if self._assigned is not None:
            self._load.assign(self._assigned)
        if self._stopped is not None:
            self._load.stop(self._stopped.at_ns, immediate=self._stopped.immediate)
        self._spawn(self._load.run())

    # --- signs of life ------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self._say(self._sign())
            await asyncio.sleep(BEAT_S)

    def _sign(self, transaction: str = "", step: str = "", cpu_permille: int | None = None) -> m.Beat:
        in_flight = 0 if self._load is None else self._load.runner.in_flight
        cpu = self._cpu.take() if cpu_permille is None else cpu_permille
        began_ns = 0 if self._load is None else self._load.began_ns
        return m.Beat(time.monotonic_ns(), in_flight, cpu, self._health.memory_bytes(), transaction, step, began_ns)

    def _say(self, message: m.FromWorker) -> None:
        with contextlib.suppress(PipeClosedError):
            self._pipe.post(message)

    def report_stall(self, transaction: str, step: str) -> None:
        """Say who holds the loop up, before it is too late. From the watchdog's thread, or from code that ends."""
        self._pipe.post_from_thread(encode(self._sign(transaction, step, 1_000)))


def _share(spec: RunSpec, held: int, shard_count: int) -> float | None:
    """Return this worker's part of the fleet's rate ceiling, in requests per second."""
    return None if spec.max_rate is None else spec.max_rate / _RATE_SCALE * held / shard_count


def _leave_soon(limit_s: float = 4.0) -> None:
    """End the process when user code does not let it end: whoever asked it to leave kills it otherwise."""
    timer = threading.Timer(limit_s, end_process, args=(FORCED_EXIT,))
    timer.daemon = True
    timer.start()
