"""Reads the packages a suite needs: a requirements file in which every line is one version with its hashes.

What it accepts is what `uv pip compile --generate-hashes` and `pip-compile --generate-hashes` write (pip's requirements
file format, "hash-checking mode"). Everything that would let a line mean different files on different days or machines
is a mistake: ranges, options, URLs, paths, editable installs.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from loadproof._errors import LoadproofError

LOCK_BYTES_MAX = 1_000_000
"""Longest lock file that is read."""

REQUIREMENTS_MAX = 500
"""Most packages in a lock."""

LINE_CHARACTERS_MAX = 20_000
"""Longest line with its hashes, continued lines joined."""

HASH_HINT = "uv pip compile --generate-hashes"

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"\[\s*{_NAME}(?:\s*,\s*{_NAME})*\s*\]"
_PINNED = re.compile(rf"(?P<name>{_NAME})\s*(?P<extras>{_EXTRAS})?\s*==\s*(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_LOOSE = re.compile(rf"(?P<name>{_NAME})\s*(?:{_EXTRAS})?\s*(?P<rest>[=~!<>(@].*)?")
_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}")
_VARIABLE = (
    r"(?:python_version|python_full_version|os_name|sys_platform|platform_release|platform_system|platform_version"
    r"|platform_machine|platform_python_implementation|implementation_name|implementation_version|extra)"
)
_TEXT = r"(?:'[A-Za-z0-9 ._*+!-]*'|\"[A-Za-z0-9 ._*+!-]*\")"
_COMPARED = rf"\(*\s*(?:{_VARIABLE}|{_TEXT})\s*(?:===?|~=|!=|<=?|>=?|not\s+in|in)\s*(?:{_VARIABLE}|{_TEXT})\s*\)*"
_MARKER = re.compile(rf"\s*{_COMPARED}(?:\s*(?:and|or)\s*{_COMPARED})*\s*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package of a lock. `name` is normalised (lower case, hyphens); `line` counts from 1."""

    name: str
    version: str
    hashes: tuple[str, ...]
    line: int
    extras: str = ""
    marker: str = ""

    def __str__(self) -> str:
        marker = f" ; {self.marker}" if self.marker else ""
        hashes = "".join(f" --hash={value}" for value in self.hashes)
        return f"{self.name}{self.extras}=={self.version}{marker}{hashes}"


