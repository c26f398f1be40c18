"""Does the comparison keep its promises on real runs? The example shop again and again, equal builds and slower ones.

    python -m benchmarks.comparison_shop record DIR [--runs 24] [--seconds 60] [--slower 14 18 24] [--each 4]
    python -m benchmarks.comparison_shop judge DIR [--out FILE]

`record` starts a fresh shop and a fresh run for each round, slower builds (payments take so many ms instead of 12)
dealt in between, and leaves each run's folder in DIR. `judge` compares what lies in DIR: every pair of equal builds,
every slower run with every equal one, and both with several baselines; as a person would see it, and as if no machine
had been full (a single baseline is not compared with then). Everything stays on loopback.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from loadproof.histogram import Histogram
from loadproof_report.comparison import ComparisonInput, compare, comparison_input
from loadproof_report.result import Change
from loadproof_report.stored_run import load_run

ROOT = Path(__file__).resolve().parent.parent
SHOP = ROOT / "examples" / "shop"
RESULTS = Path(__file__).resolve().parent / "results" / "comparison_shop.json"
EQUAL_MS = 12
PROFILE = """
[profiles.repeated]
arrivals = [
  {{ name = "warm", rate = "{rate}/s", for = "5s", warmup = true }},
  {{ name = "steady", rate = "{rate}/s", for = "{seconds}s" }},
]
mix = {{ "Search and open product details" = 5, "Fill the cart" = 2, "Checkout" = 3 }}
graceful_stop = "10s"
timeout = "10s"
"""
SLOWED = "Checkout"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
BASELINES = (1, 3, 5)
CHOICES = 5
"""Random sets of baselines tried for each run."""


@contextmanager
def shop(payment_ms: int) -> Iterator[str]:
    """Start a shop whose payments take so long; yield its address."""
    command = [sys.executable, str(SHOP / "server.py"), "--port", "0", "--until-eof", "--payment-ms", str(payment_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.stdin.close()
            process.wait(timeout=20)


def rounds(runs: int, slower: Sequence[int], each: int) -> list[int]:
    """Return the payment times of all runs in order: the slower ones dealt evenly between the equal ones."""
    planted = [ms for _ in range(each) for ms in slower]
    positions = {round((number + 0.5) * (runs + len(planted)) / max(len(planted), 1)) for number in range(len(planted))}
    rest = iter(planted)
    return [next(rest, EQUAL_MS) if at in positions else EQUAL_MS for at in range(runs + len(planted))]


def record(folder: Path, options: argparse.Namespace) -> int:
    """Run every round; a run that was not finished ends the recording."""
    folder.mkdir(parents=True, exist_ok=True)
    suite = folder / "suite"
    shutil.copytree(SHOP / "suite", suite, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    with (suite / "loadproof.toml").open("a", encoding="utf-8") as file:
        file.write(PROFILE.format(rate=options.rate, seconds=options.seconds))
    command = [str(Path(sys.executable).with_name("loadproof")), "run", str(suite), "--profile", "repeated"]
    command += ["--workers", "1", "--no-record"]
    for number, payment_ms in enumerate(rounds(options.runs, options.slower, options.each)):
        out = folder / f"run-{number:03d}-{payment_ms}ms"
        if out.exists():
            continue
        with shop(payment_ms) as url:
            environ = {**os.environ, "SHOP_URL": url, "BUILD_VERSION": f"payments {payment_ms} ms"}
            done = subprocess.run(
                [*command, "--out", str(out)], env=environ, cwd=folder, capture_output=True, text=True, check=False
            )
        load = os.getloadavg()[0]
        print(f"{out.name}: exit code {done.returncode}, load average {load:.1f}", file=sys.stderr, flush=True)
        if not (out / "run.json").exists():
            print(done.stderr[-2_000:], file=sys.stderr)
            return 1
        (out / "load.json").write_text(json.dumps({"load_average": round(load, 1)}))
    return 0


@dataclass(slots=True)
class Tally:
    """Comparisons of one kind: how many, how many alarmed, and which numbers did."""

    comparisons: int = 0
    alarmed: int = 0
    not_comparable: int = 0
    numbers: Counter[str] = field(default_factory=Counter)

    def add(self, alarms: Sequence[Change]) -> None:
        """Count one comparison and what it called a change."""
        self.comparisons += 1
        self.alarmed += bool(alarms)
        self.numbers.update(change.metric for change in alarms)


def judge(folder: Path, options: argparse.Namespace) -> int:
    """Compare everything in the folder, print a table, write the results."""
    runs: dict[int, list[ComparisonInput]] = {}
    loads = []
    for place in sorted(note.parent for note in folder.glob("run-*/load.json")):
        stored = load_run(place)
        assert stored.intervals is not None, stored.missing
        runs.setdefault(int(place.name.rpartition("-")[2].removesuffix("ms")), []).append(
            comparison_input(stored.result, stored.intervals)
        )
        loads.append(json.loads((place / "load.json").read_text())["load_average"])
    every = [run for same in runs.values() for run in same]
    facts = {"runs": len(every), "unsound": sum(bool(run.weak) for run in every)}
    facts["machine_full"] = sum(run.machine_full for run in every)
    data: dict[str, Any] = {"machine": describe(), "load_average": [min(loads), max(loads)], **facts}
    data["as shown"] = _tables(runs)
    free = {ms: [dataclasses.replace(run, machine_full=False) for run in same] for ms, same in runs.items()}
    data["as if no machine had been full"] = _tables(free)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(data, indent=2) + "\n")
    print(json.dumps(data, indent=2))
    return 0


def _tables(runs: Mapping[int, Sequence[ComparisonInput]]) -> dict[str, Any]:
    equal, chooser = runs[EQUAL_MS], random.Random(1)
    return {
        "equal": [_equal(equal, k, chooser) for k in BASELINES if len(equal) > k],
        "slower": [
            row
            for ms, slower in sorted(runs.items())
            for k in BASELINES
            if ms != EQUAL_MS and len(equal) >= k
            for row in _slower(equal, slower, ms, k, chooser)
        ],
    }


def _equal(equal: Sequence[ComparisonInput], k: int, chooser: random.Random) -> dict[str, Any]:
    """Compare each equal run with `k` others: all pairs for one, some random choices for each run for several."""
    tally = Tally()
    detectable = []
    for current, others in _choices(equal, equal, k, chooser):
        found = compare(current, others)
        if not found.comparable:
            tally.not_comparable += 1
            continue
        tally.add([change for change in found.changes if change.judgement in ("worse", "better")])
        detectable.append(found.minimum_detectable_change or 0.0)
    detectable.sort()
    return {
        "baselines": k,
        "comparisons": tally.comparisons,
        "alarmed": tally.alarmed,
        "not_comparable": tally.not_comparable,
        "share": tally.alarmed / max(tally.comparisons, 1),
        "numbers": dict(tally.numbers),
        "p95_detectable": detectable[len(detectable) // 2] if detectable else None,
    }


def _choices(
    current: Sequence[ComparisonInput], equal: Sequence[ComparisonInput], k: int, chooser: random.Random
) -> Iterator[tuple[ComparisonInput, list[ComparisonInput]]]:
    if k == 1:
        pairs = itertools.combinations(equal, 2) if current is equal else itertools.product(equal, current)
        yield from ((later, [earlier]) for earlier, later in pairs)
        return
    for run in current:
        others = [other for other in equal if other is not run]
        for _ in range(CHOICES):
            yield run, chooser.sample(others, k)


def _slower(
    equal: Sequence[ComparisonInput], slower: Sequence[ComparisonInput], ms: int, k: int, chooser: random.Random
) -> list[dict[str, Any]]:
    """Compare slower runs with `k` equal ones. A change counts as above the minimum by its size over all runs."""
    truth = {metric: _truth(slower, metric) / _truth(equal, metric) - 1 for metric in QUANTILES}
    above, found, all_found = Counter[str](), Counter[str](), Counter[str]()
    comparisons = 0
    for current, others in _choices(slower, equal, k, chooser):
        changes = compare(current, others).changes
        comparisons += bool(changes)
        for change in changes:
            if (change.transaction, change.step) != (SLOWED, "") or change.metric not in truth:
                continue
            seen = change.judgement == "worse"
            all_found[change.metric] += seen
            if change.detectable is not None and truth[change.metric] >= change.detectable:
                above[change.metric] += 1
                found[change.metric] += seen
    return [
        {
            "payment_ms": ms, "baselines": k, "metric": metric, "true_change": truth[metric],
            "comparisons": comparisons, "found": all_found[metric], "above_minimum": above[metric],
            "found_above_minimum": found[metric],
        }
        for metric in QUANTILES
    ]  # fmt: skip


def _truth(runs: Sequence[ComparisonInput], metric: str) -> float:
    """Return a number of the slowed transaction's response time over all runs together, in µs."""
    whole = Histogram()
    for run in runs:
        for key, cells in run.series.items():
            named = (key.transaction, key.step, key.outcome, key.measure) == (SLOWED, "", "ok", "response")
            if named and key.phase not in run.warmup:
                for counts in cells.values():
                    whole.add(counts)
    return float(whole.quantile(QUANTILES[metric]) or 1)


def main() -> int:
    """Read the command line, record or judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "judge"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=40)
    parser.add_argument("--slower", type=int, nargs="*", default=[16, 24, 40])
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    return record(options.folder, options) if options.what == "record" else judge(options.folder, options)


if __name__ == "__main__":
    sys.exit(main())
