"""`loadproof check`: everything that is wrong with a suite, or what it would do."""

from __future__ import annotations

from pathlib import Path

import typer

from loadproof.config import build_plans, rule_warnings, rules_for
from loadproof_cli.console import console_of
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.planview import plan_view
from loadproof_cli.suites import AllowRequirementsOption, ProfileOption, SuiteArgument, load

EXAMPLES = """[bold]Examples[/]

loadproof check                       the suite in this folder, every profile

loadproof check shop -p release       one profile of the suite in shop/
"""


def check(
    context: typer.Context,
    suite: SuiteArgument = Path(),
    profile: ProfileOption = None,
    allow_requirements: AllowRequirementsOption = False,
) -> int:
    """Validate a suite and print its plan: phases, arrivals, data rows, rules. Nothing is started."""
    from loadproof_cli.run_locally import packed
    from loadproof_cli.suites import choose_profile

    console = console_of(context)
    project = load(console, suite, allow_requirements=allow_requirements)
    names = list(project.profiles) if profile is None else [choose_profile(project, profile)]
    plans = list(build_plans(project, names).items())
    today = console.now().date().isoformat()
    packed(project)
    for name, plan in plans:
        heading = f"{project.suite.name}, profile {name}"
        console.result(plan_view(plan, rules_for(project, plan), heading=heading, today=today))
    of_rules = (warning for _, plan in plans for warning in rule_warnings(project, plan))
    warnings = tuple(dict.fromkeys((*project.warnings, *of_rules)))
    for warning in warnings:
        console.say(f"warning: {console.shortened(warning)}", style="yellow")
    if not plans:
        choose_profile(project, None)
    profiles = f"{len(plans)} profile{'s' if len(plans) != 1 else ''}"
    found = f"no mistake, {len(warnings)} warning{'s' if len(warnings) != 1 else ''}" if warnings else "nothing wrong"
    console.line(f"{project.suite.name}: {profiles} checked, {found}.")
    return ExitCode.OK
