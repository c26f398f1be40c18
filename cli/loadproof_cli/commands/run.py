"""`loadproof run`: a suite's profile, from an embedded controller on local agents, to a report and a verdict."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadproof_cli.console import Console, console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.keeping import prepare
from loadproof_cli.kubernetes.options import (
    IMAGE_VARIABLE,
    AgentMemoryOption,
    AgentsDialOption,
    ClusterOptions,
    ContextOption,
    ImageOption,
    NamespaceOption,
    NodeSelectorOption,
    OnOption,
    SpreadOption,
    cluster_options,
)
from loadproof_cli.remote import (
    CONTROLLER_VARIABLE,
    Remote,
    TokenFileOption,
    chosen_controller,
    labels_of,
    read_token,
    seconds_of,
)
from loadproof_cli.runs_folder import new_run_id, output_folder
from loadproof_cli.stores import StoreOption
from loadproof_cli.suites import AllowRequirementsOption, ProfileOption, SuiteArgument, choose_profile, load

if TYPE_CHECKING:
    from loadproof_cli.run_locally import LocalRun

EXAMPLES = """[bold]Examples[/]

loadproof run -p smoke                    the suite in this folder

loadproof run shop -p release --agents 2  two agents on this machine

loadproof run --out ci --build 1.4.2      files in ci/, for a pipeline

loadproof run -p release --controller load.example.com:7443 --on kubernetes --agents 50 --spread zone

[bold]Exit codes[/]

