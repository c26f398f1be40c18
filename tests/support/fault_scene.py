"""Real agent processes, a real controller over TCP loopback with a chaos proxy between, and a target that counts.

Times are shortened (heartbeats of 0.2 s, leases of 1.5 s) so that a test is over in seconds; nothing else differs from
a real run. Agents count as remote: their stream's end is not their process's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from chaos_proxy import ChaosProxy
from fault_target import CountingTarget
from loadproof.bundle import build_bundle
from loadproof.config import build_plan, load_project, rules_for, run_spec
from loadproof_agent.launch import local_agent_command
from loadproof_controller import messages as m
from loadproof_controller.fleet import AgentLink
from loadproof_controller.machine.leasing import RENEWALS
from loadproof_controller.request import Progress, RunRequest
from loadproof_controller.service import ControllerService
from loadproof_report import RunResult, build_result, exit_code
from loadproof_report.rundata import BundleInfo, RunData
from shop_cli import BUSY

SUITE = """
from loadproof import Suite

suite = Suite("Faulty", base_url="${TARGET}")


@suite.transaction("Browse")
async def browse(user):
    async with user.step("Open"):
        (await user.http.get("/item")).check(status=200)
"""
RULE = '\n[[rules]]\ntransaction = "*"\nrequire = "success_rate >= 95%"\n'
HEARTBEAT_MS = 200
LEASE_S = 1.5
SILENCE_S = LEASE_S * (1 - 1 / RENEWALS)
"""So long and longer an agent was silent whose lease is over: not each heartbeat renews it."""
NS_PER_S = 1_000_000_000
MS = 1_000_000


class QuickService(ControllerService):
    """A controller that wants a heartbeat five times a second."""

    def welcome(self, link: AgentLink) -> m.Welcome:
        """Shorten the heartbeat."""
        welcome = super().welcome(link)
        return m.Welcome(welcome.protocol, welcome.agent_id, HEARTBEAT_MS, welcome.orphan_grace_ms)


@dataclass(slots=True)
class Agent:
    """One agent process and the network before it."""

    name: str
    process: asyncio.subprocess.Process
    proxy: ChaosProxy

    @property
    def pid(self) -> int:
        """Its supervisor's process."""
        return self.process.pid

    def workers(self) -> list[psutil.Process]:
        """Return its worker processes; they are its children."""
        return psutil.Process(self.pid).children()

    def family(self) -> list[psutil.Process]:
        """Return the supervisor and its workers."""
        return [psutil.Process(self.pid), *self.workers()]

    def signal(self, number: int, *, workers: bool = False) -> None:
        """Send a signal to the supervisor, and to its `workers` as a frozen machine would."""
        for process in self.family() if workers else [psutil.Process(self.pid)]:
            os.kill(process.pid, number)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: the controller's data, the report made from it, what the command would exit with."""

    data: RunData
    result: RunResult
    code: int

    @property
    def started(self) -> int:
        """Arrivals the report says were started."""
        return self.result.delivery.started

    @property
    def completed(self) -> int:
        """Transactions the report says were completed."""
        return self.result.delivery.completed

    def went_well(self) -> bool:
        """Say whether the evidence is sound; fail where anything but a busy machine took from it."""
        unsound = {finding.code for finding in self.result.evidence.findings if finding.severity == "unsound"}
        assert unsound <= BUSY, unsound
        return not unsound

    def finding(self, code: str) -> str:
        """Return the text of the evidence finding `code`."""
        found = {finding.code: finding.text for finding in self.result.evidence.findings}
        assert code in found, found
        return found[code]

    def events(self, kind: str) -> list[str]:
        """Return the texts of the run's events of one kind."""
        return [event.text for event in self.data.events if event.kind == kind]

    def requests(self, name: str = "GET /item") -> int:
        """Return how often the report says an endpoint was requested."""
        return sum(
            endpoint.count
            for transaction in self.result.transactions
            for step in transaction.steps
            for endpoint in step.endpoints
            if endpoint.name == name
        )

    def balanced(self) -> bool:
        """Whether every planned arrival has exactly one fate."""
        delivery = self.result.delivery
        return delivery.planned == delivery.started + delivery.dropped + delivery.missed + delivery.lost


