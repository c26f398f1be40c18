"""A controller process that may be killed: `python killable_controller.py run|resume SOCKET HOME URL AGENT...`.

`run` runs the suite in HOME/suite; `resume` takes that run to its end from its log and writes what came of it to
HOME/outcome.json. An agent's identity is its name twice.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson

from loadproof.bundle import build_bundle
from loadproof.config import build_plan, load_project, run_spec
from loadproof_controller.request import RunRequest
from loadproof_controller.resuming import read_past
from loadproof_controller.service import ControllerService
from loadproof_report import build_result
from loadproof_report.rundata import BundleInfo


async def main(mode: str, socket: str, home: Path, url: str, names: list[str]) -> None:
    """Do what the module says."""
    bundle = build_bundle(home / "suite")
    async with ControllerService(f"unix:{socket}") as service:
        for name in names:
            service.fleet.expect(name * 2, name, local=False)
        if mode == "resume":
            data = await service.resume(read_past(home / "log", bundle=bundle.data))
            delivery = build_result(data, ()).delivery
            outcome = {
                "status": data.status,
                "events": [event.kind for event in data.events],
                **{name: getattr(delivery, name) for name in ("planned", "started", "dropped", "missed", "lost")},
                "completed": delivery.completed,
            }
            (home / "outcome.json").write_bytes(orjson.dumps(outcome))
            return
        project = load_project(home / "suite", environ={"TARGET": url})
        (home / "log").mkdir()
        request = RunRequest(
            run_id="killed",
            plan=build_plan(project, "fault"),
            spec=run_spec(project),
            bundle=bundle.data,
            bundle_info=BundleInfo(bundle.sha256),
            folder=home / "log",
            agents_wanted=len(names),
            lease_s=8.0,
        )
        await service.run(request)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5:]))
