"""Validates one table at a time and says what is wrong in the file's own words, so one mistake hides no other."""

from __future__ import annotations

from typing import Any, TypeVar

import pydantic

from loadproof._interpolate import VariableError, fill, references
from loadproof.config.positions import Path, Positions
from loadproof.config.problems import ConfigProblem, closest, listing
from loadproof.config.schema import Table

TableT = TypeVar("TableT", bound=Table)


class Source:
    """The file being read: its name, its positions and what was found wrong in it so far."""

    def __init__(self, file: str, positions: Positions) -> None:
        self.file = file
        self.positions = positions
        self.problems: list[ConfigProblem] = []
        self.warnings: list[str] = []

    def problem(self, path: Path, message: str, suggestion: str | None = None) -> None:
        """Note a mistake at the line of `path`."""
        self.problems.append(ConfigProblem(self.file, self.positions.line(path), message, suggestion))

    def warning(self, path: Path, message: str) -> None:
        """Note something that is allowed and worth knowing."""
        self.warnings.append(str(ConfigProblem(self.file, self.positions.line(path), message)))

    def filled(self, value: Any, environ: dict[str, str], secrets: set[str], path: Path = ()) -> Any:
        """Return parsed TOML with `${VAR}` in every text replaced from `environ`; notes what is not set."""
        if isinstance(value, dict):
            return {key: self.filled(item, environ, secrets, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item, environ, secrets, (*path, number)) for number, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            for name in references(value):
                if name in secrets:
                    self.problem(path, f"{name} is a secret; this file is printed in reports")
                    return value
            return fill(value, environ)
        except VariableError as error:
            self.problem(path, str(error), closest(error.name, environ))
            return value


def validated(model: type[TableT], raw: Any, path: Path, source: Source) -> TableT | None:
    """Return `raw` as `model`, or None after noting every mistake in it."""
    if not isinstance(raw, dict):
        source.problem(path, f"{_shown(path)} must be a table, not {_kind(raw)}")
        return None
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(model, detail, path, source)
        return None


def _note(model: type[Table], detail: Any, path: Path, source: Source) -> None:
    place = (*path, *detail["loc"])
    key = detail["loc"][-1] if detail["loc"] else ""
    kind, context = detail["type"], detail.get("ctx") or {}
    if kind == "extra_forbidden":
        known = keys_of(model) if len(detail["loc"]) == 1 else []
        message = f'unknown key "{key}" in {_shown(path)}'
        if len(detail["loc"]) > 1:
            known = ["reason", "owner", "until"]
            message = f'unknown key "{key}" in {detail["loc"][0]}'
        suggestion = closest(str(key), known)
        source.problem(place, message if suggestion else f"{message}; it may have {listing(known)}", suggestion)
    elif kind == "missing":
        source.problem(path if len(detail["loc"]) == 1 else place, f'"{key}" is missing in {_shown(place[:-1])}')
    elif kind == "literal_error":
        allowed = [part.strip().strip("'") for part in context["expected"].replace(" or ", ", ").split(",")]
        value = detail["input"]
        message = f'"{key}" must be one of {listing(allowed)}, not {_value(value)}'
        source.problem(place, message, closest(value, allowed) if isinstance(value, str) else None)
    else:
        message = _type_message(kind, context, detail)
        name = f'"{key}" ' if isinstance(key, str) else ""
        source.problem(
            place, f"{name}{message}" if not message.startswith('"') else message, context.get("suggestion") or None
        )


_TYPES = {
    "string_type": "must be a text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list: [ ... ]",
    "dict_type": "must be a table: { ... }",
    "model_type": "must be a table: { ... }",
    "date_type": 'must be a date such as "2026-12-31"',
}


def _type_message(kind: str, context: dict[str, Any], detail: Any) -> str:
    if kind in _TYPES:
        return f"{_TYPES[kind]}, not {_value(detail['input'])}"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']:,}, not {_value(detail['input'])}"
    if kind == "less_than_equal":
        return f"must be at most {context['le']:,}, not {_value(detail['input'])}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "unit" and "text" in context:
        return str(context["text"])
    return str(detail["msg"])


def keys_of(model: type[Table]) -> list[str]:
    """Return the keys of a table as the file writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _shown(path: Path) -> str:
    """Return a path as TOML writes it: [profiles.smoke], [[rules]], arrivals of [profiles.smoke]."""
    if not path:
        return "the file"
    names = [part for part in path if isinstance(part, str)]
    if names[0] == "profiles" and len(names) > 2:
        return f"{'.'.join(names[2:])} of [profiles.{names[1]}]"
    if names[0] == "rules" and len(names) > 1:
        return f"{'.'.join(names[1:])} of [[rules]]"
    return f"[[{'.'.join(names)}]]" if isinstance(path[-1], int) else f"[{'.'.join(names)}]"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return {str: "a text", int: "a number", float: "a number", list: "a list", dict: "a table"}.get(
        type(value), "a date or time"
    )


def _value(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return _kind(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