@dataclass(slots=True)
class Scene:
    """A controller that listens, a target, and agents that are attached through proxies of their own."""

    folder: Path
    service: ControllerService
    target: CountingTarget
    stack: contextlib.AsyncExitStack
    agents: dict[str, Agent] = field(default_factory=dict)
    runs: int = 0
    limits: dict[str, Any] = field(default_factory=dict)
    on_progress: Callable[[Progress], None] | None = None
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)
    latest: Progress | None = None

    async def agent(self, name: str = "a1", *, workers: int = 1, **limits: Any) -> Agent:
        """Start an agent; it is gone when the scene is over."""
        proxy = await self.stack.enter_async_context(ChaosProxy(self.service.address))
        identity = secrets.token_hex(16)
        self.service.fleet.expect(identity, name, local=False)
        process = await asyncio.create_subprocess_exec(
            *local_agent_command(), stdin=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        line = {
            "address": proxy.address,
            "identity": identity,
            "agent_id": name,
            "workers": workers,
            "limits": {"tick_ns": 50 * MS, "reconnect_ms": [50, 250], **self.limits, **limits},
        }
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(line) + b"\n")
        agent = self.agents[name] = Agent(name, process, proxy)
        self.stack.push_async_callback(_end, agent)
        return agent

    async def restart(self, name: str) -> Agent:
        """Kill an agent with `kill -9` and start another process under its name once the controller has noticed."""
        old = self.agents[name]
        workers = old.workers()
        old.signal(signal.SIGKILL)
        assert await gone(workers), "the workers of a killed agent leave by themselves"
        async with asyncio.timeout(30):
            while self.service.fleet.has(name):
                await asyncio.sleep(0.02)
        return await self.agent(name)

    def request(
        self, *, suite: str = SUITE, profile: str, rules: str = RULE, files: dict[str, str] | None = None, **fields: Any
    ) -> RunRequest:
        """Write the suite and freeze a run of it; `profile` is the body of its table."""
        self.runs += 1
        home = self.folder / f"run-{self.runs}"
        (home / "suite").mkdir(parents=True)
        toml = f'[suite]\nmodule = "suite.py"\n\n[profiles.fault]\n{profile}\n{rules}'
        for name, text in {"suite.py": suite, "loadproof.toml": toml, **(files or {})}.items():
            (home / "suite" / name).write_text(text)
        project = load_project(home / "suite", environ={"TARGET": self.target.url})
        plan = build_plan(project, "fault")
        bundle = build_bundle(home / "suite")
        log = home / "log"
        log.mkdir()
        settings = {"lease_s": LEASE_S, "start_lead_s": 0.3, "attach_limit_s": 30.0, "agents_wanted": len(self.agents)}
        return RunRequest(
            run_id=f"fault-{self.runs}",
            plan=plan,
            spec=run_spec(project),
            bundle=bundle.data,
            bundle_info=BundleInfo(bundle.sha256),
            folder=log,
            rules=rules_for(project, plan),
            on_progress=self._progressed,
            **{**settings, **fields},
        )

    async def run(self, *, rate: str = "60/s", seconds: float = 3, grace: str = "1s", **fields: Any) -> Outcome:
        """Run to the end; the target's log begins anew."""
        self.target.clear()
        fields.setdefault(
            "profile", f'arrivals = [{{ rate = "{rate}", for = "{seconds}s" }}]\ngraceful_stop = "{grace}"\nseed = 7'
        )
        return await self.finish(self.request(**fields))

    async def finish(self, request: RunRequest) -> Outcome:
        """Run `request` to its end and report on it."""
        limit_s = 180 + (request.plan.duration_ns or 0) / NS_PER_S
        async with asyncio.timeout(limit_s):
            data = await self.service.run(request)
        result = build_result(data, ())
        return Outcome(data, result, exit_code(result))

    async def happened(self, kind: str) -> str:
        """Wait until the run on has recorded an event of that kind; returns its text."""
        async with asyncio.timeout(30), self.progress:
            while True:
                await self.progress.wait()
                for event in self.latest.events if self.latest else ():
                    if event.kind == kind:
                        return event.text

    async def in_phase(self, phase: str) -> None:
        """Wait until the run on is in `phase`."""
        async with asyncio.timeout(30), self.progress:
            await self.progress.wait_for(lambda: self.latest is not None and self.latest.phase == phase)

    async def _progressed(self, progress: Progress) -> None:
        async with self.progress:
            self.latest = progress
            self.progress.notify_all()


