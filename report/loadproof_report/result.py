"""The result of a run as stored in `run.json`, schema `loadproof.run/1`.

Units stand last in the names: `_us` microseconds, `_s` seconds since the run's start, `_permille` thousandths of one
core. Rates and shares lie in [0, 1]. The JSON Schema made from these models is published in
`docs/reference/run.schema.json`. Readers ignore fields they do not know; fields are only ever added under one schema
number.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from loadproof_report.figures import (
    ERROR_BOUND,
    Count,
    DeliveryResult,
    EndpointResult,
    ErrorResult,
    HealthInterval,
    HeatMap,
    Interval,
    IntervalOfTransaction,
    Latency,
    LoadBand,
    Model,
    PhaseResult,
    Quartiles,
    SampleResult,
    StepResult,
    Story,
    TransactionResult,
)

SCHEMA_ID: Literal["loadproof.run/1"] = "loadproof.run/1"

Decision = Literal["GO", "GO_WITH_RISK", "NO_GO", "NOT_PROVEN"]
RuleStatus = Literal["passed", "failed", "no_data"]
FindingSeverity = Literal["info", "degraded", "unsound"]
RiskSeverity = Literal["high", "medium", "note"]


class Waived(Model):
    """A waiver as set in the suite. `active` is False once `until` (ISO date, inclusive) has passed."""

    reason: str
    owner: str
    until: str
    active: bool


class RuleResult(Model):
    """One rule on one transaction. `observed` and `limit` are in `unit`; None where there is no number.

    `observed` is also None where the percentile lies among failed transactions, which rank slower than any limit:
    `detail` says so. `failed_at_s` and `failed_at_load_per_s` are when the trouble began and the load offered then,
    where it has a beginning. `overshoot` is how far a failed rule is beyond its limit, as a share of it.
    """

    transaction: str
    require: str
    severity: Literal["block", "warn"]
    status: RuleStatus
    observed: float | None = None
    limit: float | None = None
    unit: Literal["us", "ratio", "per_s", "number"] = "us"
    observed_text: str = ""
    limit_text: str = ""
    detail: str = ""
    step: str | None = None
    tag: str | None = None
    phase: str | None = None
    metric: str = ""
    measure: Literal["response", "service"] = "response"
    samples: Count = 0
    overshoot: float | None = None
    failed_at_s: float | None = None
    failed_at_load_per_s: float | None = None
    waiver: Waived | None = None
    aborts: bool = False
    generator_explains: bool = False

    @property
    def scope(self) -> str:
        """Return what the rule is about, in words: `Checkout, step Pay, phase peak`."""
        parts = (self.transaction, self.step and f"step {self.step}", self.phase and f"phase {self.phase}")
        return ", ".join(part for part in parts if part)

    @property
    def waived(self) -> bool:
        """Return whether it is broken and a waiver lets it pass."""
        return self.status == "failed" and self.waiver is not None and self.waiver.active

    @property
    def broken_text(self) -> str:
        """Return what is broken in a few words: `Checkout, step Pay: error_rate <= 1%`."""
        return f"{self.scope}: {self.require}" + (" (waived)" if self.waived else "")


class Risk(Model):
    """Something the release meeting should hear. A `note` never changes the decision."""

    code: str
    severity: RiskSeverity
    text: str
    transaction: str = ""
    criticality: str = ""
    evidence: str = ""
    mitigation: str = ""


class Verdict(Model):
    """The release decision. `reasons` are sentences, the first one carries the decision; worst first."""

    decision: Decision
    reasons: tuple[str, ...]
    risks: tuple[Risk, ...] = ()


class PhaseInfo(Model):
    """One phase of the plan. Rates in arrivals per second (open model), users (closed)."""

    name: str
    kind: Literal["arrivals", "users"]
    start_s: float
    duration_s: float | None = None
    rate_from: float | None = None
    rate_to: float | None = None
    users_from: int | None = None
    users_to: int | None = None
    iterations: int | None = None
    warmup: bool = False


class PlanInfo(Model):
    """What was to be run. `arrivals` is the number planned until the run stopped."""

    sha256: str
    seed: int
    spacing: str
    model: Literal["open", "closed"] = "open"
    session: str = "keep"
    phases: tuple[PhaseInfo, ...]
    arrivals: Count
    shards: Count
    max_in_flight: Count = 0
    timeout_s: float = 0.0


class EnvironmentResult(Model):
    """Where it ran against. Secrets by name only."""

    name: str = ""
    base_url: str = ""
    targets: tuple[str, ...] | None = None
    max_rate: str | None = None
    secrets: tuple[str, ...] = ()


class DatasetInfo(Model):
    """One dataset: sha256 of its file, rows in it, rows drawn by the run (with repetition), draws refused.

    `different` is how many of the rows differ, `most_alike` how often the most frequent row comes; null: not known.
    """

    name: str
    sha256: str
    rows: Count
    different: Count | None = None
    most_alike: Count | None = None
    order: str = ""
    drawn: Count = 0
    refused: Count = 0


class BundleResult(Model):
    """The suite as shipped. `requirements_sha256` is that of its lock file, None where it needs no packages."""

    sha256: str = ""
    git_revision: str | None = None
    git_dirty: bool | None = None
    requirements_sha256: str | None = None


class Finding(Model):
    """One fact about how far the numbers may be trusted. Only `unsound` ones cap the verdict."""

    code: str
    severity: FindingSeverity
    text: str
    value: float | None = None
    threshold: float | None = None


class Evidence(Model):
    """Whether the run can prove anything, and why (not).

    `start_skew_us`: from the first agent's real start to the last one's, known to `start_skew_uncertainty_us`; None for
    fewer than two agents.
    """

    sound: bool
    findings: tuple[Finding, ...] = ()
    start_skew_us: int | None = None
    start_skew_uncertainty_us: int | None = None


class AgentResult(Model):
    """One agent's part in the run."""

    agent_id: str
    pid: int = 0
    host: str = ""
    cores: Count = 0
    workers: Count = 0
    version: str = ""
    python: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    lost: bool = False
    lost_at_s: float | None = None
    final: bool = False
    shards: tuple[int, ...] = ()
    clock_offset_us: int | None = None
    clock_uncertainty_us: int | None = None
    start_offset_us: int | None = None
    cpu_max: float = 0.0
    cpu_max_permille: Count = 0
    memory_bytes_max: Count = 0
    loop_lag_us_p99: int | None = None