@dataclass(frozen=True, slots=True)
class Lock:
    """A suite's packages. `file` is relative to the suite's folder, `sha256` that of the file's bytes."""

    file: str
    sha256: str
    requirements: tuple[Requirement, ...]

    def text(self) -> str:
        """Return the same requirements without comments, in our own words: what an installer is given to read."""
        return "".join(f"{requirement}\n" for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class LockProblem:
    """One mistake in a lock. `line` counts from 1, 0 where it is about the file as a whole."""

    line: int
    message: str
    suggestion: str | None = None


class LockError(LoadproofError):
    """A lock with mistakes; `problems` is never empty."""

    def __init__(self, file: str, problems: list[LockProblem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{file}:{problem.line}: {problem.message}" for problem in problems))


def parse_lock(data: bytes, file: str) -> Lock:
    """Return the lock in a file's bytes. Raises LockError with every mistake in it."""
    if len(data) > LOCK_BYTES_MAX:
        raise LockError(file, [LockProblem(0, f"is longer than {LOCK_BYTES_MAX:,} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LockError(file, [LockProblem(0, "is not UTF-8 text")]) from None
    problems: list[LockProblem] = []
    found: list[Requirement] = []
    for line, words in _logical_lines(text):
        read = _read(words, line)
        if isinstance(read, LockProblem):
            problems.append(read)
        else:
            found.append(read)
    problems += _repeated(found)
    if not found and not problems:
        problems.append(LockProblem(0, "names no package; leave `requirements` out where a suite needs none"))
    if len(found) > REQUIREMENTS_MAX:
        problems.append(LockProblem(0, f"names {len(found):,} packages; at most {REQUIREMENTS_MAX} are installed"))
    if problems:
        raise LockError(file, sorted(problems, key=lambda problem: problem.line))
    return Lock(file, hashlib.sha256(data).hexdigest(), tuple(found))


def normal_name(name: str) -> str:
    """Return a package's name as packages are compared: lower case, any run of `-`, `_` and `.` one hyphen."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return (first line, text) with continued lines joined and comments taken off."""
    found: list[tuple[int, str]] = []
    first = 0
    parts: list[str] = []
    for number, raw in enumerate([*text.splitlines(), ""], start=1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if not parts:
            first = number
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        joined = " ".join(" ".join([*parts, line]).split())
        parts = []
        if joined:
            found.append((first, joined))
    return found


def _read(text: str, line: int) -> Requirement | LockProblem:
    if len(text) > LINE_CHARACTERS_MAX:
        return LockProblem(line, f"is longer than {LINE_CHARACTERS_MAX:,} characters")
    if text.startswith("-"):
        return LockProblem(line, _option(re.split(r"[ =]", text, maxsplit=1)[0]))
    head, *options = re.split(r" (?=--)", text)
    spec, semicolon, marker = head.partition(";")
    pinned = _PINNED.fullmatch(spec.strip())
    if pinned is None:
        return _loose(spec.strip(), line)
    if semicolon and not _MARKER.fullmatch(marker):
        return LockProblem(line, f'"{marker.strip()}" is no environment marker such as python_version < "3.13"')
    name = normal_name(pinned["name"])
    hashes = []
    for option in options:
        flag, _, value = option.partition("=") if "=" in option else option.partition(" ")
        if flag != "--hash":
            return LockProblem(line, f'"{flag}" of {name} is an option; only --hash=sha256:... may follow a version')
        if not _HASH.fullmatch(value.strip()):
            return LockProblem(line, f'"{value.strip()[:80]}" of {name} is no hash such as sha256: and 64 hex digits')
        hashes.append(value.strip().lower())
    if not hashes:
        message = f"{name} has no --hash=sha256:..., so any file could be meant; `{HASH_HINT}` writes them"
        return LockProblem(line, message)
    extras = re.sub(r"\s", "", pinned["extras"] or "")
    return Requirement(name, pinned["version"], tuple(dict.fromkeys(hashes)), line, extras, marker.strip())


def _option(flag: str) -> str:
    if flag in {"-r", "-c", "--requirement", "--constraint"}:
        return f'"{flag}" includes another file; a lock is one file'
    if flag in {"-e", "--editable"}:
        return f'"{flag}": an editable install has no hash; keep such code in the suite\'s folder'
    if flag in {"-i", "-f", "--index-url", "--extra-index-url", "--find-links", "--no-index", "--trusted-host"}:
        return f'"{flag}" says where packages come from; that is the agent operator\'s to say, with PIP_INDEX_URL'
    return f'"{flag}" is an option; a lock holds only name==version --hash=sha256:...'


def _loose(spec: str, line: int) -> LockProblem:
    if "://" in spec or re.search(r"\s@\s|^[^\s]+@", spec):
        return LockProblem(line, f'"{spec[:80]}" is a URL; a lock holds names with versions, found in an index')
    if spec.startswith((".", "/", "~")) or "/" in spec or spec.endswith((".whl", ".tar.gz", ".zip")):
        return LockProblem(line, f'"{spec[:80]}" is a path; keep such code in the suite\'s folder')
    loose = _LOOSE.fullmatch(spec)
    if loose is None:
        return LockProblem(line, f'"{spec[:80]}" is no requirement such as name==1.2.3 --hash=sha256:...')
    name, rest = loose["name"], loose["rest"] or ""
    version = re.fullmatch(r"[=~!<>(\s]*([A-Za-z0-9][A-Za-z0-9.!+_-]*?)(?:\.\*)?\s*\)?", rest)
    suggestion = f'"{name}=={version[1]}"' if version is not None else None
    return LockProblem(line, f'"{spec[:80]}" is not pinned to one version with ==', suggestion)


def _repeated(found: list[Requirement]) -> list[LockProblem]:
    """A name may come twice only where markers tell which line is meant."""
    seen: dict[str, Requirement] = {}
    problems = []
    for requirement in found:
        first = seen.setdefault(requirement.name, requirement)
        if first is not requirement and not (first.marker and requirement.marker):
            problems.append(LockProblem(requirement.line, f"{requirement.name} is in line {first.line} already"))
    return problems
