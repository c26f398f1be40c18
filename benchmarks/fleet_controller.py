"""The controller of the fleet benchmark: a real one in a process of its own.

    python -m benchmarks.fleet_controller FOLDER RELAYS AGENTS SECONDS SAMPLES [PROFILE]

Prints its address, runs one plan on that many simulated agents, prints what it used and merged as JSON. A file named
PROFILE gets the main thread's profile; such a run's times say nothing.
"""

from __future__ import annotations

import asyncio
import cProfile
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.fleet_agents import agent_name
from benchmarks.fleet_load import FleetLoad
from benchmarks.fleet_relay import relay_name
from benchmarks.machine import resident_bytes
from loadproof.histogram.counts import checksum
from loadproof.plan import RunSpec
from loadproof_controller import collector
from loadproof_controller.relays.server import RelayServicer
from loadproof_controller.request import Progress, RunRequest
from loadproof_controller.service import ControllerService
from loadproof_report.rundata import BundleInfo, RunData

BUNDLE = b"PK-bundle"


def cpu_s() -> float:
    """Return user and system time of this process, all threads, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bytes_in(folder: Path) -> int:
    """Return the size of the files of a log together."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


class Readings:
    """What the process has used at each second of the load."""

    def __init__(self, log: Path, pid: int) -> None:
        self._log, self._pid = log, pid
        self.rows: list[dict[str, float]] = []

    async def read(self, progress: Progress) -> None:
        """Take one reading while the load is on."""
        if progress.phase == "running" and (progress.elapsed_ns or 0) > 0:
            row = {
                "elapsed_s": (progress.elapsed_ns or 0) / 1e9, "at_s": time.monotonic(), "cpu_s": cpu_s(),
                "rss": resident_bytes(self._pid), "log_bytes": bytes_in(self._log),
            }  # fmt: skip
            self.rows.append(row)


def merged_of(data: RunData) -> dict[str, Any]:
    """Return what was counted, series by series."""
    rows = [
        [*key[:3], key.measure, histogram.n, histogram.total_us, checksum(histogram.counts())]
        for key, histogram in sorted(data.merged.series.items())
    ]
    return {
        "series": rows,
        "started": sum(delivery.started for delivery in data.merged.delivery.values()),
        "seconds": sum(stats.completed for stats in data.merged.seconds.values()),
        "deltas": data.merged.deltas,
    }


async def main(folder: Path, relays: int, load: FleetLoad) -> None:
    """Do what the module says."""

    readings = Readings(folder, os.getpid())
    service = ControllerService("127.0.0.1:0", also_serve=lambda server: RelayServicer(service, None).add_to(server))
    async with service:
        for index in range(relays):
            service.fleet.expect(relay_name(index) * 2, relay_name(index), local=False, relay=True)
        for index in range(load.agents):
            service.fleet.expect(agent_name(index) * 2, agent_name(index), local=False)
        print(json.dumps({"address": service.address}), flush=True)
        info = BundleInfo(hashlib.sha256(BUNDLE).hexdigest())
        request = RunRequest(
            "fleet", load.plan(), RunSpec("suite.py"), BUNDLE, info, folder, agents_wanted=load.agents,
            on_progress=readings.read, start_lead_s=2.0, attach_limit_s=120.0,
        )  # fmt: skip
        data = await service.run(request)
        used_s = cpu_s()
    events = sorted({event.kind for event in data.events})
    losses = [event.text for event in data.events if event.kind in {"agent_lost", "final_mismatch", "log_failed"}]
    told = {
        "status": data.status, "reason": data.abort_reason, "events": events, "losses": losses[:5],
        "rows": readings.rows, "cpu_end_s": used_s,
        "merged": merged_of(data), "rss_max": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "log_bytes": bytes_in(folder),
    }  # fmt: skip
    print(json.dumps(told), flush=True)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run on the loop that `loadproof controller` uses."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    collector.settle()  # as the command does
    place, many, *numbers = sys.argv[1:6]
    work = main(Path(place), int(many), FleetLoad(*map(int, numbers)))
    if len(sys.argv) > 6:
        profile = cProfile.Profile()
        profile.runcall(run, work)
        profile.dump_stats(sys.argv[6])
    else:
        run(work)