class Change(Model):
    """One number compared with the baseline's. `change`, `low`, `high` are shares (0.1 = 10 % more), 95 % interval.

    Of `success_rate` they are differences (0.01 = one point). `detectable` is the smallest change this comparison would
    have found with 90 % chance, `p_value` is corrected for the number of comparisons, `band_low` to `band_high` is
    where a run like the baselines falls 95 times of 100, given two or more (in the metric's unit: µs or share).
    """

    transaction: str
    step: str = ""
    metric: str
    baseline: float | None = None
    current: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    judgement: Literal["better", "worse", "same", "unclear"] = "unclear"
    p_value: float | None = None
    band_low: float | None = None
    band_high: float | None = None
    text: str = ""


class Comparison(Model):
    """The run against a stored one. `comparable` False: `obstacles` say why, and there are no changes."""

    baseline_run_id: str
    baseline_build: str = ""
    baseline_started_at: str = ""
    baselines: Count = 1
    comparable: bool = True
    obstacles: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    minimum_detectable_change: float | None = None
    blocks: Count = 0
    block_s: Count = 0
    between_runs: Literal["assumed", "measured"] = "assumed"
    notes: tuple[str, ...] = ()


class EventResult(Model):
    """Something that happened during the run."""

    at_s: float
    kind: str
    text: str
    agent_id: str = ""
    data: dict[str, Any] = Field(default_factory=dict)


class RunResult(Model):
    """Everything known about a run, and what it means. `run_schema` is spelled `schema` in JSON.

    `events` are at most 2,000 of `events_total`: where there are more, lines of logs are left out first.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )

    run_schema: Literal["loadproof.run/1"] = Field(default=SCHEMA_ID, alias="schema")
    run_id: str
    suite: str
    profile: str
    status: Literal["finished", "aborted", "failed"]
    aborted_by: Literal["rule", "person", "infrastructure"] | None = None
    abort_reason: str = ""
    started_at: str
    duration_s: float
    tool_version: str
    verdict: Verdict
    plan: PlanInfo
    build: str = ""
    environment: EnvironmentResult = EnvironmentResult()
    datasets: tuple[DatasetInfo, ...] = ()
    bundle: BundleResult = BundleResult()
    digest: str
    delivery: DeliveryResult
    evidence: Evidence
    fleet: tuple[AgentResult, ...] = ()
    transactions: tuple[TransactionResult, ...] = ()
    rules: tuple[RuleResult, ...] = ()
    stories: tuple[Story, ...] = ()
    comparison: Comparison | None = None
    timeline: tuple[Interval, ...] = ()
    heatmaps: tuple[HeatMap, ...] = ()
    health: tuple[HealthInterval, ...] = ()
    counters: dict[str, int] = Field(default_factory=dict)
    events: tuple[EventResult, ...] = ()
    events_total: Count = 0
    warnings: tuple[str, ...] = ()
    percentile_error_bound: float = ERROR_BOUND


__all__ = [
    "ERROR_BOUND",
    "SCHEMA_ID",
    "AgentResult",
    "BundleResult",
    "Change",
    "Comparison",
    "Count",
    "DatasetInfo",
    "Decision",
    "DeliveryResult",
    "EndpointResult",
    "EnvironmentResult",
    "ErrorResult",
    "EventResult",
    "Evidence",
    "Finding",
    "FindingSeverity",
    "HealthInterval",
    "HeatMap",
    "Interval",
    "IntervalOfTransaction",
    "Latency",
    "LoadBand",
    "Model",
    "PhaseInfo",
    "PhaseResult",
    "PlanInfo",
    "Quartiles",
    "Risk",
    "RiskSeverity",
    "RuleResult",
    "RuleStatus",
    "RunResult",
    "SampleResult",
    "StepResult",
    "Story",
    "TransactionResult",
    "Verdict",
    "Waived",
]
