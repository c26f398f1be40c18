"""Durations and rates of a configuration. They live with the plan, which rules and suites read too."""

from loadproof.plan.units import (
    UnitError,
    format_duration,
    format_rate,
    parse_duration,
    parse_rate,
)

__all__ = ["UnitError", "format_duration", "format_rate", "parse_duration", "parse_rate"]
