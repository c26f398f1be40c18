"""A result beside stored baselines: the comparison goes into the result, and what got worse into its risks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loadproof.metrics import MergedState
from loadproof.metrics.intervals import IntervalsFile
from loadproof_report.comparison import compare, comparison_input
from loadproof_report.result import Change, Comparison, Risk, RunResult
from loadproof_report.risks import FAILURE_SHARE_MAX, in_order, mitigation_for
from loadproof_report.stored_run import StoredRun, load_run
from loadproof_report.verdict import Facts, decide


def compare_run(result: RunResult, merged: MergedState, baselines: Sequence[Path]) -> RunResult:
    """Return the result with its comparison to the runs stored in the folders `baselines`, newest first.

    A baseline without readable interval histograms is not comparable, and the comparison says why. Raises `ResultError`
    when a baseline's run.json cannot be read. No baselines: the result as it is.
    """
    if not baselines:
        return result
    here = StoredRun(result, IntervalsFile(merged.intervals_width_s, merged.intervals))
    return with_comparison(result, compare_stored(here, [load_run(place) for place in baselines]))


def compare_stored(run: StoredRun, baselines: Sequence[StoredRun]) -> Comparison:
    """Compare a run with baselines, the last stable one first.

    Of several baselines those without interval histograms are left out with a note. Raises ValueError without any.
    """
    if not baselines:
        raise ValueError("a comparison needs at least one baseline")
    if run.intervals is None:
        return _lost(baselines[0].result, [run.missing])
    usable = [
        comparison_input(baseline.result, baseline.intervals)
        for baseline in baselines
        if baseline.intervals is not None
    ]
    missing = [baseline.missing for baseline in baselines if baseline.intervals is None]
    if not usable:
        return _lost(baselines[0].result, missing)
    found = compare(comparison_input(run.result, run.intervals), usable)
    return found.model_copy(update={"notes": (*found.notes, *missing)}) if missing else found


def _lost(baseline: RunResult, why: Sequence[str]) -> Comparison:
    return Comparison(
        baseline_run_id=baseline.run_id,
        baseline_build=baseline.build,
        baseline_started_at=baseline.started_at,
        comparable=False,
        obstacles=tuple(f"Not comparable because {reason}" for reason in why),
    )


def with_comparison(result: RunResult, comparison: Comparison) -> RunResult:
    """Return the result with `comparison` in place and decided anew: what got worse is a risk.

    In a critical or high transaction that turns GO into GO WITH RISK; in others it is a note. A comparison never makes
    NO-GO or NOT PROVEN: rules with `baseline` limits do.
    """
    kept = [risk for risk in result.verdict.risks if risk.code != "worse_than_baseline"]
    risks = in_order([*kept, *(_risk(result, change) for change in _worse(comparison))])
    verdict, rules = decide(
        Facts(
            transactions=result.transactions,
            rules=result.rules,
            evidence=result.evidence,
            delivery=result.delivery,
            risks=risks,
            status=result.status,
            aborted_by=result.aborted_by,
            abort_reason=result.abort_reason,
        )
    )
    return result.model_copy(update={"comparison": comparison, "verdict": verdict, "rules": rules})


def _worse(comparison: Comparison) -> list[Change]:
    """Return the gravest change for the worse of each transaction; its steps are in the table."""
    found: dict[str, Change] = {}
    for change in comparison.changes if comparison.comparable else ():
        if change.judgement == "worse" and not change.step:
            found.setdefault(change.transaction, change)
    return list(found.values())


def _risk(result: RunResult, change: Change) -> Risk:
    transaction = next((t for t in result.transactions if t.name == change.transaction), None)
    criticality = transaction.criticality if transaction else ""
    return Risk(
        code="worse_than_baseline",
        severity="medium" if criticality in FAILURE_SHARE_MAX else "note",
        text=change.text or f"{change.transaction} got worse: {change.metric}.",
        transaction=change.transaction,
        criticality=criticality,
        evidence=f"{change.metric} against the baseline run",
        mitigation=(mitigation_for(transaction) if transaction else "")
        or "Look at what changed between the two builds in the steps that slowed down most.",
    )
