"""The measured rows, what the engine is to reach, the table on stdout and the JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.noise import Noise

FILE = Path(__file__).resolve().parent / "results" / "engine.json"
OURS = "loadproof"


@dataclass
class Row:
    """One contender at one case: a value each round. `missing` says why there is none.

    `refused` says why readings were not taken. `extra` has what else was seen, a list each; `busy` in it is 1 where
    something else used the machine meanwhile.
    """

    case: str
    contender: str
    unit: str = "CPU us/request"
    values: list[float] = field(default_factory=list)
    missing: str = ""
    extra: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""
    refused: list[str] = field(default_factory=list)
    rounds_max: int = 1_000

    def add(self, value: float, noise: Noise | None = None, **extra: float | None) -> None:
        """Keep one round's value, how busy the machine was, and what else was seen."""
        self.values.append(value)
        if noise is not None:
            extra |= {"load": noise.load, "others": noise.others, "steal": noise.steal, "busy": float(noise.busy)}
        for name, seen in extra.items():
            if seen is not None:
                self.extra.setdefault(name, []).append(seen)

    @property
    def median(self) -> float | None:
        """The row's value."""
        return statistics.median(self.values) if self.values else None

    @property
    def remarks(self) -> list[str]:
        """What is to be known of the row's value."""
        busy, found = self.extra.get("busy", []), [self.note] if self.note else []
        if any(busy):
            found.append(f"{sum(map(bool, busy))} of {len(busy)} on a busy machine")
        if self.refused:
            found.append(f"{len(self.refused)} readings refused: {self.refused[-1]}")
        return found

    def middle(self, name: str) -> float | None:
        """The median of something else that was seen."""
        seen = self.extra.get(name)
        return statistics.median(seen) if seen else None


Rows = dict[tuple[str, str], Row]
_NOT_SHOWN = {"per_s", "used", "load", "others", "steal", "busy"}


@dataclass(frozen=True, slots=True)
class Goal:
    """`case` of ours, at most (or `at_least`) `limit`: times the row `of`, or absolute; `part` of `extra` if named."""

    text: str
    case: str
    limit: float
    of: tuple[str, str] | None = None
    part: str = ""
    at_least: bool = False

    def judge(self, rows: Rows) -> tuple[str, float | None]:
        """Return ("reached" | "not reached" | "unknown", the figure)."""
        mine = rows.get((self.case, OURS))
        value = None if mine is None else (mine.middle(self.part) if self.part else mine.median)
        if self.of is not None and value is not None:
            other = rows.get(self.of)
            base = None if other is None else other.median
            value = None if not base else value / base
        if value is None:
            return "unknown", None
        reached = value >= self.limit if self.at_least else value <= self.limit
        return ("reached" if reached else "not reached"), value


GOALS = (
    Goal("one step, one request, one check: times wrk", "one step", 3.0, ("one step", "wrk")),
    Goal("  times Locust FastHttpUser", "one step", 1 / 7, ("one step", "locust")),
    Goal("  times k6 with one check", "one step", 1 / 6, ("one step", "k6")),
    Goal("with a JSON field check: times wrk", "one step + JSON", 3.5, ("one step", "wrk")),
    Goal("1,000 users: times wrk", "1,000 users", 5.0, ("1,000 users", "wrk")),
    Goal("TLS: times wrk over TLS", "TLS", 3.5, ("TLS", "wrk")),
    Goal("  times aiohttp over TLS", "TLS", 1 / 5, ("TLS", "aiohttp")),
    Goal("five steps, JSON, row, think: times one step + JSON", "five steps", 1.5, ("one step + JSON", OURS)),
    Goal("open model, 1,000/s: p99 of lateness, ms", "open 1,000/s", 1.5, part="late_p99_ms"),
    Goal("open model, 5,000/s: p99 of lateness, ms", "open 5,000/s", 1.5, part="late_p99_ms"),
    Goal("open model, 10,000/s: p99 of lateness, ms", "open 10,000/s", 3.0, part="late_p99_ms"),
    Goal("  CPU us a start with its GET", "open 10,000/s", 20.0),
    Goal("  arrivals not accounted for", "open 10,000/s", 0.0, part="unaccounted"),
    Goal("a 2 s freeze: own p95, p99 off the truth, %", "2 s freeze", 5.0, part="off_percent"),
    Goal("10,000 connected idle users, MB", "idle users", 300.0),
    Goal("two workers: times one", "two workers", 1.85, at_least=True),
    Goal("recording, ns a sample", "recording", 100.0),
)


def table(rows: Rows, machine: Mapping[str, Any], versions: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Return everything as text: by case, in ratios to wrk at the same case, then what is to be reached."""
    place = f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['python']}"
    lines = [
        f"{place}, load before {machine['load_before']}; {settings['rounds']} rounds of {settings['seconds']:g} s",
        "",
        f"{'case':<18}{'contender':<12}{'median':>9}{'min':>9}{'max':>9}{'x wrk':>8}{'per s':>9}  unit, notes",
    ]
    for row in rows.values():
        if row.missing:
            lines.append(f"{row.case:<18}{row.contender:<12}  missing: {row.missing}")
            continue
        assert row.median is not None
        limit = rows.get((row.case, "wrk"))
        ratio = ""
        if limit is not None and limit.median and row.unit.startswith("CPU"):
            ratio = f"{row.median / limit.median:.2f}"
        per_s = row.middle("per_s")
        shown = f"{per_s:,.0f}" if per_s is not None else ""
        others = [f"{name} {row.middle(name):,.3g}" for name in row.extra if name not in _NOT_SHOWN]
        notes = ", ".join([row.unit, *others, *row.remarks])
        lines.append(
            f"{row.case:<18}{row.contender:<12}{row.median:>9.1f}{min(row.values):>9.1f}{max(row.values):>9.1f}"
            f"{ratio:>8}{shown:>9}  {notes}"
        )
    lines += ["", "to reach:"]
    for goal in GOALS:
        if goal.case not in {case for case, _ in rows}:
            continue
        verdict, value = goal.judge(rows)
        sign = ">=" if goal.at_least else "<="
        found = "-" if value is None else f"{value:.3g}"
        lines.append(f"  {goal.text:<54}{sign} {goal.limit:<7.3g}{found:>8}  {verdict}")
    lines += ["", _noise_line(rows)]
    lines += ["versions: " + "; ".join(f"{name}: {version}" for name, version in versions.items())]
    return "\n".join(lines)


def _noise_line(rows: Rows) -> str:
    readings = [one for row in rows.values() for one in row.extra.get("busy", [])]
    others = [one for row in rows.values() for one in row.extra.get("others", [])]
    if not readings:
        return "how busy the machine was is not known of these"
    return (
        f"{sum(map(bool, readings))} of {len(readings)} readings were taken while something else used the machine "
        f"(cores used by others: median {statistics.median(others):.2f}, most {max(others):.2f})"
    )


def write(
    rows: Rows, machine: Mapping[str, Any], versions: Mapping[str, str], settings: Mapping[str, Any], out: Path
) -> None:
    """Write the JSON."""
    goals = []
    for goal in GOALS:
        verdict, value = goal.judge(rows)
        goals.append({"goal": goal.text.strip(), "limit": goal.limit, "found": value, "verdict": verdict})
    data = {
        "schema": "loadproof.bench/2", "machine": machine, "settings": settings, "versions": versions,
        "rows": [{**asdict(row), "median": row.median} for row in rows.values()], "goals": goals,
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
