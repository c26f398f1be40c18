"""Every change the log makes on the disk, one function each: a test counts and kills here."""

from __future__ import annotations

import os
from pathlib import Path


def create(path: Path, *, fresh: bool) -> int:
    """Open a file for writing, `fresh`: it must not be there yet. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT | (os.O_EXCL if fresh else 0), 0o600)


def write(descriptor: int, data: bytes) -> None:
    """Bring all of `data` into the kernel. Raises OSError, with a part of it written perhaps."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def cut(descriptor: int, length: int) -> None:
    """Shorten the file to `length` bytes and go on writing there. Raises OSError."""
    os.ftruncate(descriptor, length)
    os.lseek(descriptor, length, os.SEEK_SET)


def rename(old: Path, new: Path) -> None:
    """Give a file its name, over another of that name if there is one. Raises OSError."""
    old.replace(new)


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises OSError."""
    path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
