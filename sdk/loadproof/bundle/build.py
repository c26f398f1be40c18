"""Packs a suite's folder: sorted names, fixed times and modes, stored without compression settings that may change.

What git ignores stays out, and so does what should never travel: environments, caches, old runs, keys, `.env` files.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import stat
import subprocess
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from loadproof.bundle.errors import BundleError
from loadproof.bundle.names import folded, name_problem

BUNDLE_BYTES_MAX = 50 * 1024 * 1024
"""Most bytes of all files together, and of the zip."""

FILES_MAX = 10_000
"""Most files in a bundle."""

SKIPPED_FOLDERS = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        "__pycache__",
        "node_modules",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
        ".tox",
        ".nox",
        ".idea",
        ".vscode",
        ".ssh",
        ".aws",
        ".gnupg",
        ".loadproof",
    }
)
"""Folders that never travel, at any depth. `runs` at the top, where reports are written, does not either."""

SKIPPED_FILES = (
    ".env*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".pgpass",
    ".pypirc",
    ".npmrc",
    "*.pyc",
    ".DS_Store",
)
"""Names of files that never travel: secrets and litter."""

_TIME = (1980, 1, 1, 0, 0, 0)
_GIT_SECONDS = 20
_GIT_ELSEWHERE = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"})  # set inside hooks, for another repository


@dataclass(frozen=True, slots=True)
class Bundle:
    """The zip and its sha256 in hexadecimal digits; the names in it, sorted; the git state it was made from, if any."""

    data: bytes = field(repr=False)
    sha256: str
    files: tuple[str, ...]
    git_revision: str | None = None
    git_dirty: bool | None = None


def build_bundle(folder: Path, required: Iterable[str] = ()) -> Bundle:
    """Pack `folder`. The same files give the same bytes, on every machine.

    `required` names files that the suite cannot do without (`Project.required_files`): they go in also where git
    ignores them, as generated data often is. Raises BundleError: `empty`, `too_many` files, `too_large`,
    `unreadable`, `bad_name` and `duplicate` for names that would not be unpacked on every machine.
    """
    folder = folder.resolve()
    names = sorted({*_chosen(folder), *required})
    if not names:
        raise BundleError("empty", f"{folder} holds no file that could be sent to agents")
    if len(names) > FILES_MAX:
        text = f"{folder} holds {len(names):,} files; at most {FILES_MAX:,} can be sent to agents"
        raise BundleError("too_many", text)
    _check_names(names)
    contents = _read(folder, names)
    buffer = io.BytesIO()
    # Stored, not deflated: what zlib makes of the same bytes differs between its versions, and the hash must not.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, strict_timestamps=True) as archive:
        for name, data in contents:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o600) << 16
            archive.writestr(entry, data)
    packed = buffer.getvalue()
    revision, dirty = _git_state(folder)
    return Bundle(packed, hashlib.sha256(packed).hexdigest(), tuple(names), revision, dirty)


def _check_names(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if (problem := name_problem(name)) is not None:
            raise BundleError("bad_name", f"{name!r} {problem}; rename it")
        if (other := seen.setdefault(folded(name), name)) != name:
            raise BundleError("duplicate", f"{name!r} and {other!r} differ in case only, which some machines ignore")


def _read(folder: Path, names: list[str]) -> list[tuple[str, bytes]]:
    contents: list[tuple[str, bytes]] = []
    total = 0
    for name in names:
        try:
            total += (folder / name).stat().st_size
            if total > BUNDLE_BYTES_MAX:
                break
            contents.append((name, (folder / name).read_bytes()))
        except OSError as error:
            raise BundleError("unreadable", f"{folder / name} cannot be read: {error.strerror}") from None
    if total > BUNDLE_BYTES_MAX:
        sizes = sorted(((_size(folder / name), name) for name in names), reverse=True)[:5]
        shown = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for size, name in sizes)
        limit = BUNDLE_BYTES_MAX // (1024 * 1024)
        text = f"{folder} is larger than {limit} MB, the most that is sent to agents. Largest: {shown}."
        raise BundleError("too_large", f"{text} Add what is not needed to .gitignore.")
    return contents


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _chosen(folder: Path) -> list[str]:
    listed = _git_files(folder)
    if listed is None:
        listed = []
        for parent, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not _skipped_folder(name))
            listed += [(Path(parent) / name).relative_to(folder).as_posix() for name in files]
    return [name for name in dict.fromkeys(listed) if _wanted(folder, name)]


def _wanted(folder: Path, name: str) -> bool:
    """Regular files only. A link may point out of the folder, and an agent would not follow it anyway."""
    *parents, last = name.split("/")
    if any(_skipped_folder(parent) for parent in parents) or name.startswith("runs/"):
        return False
    if any(fnmatch.fnmatchcase(last.lower(), pattern.lower()) for pattern in SKIPPED_FILES):
        return False
    path = folder
    for part in parents:
        path /= part
        if path.is_symlink():
            return False
    path /= last
    return path.is_file() and not path.is_symlink()


def _skipped_folder(name: str) -> bool:
    return name in SKIPPED_FOLDERS or name.endswith(".egg-info")


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return what git prints, or None where there is no git, no work tree or an error."""
    environment = {name: value for name, value in os.environ.items() if name not in _GIT_ELSEWHERE}
    environment.update(GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=False,
            timeout=_GIT_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _git_files(folder: Path) -> list[str] | None:
    """Return tracked and untracked files that git does not ignore; None outside a work tree.

    A folder that git ignores as a whole (a suite made in a scratch folder) counts as outside one.
    """
    inside = _git(folder, "rev-parse", "--is-inside-work-tree")
    if inside is None or inside.strip() != b"true":
        return None
    if _git(folder, "check-ignore", "-q", ".") is not None:
        return None
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".")
    if listed is None:
        return None
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the revision and whether the folder has changes that are not in it."""
    revision = _git(folder, "rev-parse", "--verify", "HEAD")
    if revision is None:
        return None, None
    status = _git(folder, "status", "--porcelain", "--", ".")
    return revision.decode().strip(), None if status is None else bool(status.strip())
