"""Prints what `make bench` and the settings' benchmark found as the tables of docs/explanation/performance.md.

python -m benchmarks.page [ENGINE_JSON [SETTINGS_JSON]]
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks import results, settings

Entry = dict[str, Any]


def middle(row: Entry, name: str) -> float | None:
    """Return the median of something that was seen beside a row's values."""
    seen = row["extra"].get(name)
    return statistics.median(seen) if seen else None


def shown(value: float | None, form: str = ",.1f") -> str:
    """Return a cell."""
    return "" if value is None else format(value, form)


def line(*cells: str) -> str:
    """Return a row of a table."""
    return "| " + " | ".join(cells) + " |"


def table(head: tuple[str, ...], rows: list[str]) -> str:
    """Return a table, or nothing without rows."""
    return "\n".join([line(*head), "|" + "---|" * len(head), *rows, ""]) if rows else ""


def closed(rows: list[Entry]) -> str:
    """CPU a request where users go round and round."""
    chosen = [row for row in rows if row["unit"] == "CPU us/request" and not row["case"].startswith("open")]
    limits = {row["case"]: row["median"] for row in chosen if row["contender"] == "wrk"}
    lines = []
    for row in chosen:
        if row["missing"]:
            lines.append(line(row["case"], row["contender"], "missing", row["missing"], "", ""))
            continue
        limit, busy = limits.get(row["case"]), row["extra"].get("busy", [])
        spread = f"{min(row['values']):.1f}..{max(row['values']):.1f}"
        times = "" if not limit else f"{row['median'] / limit:.1f}"
        lines.append(
            line(
                row["case"],
                row["contender"],
                shown(row["median"]),
                spread,
                times,
                f"{sum(map(bool, busy))}/{len(busy)}",
            )
        )
    return table(("case", "contender", "median", "min..max", "x wrk", "flagged"), lines)


def opened(rows: list[Entry]) -> str:
    """Fixed rates."""
    lines = []
    for row in rows:
        if not row["case"].startswith("open"):
            continue
        if row["missing"]:
            lines.append(line(row["case"], row["contender"], f"missing: {row['missing']}", *[""] * 5))
            continue
        lines.append(
            line(
                row["case"],
                row["contender"],
                shown(row["median"]),
                shown(middle(row, "per_s"), ",.0f"),
                shown(middle(row, "p99_ms")),
                shown(middle(row, "late_p99_ms"), ",.2f"),
                shown(middle(row, "not_started"), ",.0f"),
                shown(middle(row, "unaccounted"), ",.0f"),
            )
        )
    head = ("case", "contender", "CPU us a request", "achieved, per s", "own p99, ms", "start lateness p99, ms")
    return table((*head, "not started", "unaccounted"), lines)


def frozen(rows: list[Entry]) -> str:
    """Who tells the truth about a freeze."""
    lines = []
    for row in rows:
        if row["case"] != "2 s freeze":
            continue
        if row["missing"]:
            lines.append(line(row["contender"], f"missing: {row['missing']}", *[""] * 4))
            continue
        pairs = [f"{shown(middle(row, f'p{p}_ms'))} ({shown(middle(row, f'true_p{p}_ms'))})" for p in (50, 95)]
        on_time = middle(row, "on_time")
        lines.append(
            line(
                row["contender"],
                shown(middle(row, "per_s"), ",.0f"),
                shown(on_time, ".0%"),
                *pairs,
                f"{shown(row['median'])} ({shown(middle(row, 'true_p99_ms'))})",
            )
        )
    head = ("contender", "requests a second", "sent within 100 ms of its time")
    return table((*head, "own p50 (true), ms", "own p95 (true), ms", "own p99 (true), ms"), lines)


def goals(data: Entry) -> str:
    """What was to be reached."""
    lines = [
        line(one["goal"], f"{one['limit']:.3g}", "-" if one["found"] is None else f"{one['found']:.3g}", one["verdict"])
        for one in data["goals"]
    ]
    return table(("figure", "to reach", "found", ""), lines)


def compared(rows: list[Entry]) -> str:
    """Settings in pairs."""
    lines = [
        line(
            row["group"], row["setting"], f"{row['ratio']:.3f}", f"{row['low']:.3f}..{row['high']:.3f}", row["verdict"]
        )
        for row in rows
    ]
    return table(("load", "setting", "CPU a request, x", "95 % interval", ""), lines)


def main(arguments: list[str]) -> int:
    """Print what there is."""
    engine = Path(arguments[0]) if arguments else results.FILE
    measured = Path(arguments[1]) if len(arguments) > 1 else settings.FILE
    data = json.loads(engine.read_text(encoding="utf-8"))
    print(f"Machine: {data['machine']}. Settings: {data['settings']}. Versions: {data['versions']}.\n")
    for part in (closed(data["rows"]), opened(data["rows"]), frozen(data["rows"]), goals(data)):
        print(part)
    if measured.exists():
        print(compared(json.loads(measured.read_text(encoding="utf-8"))["rows"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
