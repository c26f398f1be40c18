"""Typed test data from CSV, JSON or JSON Lines. Every row is built and checked before any load is offered."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import hashlib
import io
import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

import numpy as np
import pydantic

from loadproof._errors import LoadproofError
from loadproof.plan.model import OnExhausted, Order

RowT = TypeVar("RowT")

ROWS_MAX = 5_000_000
"""Most rows one dataset may have."""

PROBLEMS_MAX = 20
"""Most mistakes of one file that are told at once."""

_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class DatasetError(LoadproofError):
    """A data file cannot be used. `line` counts from 1 (0: the whole file); `others` are further mistakes in it."""

    def __init__(self, file: str, line: int, message: str, others: tuple[DatasetError, ...] = ()) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
        self.file = file
        self.line = line
        self.message = message
        self.others = others


@dataclass(frozen=True, slots=True)
class Rows(Generic[RowT]):
    """The rows of a dataset in file order, the sha256 of the file's bytes and each row's first line (from 1).

    `different` is how many of the rows differ in what their type reads, `most_alike` how often the most frequent
    comes; both 0 unless asked for.
    """

    rows: list[RowT]
    sha256: str
    locations: list[int] = field(repr=False)
    different: int = 0
    most_alike: int = 0

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Dataset(Generic[RowT]):
    """A file of rows that transactions draw from; made with `Suite.dataset`.

    `row` is the type of a row: a dataclass, a pydantic model, a NamedTuple or a TypedDict; None gives dicts. CSV
    cells are converted to the fields' types; JSON values must have them. `file` and `line` say where the suite
    defines it.
    """

    name: str
    path: str
    row: Any = None
    order: Order = "circular"
    on_exhausted: OnExhausted = "stop"
    file: str = ""
    line: int = 0

    def load(self, folder: Path, *, count_alike: bool = False) -> Rows[RowT]:
        """Read and check the file, relative to the suite's `folder`; `count_alike` says how often rows repeat.

        Raises DatasetError.
        """
        file = self.locate(folder)
        try:
            data = file.read_bytes()
        except OSError as error:
            raise DatasetError(self.path, 0, _read_problem(folder, self.path, error)) from None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise DatasetError(self.path, line, "is not UTF-8 text") from None
        kind = _FORMATS[file.suffix.lower()]
        builder = _Builder(self, kind)
        entries = {"csv": _csv_entries, "json": _json_entries, "jsonl": _jsonl_entries}[kind](builder, text)
        rows: list[RowT] = []
        locations: list[int] = []
        contents = array("Q")
        for line, raw in entries:
            built = builder.build(line, raw)
            if built is not _BROKEN:
                rows.append(built)
                locations.append(line)
                if count_alike:
                    contents.append(builder.content(raw))
            if len(rows) > ROWS_MAX:
                raise DatasetError(self.path, line, f"has more than {ROWS_MAX:,} rows")
        builder.raise_problems()
        if not rows:
            raise DatasetError(self.path, 0, "has no rows")
        copies = np.unique(np.asarray(contents), return_counts=True)[1]
        most = int(copies.max()) if count_alike else 0
        return Rows(rows, hashlib.sha256(data).hexdigest(), locations, len(copies), most)

    def locate(self, folder: Path) -> Path:
        """Return the file's path. Raises DatasetError for one outside the suite's folder or of an unknown format."""
        pure = PurePosixPath(self.path)
        if pure.is_absolute() or ".." in pure.parts:
            raise DatasetError(self.path, 0, "data must lie inside the suite's folder, or agents could not read it")
        if pure.suffix.lower() not in _FORMATS:
            raise DatasetError(self.path, 0, f"unknown format; the name must end in {', '.join(_FORMATS)}")
        return folder.joinpath(*pure.parts)


_BROKEN: Any = object()


class _Builder:
    """Turns raw entries into rows and collects what is wrong with them."""

    def __init__(self, dataset: Dataset[Any], kind: str) -> None:
        self.path = dataset.path
        self.kind = kind
        self.problems: list[DatasetError] = []
        self.more = 0
        self.adapter: pydantic.TypeAdapter[Any] | None = None
        if dataset.row is not None:
            try:
                self.adapter = pydantic.TypeAdapter(dataset.row)
            except Exception as error:
                name = getattr(dataset.row, "__name__", str(dataset.row))
                raise DatasetError(dataset.path, 0, f"rows cannot be built as {name}: {_type_problem(error)}") from None
        self.fields = _fields_of(dataset.row)
        self.columns = _columns_read(dataset.row, self.fields)

    def content(self, raw: Any) -> int:
        """Return 64 bits of a hash of what the row's type reads of an entry: equal for rows that are alike."""
        if self.columns and isinstance(raw, dict):
            raw = [raw.get(name) for name in self.columns]
        text = json.dumps(raw, sort_keys=True, ensure_ascii=False)
        return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())

    def problem(self, line: int, message: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(DatasetError(self.path, line, message))
        else:
            self.more += 1

    def raise_problems(self) -> None:
        if not self.problems:
            return
        first, *others = self.problems
        if self.more:
            others.append(DatasetError(self.path, 0, f"and {self.more:,} more mistakes"))
        raise DatasetError(self.path, first.line, first.message, tuple(others))

    def build(self, line: int, raw: Any) -> Any:
        if raw is _BROKEN:
            return _BROKEN
        if self.adapter is None:
            if isinstance(raw, dict):
                return raw
            self.problem(line, f"a row must be an object, not {_kind(raw)}")
            return _BROKEN
        try:
            if self.kind == "csv":
                return self.adapter.validate_python(self._without_empty(raw))
            return self.adapter.validate_json(json.dumps(raw), strict=True)
        except pydantic.ValidationError as error:
            for detail in error.errors(include_url=False):
                self.problem(line, _row_problem(detail, raw))
            return _BROKEN

    def _without_empty(self, raw: dict[str, str]) -> dict[str, str | None]:
        """An empty cell of a field that is no text means "not given": its default, or None."""
        cells: dict[str, str | None] = {}
        for name, cell in raw.items():
            known = self.fields.get(name)
            if cell or known is None or known.is_text:
                cells[name] = cell
            elif not known.has_default:
                cells[name] = None
        return cells


@dataclass(frozen=True, slots=True)
class _Field:
    has_default: bool
    is_text: bool


def _fields_of(row: Any) -> dict[str, _Field]:
    """Return the fields of a row type as far as they can be known; {} for None and unknown kinds."""
    if dataclasses.is_dataclass(row):
        missing = dataclasses.MISSING
        return {
            entry.name: _Field(
                entry.default is not missing or entry.default_factory is not missing, entry.type in {str, "str"}
            )
            for entry in dataclasses.fields(row)
            if entry.init
        }
    if isinstance(row, type) and issubclass(row, pydantic.BaseModel):
        return {
            entry.alias or name: _Field(not entry.is_required(), entry.annotation is str)
            for name, entry in row.model_fields.items()
        }
    if hasattr(row, "_fields") and hasattr(row, "_field_defaults"):
        hints = row.__annotations__
        return {name: _Field(name in row._field_defaults, hints.get(name) in {str, "str"}) for name in row._fields}
    required = getattr(row, "__required_keys__", None)
    if required is not None:
        hints = row.__annotations__
        return {name: _Field(name not in required, hints.get(name) in {str, "str"}) for name in hints}
    return {}


def _columns_read(row: Any, fields: dict[str, _Field]) -> tuple[str, ...]:
    """Return the columns that decide what a row is; () for all, where aliases or extra fields may be read too."""
    if isinstance(row, type) and issubclass(row, pydantic.BaseModel):
        plain = row.model_config.get("extra") != "allow"
        if not plain or any(entry.alias or entry.validation_alias for entry in row.model_fields.values()):
            return ()
    return tuple(fields)


def _csv_entries(builder: _Builder, text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_header(builder, line, header)
            elif len(cells) != len(header):
                builder.problem(line, f"has {len(cells)} cells, the header has {len(header)}")
            else:
                yield line, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DatasetError(builder.path, reader.line_num, f"is not CSV: {error}") from None


def _check_header(builder: _Builder, line: int, header: list[str]) -> None:
    for name in sorted({name for name in header if header.count(name) > 1}):
        raise DatasetError(builder.path, line, f"column {name!r} comes twice")
    missing = [name for name, known in builder.fields.items() if not known.has_default and name not in header]
    if missing:
        texts = []
        for name in missing:
            close = difflib.get_close_matches(name, header, n=1)
            texts.append(f"column {name!r} is missing" + (f" (is it {close[0]!r}?)" if close else ""))
        raise DatasetError(builder.path, line, f"{'; '.join(texts)}; there are: {', '.join(header)}")


def _jsonl_entries(builder: _Builder, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            builder.problem(number, _json_problem(error))


def _json_entries(builder: _Builder, text: str) -> Iterator[tuple[int, Any]]:
    decoder = json.JSONDecoder()
    position = _skip_space(text, 0)
    if position == len(text):
        return
    if text[position] != "[":
        raise DatasetError(builder.path, text.count("\n", 0, position) + 1, "must be a list of objects: [ {...}, ... ]")
    counted, line = 0, 1
    position = _skip_space(text, position + 1)
    more = position < len(text) and text[position] != "]"
    while more:
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise DatasetError(builder.path, getattr(error, "lineno", line), _json_problem(error)) from None
        yield line, value
        position = _skip_space(text, position)
        more = text[position : position + 1] == ","
        if more:
            position = _skip_space(text, position + 1)
            if text[position : position + 1] == "]":
                line = text.count("\n", 0, position) + 1
                raise DatasetError(builder.path, line, "is not JSON: a comma before the list's end")
        elif position < len(text) and text[position] != "]":
            raise DatasetError(builder.path, text.count("\n", 0, position) + 1, "is not JSON: expected ',' or ']'")
    if position >= len(text):
        raise DatasetError(builder.path, text.count("\n") + 1, "is not JSON: the list does not end")
    rest = _skip_space(text, position + 1)
    if rest < len(text):
        raise DatasetError(builder.path, text.count("\n", 0, rest) + 1, "is not JSON: text after the list's end")


def _json_problem(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "is not JSON that can be read: it is nested too deeply"
    return f"is not JSON: {getattr(error, 'msg', error)}"


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _type_problem(error: Exception) -> str:
    """Return why pydantic cannot read rows of a type, without its advice on its own settings."""
    if isinstance(error, pydantic.errors.PydanticSchemaGenerationError):
        return "make it a @dataclass, a pydantic model, a NamedTuple or a TypedDict, with fields of plain types"
    return str(error).splitlines()[0]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _row_problem(detail: Any, raw: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing" and isinstance(raw, dict):
        close = difflib.get_close_matches(path, list(raw), n=1)
        return f"{path!r} is missing" + (f" (is it {close[0]!r}?)" if close else "")
    value = detail.get("input")
    if value is None and isinstance(raw, dict) and raw.get(path) == "":
        return f"{path!r} is empty"
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    wanted = detail["msg"].removeprefix("Input ").split(", unable to")[0]
    return f"{path!r} {wanted}, not {shown}" if path else f"a row {wanted}, not {shown}"


def _read_problem(folder: Path, path: str, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"cannot be read: {error.strerror}"
    names = [
        file.relative_to(folder).as_posix()
        for suffix in _FORMATS
        for file in sorted(folder.rglob(f"*{suffix}"))[:200]
        if ".venv" not in file.parts
    ]
    close = difflib.get_close_matches(path, names, n=1)
    return "does not exist" + (f" (did you mean {close[0]}?)" if close else "")
