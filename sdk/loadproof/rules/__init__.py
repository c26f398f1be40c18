"""Rules as data, and the small language their `require` is written in. Judging them is the report's work."""

from loadproof.rules.model import BaselineLimit, Comparison, Criterion, Rule, Severity, Unit, Waiver
from loadproof.rules.parser import (
    ERROR_CATEGORIES,
    METRICS,
    PERCENTILES,
    RuleSyntaxError,
    format_criterion,
    format_value,
    parse_require,
)

__all__ = [
    "ERROR_CATEGORIES",
    "METRICS",
    "PERCENTILES",
    "BaselineLimit",
    "Comparison",
    "Criterion",
    "Rule",
    "RuleSyntaxError",
    "Severity",
    "Unit",
    "Waiver",
    "format_criterion",
    "format_value",
    "parse_require",
]
