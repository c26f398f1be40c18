"""A run as it is submitted over the wire: plain data, checked before anything is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from loadproof.plan import plan_from_dict, spec_from_dict
from loadproof.rules.model import Rule
from loadproof_controller.errors import RunRefused
from loadproof_controller.fleet import RELAYED_MAX
from loadproof_controller.machine.config import OnAgentLoss
from loadproof_controller.request import RunRequest
from loadproof_controller.text import clean
from loadproof_report.rundata import BundleInfo, EnvironmentInfo

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
SUBMISSION_BYTES_MAX = 7 * 1024 * 1024
BUNDLE_BYTES_MAX = 64 * 1024 * 1024
BASELINES_MAX = 8
BASELINE_FILES = ("run.json", "intervals.bin")
BASELINE_BYTES_MAX = 128 * 1024 * 1024
"""All files of all baselines of a run together."""
WAIT_S_MAX = 24 * 3600.0
LABELS_MAX = 32
ATTACH_S = 5.0
"""How long a run whose turn has come waits for agents that were there when it was submitted, where nothing is asked."""
PROBLEMS_SHOWN = 3
WARNINGS_SHOWN = 50
WARNING_CHARACTERS_MAX = 1_000


BaselineFiles = Mapping[str, bytes]
"""A baseline's files by name, of `BASELINE_FILES`; run.json is always there."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What to run and on whom. `plan` and `spec` are `to_dict` data; `secrets` are values by name.

    `wait_for_agents_s` 0 refuses the run at once where the fleet has fewer matching agents than it wants.
    """

    run_id: str
    plan: dict[str, Any]
    spec: dict[str, Any]
    bundle: BundleInfo
    bundle_bytes: int
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    rules: tuple[Rule, ...] = ()
    agents_wanted: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    wait_for_agents_s: float = 0.0
    on_agent_loss: OnAgentLoss = "continue"
    environment: EnvironmentInfo = field(default_factory=EnvironmentInfo)
    build: str = ""
    baselines: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def suite(self) -> str:
        """Return the suite's name, fit to be shown."""
        return clean(str(self.plan.get("suite", "")), 200)

    @property
    def profile(self) -> str:
        """Return the profile's name, fit to be shown."""
        return clean(str(self.plan.get("profile", "")), 200)

    @property
    def shown_warnings(self) -> tuple[str, ...]:
        """Return the warnings, fit to be shown; the last line says how many there is no room for."""
        more = len(self.warnings) - WARNINGS_SHOWN
        shown = tuple(clean(text, WARNING_CHARACTERS_MAX, lines=True) for text in self.warnings[:WARNINGS_SHOWN])
        return (*shown, f"and {more} more; loadproof check shows all of them") if more > 0 else shown


_ADAPTER: TypeAdapter[Submission] = TypeAdapter(Submission)


def encode_submission(submission: Submission) -> bytes:
    """Return `submission` as JSON, its secrets included: for the wire only."""
    return _ADAPTER.dump_json(submission)


def decode_submission(data: bytes) -> Submission:
    """Return the submission in `data`. Raises `RunRefused`, whose text never repeats a value."""
    if len(data) > SUBMISSION_BYTES_MAX:
        raise RunRefused(f"the request has {len(data)} bytes, at most {SUBMISSION_BYTES_MAX} are taken")
    try:
        submission = _ADAPTER.validate_json(data)
        plan_from_dict(submission.plan)
        spec_from_dict(submission.spec)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)[:PROBLEMS_SHOWN]
        shown = "; ".join(f"{'.'.join(str(part) for part in p['loc'])}: {p['msg']}" for p in problems)
        raise RunRefused(
            f"the request cannot be read; use the same version on both sides ({clean(shown, 400)})"
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunRefused("the request's plan cannot be read; use the same version on both sides") from None
    problem = _problem(submission)
    if problem is not None:
        raise RunRefused(problem)
    return submission


def _problem(submission: Submission) -> str | None:
    if not RUN_ID.fullmatch(submission.run_id):
        return "a run's id is 1 to 100 lower-case letters, digits and hyphens"
    if not 1 <= submission.agents_wanted <= RELAYED_MAX:
        return f"a run takes 1 to {RELAYED_MAX} agents, {submission.agents_wanted} are wanted"
    if not 0 <= submission.wait_for_agents_s <= WAIT_S_MAX:
        return f"a run waits for agents at most {WAIT_S_MAX / 3600:g} hours"
    if not 0 < submission.bundle_bytes <= BUNDLE_BYTES_MAX:
        return f"the suite's bundle has {submission.bundle_bytes} bytes, at most {BUNDLE_BYTES_MAX} are taken"
    if len(submission.labels) > LABELS_MAX:
        return f"a run asks for at most {LABELS_MAX} labels"
    if not 0 <= submission.baselines <= BASELINES_MAX:
        return f"a run takes at most {BASELINES_MAX} baselines"
    return None


def run_request(submission: Submission, bundle: bytes, folder: Path) -> RunRequest:
    """Return what the controller runs; its log goes to `folder`."""
    return RunRequest(
        run_id=submission.run_id,
        plan=plan_from_dict(submission.plan),
        spec=spec_from_dict(submission.spec),
        bundle=bundle,
        bundle_info=submission.bundle,
        folder=folder,
        secrets=submission.secrets,
        rules=submission.rules,
        agents_wanted=submission.agents_wanted,
        agent_labels=submission.labels,
        on_agent_loss=submission.on_agent_loss,
        environment=submission.environment,
        build=submission.build,
        attach_limit_s=submission.wait_for_agents_s or ATTACH_S,
        warnings=submission.warnings,
    )


def submission_of(request: RunRequest, baselines: int) -> Submission:
    """Return what was submitted for `request`, without its secrets."""
    return Submission(
        run_id=request.run_id,
        plan=request.plan.to_dict(),
        spec=request.spec.to_dict(),
        bundle=request.bundle_info,
        bundle_bytes=len(request.bundle),
        rules=request.rules,
        agents_wanted=request.agents_wanted,
        labels=request.agent_labels,
        on_agent_loss=request.on_agent_loss,
        environment=request.environment,
        build=request.build,
        baselines=baselines,
        warnings=request.warnings,
    )
