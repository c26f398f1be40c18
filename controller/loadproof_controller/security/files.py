"""Files only this user can read, replaced in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from loadproof_controller.errors import ServiceError


def write_private(path: Path, data: bytes) -> None:
    """Write `data` to `path` with mode 0600; a reader sees the old file or the new one. Raises `ServiceError`."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp: 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ServiceError(f"{path} cannot be written: {error.strerror}") from error


def private_folder(path: Path) -> Path:
    """Make `path` a folder of mode 0700 and return it. Raises `ServiceError`; others must not be able to enter it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise ServiceError(f"{path} cannot be made: {error.strerror}") from error
    if status.st_uid != os.geteuid():
        raise ServiceError(f"{path} belongs to another user; choose another folder with --data")
    if status.st_mode & 0o077:
        raise ServiceError(f"{path} can be entered by others; `chmod 700 {path}`, or choose another one with --data")
    return path
