"""The highest load at which rules hold: which load to try next, and what the tries together mean."""

from loadproof_report.capacity.render import AGAIN, capacity_json, capacity_markdown
from loadproof_report.capacity.search import CapacitySearch, Conclusion, Limits, Outcome, Step, step_of

__all__ = [
    "AGAIN",
    "CapacitySearch",
    "Conclusion",
    "Limits",
    "Outcome",
    "Step",
    "capacity_json",
    "capacity_markdown",
    "step_of",
]
