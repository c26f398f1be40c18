"""The transactions of a result: from merged series to transaction, phase, step, endpoint and error records."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from loadproof.histogram import Histogram
from loadproof.metrics import MergedState
from loadproof.metrics.by_agent import merge_agents
from loadproof.metrics.delta import ErrorKey, ErrorStats, Sample
from loadproof.plan.model import NS_PER_S, TransactionPlan
from loadproof_report.result import (
    DeliveryResult,
    EndpointResult,
    ErrorResult,
    Latency,
    PhaseResult,
    SampleResult,
    StepResult,
    TransactionResult,
)
from loadproof_report.rundata import RunData
from loadproof_report.scope import phase_spans
from loadproof_report.text import clean

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
ERRORS_MAX = 200
"""Kinds of error listed per transaction; `errors_total` counts all."""
SAMPLES_MAX = 5
SAMPLE_CHARS_MAX = 2_400


def latency_of(histogram: Histogram) -> Latency:
    """Return the summary of one histogram."""
    if not histogram.n:
        return Latency()
    p50, p75, p90, p95, p99, p99_9 = histogram.quantiles(QUANTILES)
    mean = histogram.mean_us
    return Latency(
        count=histogram.n,
        p50=p50,
        p75=p75,
        p90=p90,
        p95=p95,
        p99=p99,
        p99_9=p99_9,
        max=histogram.max_us,
        min=histogram.min_us,
        mean=None if mean is None else round(mean),
    )


@dataclass(slots=True)
class _Index:
    """What there is of each transaction, found in one pass over the merged state."""

    steps: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    endpoints: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    statuses: dict[tuple[str, str, str], dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    errors: dict[str, dict[tuple[str, str, str, str], list[tuple[ErrorKey, ErrorStats]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )


def _index(merged: MergedState) -> _Index:
    index = _Index()
    for key in merged.series:
        if key.step:
            index.steps[key.transaction].add(key.step)
        if key.endpoint:
            index.endpoints[key.transaction, key.step].add(key.endpoint)
    for status, count in merged.statuses.items():
        statuses = index.statuses[status.transaction, status.step, status.endpoint]
        statuses[status.status] = statuses.get(status.status, 0) + count
        index.endpoints[status.transaction, status.step].add(status.endpoint)
        index.steps[status.transaction].add(status.step)
    for error, stats in merged.errors.items():
        kind = (error.step, error.endpoint, error.category, error.message)
        index.errors[error.transaction][kind].append((error, stats))
    return index


def transactions_of(data: RunData, load_at: Mapping[int, float]) -> tuple[TransactionResult, ...]:
    """Return every transaction of the plan in the plan's order. `load_at` gives the offered load by second."""
    index = _index(data.merged)
    total_weight = sum(transaction.weight for transaction in data.plan.transactions) or 1
    return tuple(
        _transaction(data, index, transaction, transaction.weight / total_weight, load_at)
        for transaction in data.plan.transactions
    )


def _transaction(
    data: RunData, index: _Index, plan: TransactionPlan, share: float, load_at: Mapping[int, float]
) -> TransactionResult:
    merged, name = data.merged, plan.name
    spans = phase_spans(data.plan)
    by_phase = tuple(_phase(data, name, span.name, warmup=span.warmup) for span in spans)
    delivery = add_deliveries([phase.delivery for phase in by_phase])
    failed = sum(phase.failed for phase in by_phase)
    ok = delivery.completed - failed
    errors = tuple(
        sorted(
            (_error(entries, load_at) for entries in index.errors[name].values()),
            key=lambda error: (-error.count, error.step, error.endpoint, error.category, error.message),
        )
    )
    judged = None
    if any(span.warmup for span in spans):
        judged = _over(data, name, frozenset(span.name for span in spans if not span.warmup))
    seconds = data.duration_ns / NS_PER_S
    return TransactionResult(
        name=clean(name),
        tags=tuple(clean(tag) for tag in plan.tags),
        criticality=plan.criticality,
        owner=clean(plan.owner),
        weight=plan.weight,
        share=share,
        count=delivery.completed,
        ok=ok,
        failed=failed,
        success_rate=ok / delivery.completed if delivery.completed else None,
        throughput_per_s=ok / seconds if seconds > 0 else 0.0,
        delivery=delivery,
        response_time_us=latency_of(merged.histogram(name, outcome="ok", measure="response")),
        service_time_us=latency_of(merged.histogram(name, outcome="ok", measure="service")),
        failed_response_time_us=latency_of(merged.histogram(name, outcome="failed", measure="response")),
        lateness_us=latency_of(merged.histogram(name, measure="lateness")),
        judged=judged,
        by_phase=by_phase,
        steps=_steps(merged, index, name, delivery.completed),
        errors=errors[:ERRORS_MAX],
        errors_total=sum(error.count for error in errors),
    )


def delivery_of(data: RunData, transaction: str, phase: str) -> DeliveryResult:
    """Return a transaction's arrivals in one phase. What was planned and is nowhere reported was lost."""
    counted = data.merged.delivery.get((transaction, phase))
    started = dropped = missed = late = completed = 0
    if counted is not None:
        started, dropped, missed = counted.started, counted.dropped, counted.missed
        late, completed = counted.late, counted.completed
    planned = data.planned.get((transaction, phase), 0)
    if data.plan.model == "closed":
        planned = max(planned, started + dropped + missed)
    return DeliveryResult(
        planned=planned,
        started=started,
        completed=completed,
        late=late,
        dropped=dropped,
        missed=missed,
        lost=max(0, planned - started - dropped - missed),
    )


