"""Synthetic finished runs, for tests of all that reads one: a shop of four flows under a steady or rising load."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from loadproof.metrics import (
    Delivery,
    Delta,
    ErrorKey,
    ErrorStats,
    Health,
    MergedState,
    Sample,
    SecondStats,
    SeriesKey,
    StatusKey,
    counts_from_samples,
    merge_counts,
)
from loadproof.plan.model import NS_PER_S, ArrivalPhase, Criticality, DatasetPlan, Plan, TransactionPlan
from loadproof.rules.model import BaselineLimit, Criterion, Rule
from loadproof_report import RunResult, build_result
from loadproof_report.rundata import AgentInfo, BundleInfo, EnvironmentInfo, RunData, RunEvent

STARTED_AT = "2026-11-23T09:30:00Z"


@dataclass(frozen=True)
class Flow:
    """How one transaction behaves: steps as (name, endpoint, share of the service time), latency in microseconds.

    `failing` gives the share that fails at second s of the run, at step `fails_at` with `failure`
    (category, message, status).
    """

    name: str
    share: float
    median_us: int = 80_000
    spread: float = 0.35
    steps: tuple[tuple[str, str, float], ...] = (("Open", "GET /", 1.0),)
    criticality: Criticality = "normal"
    tags: tuple[str, ...] = ()
    owner: str = ""
    failing: Callable[[int], float] = lambda second: 0.0
    slow: Callable[[int], float] = lambda second: 1.0
    fails_at: int = 0
    failure: tuple[str, str, int] = ("http_status", "status 503", 503)


SHOP = (
    Flow(
        "Search and open product details",
        0.55,
        62_000,
        steps=(("Search", "GET /search", 0.6), ("Open details", "GET /products/{sku}", 0.4)),
        criticality="high",
        tags=("catalog",),
        owner="catalog team",
    ),
    Flow(
        "Browse category", 0.28, 41_000, steps=(("Open category", "GET /categories/{id}", 1.0),), tags=("catalog",),
        owner="catalog team",
    ),
    Flow(
        "Checkout",
        0.12,
        210_000,
        steps=(
            ("Add to cart", "POST /cart", 0.25),
            ("Pay", "POST /payments", 0.55),
            ("Confirm", "GET /orders/{id}", 0.2),
        ),
        criticality="critical",
        tags=("money",),
        owner="payments team",
        fails_at=1,
    ),
    Flow("Update profile", 0.05, 90_000, steps=(("Save", "PUT /profile", 1.0),), criticality="low", owner="accounts"),
)  # fmt: skip


@dataclass
class Story:
    """Everything a synthetic run is made of; change fields and call `build`."""

    flows: tuple[Flow, ...] = SHOP
    phases: tuple[ArrivalPhase, ...] = (
        ArrivalPhase("ramp", 10_000, 60_000, 30 * NS_PER_S),
        ArrivalPhase("peak", 60_000, 60_000, 60 * NS_PER_S),
    )
    rules: tuple[Rule, ...] = ()
    seed: int = 7
    agents: int = 2
    late: Callable[[int], float] = lambda second: 0.0
    missed: Callable[[int], float] = lambda second: 0.0
    dropped: Callable[[int], float] = lambda second: 0.0
    lost: Callable[[int], float] = lambda second: 0.0
    cpu_permille: Callable[[int], int] = lambda second: 240 + 20 * (second % 5)
    lag_us: Callable[[int], int] = lambda second: 900
    run_id: str = "20261123-093000-shop"
    build: str = "shop 4.12.0"
    status: str = "finished"
    aborted_by: str | None = None
    abort_reason: str = ""
    fleet: tuple[AgentInfo, ...] | None = None
    events: tuple[RunEvent, ...] = ()
    stop_s: int | None = None
    datasets: tuple[DatasetPlan, ...] = (DatasetPlan("products", "ab" * 32, 5_000, "shuffle"),)
    data_of: Mapping[str, str] = field(default_factory=dict)
    draws: Mapping[str, int] = field(default_factory=lambda: {"products": 3_300})
    exhausted: Mapping[str, int] = field(default_factory=dict)

    def build_run(self) -> RunData:
        """Return the finished run."""
        return _Builder(self).run()


class _Builder:
    def __init__(self, story: Story) -> None:
        self.story = story
        self.random = np.random.default_rng(story.seed)
        self.plan = Plan(
            suite="Shop",
            profile="release",
            model="open",
            phases=story.phases,
            transactions=tuple(
                TransactionPlan(f.name, round(f.share * 100), f.tags, f.criticality, f.owner, story.data_of.get(f.name))
                for f in story.flows
            ),
            datasets=story.datasets,
        )
        self.merged = MergedState()
        self.planned: dict[tuple[str, str], int] = {}
        self.planned_seconds: dict[tuple[int, str], int] = {}

    def run(self) -> RunData:
        story = self.story
        total = sum(phase.duration_ns for phase in story.phases) // NS_PER_S
        seconds = total if story.stop_s is None else min(total, story.stop_s)
        for second in range(seconds):
            self._second(second)
        last = Delta(from_ns=(seconds - 1) * NS_PER_S, to_ns=seconds * NS_PER_S)
        last.draws, last.exhausted = dict(story.draws), dict(story.exhausted)
        last.counters = {"connections.opened": 210, "http.retried": 3}
        self.merged.apply(last)
        return RunData(
            run_id=story.run_id,
            suite="Shop",
            profile="release",
            status=story.status,  # type: ignore[arg-type]
            started_at=STARTED_AT,
            duration_ns=seconds * NS_PER_S,
            tool_version="0.1.0",
            plan=self.plan,
            shards=8,
            build=story.build,
            environment=EnvironmentInfo(
                "staging", "http://shop.staging.example.com", ("*.staging.example.com",), "200/s"
            ),
            bundle=BundleInfo("cd" * 32, "4f2a9c1d7be0", git_dirty=False),
            merged=self.merged,
            planned=self.planned,
            planned_seconds=self.planned_seconds,
            fleet=story.fleet if story.fleet is not None else tuple(agent(i + 1) for i in range(story.agents)),
            rules=story.rules,
            events=story.events,
            aborted_by=story.aborted_by,  # type: ignore[arg-type]
            abort_reason=story.abort_reason,
        )

    def _phase(self, second: int) -> tuple[ArrivalPhase, float]:
        at = 0
        for phase in self.story.phases:
            length = phase.duration_ns // NS_PER_S
            if second < at + length:
                part = (second - at + 0.5) / length
                return phase, (phase.rate_from + (phase.rate_to - phase.rate_from) * part) / 1_000
            at += length
        raise AssertionError

    def _second(self, second: int) -> None:
        phase, rate = self._phase(second)
        story = self.story
        delta = Delta(from_ns=second * NS_PER_S, to_ns=(second + 1) * NS_PER_S)
        lag = counts_from_samples(self.random.integers(50, max(51, story.lag_us(second)), 50))
        delta.health = Health(story.cpu_permille(second), 380, 180 << 20, 120 + second // 10, 1_200, lag)
        for flow in story.flows:
            count = int(self.random.poisson(rate * flow.share)) if rate * flow.share < 5 else round(rate * flow.share)
            if count:
                self._flow(delta, flow, phase.name, second, count)
        self.merged.apply(delta)

    def _flow(self, delta: Delta, flow: Flow, phase: str, second: int, count: int) -> None:
        story = self.story
        self.planned[flow.name, phase] = self.planned.get((flow.name, phase), 0) + count
        self.planned_seconds[second, flow.name] = count
        lost = self._share(story.lost(second), count)
        missed = self._share(story.missed(second), count - lost)
        dropped = self._share(story.dropped(second), count - lost - missed)
        started = count - lost - missed - dropped
        failed = self._share(flow.failing(second), started)
        late = self._share(story.late(second), started)
        delta.delivery[flow.name, phase] = Delivery(started, started, failed, late, dropped, missed)
        stats = SecondStats(started, started, failed, late, dropped, missed, max(1, started // 8))
        delta.seconds[second, flow.name] = stats
        if not started:
            return
        scale = np.log(flow.median_us * flow.slow(second))
        service = np.exp(self.random.normal(scale, flow.spread, started)).astype(np.int64) + 500
        delay = np.zeros(started, np.int64)
        delay[:late] = self.random.integers(100_000, 900_000, late)
        parts = {"failed": (service[:failed], delay[:failed]), "ok": (service[failed:], delay[failed:])}
        for outcome, (values, waits) in parts.items():
            if not len(values):
                continue
            fails = outcome == "failed"
            values = values // 3 + 500 if fails else values
            for measure, numbers in (("service", values), ("response", values + waits + 40)):
                key = SeriesKey(flow.name, "", "", phase, outcome, measure)  # type: ignore[arg-type]
                delta.series[key] = counts_from_samples(numbers)
            response = counts_from_samples(values + waits + 40)
            stats.response = response if stats.response is None else merge_counts(stats.response, response)
            self._steps(delta, flow, phase, values, fails=fails)
        if failed:
            self._error(delta, flow, phase, second, failed)

    def _share(self, share: float, count: int) -> int:
        return int(self.random.binomial(count, min(1.0, share))) if share > 0 and count > 0 else 0

    def _steps(self, delta: Delta, flow: Flow, phase: str, values: np.ndarray, *, fails: bool) -> None:
        for ordinal, (step, endpoint, part) in enumerate(flow.steps):
            if fails and ordinal > flow.fails_at:
                return
            outcome = "failed" if fails and ordinal == flow.fails_at else "ok"
            for key in (
                SeriesKey(flow.name, step, "", phase, outcome, "service"),  # type: ignore[arg-type]
                SeriesKey(flow.name, step, endpoint, phase, outcome, "service"),  # type: ignore[arg-type]
            ):
                counts = counts_from_samples(np.maximum(1, (values * part).astype(np.int64)))
                known = delta.series.get(key)
                delta.series[key] = counts if known is None else merge_counts(known, counts)
            status = StatusKey(flow.name, step, endpoint, phase, flow.failure[2] if outcome == "failed" else 200)
            delta.statuses[status] = delta.statuses.get(status, 0) + len(values)
            delta.step_order[flow.name, step] = ordinal

    def _error(self, delta: Delta, flow: Flow, phase: str, second: int, failed: int) -> None:
        step, endpoint, _ = flow.steps[flow.fails_at]
        category, message, status = flow.failure
        at = second * NS_PER_S + 250_000_000
        sample = Sample(
            rank=int(self.random.integers(1 << 60)),
            k=second * 60,
            at_ns=at,
            agent_id=f"agent-{second % max(1, self.story.agents) + 1}",
            trace_id=f"{int(self.random.integers(1 << 62)):032x}",
            request=f"{endpoint} HTTP/1.1\nhost: shop.staging.example.com\nauthorization: [redacted]\n\n"
            '{"card": "[redacted]", "amount": 1999}',
            response=f"HTTP/1.1 {status} Service Unavailable\ncontent-type: application/json\nretry-after: 1\n\n"
            '{"error": "payment provider pool exhausted"}',
            detail=f"{message} after {failed} tries",
        )
        key = ErrorKey(flow.name, step, endpoint, category, message, phase)  # type: ignore[arg-type]
        delta.errors[key] = ErrorStats(failed, at, at + 500_000_000, [sample], {sample.agent_id: failed})


def agent(number: int, **changes: object) -> AgentInfo:
    """Return a healthy agent."""
    healthy = AgentInfo(
        agent_id=f"agent-{number}", pid=4_200 + number, host=f"load-{number}.example.com", cores=4, workers=4,
        version="0.1.0", python="3.13.1", labels={"zone": "eu-west-1a"}, final=True,
        shards=tuple(range(number - 1, 8, 2)),
        clock_offset_us=120 * number, clock_uncertainty_us=300, cpu_max_permille=330, memory_bytes_max=190 << 20,
        loop_lag_us_p99=850,
    )  # fmt: skip
    return replace(healthy, **changes)  # type: ignore[arg-type]


def rule(transaction: str = "*", require: str = "p95 <= 800ms", **changes: object) -> Rule:
    """Return a rule made by the real parser."""
    from loadproof.rules import parse_require

    fields: dict[str, object] = {"transaction": transaction, **changes}
    if "tag" in changes:
        fields["transaction"] = None
    return Rule(require=require, criterion=parse_require(require), **fields)  # type: ignore[arg-type]


def criterion(metric: str = "p95", limit: float | BaselineLimit = 800_000.0, **changes: object) -> Criterion:
    """Return a criterion without the parser: `p95 <= 800ms` of response time unless changed."""
    quantile = float(metric[1:]) / 100 if metric[0] == "p" else None
    fields: dict[str, object] = {
        "metric": metric, "measure": "response", "quantile": quantile, "category": None, "comparison": "<=",
        "limit": limit, "unit": "us",
    }  # fmt: skip
    return Criterion(**{**fields, **changes})  # type: ignore[arg-type]


STANDARD = (("*", "success_rate >= 99.5%"), ("*", "p95 <= 800ms"), ("Checkout", "p99 <= 1500ms"))


def standard_rules() -> tuple[Rule, ...]:
    """Return the rules that the corpus is judged by."""
    return tuple(rule(name, require) for name, require in STANDARD)


def _with(name: str, **changes: object) -> tuple[Flow, ...]:
    return tuple(replace(flow, **changes) if flow.name == name else flow for flow in SHOP)  # type: ignore[arg-type]


def healthy() -> Story:
    """Everything fine."""
    return Story(rules=standard_rules())


def regressed() -> Story:
    """Checkout is slow under the full load."""
    return Story(
        rules=standard_rules(), flows=_with("Checkout", slow=lambda s: 1.0 if s < 30 else 4.2), build="shop 4.13.0"
    )


def small_but_dangerous() -> Story:
    """Only the critical Checkout fails, seldom enough to pass a loose rule and to vanish in the total."""
    return Story(
        rules=(rule("*", "success_rate >= 95%"), rule("*", "p95 <= 800ms")),
        flows=_with("Checkout", failing=lambda s: 0.035 if s >= 40 else 0.0),
    )


def saturated() -> Story:
    """The load generator was too weak: late, busy, lagging; response times are long because of that."""
    return Story(
        rules=standard_rules(),
        late=lambda s: 0.4 if s > 20 else 0.0,
        cpu_permille=lambda s: 990 if s > 20 else 600,
        lag_us=lambda s: 240_000 if s > 20 else 3_000,
    )


def agent_lost() -> Story:
    """One of two agents died and nobody took its shards."""
    return Story(
        rules=standard_rules(),
        lost=lambda s: 0.5 if 45 <= s < 47 else 0.0,
        missed=lambda s: 0.5 if s >= 47 else 0.0,
        fleet=(agent(1), agent(2, lost=True, lost_at_s=46.2, final=False)),
        events=(RunEvent(46.2, "agent_lost", "agent-2 stopped answering", "agent-2"),),
    )


def no_data() -> Story:
    """A percentile too high for so few samples."""
    return Story(rules=(rule("Update profile", "p99.9 <= 2s"), rule("*", "success_rate >= 99%")))


def target_down() -> Story:
    """Nothing answers."""
    down = tuple(
        replace(flow, failing=lambda s: 1.0, fails_at=0, failure=("connect", "connection refused", 0)) for flow in SHOP
    )
    return Story(rules=standard_rules(), flows=down)


CORPUS: dict[str, Callable[[], Story]] = {
    "healthy": healthy,
    "regressed": regressed,
    "small_but_dangerous": small_but_dangerous,
    "saturated": saturated,
    "agent_lost": agent_lost,
    "no_data": no_data,
    "target_down": target_down,
}

HOSTILE = (
    "</script><script>window.pwned=1</script>", '"><img src=x onerror="window.pwned=1">', '=HYPERLINK("http://evil")',
    "\x00\x1b[31mred\x07 \u202etxt.exe", "{{ 7*7 }}{% raw %}", "]]><!--", "javascript:window.pwned=1", "__proto__",
)  # fmt: skip
"""Names that want to be markup, a formula, a terminal sequence or a template."""


def hostile() -> Story:
    """Every name and message a target or suite can choose tries to break out."""
    flows = tuple(
        Flow(
            name, 1 / len(HOSTILE), steps=((f"step {name}", f"GET {name}", 1.0),), tags=(name,), owner=name,
            criticality="critical", failing=lambda s: 0.3, failure=("check", f"message {name}", 500),
        )
        for name in HOSTILE
    )  # fmt: skip
    events = tuple(RunEvent(1.0, "note", name, name) for name in HOSTILE)
    return Story(flows=flows, rules=(rule("*", "success_rate >= 99%"),), build=HOSTILE[0], events=events)


@functools.cache
def run_of(name: str) -> RunData:
    """Return a run of the corpus (or `hostile`), built once; nobody changes it."""
    return (hostile() if name == "hostile" else CORPUS[name]()).build_run()


@functools.cache
def result_of(name: str) -> RunResult:
    """Return the result of `run_of(name)` as of the day of the run."""
    return build_result(run_of(name), today=STARTED_AT[:10])
