"""What a run is asked for with, and what is told while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from loadproof.plan import Plan, RunSpec
from loadproof.rules.model import Rule
from loadproof_controller.machine.config import OnAgentLoss
from loadproof_report.rundata import BundleInfo, EnvironmentInfo, RunEvent

VerdictSoFar = Literal["holding", "warning", "broken", "no rules"]


@dataclass(frozen=True, slots=True)
class TransactionProgress:
    """One transaction so far. `planned` counts arrivals due by now (closed model: those started); quantiles in
    microseconds of response time, ok transactions only, None without a sample.
    """

    name: str
    planned: int
    started: int
    completed: int
    failed: int
    late: int
    dropped: int
    missed: int
    p50_us: int | None
    p95_us: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment. `elapsed_ns` is negative before the start, None before it is ordered.

    `duration_ns` is the planned length, None where iterations end the load. `rules_broken` names the rules that would
    fail if the run ended now. `events` are those since the last progress.
    """

    run_id: str
    phase: str
    elapsed_ns: int | None
    duration_ns: int | None
    transactions: tuple[TransactionProgress, ...]
    in_flight: int
    agents_attached: int
    agents_lost: int
    agents_wanted: int
    verdict: VerdictSoFar
    rules_broken: tuple[str, ...] = ()
    events: tuple[RunEvent, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Everything a controller needs to run a plan.

    `bundle` is the zip the agents fetch; its identity is `bundle_info.sha256`. `secrets` are values by name. `folder`
    must exist: the run's log is written there. Only agents with all of `agent_labels` take part. `shard_count` None
    means 4 a worker. `on_progress` is awaited about each second; an error in it is recorded and ends the reporting, not
    the run. `start_lead_s` None: 0.3 s on a Unix socket, 1.5 s over a network.
    """

    run_id: str
    plan: Plan
    spec: RunSpec
    bundle: bytes = field(repr=False)
    bundle_info: BundleInfo
    folder: Path
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    rules: tuple[Rule, ...] = ()
    agents_wanted: int = 1
    agent_labels: dict[str, str] = field(default_factory=dict)
    shard_count: int | None = None
    on_agent_loss: OnAgentLoss = "continue"
    environment: EnvironmentInfo = field(default_factory=EnvironmentInfo)
    build: str = ""
    lease_s: float = 15.0
    snapshot_ms: int = 1_000
    attach_limit_s: float = 60.0
    start_lead_s: float | None = None
    warnings: tuple[str, ...] = ()
    on_progress: Callable[[Progress], Awaitable[None]] | None = None
