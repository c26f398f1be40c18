"""The runs of `loadproof capacity`: each step is a run like any other, with a profile made for its load."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from loadproof.config import Project, UnitError, parse_duration, parse_rate
from loadproof.plan.model import NS_PER_S, RATE_SCALE, ArrivalPhase
from loadproof.rules import RuleSyntaxError, parse_require
from loadproof.rules.model import TAIL_SAMPLES_MIN, BaselineLimit, Rule
from loadproof_cli.console import Console
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.keeping import Keeping
from loadproof_cli.run_locally import LocalRun, measure_locally
from loadproof_cli.runs_folder import new_run_id, output_folder
from loadproof_cli.words import latency
from loadproof_report import RunResult, build_result, write_outputs
from loadproof_report.capacity import (
    AGAIN,
    CapacitySearch,
    Limits,
    Step,
    capacity_json,
    capacity_markdown,
    step_of,
)
from loadproof_report.text import rate_text

HOLD_NS_MAX = 600 * NS_PER_S
"""The most that a step is made longer, when its load is too low for a percentile in the time asked for."""
CONFIRM_FACTOR = 2
"""A step that confirms is judged this many times as long: near the limit queues grow slowly."""
EXIT_CODES = {
    "found": ExitCode.OK,
    "at_least": ExitCode.OK,
    "below": ExitCode.NO_GO,
    "not_proven": ExitCode.NOT_PROVEN,
    "stopped": ExitCode.ABORTED_BY_PERSON,
}
SAMPLES_SPARE = 1.5
"""So many times the samples that a percentile needs, since a mix is only exact on average."""
STYLES = {"holds": "green", "broken": "red", "unproven": "magenta", "stopped": "yellow"}


@dataclass(frozen=True, slots=True)
class CapacityRun:
    """What `loadproof capacity` was asked for. Without `rules` the profile's own are used."""

    project: Project
    profile: str
    rules: tuple[Rule, ...]
    limits: Limits
    hold_ns: int
    settle_ns: int
    agents: int
    workers: int | None
    out: Path | None
    build: str | None
    allow_requirements: bool = False


def find_capacity(console: Console, wanted: CapacityRun) -> int:
    """Run steps until the search ends, write the files, print the answer, return the exit code."""
    rules = rules_to_hold(wanted)
    run_id = new_run_id(f"{wanted.profile}-capacity", console.now())
    folder = output_folder(console, wanted.out, run_id)
    search = CapacitySearch(wanted.limits)
    failed = False
    while (following := search.next()) is not None:
        load, confirms = following
        number = len(search.steps) + 1
        console.say(f"step {number}: {rate_text(load)}{', to confirm' if confirms else ''}", style="bold")
        place = folder / f"step-{number:02d}"
        result = _run_step(console, wanted, rules, f"{run_id}-{number:02d}", load, place, confirms=confirms)
        if result is None:
            failed = True
            break
        failed = failed or result.status == "failed"
        search.add(step_of(result, load, confirms=confirms))
        _tell(console, search.steps[-1])
    _write(wanted, rules, search, folder)
    _show(console, search)
    console.line(f"Steps and report: {console.shown(folder / 'capacity.md')}")
    conclusion = search.conclusion()
    return ExitCode.INFRASTRUCTURE if failed else EXIT_CODES[conclusion.kind]


def rules_to_hold(wanted: CapacityRun) -> tuple[Rule, ...]:
    """Return what each step must hold: the rules asked for, else the profile's own blocking ones.

    No waiver counts: it lets a release pass, and makes no load bearable. Raises UsageProblem where there is no rule,
    and on a limit from a baseline, which had another load.
    """
    known = list(wanted.project.profiles[wanted.profile].weights)
    for rule in wanted.rules:
        if rule.transaction not in ("*", *known):
            close = difflib.get_close_matches(rule.transaction or "", known, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(known)}"
            raise UsageProblem(f'--rule: unknown transaction "{rule.transaction}" ({hint})')
    own = (rule for rule in wanted.project.rules if rule.profiles is None or wanted.profile in rule.profiles)
    rules = wanted.rules or tuple(
        dataclasses.replace(rule, phase=None, abort_after_ns=None, waiver=None)
        for rule in own
        if rule.severity == "block"
    )
    if not rules:
        raise UsageProblem(f"profile {wanted.profile} has no blocking rule: name one with --rule.")
    for rule in rules:
        if isinstance(rule.criterion.limit, BaselineLimit):
            name = rule.transaction or f"tag {rule.tag}"
            raise UsageProblem(
                f'the rule "{rule.require}" on {name} takes its limit from a baseline, whose load was another; '
                "nothing was started.",
                hint="Name the rules to search by with --rule.",
            )
    return rules


