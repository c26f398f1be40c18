"""What the command's exit code says. Documented in docs/reference/cli.md; Python's own 1 never means anything else."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command; 0, 1 and 3 come from a run's verdict and `--fail-on`."""

    OK = 0
    NO_GO = 1
    USAGE = 2
    NOT_PROVEN = 3
    ABORTED_BY_PERSON = 4
    INFRASTRUCTURE = 5
