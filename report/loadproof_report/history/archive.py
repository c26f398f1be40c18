"""A run as one file, to be carried from one machine or store to another: a zip of run.json and intervals.bin.

The file may come from anyone. Only the two known names are looked at, sizes are bounded before and while unpacking, and
nothing is written from a name in the file.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Final

from loadproof_report.errors import ReportError
from loadproof_report.history.files import RESULT, RunFiles
from loadproof_report.stored import BYTES_MAX
from loadproof_report.stored_run import INTERVALS

SUFFIX: Final = ".lprun"
MEMBERS_MAX: Final = 8
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Files in the archive carry no time, so that a run always makes the same archive."""


class ArchiveError(ReportError):
    """The file is no run, is damaged or too large. `reason` says which."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")
        self.path = str(path)
        self.reason = reason


def write_archive(files: RunFiles, path: Path) -> None:
    """Write a run as one file, to a temporary name first, then renamed. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name, content in ((RESULT, files.result), (INTERVALS, files.intervals)):
                if content is not None:
                    entry = zipfile.ZipInfo(name, _EPOCH)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_archive(path: Path) -> RunFiles:
    """Return the run in a file that `write_archive` wrote. Raises `ArchiveError`; the run itself is not judged yet."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(entries) > MEMBERS_MAX or len(set(names)) != len(names):
                raise ArchiveError(path, "it holds too many files, or one twice: not an exported run")
            if RESULT not in names:
                raise ArchiveError(path, f"it holds no {RESULT}: not an exported run")
            found = {e.filename: _read(path, archive, e) for e in entries if e.filename in (RESULT, INTERVALS)}
    except FileNotFoundError:
        raise ArchiveError(path, "there is no such file") from None
    except OSError as error:
        raise ArchiveError(path, f"it cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArchiveError(path, f"it is not an exported run, or was damaged ({str(error)[:80]})") from None
    return RunFiles(found[RESULT], found.get(INTERVALS), f"{path}:{RESULT}")


def _read(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > BYTES_MAX:
        raise ArchiveError(path, f"{entry.filename} has {entry.file_size:,} bytes; the most is {BYTES_MAX:,}")
    with archive.open(entry) as source:
        content = source.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise ArchiveError(path, f"{entry.filename} has over {BYTES_MAX:,} bytes")
    return content
