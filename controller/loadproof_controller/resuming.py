"""A run's request in its log, and the way back from a log to a run that goes on after the controller was killed.

Secrets are never written: agents that already prepared hold them, a spare that comes after the restart cannot be
prepared where the suite needs any. The bundle is not in the log either; who keeps it hands it in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from loadproof.plan import plan_from_dict, spec_from_dict
from loadproof.rules.model import Rule
from loadproof_controller.errors import RunLogError
from loadproof_controller.machine.config import OnAgentLoss
from loadproof_controller.request import RunRequest
from loadproof_controller.runlog import LOG_NAME, Replayed, replay
from loadproof_report.rundata import BundleInfo, EnvironmentInfo

SHARED_FIELDS = (
    "run_id", "bundle_info", "rules", "agents_wanted", "agent_labels", "shard_count", "on_agent_loss", "environment",
    "build", "lease_s", "snapshot_ms", "attach_limit_s", "start_lead_s", "warnings",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Saved:
    """What of a request is written down; `began_at` is UTC, `boot` whether the clock is the same."""

    run_id: str
    plan: dict[str, Any]
    spec: dict[str, Any]
    bundle_info: BundleInfo
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
    unix: bool = False
    began_ns: int = 0
    began_at: str = ""
    boot: str = ""


_ADAPTER: TypeAdapter[Saved] = TypeAdapter(Saved)


def save(request: RunRequest, *, unix: bool, began_ns: int, began_at: str) -> bytes:
    """Return what the log keeps of `request`."""
    shared = {name: getattr(request, name) for name in SHARED_FIELDS}
    plan, spec = request.plan.to_dict(), request.spec.to_dict()
    return _ADAPTER.dump_json(
        Saved(plan=plan, spec=spec, unix=unix, began_ns=began_ns, began_at=began_at, boot=boot_id(), **shared)
    )


def boot_id() -> str:
    """Return what changes when the machine starts anew, empty where it cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(slots=True)
class Past:
    """A run as its log has it: the request, and what was replayed."""

    request: RunRequest
    saved: Saved
    replayed: Replayed

    @property
    def same_boot(self) -> bool:
        """Whether moments of the log are on the clock we have now."""
        return self.saved.boot == boot_id()


def read_past(folder: Path, *, bundle: bytes = b"", secrets: dict[str, str] | None = None) -> Past:
    """Read the log in `folder`. Raises `RunLogError` when there is none, or when it is not one of ours."""
    path = folder / LOG_NAME
    replayed = replay(path)
    try:
        saved = _ADAPTER.validate_json(replayed.facts.request)
        request = RunRequest(
            plan=plan_from_dict(saved.plan),
            spec=spec_from_dict(saved.spec),
            bundle=bundle,
            folder=folder,
            secrets=secrets or {},
            **{name: getattr(saved, name) for name in SHARED_FIELDS},
        )
    except (ValidationError, KeyError, TypeError, ValueError, AttributeError):
        raise RunLogError(str(path), "the run's log does not say what was asked for") from None
    return Past(request, saved, replayed)