def add_deliveries(parts: list[DeliveryResult]) -> DeliveryResult:
    """Return the sum of deliveries."""
    return DeliveryResult(**{name: sum(getattr(p, name) for p in parts) for name in DeliveryResult.model_fields})


def _phase(data: RunData, name: str, phase: str, *, warmup: bool) -> PhaseResult:
    return _over(data, name, frozenset({phase}), phase=phase, warmup=warmup)


def _over(data: RunData, name: str, phases: frozenset[str], *, phase: str = "", warmup: bool = False) -> PhaseResult:
    delivery = add_deliveries([delivery_of(data, name, part) for part in sorted(phases)])
    failed = sum(
        counted.failed
        for (transaction, part), counted in data.merged.delivery.items()
        if transaction == name and part in phases
    )
    ok = delivery.completed - failed
    wanted = set(phases)
    return PhaseResult(
        phase=clean(phase),
        warmup=warmup,
        count=delivery.completed,
        ok=ok,
        failed=failed,
        success_rate=ok / delivery.completed if delivery.completed else None,
        delivery=delivery,
        response_time_us=latency_of(data.merged.histogram(name, outcome="ok", phase=wanted, measure="response")),
        service_time_us=latency_of(data.merged.histogram(name, outcome="ok", phase=wanted, measure="service")),
    )


def _steps(merged: MergedState, index: _Index, name: str, completed: int) -> tuple[StepResult, ...]:
    last = 1 << 62
    names = sorted(index.steps[name] - {""}, key=lambda step: (merged.step_order.get((name, step), last), step))
    steps = []
    failed_before = 0
    for step in names:
        ok = merged.histogram(name, step=step, outcome="ok", measure="service")
        failed = merged.histogram(name, step=step, outcome="failed", measure="service")
        count = ok.n + failed.n
        steps.append(
            StepResult(
                name=clean(step),
                count=count,
                ok=ok.n,
                failed=failed.n,
                not_reached=max(0, min(completed - count, failed_before)),
                service_time_us=latency_of(ok),
                failed_service_time_us=latency_of(failed),
                endpoints=tuple(
                    _endpoint(merged, index, name, step, endpoint)
                    for endpoint in sorted(index.endpoints[name, step] - {""})
                ),
            )
        )
        failed_before += failed.n
    return tuple(steps)


def _endpoint(merged: MergedState, index: _Index, name: str, step: str, endpoint: str) -> EndpointResult:
    ok = merged.histogram(name, step=step, endpoint=endpoint, outcome="ok", measure="service")
    failed = merged.histogram(name, step=step, endpoint=endpoint, outcome="failed", measure="service")
    statuses = index.statuses.get((name, step, endpoint), {})
    return EndpointResult(
        name=clean(endpoint),
        count=ok.n + failed.n,
        ok=ok.n,
        failed=failed.n,
        service_time_us=latency_of(ok),
        failed_service_time_us=latency_of(failed),
        statuses={str(status): statuses[status] for status in sorted(statuses)},
    )


def _error(entries: list[tuple[ErrorKey, ErrorStats]], load_at: Mapping[int, float]) -> ErrorResult:
    key = entries[0][0]
    first = min(stats.first_ns for _, stats in entries)
    last = max(stats.last_ns for _, stats in entries)
    kept = sorted((sample for _, stats in entries for sample in stats.samples), key=lambda s: (s.rank, s.k, s.agent_id))
    count = sum(stats.count for _, stats in entries)
    by_agent = functools.reduce(merge_agents, (stats.agents for _, stats in entries))
    failures: Counter[str] = Counter()
    for agent_id, n in by_agent.items():
        failures[clean(agent_id)] += n
    return ErrorResult(
        category=key.category,
        message=clean(key.message),
        step=clean(key.step),
        endpoint=clean(key.endpoint),
        count=count,
        first_seen_s=round(first / NS_PER_S, 3),
        last_seen_s=round(last / NS_PER_S, 3),
        phases=tuple(sorted({clean(error.phase) for error, _ in entries})),
        agents=tuple(sorted({*failures, *(clean(sample.agent_id) for sample in kept)})),
        agents_complete=sum(failures.values()) == count or len(kept) == count,
        agent_failures=dict(sorted(failures.items(), key=lambda item: (-item[1], item[0]))),
        load_per_s=load_at.get(first // NS_PER_S),
        samples=tuple(_sample(sample) for sample in kept[:SAMPLES_MAX]),
    )


def _sample(sample: Sample) -> SampleResult:
    return SampleResult(
        k=sample.k,
        at_s=round(sample.at_ns / NS_PER_S, 3),
        agent_id=clean(sample.agent_id),
        trace_id=clean(sample.trace_id),
        request=clean(sample.request, SAMPLE_CHARS_MAX, keep_lines=True),
        response=clean(sample.response, SAMPLE_CHARS_MAX, keep_lines=True),
        detail=clean(sample.detail, SAMPLE_CHARS_MAX, keep_lines=True),
    )
