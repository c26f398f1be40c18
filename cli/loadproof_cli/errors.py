"""Errors of the command line.

CliError
├── UsageProblem           what was asked for makes no sense: exit code 2, nothing was started
├── Interrupted            a person ended it before anything was started: exit code 4
└── InfrastructureProblem  no agents, set-up failed, disk full: exit code 5
"""

from __future__ import annotations

from loadproof_cli.exitcodes import ExitCode


class CliError(Exception):
    """Ends the command with `exit_code`. `text` says what happened, to what, what to do; `hint` is one more line."""

    exit_code = ExitCode.INFRASTRUCTURE

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


class UsageProblem(CliError):
    """Something asked for makes no sense; nothing was started."""

    exit_code = ExitCode.USAGE


class Interrupted(CliError):
    """A person ended the command before anything was started."""

    exit_code = ExitCode.ABORTED_BY_PERSON


class InfrastructureProblem(CliError):
    """The machinery could not do what was asked for."""

    exit_code = ExitCode.INFRASTRUCTURE
