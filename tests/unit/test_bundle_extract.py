"""Unpacking a bundle that may be hostile: a corpus of evil zips, each refused before anything is left on disk."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.bundle import BundleError, extract, extract_bundle


def packed(*entries: tuple[str, bytes], mode: int = 0o600, kind: int = stat.S_IFREG, deflate: bool = False) -> bytes:
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            entry = zipfile.ZipInfo(name)
            entry.filename = name
            entry.external_attr = (kind | mode) << 16
            entry.compress_type = method
            archive.writestr(entry, data)
    return buffer.getvalue()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def renamed(old: bytes, new: bytes) -> bytes:
    """A zip whose stored name is replaced afterwards, for names that `zipfile` would not write."""
    assert len(old) == len(new)
    return packed((old.decode(), b"x")).replace(old, new)


def claiming(size: int) -> bytes:
    """A zip whose list says that its entry unpacks to `size` bytes."""
    data = bytearray(packed(("a", b"x" * 1000), deflate=True))
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, directory + 24, size)
    struct.pack_into("<I", data, data.index(b"PK\x03\x04") + 22, size)
    return bytes(data)


def flagged() -> bytes:
    data = bytearray(packed(("a", b"x")))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def other_method() -> bytes:
    data = bytearray(packed(("a", b"x")))
    data[data.index(b"PK\x01\x02") + 10] = 14
    return bytes(data)


EVIL: dict[str, tuple[str, Callable[[], bytes]]] = {
    "parent": ("bad_name", lambda: packed(("../evil.py", b"x"))),
    "parent inside": ("bad_name", lambda: packed(("a/../../evil.py", b"x"))),
    "current": ("bad_name", lambda: packed(("./a.py", b"x"))),
    "absolute": ("bad_name", lambda: packed(("/tmp/evil.py", b"x"))),
    "double slash": ("bad_name", lambda: packed(("a//b.py", b"x"))),
    "backslash": ("bad_name", lambda: packed(("..\\evil.py", b"x"))),
    "drive": ("bad_name", lambda: packed(("C:evil.py", b"x"))),
    "stream": ("bad_name", lambda: packed(("a.py:hidden", b"x"))),
    "nul": ("bad_name", lambda: renamed(b"a.py_evil", b"a.py\0evil")),
    "control": ("bad_name", lambda: packed(("a\x1b[2J.py", b"x"))),
    "right to left": ("bad_name", lambda: packed(("a\u202eyp.py", b"x"))),
    "empty": ("bad_name", lambda: packed(("", b"x"))),
    "trailing dot": ("bad_name", lambda: packed(("a./b.py", b"x"))),
    "trailing space": ("bad_name", lambda: packed(("a /b.py", b"x"))),
    "long": ("bad_name", lambda: packed(("a" * 300, b"x"))),
    "deep": ("bad_name", lambda: packed(("a/" * 40 + "b", b"x"))),
    "folder entry": ("bad_name", lambda: packed(("a/", b""))),
    "link": ("bad_kind", lambda: packed(("a", b"/etc/passwd"), kind=stat.S_IFLNK)),
    "device": ("bad_kind", lambda: packed(("a", b""), kind=stat.S_IFCHR)),
    "pipe": ("bad_kind", lambda: packed(("a", b""), kind=stat.S_IFIFO)),
    "folder kind": ("bad_kind", lambda: packed(("a", b""), kind=stat.S_IFDIR)),
    "encrypted": ("bad_kind", flagged),
    "odd compression": ("bad_kind", other_method),
    "twice": ("duplicate", lambda: packed(("a.py", b"good"), ("a.py", b"evil"))),
    "case": ("duplicate", lambda: packed(("a.py", b"good"), ("A.PY", b"evil"))),
    "composition": ("duplicate", lambda: packed(("\u00e9.py", b"good"), ("e\u0301.py", b"evil"))),
    "sharp s": ("duplicate", lambda: packed(("stra\u00dfe.py", b"good"), ("STRASSE.py", b"evil"))),
    "file and folder": ("duplicate", lambda: packed(("a", b"x"), ("A/b", b"x"))),
    "bomb": ("bomb", lambda: packed(("a", b"\0" * 5_000_000), deflate=True)),
    "total": ("bomb", lambda: claiming(2**31)),
    "longer than said": ("not_a_zip", lambda: claiming(10)),
    "shorter than said": ("not_a_zip", lambda: claiming(1001)),
    "text": ("not_a_zip", lambda: b"hello"),
    "nothing": ("not_a_zip", lambda: b""),
    "cut": ("not_a_zip", lambda: packed(("a", b"x" * 100))[:-10]),
    "zip64": (
        "not_a_zip",
        lambda: packed(("a", b"x")).replace(b"PK\x05\x06", b"PK\x06\x07" + b"\0" * 16 + b"PK\x05\x06"),
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_zips_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    """Each with its code; neither the target nor a temporary folder stays, nor anything beside them."""
    code, make = EVIL[name]
    data = make()
    home = tmp_path / "cache"
    home.mkdir()
    with pytest.raises(BundleError) as caught:
        extract_bundle(data, hashlib.sha256(data).hexdigest(), home / "bundle")
    assert caught.value.code == code
    assert names_in(home) == []
    assert names_in(tmp_path) == ["cache"]


def test_bytes_that_do_not_match_their_hash_are_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash is checked before any byte is read as a zip."""
    data = packed(("a.py", b"x"))
    monkeypatch.setattr(extract.zipfile, "ZipFile", None)
    with pytest.raises(BundleError) as caught:
        extract_bundle(data + b"x", hashlib.sha256(data).hexdigest(), tmp_path / "bundle")
    assert caught.value.code == "hash"