def _run_step(
    console: Console, wanted: CapacityRun, rules: tuple[Rule, ...], run_id: str, load: float, folder: Path, *,
    confirms: bool,
) -> RunResult | None:  # fmt: skip
    """Run one load through the same path as every run; None when it failed before any load."""
    project, name = wanted.project, wanted.profile
    rate = max(1, round(load * RATE_SCALE))
    config = project.profiles[name]
    hold_ns = max(wanted.hold_ns, _needed_ns(rules, config.weights, load)) * (CONFIRM_FACTOR if confirms else 1)
    phases: tuple[ArrivalPhase, ...] = (ArrivalPhase("hold", rate, rate, hold_ns),)
    if wanted.settle_ns:
        phases = (ArrivalPhase("settle", rate, rate, wanted.settle_ns, warmup=True), *phases)
    config = dataclasses.replace(config, model="open", phases=phases, pace_ns=0)
    step = LocalRun(
        run_id=run_id,
        project=dataclasses.replace(project, profiles={name: config}, rules=rules),
        profile=name,
        agents=wanted.agents,
        workers=wanted.workers,
        folder=folder,
        build=wanted.build,
        seed=None,
        on_agent_loss="fail",
        keeping=Keeping(None, record=False),
        fail_on=frozenset(),
        allow_requirements=wanted.allow_requirements,
    )
    data = measure_locally(console, step)
    if data is None:
        return None
    result = build_result(data)
    write_outputs(result, data, folder)
    return result


def _needed_ns(rules: tuple[Rule, ...], weights: dict[str, int], load: float) -> int:
    """Return how long a step at `load` must be for its rules' percentiles to have enough samples, at most 10 min."""
    needed_s = 0.0
    for rule in rules:
        q = rule.criterion.quantile
        if q is None:
            continue
        rarest = weights.get(rule.transaction or "*", min(weights.values()))
        share = rarest / sum(weights.values())
        needed_s = max(needed_s, SAMPLES_SPARE * TAIL_SAMPLES_MIN / (1 - q) / (load * share))
    return min(math.ceil(needed_s) * NS_PER_S, HOLD_NS_MAX)


def _write(wanted: CapacityRun, rules: tuple[Rule, ...], search: CapacitySearch, folder: Path) -> None:
    texts = [f"{rule.transaction or f'tag {rule.tag}'}: {rule.require}" for rule in rules]
    names = {"suite": wanted.project.suite.name, "profile": wanted.profile}
    build = wanted.build if wanted.build is not None else wanted.project.environment.build
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "capacity.json").write_bytes(capacity_json(search, **names, build=build, rules=texts))
    (folder / "capacity.md").write_text(capacity_markdown(search, **names, build=build, rules=texts), encoding="utf-8")


def _tell(console: Console, step: Step) -> None:
    why = step.broken[0] if step.broken else step.reason
    console.say(f"{rate_text(step.load_per_s)}: {step.outcome}{f', {why}' if why else ''}", style=STYLES[step.outcome])


def _show(console: Console, search: CapacitySearch) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("load", "slowest p95"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("rules", "why"):
        table.add_column(name, overflow="fold")
    for step in sorted(search.steps, key=lambda step: step.load_per_s):
        again = AGAIN.get(step.outcome, "") if step.confirms else ""
        outcome = Text(step.outcome + again, style=STYLES[step.outcome])
        why = Text(step.broken[0] if step.broken else step.reason)
        table.add_row(rate_text(step.load_per_s), latency(step.slowest_p95_us), outcome, why)
    console.result(table)
    console.line("")
    console.line(search.conclusion().text)


def parse_rule(text: str) -> Rule:
    """Return the rule in `TRANSACTION: REQUIRE`, or just `REQUIRE` for the whole mix. Raises UsageProblem."""
    name, colon, require = text.rpartition(":")
    name, require = (name.strip(), require.strip()) if colon else ("*", text.strip())
    try:
        criterion = parse_require(require)
    except RuleSyntaxError as error:
        hint = f"did you mean: {error.suggestion}?" if error.suggestion else ""
        raise UsageProblem(f'--rule "{text}": {error.message}.', hint=hint) from error
    if not isinstance(criterion.limit, float):
        raise UsageProblem(f'--rule "{text}": a limit from a baseline means nothing here, its load was another.')
    return Rule(require=require, criterion=criterion, transaction=name or "*")


def read_rate(option: str, text: str) -> float:
    """Return a rate per second. Raises UsageProblem."""
    try:
        rate = parse_rate(text)
    except UnitError as error:
        raise UsageProblem(f"{option} {text}: {error}") from error
    if rate <= 0:
        raise UsageProblem(f"{option} {text}: a load is more than 0.")
    return rate / RATE_SCALE


def read_time(option: str, text: str) -> int:
    """Return a time in nanoseconds. Raises UsageProblem."""
    try:
        return parse_duration(text)
    except UnitError as error:
        raise UsageProblem(f"{option} {text}: {error}") from error
