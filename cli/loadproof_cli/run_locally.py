"""A run with an embedded controller and agents on this machine.

The controller listens on a Unix socket in a fresh folder of mode 0700 with a short path; no TCP port is opened. The
agents are child processes (see `agents`). Everything else is what a distributed run does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loadproof.bundle import Bundle, BundleError, build_bundle
from loadproof.config import Project, build_plan, rule_warnings, rules_for, run_spec, secret_values
from loadproof_cli import keeping
from loadproof_cli.agents import AgentExit, LocalFleet, local_agents
from loadproof_cli.console import Console
from loadproof_cli.doctor.advice import need_of, warnings_before
from loadproof_cli.errors import InfrastructureProblem, UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.keeping import Keeping
from loadproof_cli.packages import packages_folder
from loadproof_cli.pipelines import tell_pipeline
from loadproof_cli.progress import ProgressDisplay
from loadproof_cli.summary import terminal_summary
from loadproof_controller.errors import ControllerError
from loadproof_controller.request import Progress, RunRequest
from loadproof_controller.service import ControllerService
from loadproof_report import build_result, exit_code, write_outputs
from loadproof_report.result import RunResult
from loadproof_report.rundata import BundleInfo, EnvironmentInfo, RunData

OnAgentLoss = Literal["fail", "continue", "redeal"]

SOCKET_FOLDER_BYTES_MAX = 80
"""A socket's path must fit in 103 bytes (macOS), so a long temporary folder gives way to /tmp."""
NOTICE_S = 5.0
"""How long the controller may take to notice by itself that an agent ended before the load began."""


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What `loadproof run` was asked for. `folder` is made only once there is a result."""

    run_id: str
    project: Project
    profile: str
    agents: int
    workers: int | None
    folder: Path
    build: str | None
    seed: int | None
    on_agent_loss: OnAgentLoss
    keeping: Keeping
    fail_on: frozenset[str]
    allow_requirements: bool = False


def run_locally(console: Console, wanted: LocalRun) -> int:
    """Run, write the files, print the results, return the exit code."""
    return _conclude(console, wanted, _measured(console, wanted))


def measure_locally(console: Console, wanted: LocalRun) -> RunData | None:
    """Run and return what was measured, without files or verdict; None, and said why, when nothing was ever loaded."""
    data = _measured(console, wanted)
    return None if _told_unloaded(console, data) else data


def _measured(console: Console, wanted: LocalRun) -> RunData:
    if wanted.project.requirements is not None and not wanted.allow_requirements:
        file = wanted.project.requirements.file
        raise UsageProblem(
            f"the suite needs the packages of {file}, and local agents install none unasked; nothing was started.",
            hint="--allow-requirements lets them.",
        )
    with scratch_folder() as scratch:
        request = frozen_request(console, wanted, scratch)
        need = need_of(request.plan, wanted.agents * workers_each(wanted))
        found = warnings_before(console.machine(), need)
        request = dataclasses.replace(request, warnings=(*request.warnings, *found))
        _announce(console, wanted, request)
        return asyncio.run(_Session(console, wanted, request, scratch).run())


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a fresh folder only this user can enter, with a path short enough for a socket."""
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > SOCKET_FOLDER_BYTES_MAX - 20:
        base = "/tmp"  # noqa: S108  # mkdtemp makes the folder itself safely
    folder = Path(tempfile.mkdtemp(prefix="loadproof-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def packed(project: Project) -> Bundle:
    """Return a suite's folder as it goes to agents. Raises UsageProblem when it can't: too large, a name, a file."""
    try:
        return build_bundle(project.folder, project.required_files)
    except BundleError as error:
        raise UsageProblem(f"the suite's folder cannot be shipped to the agents: {error}") from error


def frozen_request(console: Console, wanted: LocalRun, scratch: Path) -> RunRequest:
    """Freeze the suite: plan, bundle, secrets; the run's log goes below `scratch`. Raises ConfigErrors."""
    project = wanted.project
    plan = build_plan(project, wanted.profile, seed=wanted.seed)
    bundle = packed(project)
    environment = project.environment
    hidden = dict.fromkeys(environment.secrets, "[redacted]")
    log = scratch / "log"
    log.mkdir()
    return RunRequest(
        run_id=wanted.run_id,
        plan=plan,
        spec=run_spec(project),
        bundle=bundle.data,
        bundle_info=BundleInfo(
            bundle.sha256,
            bundle.git_revision,
            bundle.git_dirty,
            requirements_sha256=lock.sha256 if (lock := project.requirements) is not None else None,
        ),
        folder=log,
        secrets=secret_values(project, console.environ),
        rules=rules_for(project, plan),
        agents_wanted=wanted.agents,
        on_agent_loss=wanted.on_agent_loss,
        environment=EnvironmentInfo(
            name=environment.name,
            base_url=project.suite.resolved_base_url(project.variables, hidden),
            targets=environment.targets,
            max_rate=environment.max_rate_text,
            secrets=environment.secrets,
        ),
        build=wanted.build if wanted.build is not None else environment.build,
        warnings=(*project.warnings, *rule_warnings(project, plan)),
    )


def _announce(console: Console, wanted: LocalRun, request: RunRequest) -> None:
    for warning in request.warnings:
        console.say(f"warning: {console.shortened(warning)}", style="yellow")
    agents = f"{wanted.agents} local agent{'s' if wanted.agents != 1 else ''}"
    console.say(f"run {wanted.run_id}: {request.plan.suite}, profile {wanted.profile}, on {agents}")
    keeping.announce(console, wanted.keeping)


def workers_each(wanted: LocalRun) -> int:
    """Return the worker processes of each agent: as asked for, else the cores divided by the agents, at least 1."""
    if wanted.workers is not None:
        return wanted.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // wanted.agents)


class _Session:
    """The time between starting the agents and their end."""

    def __init__(self, console: Console, wanted: LocalRun, request: RunRequest, scratch: Path) -> None:
        self._console = console
        self._wanted = wanted
        self._request = request
        self._scratch = scratch
        self._display = ProgressDisplay(console)
        self._presses = 0
        self._loading = False
        self._exits: list[AgentExit] = []
        self._exit_seen = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> RunData:
        """Run to the end. The first SIGINT or SIGTERM drains, the second stops at once; both end in data."""
        address = f"unix:{self._scratch / 'c.sock'}"
        agents = local_agents(self._wanted.agents, workers_each(self._wanted))
        try:
            async with ControllerService(address) as service:
                for agent in agents:
                    service.expect_local(agent.identity, agent.agent_id)
                packages = packages_folder(self._console) if self._wanted.allow_requirements else None
                fleet = LocalFleet(agents, address, self._scratch, self._console.environ, packages)
                with self._display, self._console.interrupts(self._interrupted):
                    async with fleet:
                        return await self._attended(service, fleet)
        except ControllerError as error:
            raise InfrastructureProblem(f"the controller could not run: {error}") from error
        except ExceptionGroup as group:
            known = group.subgroup(InfrastructureProblem)
            if known is None:
                raise
            raise _first(known) from group

    async def _attended(self, service: ControllerService, fleet: LocalFleet) -> RunData:
        """Run while watching the agents' processes and the person at the keyboard."""
        async with asyncio.TaskGroup() as group:
            attendants = [
                group.create_task(fleet.watch(self._agent_left)),
                group.create_task(self._give_up_on_dead_agents()),
                group.create_task(self._pass_on_stops(service)),
            ]
            data = await service.run(dataclasses.replace(self._request, on_progress=self._progressed))
            for attendant in attendants:
                attendant.cancel()
        return data

    async def _progressed(self, progress: Progress) -> None:
        self._loading = self._loading or progress.elapsed_ns is not None
        await self._display.show(progress)

    def _interrupted(self) -> None:
        self._presses += 1
        if self._presses == 1:
            self._display.tell("stopping: what runs may finish, then the report is written; once more stops at once")
        else:
            self._display.tell("stopping at once")
        self._stop.set()

    async def _pass_on_stops(self, service: ControllerService) -> None:
        """Tell the controller of each press; before it has taken the run there is nothing to lose in asking again."""
        told = 0
        while told < 2:
            await self._stop.wait()
            self._stop.clear()
            told = min(self._presses, 2)
            service.stop(self._request.run_id, immediate=told == 2)

    def _agent_left(self, gone: AgentExit) -> None:
        self._exits.append(gone)
        self._exit_seen.set()

    async def _give_up_on_dead_agents(self) -> None:
        """An agent that ends before it attached is nothing the controller could see: say so instead of waiting."""
        await self._exit_seen.wait()
        if not self._under_way():
            await asyncio.sleep(NOTICE_S)
        if not self._under_way():
            raise InfrastructureProblem(exit_text(self._exits[0]))

    def _under_way(self) -> bool:
        """Whether the controller decides what an agent's end means: the load is ordered, or a person ended the run."""
        return self._loading or self._presses > 0


def exit_text(gone: AgentExit) -> str:
    """Return what there is to say about an agent's process that ended before the load began."""
    how = f"signal {-gone.code}" if gone.code < 0 else f"code {gone.code}"
    text = f"agent {gone.agent_id} ended with {how} before any load was started."
    return f"{text} Its last lines:\n{gone.tail}" if gone.tail else text


def _first(group: BaseExceptionGroup[InfrastructureProblem]) -> InfrastructureProblem:
    """Return one problem of a group of nothing but problems."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, InfrastructureProblem)
    return error


def _told_unloaded(console: Console, data: RunData) -> bool:
    """Say why a run never loaded anything; False when it did."""
    if data.status == "finished" or any(data.planned.values()):
        return False
    how = "was stopped" if data.aborted_by == "person" else "failed"
    console.say(f"the run {how} before any load was started: {data.abort_reason}", style="bold red")
    for event in data.events:
        if event.kind.endswith(("problem", "failed", "refused")) and event.text not in data.abort_reason:
            console.say(event.text)
    return True


def _conclude(console: Console, wanted: LocalRun, data: RunData) -> int:
    """Write the files, print the results, return the exit code. A run that never loaded anything leaves no files."""
    if _told_unloaded(console, data):
        return ExitCode.ABORTED_BY_PERSON if data.aborted_by == "person" else ExitCode.INFRASTRUCTURE
    with console.undisturbed(lambda: console.say("the report is being written, a moment")):
        result = build_result(data, wanted.keeping.baselines)
        try:
            write_outputs(result, data, wanted.folder)
        except OSError as error:
            console.result(terminal_summary(result))
            text = f"the report could not be written to {wanted.folder}: {error.strerror}."
            raise InfrastructureProblem(f"{text} {_saved_elsewhere(result, data)}".strip()) from error
    console.result(terminal_summary(result))
    keeping.record(console, wanted.keeping, wanted.folder)
    tell_pipeline(console, result)
    console.line(f"Report: {console.shown(wanted.folder / 'report.html')}")
    return exit_code(result, wanted.fail_on)


def _saved_elsewhere(result: RunResult, data: RunData) -> str:
    """Write the files into a fresh temporary folder, so that a full disk costs no run; "" when that fails too."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="loadproof-report-"))
        try:
            write_outputs(result, data, folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError:
        return "Nor could it be written anywhere else."
    return f"It is in {folder} instead."
