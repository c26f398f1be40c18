"""All contenders in turn, several rounds; one that breaks is noted and the others go on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from benchmarks.cases import Cases, Measure
from benchmarks.measuring import ContenderFailed
from benchmarks.results import Row, Rows

FAILURES = (ContenderFailed, RuntimeError, OSError, ValueError, AssertionError, subprocess.SubprocessError)
"""What a contender, its process or what it printed can come to; the next one is measured all the same."""


def order(keys: list[tuple[str, str]], turn: int) -> list[tuple[str, str]]:
    """Return the order of round `turn`: case by case, each round beginning a case with another contender.

    So none of them always follows the same one.
    """
    by_case: dict[str, list[tuple[str, str]]] = {}
    for key in keys:
        by_case.setdefault(key[0], []).append(key)
    turned = []
    for group in by_case.values():
        cut = turn % len(group)
        turned += group[cut:] + group[:cut]
    return turned


def run(cases: Cases, rounds: int, keep: Callable[[Rows, int], None], tell: Callable[[str], None]) -> Rows:
    """Measure every case once a round, and `keep` what there is after each round.

    A contender that fails in every round is missing, with its last reason; one that failed in some says in how many.
    An interruption (Ctrl+C) ends the rounds; what was measured until then counts.
    """
    rows: Rows = {key: Row(*key) for key in cases}
    done = 0
    try:
        for turn in range(rounds):
            for key in order(list(cases), turn):
                row = rows[key]
                if row.missing or len(row.values) >= row.rounds_max:
                    continue
                new = _measured(row, cases[key])
                tell(f"round {turn + 1}/{rounds}  {' '.join(key):<32}{_latest(row, new=new)}")
            done = turn + 1
            keep(rows, done)
    except KeyboardInterrupt:
        tell(f"interrupted after {done} whole rounds")
    for row in rows.values():
        if not row.values and not row.missing:
            row.missing = row.refused[-1] if row.refused else "nothing was measured"
    keep(rows, done)
    return rows


def _measured(row: Row, measure: Measure) -> bool:
    """Take one reading; return whether there is a new value."""
    before = len(row.values)
    try:
        measure(row)
    except FAILURES as error:
        row.refused.append(f"{error}"[:200] or type(error).__name__)
    return len(row.values) > before


def _latest(row: Row, *, new: bool) -> str:
    if not new:
        return f"missing: {row.missing}" if row.missing else f"refused: {row.refused[-1]}"
    busy = row.extra.get("busy", [])
    return f"{row.values[-1]:9.1f} {row.unit}{'  (busy machine)' if busy and busy[-1] else ''}"
