"""Small plans, requests and a listening service for tests of the controller."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from loadproof.plan import NS_PER_S, ArrivalPhase, Plan, RunSpec, TransactionPlan, UserPhase
from loadproof_controller.request import RunRequest
from loadproof_controller.service import ControllerService
from loadproof_report.rundata import BundleInfo


def open_plan(*, per_s: int = 40, seconds: float = 1.0, **fields: Any) -> Plan:
    """Return an open plan of `per_s * seconds` arrivals of two transactions, 3 to 1."""
    phase = ArrivalPhase("load", per_s * 1000, per_s * 1000, int(seconds * NS_PER_S))
    mix = (TransactionPlan("Search", 3), TransactionPlan("Checkout", 1))
    settings: dict[str, Any] = {"graceful_stop_ns": NS_PER_S, **fields}
    return Plan("Shop", "smoke", "open", (phase,), mix, **settings)


def closed_plan(*, users: int = 4, seconds: float = 1.0, **fields: Any) -> Plan:
    """Return a closed plan of `users` for `seconds`."""
    phase = UserPhase("load", users, users, int(seconds * NS_PER_S))
    return Plan("Shop", "soak", "closed", (phase,), (TransactionPlan("Search", 1),), **fields)


def request_for(plan: Plan, folder: Path, *, run_id: str = "run-1", **fields: Any) -> RunRequest:
    """Return a request to run `plan` with a bundle of a few bytes."""
    bundle = b"PK-bundle" * 200_000
    info = BundleInfo(hashlib.sha256(bundle).hexdigest())
    settings: dict[str, Any] = {"start_lead_s": 0.05, "attach_limit_s": 20.0, **fields}
    return RunRequest(run_id, plan, RunSpec("suite.py"), bundle, info, folder, **settings)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[ControllerService]:
    """Serve on a Unix socket in a fresh folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="lp") as folder:
        async with ControllerService(f"unix:{folder}/s") as service:
            yield service
