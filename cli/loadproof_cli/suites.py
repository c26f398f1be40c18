"""Finding a suite, its profile and its plan for the commands that need one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from loadproof.config import Project, load_project
from loadproof_cli.console import Console
from loadproof_cli.errors import UsageProblem
from loadproof_cli.packages import installer

SuiteArgument = Annotated[
    Path, typer.Argument(metavar="SUITE", help="The suite's folder, with loadproof.toml in it.", show_default="here")
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", "-p", metavar="NAME", help="The load profile; not needed where there is only one."),
]

AllowRequirementsOption = Annotated[
    bool,
    typer.Option("--allow-requirements", help="Install the packages the suite's lock file names, for its use only."),
]

CONFIG_FILE = "loadproof.toml"


def load(console: Console, suite: Path, *, allow_requirements: bool = False) -> Project:
    """Load and check the suite at `suite`, with its packages installed where that is allowed.

    Raises UsageProblem, ConfigErrors with everything that is wrong, or InfrastructureProblem where its packages cannot
    be installed.
    """
    folder = console.resolve(suite)
    if folder.name == CONFIG_FILE and folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        if folder.is_file():
            raise UsageProblem(f"{suite} is a file; SUITE is the folder with {CONFIG_FILE}.")
        raise UsageProblem(f"{suite}: there is no such folder.")
    if not (folder / CONFIG_FILE).is_file():
        raise UsageProblem(
            f"{suite}: no {CONFIG_FILE} in this folder, so it is not a suite.",
            hint="`loadproof init DIR` makes a new one.",
        )
    install = installer(console) if allow_requirements else None
    return load_project(folder, environ=console.environ, install=install)


def choose_profile(project: Project, wanted: str | None) -> str:
    """Return the profile to run: the named one, the only one, or `smoke` where nothing was named."""
    names = list(project.profiles)
    if not names:
        raise UsageProblem(f"{CONFIG_FILE} has no profile; add for example [profiles.smoke].")
    if wanted is None:
        if len(names) == 1:
            return names[0]
        if "smoke" in names:
            return "smoke"
        raise UsageProblem(f"which profile? --profile {' | '.join(names)}")
    if wanted in names:
        return wanted
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(names)}"
    raise UsageProblem(f'unknown profile "{wanted}" ({hint})')
