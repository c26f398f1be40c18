"""Fills `${VAR}` and `${VAR:-default}` in texts of a suite and of `loadproof.toml`. `$${` stays a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from loadproof._errors import LoadproofError

_REFERENCE = re.compile(r"\$?\$\{([^}]*)\}")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class VariableError(LoadproofError, LookupError):
    """A text refers to a variable that is not set and has no default, or is no proper reference. `name` is its name."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


def references(text: str) -> dict[str, bool]:
    """Return the names that `text` refers to, each with whether it can do without (it has a default everywhere)."""
    found: dict[str, bool] = {}
    for match in _REFERENCE.finditer(text):
        if match.group().startswith("$$"):
            continue
        name, default = _parse(match.group(1))
        found[name] = found.get(name, True) and default is not None
    return found


def fill(text: str, *sources: Mapping[str, str]) -> str:
    """Return `text` with every reference replaced by the first source that has the name, not empty; else its default.

    Raises VariableError where there is neither.
    """

    def replace(match: re.Match[str]) -> str:
        if match.group().startswith("$$"):
            return match.group()[1:]
        name, default = _parse(match.group(1))
        for source in sources:
            if value := source.get(name):
                return value
        if default is not None:
            return default
        for source in sources:
            if name in source:
                return source[name]
        raise VariableError(f"the environment variable {name} is not set", name)

    return _REFERENCE.sub(replace, text)


def _parse(reference: str) -> tuple[str, str | None]:
    match = _NAME.fullmatch(reference)
    if match is None:
        raise VariableError(f"${{{reference}}} is not a reference such as ${{NAME}} or ${{NAME:-default}}", reference)
    return match.group(1), match.group(2)
