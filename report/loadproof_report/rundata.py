"""What a finished run hands to the report: the merged numbers and the facts around them. Pure data, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from loadproof.metrics import MergedState
from loadproof.plan.model import Plan
from loadproof.rules.model import Rule

Status = Literal["finished", "aborted", "failed"]
AbortedBy = Literal["rule", "person", "infrastructure"]


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """The suite as shipped: sha256 of the zip, and the git state it was made from where there is one.

    `requirements_sha256` is that of its lock file, None where it needs no packages.
    """

    sha256: str
    git_revision: str | None = None
    git_dirty: bool | None = None
    requirements_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class EnvironmentInfo:
    """The `[environment]` table as printed in every report. Secrets by name only."""

    name: str = ""
    base_url: str = ""
    targets: tuple[str, ...] | None = None
    max_rate: str | None = None
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """One agent's part in the run. Offsets in microseconds, CPU in thousandths of one core.

    `start_offset_us`: when its first worker began, after the run's start by the controller's clock, known to
    `start_uncertainty_us` (the clock as it was then); None where it is not known, or the agent took over in mid-run.
    """

    agent_id: str
    pid: int
    host: str
    cores: int
    workers: int
    version: str
    python: str
    labels: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    lost_at_s: float | None = None
    final: bool = False
    shards: tuple[int, ...] = ()
    clock_offset_us: int | None = None
    clock_uncertainty_us: int | None = None
    start_offset_us: int | None = None
    start_uncertainty_us: int | None = None
    cpu_max_permille: int = 0
    memory_bytes_max: int = 0
    loop_lag_us_p99: int | None = None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened, for `events.jsonl` and the report. `at_s` since the run's start, negative before it."""

    at_s: float
    kind: str
    text: str
    agent_id: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RunData:
    """Everything known of a run when it ends.

    `planned` counts, by (transaction, phase), the arrivals whose intended time came before the run stopped (open) or
    the iterations started (closed); `planned_seconds` the same by (second, transaction). `warnings` are doctor's,
    for show.
    """

    run_id: str
    suite: str
    profile: str
    status: Status
    started_at: str
    duration_ns: int
    tool_version: str
    plan: Plan
    shards: int
    build: str
    environment: EnvironmentInfo
    bundle: BundleInfo
    merged: MergedState
    planned: dict[tuple[str, str], int]
    planned_seconds: dict[tuple[int, str], int]
    fleet: tuple[AgentInfo, ...] = ()
    rules: tuple[Rule, ...] = ()
    events: tuple[RunEvent, ...] = ()
    aborted_by: AbortedBy | None = None
    abort_reason: str = ""
    warnings: tuple[str, ...] = ()