def test_limits_on_number_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many entries by count or by the length of the list; too many bytes."""
    data = packed(*[(f"f{number}", b"") for number in range(30)])
    digest = hashlib.sha256(data).hexdigest()
    for limit in (29, 1):
        monkeypatch.setattr(extract, "FILES_MAX", limit)
        with pytest.raises(BundleError) as caught:
            extract_bundle(data, digest, tmp_path / "bundle")
        assert caught.value.code == "too_many"
    monkeypatch.undo()
    monkeypatch.setattr(extract, "BUNDLE_BYTES_MAX", -5_000_000)
    with pytest.raises(BundleError) as caught:
        extract_bundle(data, digest, tmp_path / "bundle")
    assert caught.value.code == "too_large"


def test_folders_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """0700 and 0600, whatever the zip says; nothing becomes executable."""
    data = packed(("a/b/c.py", b"x"), ("top.sh", b"y"), mode=0o4777)
    extract_bundle(data, hashlib.sha256(data).hexdigest(), tmp_path / "bundle")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "bundle", *(tmp_path / "bundle").rglob("*")]
    }
    assert modes == {"bundle": 0o700, "a": 0o700, "b": 0o700, "c.py": 0o600, "top.sh": 0o600}


def test_what_is_there_already_is_not_touched(tmp_path: Path) -> None:
    """Nor followed, if it is a link."""
    data = packed(("a.py", b"x"))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("bundle", "link"):
        with pytest.raises(BundleError) as caught:
            extract_bundle(data, hashlib.sha256(data).hexdigest(), tmp_path / name)
        assert caught.value.code == "exists"
    assert names_in(tmp_path) == ["bundle", "link"]


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_damaged_zips_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int, byte: int
) -> None:
    """Whatever byte is wrong, the answer is a BundleError or the files, never another exception or an escape."""
    home = tmp_path_factory.mktemp("fuzz")
    data = bytearray(packed(("a.py", b"x" * 50), ("b/c.py", b"yyyy" * 50), deflate=True))
    data[at % len(data)] = byte
    data[at % len(data) : at % len(data)] = junk if byte % 2 else b""
    refused = None
    try:
        extract_bundle(bytes(data), hashlib.sha256(bytes(data)).hexdigest(), home / "bundle")
    except BundleError as error:
        refused = error
    assert names_in(home) == ([] if refused else ["bundle"])
