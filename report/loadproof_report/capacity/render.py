"""A search as files: `capacity.json` for scripts, `capacity.md` for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import orjson

from loadproof_report.capacity.search import CapacitySearch
from loadproof_report.text import clean, count_text, duration_text, rate_text

SCHEMA_ID: Final = "loadproof.capacity/1"
OUTCOMES: Final = {"holds": "holds", "broken": "broken", "unproven": "proves nothing", "stopped": "stopped"}
AGAIN: Final = {"holds": " again", "broken": " when tried again"}
"""What is added where a step was to confirm a load that had held."""


def capacity_json(search: CapacitySearch, *, suite: str, profile: str, build: str, rules: Sequence[str]) -> bytes:
    """Return the bytes of capacity.json: what was asked, every step in order, the conclusion."""
    fields: dict[str, Any] = {
        "schema": SCHEMA_ID,
        "suite": suite,
        "profile": profile,
        "build": build,
        "rules": list(rules),
        "limits": dataclasses.asdict(search.limits),
        "conclusion": dataclasses.asdict(search.conclusion()),
        "steps": [dataclasses.asdict(step) for step in search.steps],
    }
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2) + b"\n"


def capacity_markdown(search: CapacitySearch, *, suite: str, profile: str, build: str, rules: Sequence[str]) -> str:
    """Return the search as a note for people: the answer first, then each step with the rule that broke."""
    lines = [f"# Capacity of {_cell(suite)}, profile {_cell(profile)}", "", _cell(search.conclusion().text), ""]
    lines += [f"Build {_cell(build) or '-'}. Rules:", "", *(f"- {_cell(rule)}" for rule in rules), ""]
    lines += ["| load | rules | slowest p95 | completed | why | run |", "|---:|---|---:|---:|---|---|"]
    for step in sorted(search.steps, key=lambda step: step.load_per_s):
        outcome = OUTCOMES[step.outcome] + (AGAIN.get(step.outcome, "") if step.confirms else "")
        why = step.broken[0] if step.broken else step.reason
        cells = (
            rate_text(step.load_per_s), outcome, duration_text(step.slowest_p95_us), count_text(step.completed), why,
            step.run_id,
        )  # fmt: skip
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Return text that is neither markup nor the end of a table cell."""
    safe = clean(text, 500)
    for char in "\\`*_|[]<>":
        safe = safe.replace(char, f"\\{char}" if char not in "<>" else {"<": "&lt;", ">": "&gt;"}[char])
    return safe
