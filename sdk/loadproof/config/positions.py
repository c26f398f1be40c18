"""Lines of keys and values in TOML. `tomllib` validates and forgets positions; this walks the valid text once more.

It follows the grammar only as far as needed to know where things are, so it must be given text that `tomllib` accepted.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\r\n]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


class Positions:
    """Where each key and array element of a document stands. Lines count from 1."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self.lines = dict(lines)

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest thing around it; 0 when nothing of it is there."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return 0


def index_positions(text: str) -> Positions:
    """Return where everything in `text` stands. Undefined for text that is not TOML."""
    return Positions(_Walker(text.replace("\r\n", "\n")).document())


class _Walker:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.array_lengths: dict[Path, int] = {}
        self._line = 1
        self._counted = 0

    def here(self) -> int:
        """Return the current line, counted on from where it was last asked."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def blank(self) -> None:
        match = _BLANK.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def spaces(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def document(self) -> dict[Path, int]:
        table: Path = ()
        self.blank()
        while self.at < len(self.text):
            if self.text.startswith("[[", self.at):
                line = self.here()
                self.at += 2
                table = self.array_table(self.key(), line)
                self.at = self.text.index("]]", self.at) + 2
            elif self.text[self.at] == "[":
                line = self.here()
                self.at += 1
                table = self.resolve(self.key())
                self.note(table, line)
                self.at = self.text.index("]", self.at) + 1
            else:
                self.pair(table)
            self.blank()
        return self.lines

    def note(self, path: Path, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    def resolve(self, keys: list[str]) -> Path:
        """Return the path that a header's keys mean: through an array of tables, its last element."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.array_lengths:
                path = (*path, self.array_lengths[path] - 1)
        return path

    def array_table(self, keys: list[str], line: int) -> Path:
        path = (*self.resolve(keys[:-1]), keys[-1])
        number = self.array_lengths.get(path, 0)
        self.array_lengths[path] = number + 1
        self.note((*path, number), line)
        return (*path, number)

    def key(self) -> list[str]:
        """Read a dotted key and return its parts."""
        parts = []
        while True:
            self.spaces()
            if self.text[self.at] in "\"'":
                start = self.at
                self.string()
                parts.append(str(tomllib.loads(f"key = {self.text[start : self.at]}")["key"]))
            else:
                match = _BARE.match(self.text, self.at)
                assert match is not None
                parts.append(match.group())
                self.at = match.end()
            self.spaces()
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def pair(self, table: Path) -> None:
        line = self.here()
        path = (*table, *self.key())
        self.note(path, line)
        self.at += 1  # "="
        self.spaces()
        self.value(path)

    def value(self, path: Path) -> None:
        character = self.text[self.at]
        if character in "\"'":
            self.string()
        elif character == "[":
            self.array(path)
        elif character == "{":
            self.inline_table(path)
        else:
            match = _SCALAR.match(self.text, self.at)
            assert match is not None
            self.at = match.end()

    def array(self, path: Path) -> None:
        self.at += 1
        number = 0
        while True:
            self.blank()
            if self.text[self.at] == "]":
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.note((*path, number), self.here())
            self.value((*path, number))
            number += 1

    def inline_table(self, path: Path) -> None:
        self.at += 1
        while True:
            self.blank()
            if self.text[self.at] == "}":
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.pair(path)

    def string(self) -> None:
        quote = self.text[self.at]
        escapes = quote == '"'
        if self.text.startswith(quote * 3, self.at):
            self.at += 3
            while not self.text.startswith(quote * 3, self.at):
                self.at += 2 if escapes and self.text[self.at] == "\\" else 1
            self.at += 3
            while self.text.startswith(quote, self.at):  # up to two quotes belong to the text
                self.at += 1
            return
        self.at += 1
        while self.text[self.at] != quote:
            self.at += 2 if escapes and self.text[self.at] == "\\" else 1
        self.at += 1


def paths_of(data: Any, path: Path = ()) -> set[Path]:
    """Return the path of every key and array element in parsed TOML; what `index_positions` must know."""
    found: set[Path] = set()
    if isinstance(data, dict):
        children = list(data.items())
    elif isinstance(data, list):
        children = list(enumerate(data))
    else:
        children = []
    for key, value in children:
        found.add((*path, key))
        found |= paths_of(value, (*path, key))
    return found