@contextlib.asynccontextmanager
async def fault_scene(
    folder: Path, *names: str, orphan_grace_s: float = 30.0, workers: int = 1, **limits: Any
) -> AsyncIterator[Scene]:
    """Give a scene with agents `names` attached or about to; everything is gone afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        target = await stack.enter_async_context(CountingTarget())
        service = await stack.enter_async_context(QuickService("127.0.0.1:0", orphan_grace_s=orphan_grace_s))
        scene = Scene(folder, service, target, stack, limits=limits)
        for name in names or ("a1",):
            await scene.agent(name, workers=workers)
        yield scene


async def _end(agent: Agent) -> None:
    """End the agent: by its pipe, and by force when that does not do."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        agent.signal(signal.SIGCONT, workers=True)
    agent.proxy.pass_on()
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = agent.family()
    assert agent.process.stdin is not None
    agent.process.stdin.close()
    try:
        async with asyncio.timeout(10):
            await agent.process.wait()
    except TimeoutError:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        await agent.process.wait()


async def gone(processes: list[psutil.Process], limit_s: float = 90) -> bool:
    """Say whether all of them end in time. None may be a child of this process: who else would reap it."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, limit_s)
    return not alive


def silent_s(event: str) -> float:
    """Return how long an agent had not been heard of, by the event that it was lost, in seconds."""
    return float(event.partition("nothing was heard of it for ")[2].partition(" s")[0])


def most_in_a_second(scene: Scene) -> int:
    """Return the most requests the target got within any one second, by its own clock."""
    stamps = [entry.at_ns for entry in scene.target.got]
    most = first = 0
    for last, stamp in enumerate(stamps):
        while stamp - stamps[first] >= NS_PER_S:
            first += 1
        most = max(most, last - first + 1)
    return most


def ran_twice(scene: Scene) -> list[str]:
    """Return the arrivals the target got more than once; the trace id names them."""
    seen: set[str] = set()
    twice = []
    for entry in scene.target.got:
        trace = entry.trace.split("-")[1]
        if trace in seen:
            twice.append(trace)
        seen.add(trace)
    return twice


SPREAD_INVERSE = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
"""Undoes what spreads arrival numbers over trace ids."""


def arrivals_of(scene: Scene, outcome: Outcome, agent: str) -> list[tuple[int, int]]:
    """Return (received at ns, arrival number) of what the target got of the shards `agent` ever held, in order."""
    info = next(info for info in outcome.data.fleet if info.agent_id == agent)
    numbers = [(entry.at_ns, arrival_number(entry.trace)) for entry in scene.target.got]
    return [(at_ns, k) for at_ns, k in numbers if k % outcome.data.shards in info.shards]


def arrival_number(trace_parent: str) -> int:
    """Return the number of the arrival that sent this `traceparent`."""
    return (int(trace_parent.split("-")[1][16:], 16) * SPREAD_INVERSE - 1) % (1 << 64)
