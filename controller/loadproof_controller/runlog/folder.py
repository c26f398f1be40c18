"""The names of the files of a log, and which of them there are.

    run.log                  the segment that is written to
    run-000003.log           segment 3, complete
    run-000003.checkpoint    what segments 1 to 3 said
    run-000002.history       the timeline of checkpoints 2 and later, as far as each says

Segments and checkpoints are numbered alike, from 1: checkpoint 3 was begun when segment 3 was complete.
"""

from __future__ import annotations

import re
from pathlib import Path

LOG_NAME = "run.log"
_NUMBERED = re.compile(r"run-([0-9]{6,9})\.(log|checkpoint|history)")


def segment(folder: Path, number: int) -> Path:
    """Return the path of a complete segment."""
    return folder / f"run-{number:06}.log"


def checkpoint(folder: Path, number: int) -> Path:
    """Return the path of a checkpoint."""
    return folder / f"run-{number:06}.checkpoint"


def history(folder: Path, number: int) -> Path:
    """Return the path of a history, by the checkpoint it began with."""
    return folder / f"run-{number:06}.history"


def numbers(folder: Path, kind: str) -> list[int]:
    """Return the numbers of the files of a kind (`log`, `checkpoint` or `history`) in `folder`, rising."""
    found = (_NUMBERED.fullmatch(path.name) for path in folder.glob(f"run-*.{kind}"))
    return sorted(int(match[1]) for match in found if match is not None)


def has_log(folder: Path) -> bool:
    """Say whether there is anything of a log in `folder`."""
    return (folder / LOG_NAME).exists() or bool(numbers(folder, "log") or numbers(folder, "checkpoint"))
