"""What the OpenAPI document says of each operation, and the formats a report comes in."""

from __future__ import annotations

from typing import Any

from loadproof_controller.web.routes import Operation

REPORT_FILES: dict[str, tuple[str, str]] = {
    "json": ("run.json", "application/json"),
    "html": ("report.html", "text/html; charset=utf-8"),
    "md": ("report.md", "text/markdown; charset=utf-8"),
    "junit": ("junit.xml", "application/xml"),
    "csv": ("summary.csv", "text/csv; charset=utf-8"),
    "timeline": ("timeline.csv", "text/csv; charset=utf-8"),
    "hlog": ("histograms.hlog", "text/plain; charset=utf-8"),
    "intervals": ("intervals.bin", "application/octet-stream"),
    "events": ("events.jsonl", "application/jsonl"),
    "plan": ("plan.json", "application/json"),
}
"""Format -> file and media type: every file a run leaves."""

_STATES = ["queued", "running", "finished", "aborted", "failed"]


def _in(where: str, name: str, schema: dict[str, Any], about: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required or where == "path", "description": about, "schema": schema}


def _json_of(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


_RUN = _in("path", "run_id", {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,99}$"}, "The run")
_TEXT = {"type": "string", "maxLength": 65_536}
_NAME = {"type": "string", "minLength": 1, "maxLength": 200}
_WHOLE = {"type": "string", "pattern": "^[0-9]{1,4}$"}
UPLOAD: dict[str, Any] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {
                "profile": {"type": "string", "maxLength": 100, "description": "May be left out when there is one"},
                "build": {"type": "string", "maxLength": 200},
                "agents": {**_WHOLE, "description": "Agents to run on, 1 unless told"},
                "wait_for_agents_s": {**_WHOLE, "description": "How long to wait for them, 0 unless told"},
                "labels": {**_TEXT, "description": "name=value lines: only agents with all of them"},
                "variables": {**_TEXT, "description": "NAME=value lines the suite refers to"},
                "secrets": {**_TEXT, "description": "NAME=value lines, kept in memory for this run only"},
                "suite": {
                    "type": "string",
                    "format": "binary",
                    "description": "Zip of the suite's folder; send it last",
                },
            },
            "required": ["suite"],
            "additionalProperties": False,
        },
        "encoding": {"suite": {"contentType": "application/zip"}},
    }
}
_LIST = [
    Operation("openapi", "This document", {200: ("application/json",)}),
    Operation(
        "listRuns",
        "The newest runs, newest first",
        {200: "Runs"},
        (
            _in(
                "query", "limit", {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}, "At most so many"
            ),
            _in("query", "state", {"type": "string", "enum": _STATES}, "Only runs in this state"),
            _in("query", "suite", _NAME, "Only runs of this suite"),
        ),
    ),
    Operation(
        "startRun",
        "Start a run of an uploaded suite",
        {201: "Submitted"},
        body=UPLOAD,
        problems=(400, 409, 413, 415, 422, 503),
    ),
    Operation("getRun", "One run", {200: "Run"}, (_RUN,), problems=(404,)),
    Operation(
        "stopRun",
        "Stop a run, or take it out of the queue",
        {204: None},
        (_RUN,),
        _json_of("StopRequest"),
        (400, 404, 409, 413, 415, 422),
    ),
    Operation("getRunLive", "A run as its page shows it now", {200: "Live"}, (_RUN,), problems=(404,)),
    Operation(
        "compareRun",
        "What differs between a run and another one",
        {200: "Comparison"},
        (
            _RUN,
            _in(
                "query",
                "baseline",
                _RUN["schema"] | {"minLength": 1, "maxLength": 100},
                "The run to compare with",
                required=True,
            ),
        ),
        problems=(404, 409),
    ),
    Operation(
        "listReports", "The formats in which a run's report is there", {200: "Reports"}, (_RUN,), problems=(404,)
    ),
    Operation(
        "getReport",
        "A run's report in one format",
        {200: tuple(sorted({kind.partition(";")[0] for _file, kind in REPORT_FILES.values()}))},
        (_RUN, _in("path", "format", {"type": "string", "enum": list(REPORT_FILES)}, "The format")),
        problems=(404,),
    ),
    Operation("listBaselines", "The named baselines", {200: "Baselines"}, problems=(503,)),
    Operation(
        "setBaseline",
        "Name runs as the baseline of their suite and profile",
        {200: "Baseline"},
        body=_json_of("BaselineRequest"),
        problems=(400, 409, 413, 415, 422, 503),
    ),
    Operation(
        "unsetBaseline",
        "Forget a baseline's name, not its runs",
        {204: None},
        (
            _in("query", "suite", _NAME, "Its suite", required=True),
            _in("query", "profile", _NAME, "Its profile", required=True),
            _in("query", "name", _NAME | {"default": "stable"}, "Its name"),
        ),
        problems=(404, 503),
    ),
    Operation("listFleet", "The attached agents", {200: "Fleet"}),
    Operation("listTokens", "The tokens that are good, without their secrets", {200: "Tokens"}),
    Operation(
        "createToken",
        "Make a token; its text is told once",
        {201: "NewToken"},
        body=_json_of("TokenRequest"),
        problems=(400, 409, 413, 415, 422),
    ),
    Operation(
        "revokeToken",
        "End a token, its sessions, and the agents that joined with it",
        {204: None},
        (_in("path", "token_id", {"type": "string", "pattern": "^[0-9a-f]{8}$"}, "The token's id"),),
        problems=(404,),
    ),
    Operation(
        "followRun",
        "Follow a run: its whole state, then what changes",
        {200: ("text/event-stream",)},
        (_RUN,),
        problems=(404, 409),
    ),
    Operation("followAll", "Follow the list of runs and the fleet", {200: ("text/event-stream",)}, problems=(409,)),
]
OPERATIONS: dict[str, Operation] = {operation.operation_id: operation for operation in _LIST}
