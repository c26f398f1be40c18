"""The supervisor: the process that obeys the controller and keeps the workers. User code never runs in it.

It is a thin shell around `AgentMachine`: events go in with the time, instructions come out and are carried out here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import secrets
import socket
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from loadproof.histogram import LAYOUT_ID
from loadproof.metrics import encode_delta, merge_delta, split_delta
from loadproof.metrics.delta import Delta
from loadproof_agent import events as e
from loadproof_agent import records as r
from loadproof_agent.bundles import unpacked_bundle
from loadproof_agent.config import NS_PER_S, PROTOCOL_MAX, PROTOCOL_MIN, AgentConfig
from loadproof_agent.crew import Crew
from loadproof_agent.errors import AgentError, RefusedError, RunError
from loadproof_agent.machine import AgentMachine
from loadproof_agent.packages import PackageStore, packages_of
from loadproof_agent.uplink import Uplink

LOGGER = logging.getLogger(__name__)
PAUSE_NS = 2 * NS_PER_S
"""A tick this late means that this process stood still (stopped, suspended): its workers' silence proves nothing."""


def package_version() -> str:
    """Return the version of the installed package, "0" from a bare source tree."""
    try:
        return version("loadproof")
    except PackageNotFoundError:
        return "0"


def hello_of(config: AgentConfig) -> r.Hello:
    """Return what introduces this process; its epoch is random."""
    return r.Hello(
        protocol_min=PROTOCOL_MIN,
        protocol_max=PROTOCOL_MAX,
        layout_id=LAYOUT_ID,
        agent_id=config.agent_id,
        epoch=secrets.randbits(63) or 1,
        version=package_version(),
        python=platform.python_version(),
        host=socket.gethostname(),
        pid=os.getpid(),
        cores=_usable_cores(),
        workers=config.workers,
        labels=dict(config.labels),
        identity=config.identity,
        capacity_permille=config.capacity_permille,
    )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Supervisor:
    """One agent process.

    `run()` attaches, obeys and returns after `stop()`. Shutdown: workers are asked to leave, which ends their load at
    once; one that has not gone within `limits.exit_ns` is killed; every worker is reaped and the run's folder removed
    before `run` returns. What was not acked by then is lost to the controller, which sees no Final and says so.
    Cancelling `run` does the same and raises CancelledError. It raises RefusedError when the controller does not let
    the agent in, and UplinkError when trying to reach it again can't help; the same clean-up comes first.

    `credentials` are gRPC channel credentials (None: plaintext, for Unix sockets); `authority` is the name expected in
    the controller's certificate.
    """

    def __init__(self, config: AgentConfig, *, credentials: Any = None, authority: str | None = None) -> None:
        self._config = config
        self._limits = config.limits
        self._machine: AgentMachine[Delta] = AgentMachine(
            hello_of(config), merge=merge_delta, encode=encode_delta, encode_dense=partial(encode_delta, dense=True),
            split=split_delta, limits=config.limits,
        )  # fmt: skip
        self._uplink = Uplink(
            config.relays or (config.address,),
            on_event=self._handle,
            limits=config.limits,
            credentials=credentials,
            authority=authority,
        )
        self._stopping = asyncio.Event()
        self._draining = False
        self._link_text = ""
        self._error: AgentError | None = None
        self._crew: Crew | None = None
        self._crews: asyncio.TaskGroup | None = None
        self._machine_cpu_permille = 0
        folder = config.packages_dir
        self._packages = None if folder is None else PackageStore(folder, config.limits.packages)

    @property
    def machine(self) -> AgentMachine[Delta]:
        """The state machine, to look at."""
        return self._machine

    @property
    def attached(self) -> bool:
        """Whether a stream to the controller is open and greeted."""
        return self._machine.link == "attached"

    def stop(self) -> None:
        """Let `run` end; see the class."""
        self._stopping.set()

    def drain(self) -> None:
        """Let `run` end once the run this agent takes part in is over; at once when there is none, or asked twice."""
        if self._draining or self._crew is None:
            self.stop()
        self._draining = True

    def use(self, credentials: Any) -> None:
        """Show a new certificate from the next stream on."""
        self._uplink.use(credentials)

    async def run(self) -> None:
        """Attach and obey until `stop()`; see the class."""
        psutil.cpu_percent(None)  # the first call only sets its zero
        try:
            async with asyncio.TaskGroup() as group:
                self._crews = group
                ticking = group.create_task(self._tick(), name="tick")
                linking = group.create_task(self._link(), name="uplink")
                await self._stopping.wait()
                if self._crew is not None:
                    self._crew.close()
                self._uplink.close()
                ticking.cancel()
                await asyncio.wait([linking])
        finally:
            self._crews = None
        if self._error is not None:
            raise self._error

    async def _link(self) -> None:
        try:
            await self._uplink.run()
        except AgentError as error:
            self._error = self._error or error
        finally:
            self.stop()

    async def _tick(self) -> None:
        last_ns = measured_ns = time.monotonic_ns()
        while True:
            await asyncio.sleep(self._limits.tick_ns / NS_PER_S)
            now_ns = time.monotonic_ns()
            if now_ns - measured_ns >= NS_PER_S:
                measured_ns = now_ns
                self._machine_cpu_permille = round(psutil.cpu_percent(None) * 10)
            readings: tuple[r.WorkerReading, ...] = ()
            if self._crew is not None:
                self._crew.machine_cpu_permille = self._machine_cpu_permille
                self._crew.tick(now_ns, paused=now_ns - last_ns > self._limits.tick_ns + PAUSE_NS)
                readings = self._crew.readings(now_ns)
            last_ns = now_ns
            self._handle(e.Tick(readings, self._machine_cpu_permille))

    # --- instructions -------------------------------------------------------------------------------------------------

    def _handle(self, event: e.Event[Delta]) -> None:
        self._tell_link(event)
        for instruction in self._machine.handle(event, time.monotonic_ns()):
            self._carry_out(instruction)

    def _tell_link(self, event: e.Event[Delta]) -> None:
        """Log when the stream comes and goes, not each attempt."""
        if isinstance(event, e.Disconnected):
            text = f"not attached to {self._uplink.address}, trying again: {event.reason}"
        elif isinstance(event, e.Received) and isinstance(event.record, r.Welcome):
            text = f"attached to {self._uplink.address} as {self._config.agent_id}"
        else:
            return
        if text != self._link_text:
            LOGGER.info("%s", text)
        self._link_text = text

    def _carry_out(self, instruction: e.Instruction) -> None:
        match instruction:
            case e.Send(record):
                self._uplink.send(record)
            case e.DropStream():
                self._uplink.drop()
            case e.Leave(code, text):
                self._error = RefusedError(code, f"the controller does not let this agent in ({code}): {text}")
                self.stop()
            case e.PrepareRun(prepare):
                self._prepare(prepare)
            case e.ForgetRun():
                if self._crew is not None:
                    self._crew.close()
                    self._crew = None
                if self._draining:
                    self.stop()
            case _:
                if self._crew is not None:
                    _instruct(self._crew, instruction)

    def _prepare(self, prepare: r.Prepare) -> None:
        if self._crews is None:
            return
        self._crew = Crew(prepare, config=self._config, emit=self._handle)
        self._crews.create_task(self._run_crew(self._crew, prepare), name=f"run {prepare.run_id}")

    async def _run_crew(self, crew: Crew, prepare: r.Prepare) -> None:
        fetch, bytes_max = self._uplink.fetch_bundle, self._limits.bundle_bytes_max
        try:
            async with (
                unpacked_bundle(prepare, fetch, bytes_max=bytes_max, cache_dir=self._config.cache_dir) as suite,
                packages_of(prepare, suite, self._packages, wanted=lambda: not crew.closed) as packages,
            ):
                await crew.run(suite, packages)
        except RunError as error:
            problem = r.Problem(error.code, error.text, error.detail)
            self._handle(e.Answered(r.PrepareResult(prepare.run_id, (problem,))))


def _instruct(crew: Crew, instruction: e.Instruction) -> None:
    match instruction:
        case e.HoldShards(lease, lease_end_ns):
            crew.hold(lease, lease_end_ns)
        case e.ExtendLease(lease_end_ns):
            crew.extend(lease_end_ns)
        case e.BeginLoad(start_at_ns, shared):
            crew.begin(start_at_ns, shared)
        case e.HaltLoad(at_offset_ns, immediate, _reason):
            crew.halt(at_offset_ns, immediate=immediate)
        case e.DrawsReserved(worker, draws):
            crew.reserved(worker, draws)
        case e.RunSetup():
            crew.set_up()
        case e.RunTeardown(shared):
            crew.tear_down(shared)
        case _:
            raise AssertionError(f"not a crew's instruction: {instruction}")


async def run_agent(config: AgentConfig, *, credentials: Any = None, authority: str | None = None) -> None:
    """Run one agent until cancelled; see `Supervisor`."""
    await Supervisor(config, credentials=credentials, authority=authority).run()


__all__ = ["Supervisor", "hello_of", "package_version", "run_agent"]
