"""`make bench-fleet`: one controller under a fleet of simulated agents over real gRPC.

    python -m benchmarks.fleet_scale [--agents 200 1000] [--samples 20 100 1000] [--relays 0 2] [--seconds 16]
        [--repeats 3] [--out FILE]

Each second every agent counts `samples` samples in each of 50 series. Controller CPU is user and system time of its
process, from `getrusage`: in whole seconds of the load (`cpu_window`), and in all from the start of the load until
every agent's part is complete and acked, divided by the seconds of load (`cpu`): there a busy machine's backlog is not
left out, nor what the end of a run costs once. The median of the repeats is told. Fails when a sample is missing or
counted twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import IO, Any

from benchmarks.fleet_load import SERIES, VARIANTS, FleetLoad, Totals, prebuild
from benchmarks.machine import describe
from loadproof.metrics import add_totals
from loadproof_controller.cadence import snapshot_ms_for
from loadproof_controller.fleet import RELAYED_A_STREAM

PROCESSES = 2
LIMIT_S = 300.0
LEAVE_LIMIT_S = 30.0
VERSIONS = ("grpcio", "protobuf", "numpy", "msgpack")


class FleetFailed(Exception):
    """The run did not end well or numbers differ; the text says what."""


@dataclass(frozen=True, slots=True)
class FleetReading:
    """What one run showed. CPU in seconds a second, acks in milliseconds, `load` of the machine when it was over.

    `cpu` is over the whole run, `cpu_window` the median of its seconds, `cpu_end_s` what came after the last of them.
    """

    agents: int
    samples: int
    relays: int
    snapshot_ms: int
    seconds: int
    cpu: float
    relay_cpu_s: float
    cpu_window: float
    cpu_end_s: float
    rss_max: int
    ack_p50_ms: float
    ack_p99_ms: float
    log_bytes: int
    log_bytes_per_s: float
    blocks: int
    load: float


def measure(load: FleetLoad, *, relays: int = 0, profile: Path | None = None) -> FleetReading:
    """Run a fleet once, directly or by `relays`. Raises `FleetFailed` when anything is lost, doubled or refused."""
    with tempfile.TemporaryDirectory(prefix="lp-fleet") as folder:
        numbers = [str(load.agents), str(load.seconds), str(load.samples)]
        extra = [str(profile)] if profile else []
        processes = [_start("fleet_controller", folder, str(relays), *numbers, *extra)]
        between: list[subprocess.Popen[str]] = []
        try:
            address = json.loads(_line(processes[0]))["address"]
            between += [_start("fleet_relay", address, str(index)) for index in range(relays)]
            if between:
                address = ",".join(json.loads(_line(relay))["address"] for relay in between)
            each = -(-load.agents // PROCESSES)
            for first in range(0, load.agents, each):
                count = min(each, load.agents - first)
                processes.append(_start("fleet_agents", address, str(first), str(count), *numbers))
            told = json.loads(processes[0].communicate(timeout=LIMIT_S)[0])
            _check_end(told)
            seen = [json.loads(process.communicate(timeout=LEAVE_LIMIT_S)[0]) for process in processes[1:]]
            relayed = [json.loads(relay.communicate("", timeout=LEAVE_LIMIT_S)[0]) for relay in between]
        finally:
            for process in [*processes, *between]:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    every_ms = snapshot_ms_for(1_000, relays + load.agents // RELAYED_A_STREAM if relays else load.agents)
    _check(load, every_ms, told, seen)
    return _reading(load, every_ms, told, seen, relayed)


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    output: IO[str] = process.stdout
    return output.readline()


def expected(load: FleetLoad, every_ms: int) -> Totals:
    """Return what the whole fleet counted, worked out without it."""
    totals = Totals()
    for variant in range(VARIANTS):
        mine = prebuild(load, every_ms, variant).totals
        for _ in range(len(range(variant, load.agents, VARIANTS))):
            totals = add_totals(totals, mine)
    return totals


def _check_end(told: dict[str, Any]) -> None:
    if told["status"] != "finished" or told["losses"]:
        raise FleetFailed(f"the run ended as {told['status']}: {told['reason']}; {told['losses']}")


def _check(load: FleetLoad, every_ms: int, told: dict[str, Any], seen: list[dict[str, Any]]) -> None:
    if disconnects := sum(entry["disconnects"] for entry in seen):
        raise FleetFailed(f"{disconnects} streams broke")
    merged = told["merged"]
    wanted = {
        (*key[:3], key.measure): (totals.n, totals.total, totals.checksum)
        for key, totals in expected(load, every_ms).items()
    }
    got = {tuple(row[:4]): tuple(row[4:]) for row in merged["series"]}
    wrong = [key for key in {*wanted, *got} if wanted.get(key) != got.get(key)]
    if wrong:
        raise FleetFailed(f"{len(wrong)} of {len(wanted)} series differ, for example {wrong[0]}")
    started = load.agents * load.seconds * load.samples * len({key[0] for key in wanted})
    if (merged["started"], merged["seconds"]) != (started, started):
        raise FleetFailed(f"{merged['started']} and {merged['seconds']} transactions instead of {started}")


def _reading(
    load: FleetLoad, every_ms: int, told: dict[str, Any], seen: list[dict[str, Any]], relayed: list[dict[str, Any]]
) -> FleetReading:
    rows = told["rows"]
    if not rows or rows[0]["elapsed_s"] > every_ms / 1_000:
        raise FleetFailed("the first reading came after the first snapshots: the machine is too busy")
    acks = sorted(ms for entry in seen for ms in entry["acks_ms"])
    used_s = told["cpu_end_s"] - rows[0]["cpu_s"]
    windows = [
        (after["cpu_s"] - before["cpu_s"]) / (after["at_s"] - before["at_s"]) for before, after in pairwise(rows)
    ]
    return FleetReading(
        agents=load.agents, samples=load.samples, relays=len(relayed),
        relay_cpu_s=round(sum(relay["cpu_s"] for relay in relayed), 2), snapshot_ms=every_ms, seconds=load.seconds,
        cpu=round(used_s / load.seconds, 3), cpu_window=round(median(windows or [0.0]), 3),
        cpu_end_s=round(told["cpu_end_s"] - rows[-1]["cpu_s"], 3), rss_max=told["rss_max"],
        ack_p50_ms=round(acks[len(acks) // 2], 1), ack_p99_ms=round(acks[len(acks) * 99 // 100], 1),
        log_bytes=told["log_bytes"], log_bytes_per_s=round((told["log_bytes"] - rows[0]["log_bytes"]) / load.seconds),
        blocks=told["merged"]["deltas"], load=round(os.getloadavg()[0], 1),
    )  # fmt: skip


def told_of(runs: list[FleetReading]) -> dict[str, Any]:
    """Return the run of median `cpu`, and what every run had."""
    ordered = sorted(runs, key=lambda run: run.cpu)
    every = [{"cpu": run.cpu, "cpu_window": run.cpu_window, "load": run.load} for run in runs]
    return {**asdict(ordered[len(ordered) // 2]), "runs": every}


def main() -> int:
    """Measure as the command line says; 1 when a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[200, 1_000])
    parser.add_argument("--samples", type=int, nargs="+", default=[20, 100, 1_000])
    parser.add_argument("--relays", type=int, nargs="+", default=[0], help="0: directly")
    parser.add_argument("--seconds", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    readings, failed = [], False
    machine = {**describe(), **{name: version(name) for name in VERSIONS}}
    print(json.dumps(machine))
    for samples, agents, relays in product(options.samples, options.agents, options.relays):
        load = FleetLoad(agents, options.seconds, samples)
        runs = []
        for _ in range(options.repeats):
            try:
                runs.append(measure(load, relays=relays, profile=options.profile))
            except (FleetFailed, subprocess.TimeoutExpired) as error:
                failed = True
                print(f"{agents} agents, {SERIES} series, {samples} samples, {relays} relays: {error}", flush=True)
        if runs:
            readings.append(told_of(runs))
            print(json.dumps(readings[-1]), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"machine": machine, "readings": readings}, indent=2) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
