"""Reading a stored run back. The file may be old, cut off, huge or hostile: `ResultError` then says so plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from loadproof_report.errors import ResultError
from loadproof_report.result import SCHEMA_ID, RunResult
from loadproof_report.text import clean, harmless

BYTES_MAX = 256 << 20
"""Largest run.json read; a run of 2,000 series and 600 intervals stays well below."""
PROBLEMS_SHOWN = 3


def load_result(path: Path | str) -> RunResult:
    """Return the result stored at `path`: a run.json or the folder that holds one. Raises `ResultError`."""
    file = Path(path)
    if file.is_dir():
        file /= "run.json"
    try:
        size = file.stat().st_size
        if size > BYTES_MAX:
            raise ResultError(
                file, f"it has {size:,} bytes", f"The most that is read is {BYTES_MAX:,}; is it a run.json?"
            )
        data = file.read_bytes()
    except FileNotFoundError:
        raise ResultError(file, "there is no such file", "Name a run's folder or its run.json.") from None
    except OSError as error:
        raise ResultError(file, f"it cannot be read ({error.strerror})", "Check its permissions.") from None
    return parse_result(data, source=file)


def parse_result(data: bytes, source: Path | str = "run.json") -> RunResult:
    """Return the result in the bytes of a run.json. Raises `ResultError`; `source` names them in it."""
    if not data.strip():
        raise ResultError(source, "it is empty", "The run was probably cut off while writing; run it again.")
    try:
        fields: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) - 1
        reason = "it ends too early" if cut else f"it is not JSON (line {error.lineno}, column {error.colno})"
        raise ResultError(source, reason, "The file was cut off or changed; take another copy.") from None
    if not isinstance(fields, dict) or "schema" not in fields:
        raise ResultError(source, "it is JSON but not a run", f"A run.json says schema {SCHEMA_ID}.")
    schema = fields["schema"]
    if schema != SCHEMA_ID:
        raise ResultError(source, f"its schema is {clean(str(schema), 60)!r}, not {SCHEMA_ID}", _remedy(schema))
    try:
        return RunResult.model_validate(_harmless(fields))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        shown = "; ".join(
            f"{clean('.'.join(str(part) for part in problem['loc']), 120)}: {clean(problem['msg'], 120)}"
            for problem in problems[:PROBLEMS_SHOWN]
        )
        more = f" and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        raise ResultError(source, f"{shown}{more}", "The file was changed or written by a broken version.") from None


def _remedy(schema: object) -> str:
    if isinstance(schema, str) and schema.startswith("loadproof.run/"):
        return "It was written by another version of Loadproof; read it with that version or a newer one."
    return "It was not written by Loadproof."


def _harmless(value: Any) -> Any:
    """Return parsed JSON with every text in it made harmless; a stored file may have been written by anyone."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {harmless(key): _harmless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_harmless(item) for item in value]
    return value
