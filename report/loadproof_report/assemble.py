"""From what a run hands over to its result: numbers first, then rules, evidence and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from loadproof.metrics.intervals import IntervalsFile
from loadproof.plan.model import NS_PER_S, RATE_SCALE, ArrivalPhase, Plan
from loadproof_report import events, tables, timeline
from loadproof_report.baseline import Baselines
from loadproof_report.compared import compare_stored, with_comparison
from loadproof_report.comparison import ComparisonInput
from loadproof_report.datasets import data_risks
from loadproof_report.degradation import with_degradation
from loadproof_report.evidence import evidence_of, expired_waivers
from loadproof_report.onset import with_onsets
from loadproof_report.result import (
    AgentResult,
    BundleResult,
    DatasetInfo,
    EnvironmentResult,
    EventResult,
    PhaseInfo,
    PlanInfo,
    RuleResult,
    RunResult,
    TransactionResult,
)
from loadproof_report.risks import in_order, risks_of
from loadproof_report.rules import evaluate
from loadproof_report.rundata import RunData
from loadproof_report.scope import phase_spans
from loadproof_report.stored_run import StoredRun
from loadproof_report.story import stories_of
from loadproof_report.text import clean
from loadproof_report.verdict import Facts, decide

EVENTS_MAX = 2_000
"""Events in run.json; `events_total` counts all."""


def build_result(
    data: RunData, baselines: Sequence[RunResult | StoredRun] = (), *, today: str | None = None
) -> RunResult:
    """Return the run's result with its verdict.

    `baselines` are earlier runs to compare with and that `baseline` limits refer to, the last stable one first; only
    runs with their interval histograms can be. `today` (ISO date) decides which
    waivers are in use; default is the current date, UTC. Pure otherwise. Names are cleaned of control characters.
    """
    stored = [run if isinstance(run, StoredRun) else StoredRun(run) for run in baselines]
    names = {transaction.name for transaction in data.plan.transactions}
    seconds = {key: stats for key, stats in data.merged.seconds.items() if key[0] >= 0 and key[1] in names}
    load = timeline.offered_load(data)
    transactions = with_degradation(data, tables.transactions_of(data, load), seconds, load)
    delivery = tables.add_deliveries([transaction.delivery for transaction in transactions])
    evidence = evidence_of(data, delivery)
    judged = _judged(data, stored, today)
    rules = tuple(_cleaned(rule) for rule in with_onsets(data, judged, load))
    evidence = evidence.model_copy(update={"findings": (*evidence.findings, *expired_waivers(rules))})
    risks = in_order([*risks_of(transactions, rules, delivery, evidence.findings), *data_risks(data, transactions)])
    verdict, rules = decide(
        Facts(
            transactions, rules, evidence, delivery, risks, data.status, data.aborted_by, clean(data.abort_reason, 500)
        )
    )
    result = RunResult(
        run_id=data.run_id,
        suite=clean(data.suite),
        profile=clean(data.profile),
        status=data.status,
        aborted_by=data.aborted_by,
        abort_reason=clean(data.abort_reason, 500),
        started_at=data.started_at,
        duration_s=round(data.duration_ns / NS_PER_S, 3),
        tool_version=data.tool_version,
        verdict=verdict,
        plan=_plan(data, transactions),
        build=clean(data.build),
        environment=_environment(data),
        datasets=_datasets(data),
        bundle=BundleResult(
            sha256=data.bundle.sha256,
            git_revision=data.bundle.git_revision,
            git_dirty=data.bundle.git_dirty,
            requirements_sha256=data.bundle.requirements_sha256,
        ),
        digest=data.merged.digest(),
        delivery=delivery,
        evidence=evidence,
        fleet=_fleet(data),
        transactions=transactions,
        rules=rules,
        stories=stories_of(transactions),
        timeline=timeline.timeline_of(data, seconds),
        heatmaps=timeline.heatmaps_of(data, seconds),
        health=timeline.health_of(data),
        counters={clean(name): count for name, count in sorted(data.merged.counters.items())},
        events=_events(data),
        events_total=len(data.events),
        warnings=tuple(clean(warning, 500) for warning in data.warnings),
    )
    return _compared(data, result, stored)


def _judged(data: RunData, stored: Sequence[StoredRun], today: str | None) -> list[RuleResult]:
    return evaluate(
        data.rules,
        data.plan,
        data.merged,
        data.planned,
        now_ns=data.duration_ns,
        baselines=Baselines(comparison_input_of(data), stored) if stored else None,
        today=today,
    )


def _compared(data: RunData, result: RunResult, stored: Sequence[StoredRun]) -> RunResult:
    if not stored:
        return result
    here = StoredRun(result, IntervalsFile(data.merged.intervals_width_s, data.merged.intervals))
    return with_comparison(result, compare_stored(here, stored))


def comparison_input_of(data: RunData) -> ComparisonInput:
    """Return a run as rules compare it, before it has a result: its own weak evidence does not excuse a broken rule."""
    return ComparisonInput(
        run_id=data.run_id,
        plan_sha256=data.plan.sha256,
        environment=clean(data.environment.name),
        tool_version=data.tool_version,
        datasets=tuple(sorted((clean(dataset.name), dataset.sha256) for dataset in data.plan.datasets)),
        sizing=tuple(sorted((agent.cores, agent.workers) for agent in data.fleet)),
        build=clean(data.build),
        started_at=data.started_at,
        warmup=frozenset(clean(phase.name) for phase in data.plan.phases if phase.warmup),
        width_s=data.merged.intervals_width_s,
        series=data.merged.intervals,
    )


def _plan(data: RunData, transactions: Sequence[TransactionResult]) -> PlanInfo:
    plan = data.plan
    return PlanInfo(
        sha256=plan.sha256,
        seed=plan.seed,
        spacing=plan.spacing,
        model=plan.model,
        session=plan.session,
        phases=_phases(plan),
        arrivals=sum(transaction.delivery.planned for transaction in transactions),
        shards=data.shards,
        max_in_flight=plan.max_in_flight,
        timeout_s=plan.timeout_ns / NS_PER_S,
    )


def _phases(plan: Plan) -> tuple[PhaseInfo, ...]:
    out = []
    for phase, span in zip(plan.phases, phase_spans(plan), strict=True):
        duration = None if phase.duration_ns is None else phase.duration_ns / NS_PER_S
        start = span.start_ns / NS_PER_S
        if isinstance(phase, ArrivalPhase):
            info = PhaseInfo(
                name=clean(phase.name),
                kind="arrivals",
                start_s=start,
                duration_s=duration,
                rate_from=phase.rate_from / RATE_SCALE,
                rate_to=phase.rate_to / RATE_SCALE,
                warmup=phase.warmup,
            )
        else:
            info = PhaseInfo(
                name=clean(phase.name),
                kind="users",
                start_s=start,
                duration_s=duration,
                users_from=phase.users_from,
                users_to=phase.users_to,
                iterations=phase.iterations,
                warmup=phase.warmup,
            )
        out.append(info)
    return tuple(out)


def _datasets(data: RunData) -> tuple[DatasetInfo, ...]:
    return tuple(
        DatasetInfo(
            name=clean(dataset.name),
            sha256=dataset.sha256,
            rows=dataset.rows,
            different=dataset.different or None,
            most_alike=dataset.most_alike or None,
            order=dataset.order,
            drawn=data.merged.draws.get(dataset.name, 0),
            refused=data.merged.exhausted.get(dataset.name, 0),
        )
        for dataset in data.plan.datasets
    )


def _fleet(data: RunData) -> tuple[AgentResult, ...]:
    return tuple(
        AgentResult(
            agent_id=clean(agent.agent_id),
            pid=agent.pid,
            host=clean(agent.host),
            cores=agent.cores,
            workers=agent.workers,
            version=clean(agent.version),
            python=clean(agent.python),
            labels={clean(key): clean(value) for key, value in agent.labels.items()},
            lost=agent.lost,
            lost_at_s=agent.lost_at_s,
            final=agent.final,
            shards=agent.shards,
            clock_offset_us=agent.clock_offset_us,
            clock_uncertainty_us=agent.clock_uncertainty_us,
            start_offset_us=agent.start_offset_us,
            cpu_max=agent.cpu_max_permille / 1000,
            cpu_max_permille=agent.cpu_max_permille,
            memory_bytes_max=agent.memory_bytes_max,
            loop_lag_us_p99=agent.loop_lag_us_p99,
        )
        for agent in data.fleet
    )


def _cleaned(rule: RuleResult) -> RuleResult:
    names = {name: clean(value) for name in ("transaction", "step", "tag", "phase") if (value := getattr(rule, name))}
    return rule.model_copy(update={**names, "detail": clean(rule.detail, 500)})


def _environment(data: RunData) -> EnvironmentResult:
    environment = data.environment
    return EnvironmentResult(
        name=clean(environment.name),
        base_url=clean(environment.base_url),
        targets=environment.targets,
        max_rate=environment.max_rate,
        secrets=environment.secrets,
    )


def _events(data: RunData) -> tuple[EventResult, ...]:
    return tuple(
        EventResult(
            at_s=event.at_s,
            kind=clean(event.kind),
            text=clean(event.text, 1_000),
            agent_id=clean(event.agent_id),
            data=event.data,
        )
        for event in events.chosen(data.events, EVENTS_MAX)
    )
