"""Where runs are written to and found again."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from loadproof_cli.console import Console
from loadproof_cli.errors import InfrastructureProblem, UsageProblem

RUNS = "runs"
RESULT_FILE = "run.json"
TRIAL_BYTES = 64 * 1024
"""Where not even this much can be written, no report can."""
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class RunNotFound(UsageProblem):
    """RUN means no stored run here."""


def new_run_id(profile: str, now: datetime) -> str:
    """Return an id that sorts by time and can be typed: 20261123-150405-smoke-3f9a."""
    slug = re.sub(r"[^a-z0-9]+", "-", profile.lower()).strip("-")[:24] or "run"
    return f"{now:%Y%m%d-%H%M%S}-{slug}-{secrets.token_hex(2)}"


def output_folder(console: Console, wanted: Path | None, run_id: str) -> Path:
    """Return the folder a run's files go to; it is made only when there is something to write.

    Raises UsageProblem or InfrastructureProblem before any load when nothing could be written there.
    """
    folder = console.resolve(wanted if wanted is not None else Path(RUNS) / run_id)
    check_folder(folder, wanted if wanted is not None else folder, "nothing was started")
    return folder


def check_folder(folder: Path, shown: Path, nothing: str) -> None:
    """Raise UsageProblem when no file could be written to `folder`, which need not be there yet.

    It is tried beside where the folder would be, and nothing of that is left. A full or failing disk is an
    InfrastructureProblem. `shown` names it in the message, `nothing` says what has not happened.
    """
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        what = "a file" if existing.exists() else "a link to nothing"
        raise UsageProblem(f"--out {shown}: {existing} is {what}, not a folder; {nothing}.")
    with writing_to(shown, f"; {nothing}"), tempfile.TemporaryDirectory(prefix=".loadproof-", dir=existing) as trial:
        place = Path(trial) / folder.relative_to(existing)
        place.mkdir(parents=True, exist_ok=True)
        (place / "trial").write_bytes(bytes(TRIAL_BYTES))


@contextlib.contextmanager
def writing_to(shown: Path, nothing: str = "") -> Iterator[None]:
    """Turn what goes wrong while files are written to a folder into UsageProblem, or InfrastructureProblem on a full
    or failing disk. `nothing` ends the message.
    """
    try:
        yield
    except OSError as error:
        kind = InfrastructureProblem if error.errno in _DISK else UsageProblem
        raise kind(f"--out {shown}: it cannot be written to ({error.strerror or error}){nothing}.") from error


def find_run(console: Console, run: str) -> Path:
    """Return the run.json that RUN means: a file, a folder, or an id below ./runs."""
    given = console.resolve(Path(run))
    for candidate in (given, given / RESULT_FILE, console.cwd / RUNS / run / RESULT_FILE):
        if candidate.is_file():
            return candidate
    known = sorted(path.parent.name for path in (console.cwd / RUNS).glob(f"*/{RESULT_FILE}"))
    hint = f"the latest here is {known[-1]}." if known else f"there is no {RUNS}/ with a run in this folder."
    raise RunNotFound(f'no run "{run}": not a run.json, not a folder with one, not an id below {RUNS}/.', hint=hint)
