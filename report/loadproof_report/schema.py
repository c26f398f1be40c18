"""The JSON Schema of `run.json`, published in `docs/reference/run.schema.json`.

Written again with `python -m loadproof_report.schema > docs/reference/run.schema.json`; a test compares.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson

from loadproof_report.result import SCHEMA_ID, RunResult


def run_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12. Fields with a default may be missing in files of older versions."""
    schema = RunResult.model_json_schema(by_alias=True, mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://loadproof.example/{SCHEMA_ID}.json",
        **schema,
        "required": ["schema", *schema["required"]],
    }


def schema_bytes() -> bytes:
    """Return the published file's content."""
    return orjson.dumps(run_schema(), option=orjson.OPT_INDENT_2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(schema_bytes())