0 GO or GO WITH RISK, 1 NO-GO, 2 usage or configuration, 3 NOT PROVEN, 4 aborted by a person, 5 infrastructure
"""

AGENTS_MAX = 64
WORKERS_MAX = 256


class OnAgentLoss(StrEnum):
    """What a run does when an agent is lost."""

    FAIL = "fail"
    CONTINUE = "continue"
    REDEAL = "redeal"


FAIL_ON = ("no-go", "not-proven", "go-with-risk")

AgentsOption = Annotated[
    int, typer.Option(min=1, help="Agents to start on this machine; with --controller, to take of its fleet.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=WORKERS_MAX, help="Worker processes of each agent.", show_default="cores divided by agents"
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where files go.", show_default="runs/RUN_ID")
]
BuildOption = Annotated[str | None, typer.Option(help="The build under test, for the report.")]
BaselineOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN",
        help="A stored run or a baseline's name to compare with; may be repeated.",
        show_default="the baseline set",
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Instead of the profile's seed.")]
LossOption = Annotated[OnAgentLoss, typer.Option(help="What to do when an agent is lost.")]
FailOnOption = Annotated[
    str, typer.Option(metavar="LIST", help=f"Verdicts that fail the command: {', '.join(FAIL_ON)}.")
]
RecordOption = Annotated[bool, typer.Option("--record/--no-record", help="Whether the run is kept in the run history.")]
FleetOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Run on this controller's fleet.", show_default=f"${CONTROLLER_VARIABLE}"),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Only agents with this label; may be repeated. With --controller."),
]
WaitOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="Wait so long for agents not there yet. With --controller.")
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Submit and leave. With --controller.")]


def run(
    context: typer.Context,
    suite: SuiteArgument = Path(),
    profile: ProfileOption = None,
    agents: AgentsOption = 1,
    workers: WorkersOption = None,
    out: OutOption = None,
    build: BuildOption = None,
    baseline: BaselineOption = None,
    seed: SeedOption = None,
    on_agent_loss: LossOption = OnAgentLoss.CONTINUE,
    fail_on: FailOnOption = "no-go,not-proven",
    store: StoreOption = None,
    record: RecordOption = True,
    controller: FleetOption = None,
    token_file: TokenFileOption = None,
    label: LabelOption = None,
    wait_for_agents: WaitOption = None,
    detach: DetachOption = False,
    on: OnOption = None,
    namespace: NamespaceOption = None,
    image: ImageOption = None,
    kube_context: ContextOption = None,
    node_selector: NodeSelectorOption = None,
    spread: SpreadOption = None,
    agent_memory: AgentMemoryOption = None,
    agents_dial: AgentsDialOption = None,
    allow_requirements: AllowRequirementsOption = False,
) -> int:
    """Run a profile of a suite and end in a verdict. Ctrl+C lets what runs finish and reports; twice stops at once."""
    from loadproof_cli.run_locally import LocalRun

    console = console_of(context)
    remote = _remote(console, controller, token_file, label, wait_for_agents, detach=detach)
    cluster = cluster_options(
        on, controller=remote.address if remote else None, namespace=namespace,
        image=image or console.environ.get(IMAGE_VARIABLE), kube_context=kube_context,
        node_selector=node_selector, spread=spread, agent_memory=agent_memory, agents_dial=agents_dial,
        workers=workers, wait_s=remote.wait_for_agents_s if remote and wait_for_agents else None, detach=detach,
        allow_requirements=allow_requirements,
    )  # fmt: skip
    if remote is None and agents > AGENTS_MAX:
        raise UsageProblem(f"--agents {agents}: at most {AGENTS_MAX} on one machine; more with --controller.")
    if remote is not None and cluster is None and workers is not None:
        raise UsageProblem("--workers is for local agents; those of a controller bring their own (agent --workers).")
    failing = parse_fail_on(fail_on)
    project = load(console, suite, allow_requirements=allow_requirements)
    name = choose_profile(project, profile)
    run_id = new_run_id(name, console.now())
    wanted = LocalRun(
        run_id=run_id,
        project=project,
        profile=name,
        agents=agents,
        workers=workers,
        folder=output_folder(console, out, run_id),
        build=build,
        seed=seed,
        on_agent_loss=on_agent_loss.value,
        keeping=prepare(console, store, baseline or [], project.suite.name, name, record=record),
        fail_on=failing,
        allow_requirements=allow_requirements,
    )
    return _run_where(console, wanted, remote, cluster)


def _run_where(console: Console, wanted: LocalRun, remote: Remote | None, cluster: ClusterOptions | None) -> int:
    """Run here, on a controller's fleet, or on a controller's fleet with agents made for this run."""
    if remote is None:
        from loadproof_cli.run_locally import run_locally

        return run_locally(console, wanted)
    from loadproof_cli.run_remotely import run_remotely

    if cluster is None:
        return run_remotely(console, wanted, remote)
    from loadproof.config import build_plan
    from loadproof_cli.kubernetes.agents import Crowd, agents_in_cluster

    duration_ns = build_plan(wanted.project, wanted.profile, seed=wanted.seed).duration_ns
    crowd = Crowd(wanted.run_id, wanted.agents, duration_ns / 1e9 if duration_ns is not None else None)
    try:
        with agents_in_cluster(console, crowd, cluster, remote) as there:
            return run_remotely(console, wanted, there)
    except KeyboardInterrupt:
        console.say("interrupted before any load was started")
        return ExitCode.ABORTED_BY_PERSON


def _remote(
    console: Console,
    controller: str | None,
    token_file: Path | None,
    label: list[str] | None,
    wait_for_agents: str | None,
    *,
    detach: bool,
) -> Remote | None:
    """Return where to run, None for here. Raises UsageProblem for options that only make sense elsewhere."""
    address = chosen_controller(console, controller)
    if address is None:
        given = {"--token-file": token_file, "--label": label, "--wait-for-agents": wait_for_agents, "--detach": detach}
        for option, value in given.items():
            if value:
                raise UsageProblem(
                    f"{option} is for runs on a controller's fleet; name it with --controller HOST:PORT."
                )
        return None
    return Remote(
        address=address,
        token=read_token(console, token_file),
        labels=labels_of(label),
        wait_for_agents_s=seconds_of("--wait-for-agents", wait_for_agents) if wait_for_agents else 0.0,
        detach=detach,
    )


def parse_fail_on(text: str) -> frozenset[str]:
    """Return the verdicts that fail the command. Raises UsageProblem on one there is not."""
    names = [name.strip().lower().replace("_", "-") for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FAIL_ON:
            raise UsageProblem(f"--fail-on {text}: {name} is none of {', '.join(FAIL_ON)}.")
    return frozenset(names)
