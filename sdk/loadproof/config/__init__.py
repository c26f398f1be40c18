"""Reads and checks a suite's folder and freezes a profile into a plan. Tells every mistake at once; starts nothing."""

from loadproof.config.build import build_plan, build_plans, rules_for, run_spec, secret_values
from loadproof.config.carrying import rule_warnings
from loadproof.config.problems import ConfigErrors, ConfigProblem
from loadproof.config.profiles import ProfileConfig
from loadproof.config.project import CONFIG_NAME, EnvironmentConfig, Project, load_project
from loadproof.config.units import UnitError, format_duration, format_rate, parse_duration, parse_rate

__all__ = [
    "CONFIG_NAME",
    "ConfigErrors",
    "ConfigProblem",
    "EnvironmentConfig",
    "ProfileConfig",
    "Project",
    "UnitError",
    "build_plan",
    "build_plans",
    "format_duration",
    "format_rate",
    "load_project",
    "parse_duration",
    "parse_rate",
    "rule_warnings",
    "rules_for",
    "run_spec",
    "secret_values",
]
