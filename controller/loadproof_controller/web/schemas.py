"""JSON schemas of what the REST interface takes and gives, each also how the thing is written."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from loadproof_controller.fleet_service import FleetEntry
from loadproof_controller.run_store import RunEntry
from loadproof_controller.security import TokenEntry
from loadproof_controller.security.tokens import AGENTS_MAX
from loadproof_report.result import Comparison

Name = Annotated[str, Field(min_length=1, max_length=200)]
RunId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StopRequest(_Taken):
    """How a run is stopped: `immediate` false lets what runs finish."""

    immediate: bool = False


class TokenRequest(_Taken):
    """A token to make. `ttl_s` 0: until it is revoked; `agents_max` 0: as many as the controller takes directly."""

    role: Literal["agent", "relay", "operator", "viewer"]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    ttl_s: Annotated[int, Field(ge=0, le=315_360_000)] = 0
    agents_max: Annotated[int, Field(ge=0, le=AGENTS_MAX)] = 0


class BaselineRequest(_Taken):
    """Runs to name as the baseline of their suite and profile. `force`: also runs that ended in NO-GO or NOT PROVEN."""

    run_ids: Annotated[list[RunId], Field(min_length=1, max_length=20)]
    name: Annotated[str, Field(min_length=1, max_length=100)] = "stable"
    force: bool = False


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class Baseline(BaseModel):
    """A named baseline."""

    suite: str
    profile: str
    name: str
    run_ids: list[str]
    set_at: str


class Live(BaseModel):
    """A run as its page shows it: latencies in µs in `transactions`, in ms in `chart`."""

    run: dict[str, Any]
    phase: str
    ahead: int | None
    elapsed_s: float | None
    duration_s: float | None
    in_flight: int
    agents: dict[str, int]
    verdict: str
    broken: list[str]
    reasons: list[str]
    transactions: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    fleet: list[dict[str, Any]]
    events: list[dict[str, Any]]
    phases: list[dict[str, Any]]
    closed: bool
    chart: dict[str, Any]


def _schema(kind: Any) -> dict[str, Any]:
    made: dict[str, Any] = TypeAdapter(kind).json_schema(
        ref_template="#/components/schemas/{model}", mode="serialization"
    )
    return made


def _list_of(name: str, item: str) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{item}"}}
    return {"type": "object", "properties": {name: items}, "required": [name], "additionalProperties": False}


def _all() -> dict[str, Any]:
    made: dict[str, Any] = {}
    kinds: dict[str, Any] = {
        "Run": RunEntry, "Agent": FleetEntry, "Token": TokenEntry, "Comparison": Comparison, "Baseline": Baseline,
        "Live": Live, "Problem": Problem, "StopRequest": StopRequest, "TokenRequest": TokenRequest,
        "BaselineRequest": BaselineRequest,
    }  # fmt: skip
    for name, kind in kinds.items():
        schema = _schema(kind)
        made.update(schema.pop("$defs", {}))
        made[name] = schema
    made["Runs"] = _list_of("runs", "Run")
    made["Fleet"] = _list_of("agents", "Agent")
    made["Tokens"] = _list_of("tokens", "Token")
    made["Baselines"] = _list_of("baselines", "Baseline")
    text = {"type": "string"}
    made["Reports"] = {
        "type": "object",
        "properties": {"formats": {"type": "array", "items": text}},
        "required": ["formats"],
        "additionalProperties": False,
    }
    made["Submitted"] = {
        "type": "object",
        "properties": {
            "run_id": text,
            "ahead": {"type": "integer", "minimum": 0},
            "warnings": {"type": "array", "items": text},
        },
        "required": ["run_id", "ahead", "warnings"],
        "additionalProperties": False,
    }
    made["NewToken"] = {
        "type": "object",
        "properties": {"token": text, "entry": {"$ref": "#/components/schemas/Token"}},
        "required": ["token", "entry"],
        "additionalProperties": False,
    }
    return made


SCHEMAS: dict[str, Any] = _all()
ROLES = get_args(TokenRequest.model_fields["role"].annotation)
