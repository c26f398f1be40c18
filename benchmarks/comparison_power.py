"""Does the comparison keep its promises? Seeded simulation: false alarms on equal builds, power on planted changes.

    python -m benchmarks.comparison_power [--pairs 400] [--planted 60] [--seed 20261129] [--only WORLD ...]

Prints two tables and writes benchmarks/results/comparison_power.json. Exit code 1 when a promise is broken: over 5 % of
comparisons of equal builds show any change, or so few regressions of the printed minimum detectable size are found that
90 % is out of the question. Seeds that the method was tuned on (1, and those of the tests) are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from loadproof_report.comparison import compare

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from simulated_runs import Change, World, simulated

RESULTS = Path(__file__).resolve().parent / "results" / "comparison_power.json"
SIZES = (0.5, 0.75, 1.0, 1.25)
"""Planted changes, in printed minimum detectable changes."""
METRICS = ("p50", "p95", "success_rate")
ALARMS_MAX = 0.05
FOUND_MIN = 0.9
_PLANTED_SEEDS = 500_000_000

MANY = tuple(f"T{i}" for i in range(6))
CASES: dict[str, tuple[World, int]] = {
    "run effect 3 %, shared": (World(), 1),
    "run effect 3 %, own of each transaction": (World(shared_spread=False), 1),
    "strong autocorrelation (0.85)": (
        World(seconds=1200, correlation=0.85, interval_spread=0.12, steps=()), 1,
    ),
    "few samples, heavy tail": (World(per_second=8, spread=1.0, steps=()), 1),
    "many transactions": (World(transactions=MANY, per_second=10, shared_spread=False, steps=()), 1),
    "no run effect": (World(run_spread=0.0, steps=()), 1),
    "run effect 3 %, shared, 5 baselines": (World(steps=()), 5),
    "run effect 4 %, shared, 5 baselines": (World(run_spread=0.04, steps=()), 5),
    "run effect 4 %, own of each, 3 baselines": (World(run_spread=0.04, shared_spread=False, steps=()), 3),
}  # fmt: skip


@dataclass(slots=True)
class Row:
    """What one world showed: alarms among comparisons of equal builds, and of planted changes how many were found."""

    world: World
    baselines: int
    pairs: int = 0
    alarmed: int = 0
    p95_detectable: float = 0.0
    planted: int = 0
    found: dict[str, dict[float, int]] = field(default_factory=dict)

    @property
    def alarms_at_most(self) -> float:
        """The upper end of the exact 95 % binomial interval of the share of comparisons that alarm."""
        return binomial_upper(self.alarmed, self.pairs)

    @property
    def broken(self) -> bool:
        """Whether a promise was broken: alarms as counted, finds beyond what chance explains."""
        finds = [binomial_upper(sizes[1.0], self.planted) for sizes in self.found.values()]
        return self.alarmed > ALARMS_MAX * self.pairs or any(share < FOUND_MIN for share in finds)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {**dataclasses.asdict(self), "alarms_at_most": self.alarms_at_most}


def binomial_upper(hits: int, n: int, confidence: float = 0.95) -> float:
    """Return the upper end of the exact two-sided binomial interval (Clopper and Pearson) of `hits` in `n`."""
    low, high = hits / max(n, 1), 1.0
    for _ in range(60):
        p = (low + high) / 2
        if sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(hits + 1)) > (1 - confidence) / 2:
            low = p
        else:
            high = p
    return high


def false_alarms(row: Row, pairs: int, seed: int) -> None:
    """Compare runs of one build."""
    detectable = []
    for pair in range(pairs):
        first = seed * 1_000_003 + pair * (row.baselines + 1)
        runs = [simulated(row.world, first + offset) for offset in range(row.baselines + 1)]
        result = compare(runs[0], runs[1:], seed=seed)
        assert result.comparable, result.obstacles
        row.alarmed += any(change.judgement in {"better", "worse"} for change in result.changes)
        detectable.append(result.minimum_detectable_change or 0.0)
    row.pairs = pairs
    row.p95_detectable = sorted(detectable)[pairs // 2]


def power(row: Row, planted: int, seed: int) -> None:
    """Plant changes of sizes around what the comparison says it can see; count how many are found, by metric."""
    row.found = {metric: dict.fromkeys(SIZES, 0) for metric in METRICS}
    name = row.world.transactions[-1]
    for pair in range(planted):
        first = _PLANTED_SEEDS + seed * 1_000_003 + pair * (row.baselines + 1)
        others = [simulated(row.world, first + offset) for offset in range(1, row.baselines + 1)]
        clean = compare(simulated(row.world, first), others, seed=seed)
        for metric, sizes in row.found.items():
            least = next(c.detectable for c in clean.changes if (c.transaction, c.step, c.metric) == (name, "", metric))
            assert least is not None
            for size in SIZES:
                change = Change(name, slower=1 + size * least)
                if metric == "success_rate":
                    change = Change(name, failures=size * least)
                seen = compare(simulated(row.world, first, change), others, seed=seed)
                sizes[size] += any(
                    (c.transaction, c.step, c.metric, c.judgement) == (name, "", metric, "worse") for c in seen.changes
                )
    row.planted = planted


def main() -> int:
    """Run every world: first all false alarms, then power."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--planted", type=int, default=60)
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--only", nargs="*", metavar="WORLD", help="worlds whose names begin so")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = {
        name: Row(world, baselines)
        for name, (world, baselines) in CASES.items()
        if not options.only or any(name.startswith(part) for part in options.only)
    }

    def keep() -> None:
        options.out.parent.mkdir(exist_ok=True)
        facts = {"pairs": options.pairs, "planted": options.planted, "seed": options.seed, "machine": describe()}
        table = [{"name": name, **row.to_dict()} for name, row in rows.items()]
        options.out.write_text(json.dumps({**facts, "rows": table}, indent=2) + "\n")

    print(f"{'world':42} {'alarms':>12} {'share':>7} {'at most':>8} {'MDC p95':>8}")
    for name, row in rows.items():
        started = time.process_time()
        false_alarms(row, options.pairs, options.seed)
        print(
            f"{name:42} {row.alarmed:5d} of {row.pairs:3d} {row.alarmed / row.pairs:7.1%} {row.alarms_at_most:8.1%} "
            f"{row.p95_detectable:8.1%}  ({time.process_time() - started:.0f} s)",
            flush=True,
        )
        keep()
    if options.planted:
        print(
            f"\nfound of {options.planted}, planted at {', '.join(f'{size:g}' for size in SIZES)} x the minimum printed"
        )
        for name, row in rows.items():
            power(row, options.planted, options.seed)
            shares = [
                " ".join(f"{hits / row.planted:4.0%}" for hits in row.found[metric].values()) for metric in METRICS
            ]
            print(f"{name:42} median {shares[0]}   p95 {shares[1]}   success rate {shares[2]}", flush=True)
            keep()
    return 1 if any(row.broken for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
