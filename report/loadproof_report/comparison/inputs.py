"""What is compared: a run's identity and its interval histograms. And whether two runs may be compared at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from loadproof.histogram import Counts
from loadproof.metrics import IntervalKey
from loadproof.metrics.intervals import IntervalsFile
from loadproof_report.result import Evidence, RunResult
from loadproof_report.text import plural


@dataclass(frozen=True, slots=True)
class ComparisonInput:
    """One run as the comparison sees it.

    `datasets` are (name, sha256), `sizing` is (cores, workers) of every agent, both sorted. `series` holds
    {series: {first whole second of the interval: counts}} with intervals of `width_s` seconds, as in `intervals.bin`;
    phases named in `warmup` are left out of the comparison. `weak` says why the run's numbers are not to be trusted;
    `machine_full`: the load generator's machine had no processor time left.
    """

    run_id: str
    plan_sha256: str
    environment: str
    tool_version: str
    datasets: tuple[tuple[str, str], ...] = ()
    sizing: tuple[tuple[int, int], ...] = ()
    build: str = ""
    started_at: str = ""
    warmup: frozenset[str] = frozenset()
    width_s: int = 1
    series: Mapping[IntervalKey, Mapping[int, Counts]] = field(default_factory=dict)
    weak: str = ""
    machine_full: bool = False


CUT_SHORT: Final = frozenset({"stopped_by_person", "short_run"})
"""Unsound findings that leave what was measured as good as it is: the time that both runs have is compared."""


def comparison_input(result: RunResult, intervals: IntervalsFile) -> ComparisonInput:
    """Return the input for `compare` from a run's result and its interval histograms."""
    return ComparisonInput(
        run_id=result.run_id,
        plan_sha256=result.plan.sha256,
        environment=result.environment.name,
        tool_version=result.tool_version,
        datasets=tuple(sorted((dataset.name, dataset.sha256) for dataset in result.datasets)),
        sizing=tuple(sorted((agent.cores, agent.workers) for agent in result.fleet)),
        build=result.build,
        started_at=result.started_at,
        warmup=frozenset(phase.name for phase in result.plan.phases if phase.warmup),
        width_s=intervals.width_s,
        series=intervals.series,
        **of_evidence(result.evidence),
    )


def of_evidence(evidence: Evidence) -> dict[str, Any]:
    """Return what a run's evidence means for comparing it: the fields `weak` and `machine_full`."""
    findings = evidence.findings
    unsound = [found.text for found in findings if found.severity == "unsound" and found.code not in CUT_SHORT]
    return {
        "weak": unsound[0].rstrip(".") if unsound else "",
        "machine_full": any(found.code == "machine_full" for found in findings),
    }


def obstacles(current: ComparisonInput, baseline: ComparisonInput) -> list[str]:
    """Return why the two runs are not comparable, one sentence each; empty when they are."""
    found: list[str] = []
    name = baseline.run_id
    if current.run_id == baseline.run_id:
        found.append(f"{name} is this run itself")
    if current.weak:
        found.append(f"the evidence of this run is unsound: {current.weak}")
    if baseline.weak:
        found.append(f"the evidence of {name} is unsound: {baseline.weak}")
    if current.plan_sha256 != baseline.plan_sha256:
        found.append(
            f"the plan differs from that of {name} ({current.plan_sha256[:12]} against {baseline.plan_sha256[:12]}): "
            "other load, mix or seed"
        )
    if current.datasets != baseline.datasets:
        changed = sorted({entry[0] for entry in set(current.datasets) ^ set(baseline.datasets)})
        found.append(f"the data differs from that of {name}: {', '.join(changed)}")
    if current.environment != baseline.environment:
        found.append(
            f"the environment is {current.environment or '(unnamed)'}, that of {name} was "
            f"{baseline.environment or '(unnamed)'}"
        )
    if current.sizing != baseline.sizing:
        found.append(f"the agents are {_fleet(current)}, those of {name} were {_fleet(baseline)}")
    if current.tool_version != baseline.tool_version:
        found.append(
            f"Loadproof is {current.tool_version}, {name} was measured by {baseline.tool_version}: "
            "the generator may differ"
        )
    return found


def _fleet(run: ComparisonInput) -> str:
    """Return "2 with 4 workers on 8 cores" and the like."""
    kinds = {size: run.sizing.count(size) for size in run.sizing}
    texts = [
        f"{count} with {plural(workers, 'worker')} on {plural(cores, 'core')}"
        for (cores, workers), count in sorted(kinds.items())
    ]
    return " and ".join(texts) or "unknown"
