"""Reads the lock file that `[suite] requirements` names, and tells its mistakes as the configuration's."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from loadproof.config.problems import ConfigProblem
from loadproof.config.shape import Source
from loadproof.lockfile import LOCK_BYTES_MAX, Lock, LockError, parse_lock

_KEY = ("suite", "requirements")


def read_requirements(folder: Path, file: str, source: Source) -> Lock | None:
    """Return the lock in `file`, relative to the suite's folder, or None after noting every mistake in it."""
    pure = PurePosixPath(file)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        source.problem(_KEY, f'"{file}" must be a file inside the suite\'s folder')
        return None
    path = folder / pure
    if not path.resolve().is_relative_to(folder.resolve()):
        source.problem(_KEY, f'"{file}" leads out of the suite\'s folder')
        return None
    try:
        with path.open("rb") as stream:
            data = stream.read(LOCK_BYTES_MAX + 1)
    except FileNotFoundError:
        names = sorted(other.name for other in folder.glob("*requirements*") if other.is_file())
        source.problem(_KEY, f'the file "{file}" does not exist', f'"{names[0]}"' if names else None)
        return None
    except OSError as error:
        source.problem(_KEY, f'"{file}" cannot be read: {error.strerror}')
        return None
    try:
        return parse_lock(data, pure.as_posix())
    except LockError as error:
        shown = path.as_posix()
        source.problems += [ConfigProblem(shown, p.line, p.message, p.suggestion) for p in error.problems]
        return None
