"""Unpacks a bundle that may be hostile. Nothing is written before every entry has been judged by its name and size.

`zipfile.extractall` keeps names with backslashes, lets a later entry overwrite an earlier one and unpacks a bomb, so
entries are written here, one by one.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path

from loadproof.bundle.build import BUNDLE_BYTES_MAX, FILES_MAX
from loadproof.bundle.errors import BundleError
from loadproof.bundle.names import NAME_LENGTH_MAX, folded, name_problem

RATIO_MAX = 100
"""Most bytes one stored byte may become."""

_CHUNK = 64 * 1024


def extract_bundle(data: bytes, sha256: str, into: Path) -> None:
    """Check `data` against `sha256`, unpack it beside `into` and rename it there: `into` is whole or absent.

    `into` must not exist; its parent must. Folders get mode 0700, files 0600. Raises BundleError: `hash`, `too_large`,
    `not_a_zip`, `too_many`, `bad_name`, `bad_kind`, `duplicate`, `bomb`, `exists`, `unwritable`.
    """
    if len(data) > BUNDLE_BYTES_MAX + 4 * 1024 * 1024:  # names and headers of the most files possible fit in 4 MB
        raise BundleError("too_large", f"the bundle has {len(data):,} bytes")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BundleError("hash", "the bundle's bytes do not have the sha256 that was announced")
    if into.exists() or into.is_symlink():
        raise BundleError("exists", f"{into} exists already")
    _judge_directory(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _judged(archive)
            _unpack(archive, entries, into)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise BundleError("not_a_zip", f"the bundle is no zip that can be read: {error}") from None
    except OSError as error:
        raise BundleError("unwritable", f"{into} cannot be written: {error.strerror}") from error


def _judge_directory(data: bytes) -> None:
    """Bound the list of entries before `zipfile` makes an object of each (46 bytes become about 500)."""
    end = data.rfind(b"PK\x05\x06")
    if end < 0 or end + 22 > len(data):
        raise BundleError("not_a_zip", "the bundle is no zip: it has no list of entries")
    if data[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
        raise BundleError("not_a_zip", "the bundle is a zip64, which no bundle needs to be")
    if int.from_bytes(data[end + 12 : end + 16], "little") > FILES_MAX * (46 + NAME_LENGTH_MAX + 64):
        raise BundleError("too_many", f"the bundle's list of entries is too long; at most {FILES_MAX:,} are unpacked")


def _judged(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the entries to write. Raises BundleError for the first that must not be."""
    entries = archive.infolist()
    if len(entries) > FILES_MAX:
        raise BundleError("too_many", f"the bundle has {len(entries):,} entries; at most {FILES_MAX:,} are unpacked")
    seen: dict[str, str] = {}
    parents: set[str] = set()
    total = 0
    for entry in entries:
        _judge_name(entry)
        _judge_kind(entry)
        key = folded(entry.filename)
        if key in seen:
            raise BundleError("duplicate", f"{entry.filename!r} comes twice (also as {seen[key]!r})")
        seen[key] = entry.filename
        parts = key.split("/")
        parents.update("/".join(parts[:length]) for length in range(1, len(parts)))
        total += entry.file_size
        if total > BUNDLE_BYTES_MAX:
            raise BundleError("bomb", f"the bundle unpacks to more than {BUNDLE_BYTES_MAX:,} bytes")
        if entry.file_size > max(entry.compress_size, 1) * RATIO_MAX:
            raise BundleError("bomb", f"{entry.filename!r} unpacks to over {RATIO_MAX} times its size")
    for name in parents & seen.keys():
        raise BundleError("duplicate", f"{seen[name]!r} is a file and a folder")
    return entries


def _judge_name(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename  # `filename` ends at a NUL and has the platform's separator replaced
    problem = name_problem(name)
    if problem is None and name != entry.filename:
        problem = "has a character that no name in a bundle has"
    if problem is not None:
        raise BundleError("bad_name", f"{name[:80]!r} {problem}")


def _judge_kind(entry: zipfile.ZipInfo) -> None:
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise BundleError("bad_kind", f"{entry.filename!r} is no regular file")
    if entry.flag_bits & 0x1:
        raise BundleError("bad_kind", f"{entry.filename!r} is encrypted")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BundleError("bad_kind", f"{entry.filename!r} is compressed in a way that is not unpacked here")


def _unpack(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], into: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix=f".{into.name}.", suffix=".tmp", dir=into.parent))  # mode 0700
    try:
        for entry in entries:
            folder = work
            for part in entry.filename.split("/")[:-1]:
                folder /= part
                folder.mkdir(mode=0o700, exist_ok=True)
            _write(archive, entry, folder / entry.filename.rsplit("/", 1)[-1])
        try:
            work.rename(into)
        except OSError:
            # Another process of this machine was faster with the same bundle: what it made is as good.
            raise BundleError("exists", f"{into} exists already") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    written = 0
    with os.fdopen(descriptor, "wb") as file, archive.open(entry) as packed:
        while chunk := packed.read(_CHUNK):
            written += len(chunk)
            if written > entry.file_size:
                raise BundleError("bomb", f"{entry.filename!r} is longer than the bundle's list says")
            file.write(chunk)
    if written != entry.file_size:
        raise BundleError("not_a_zip", f"{entry.filename!r} is shorter than the bundle's list says")
