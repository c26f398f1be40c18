"""The shape of `loadproof.toml`, for pydantic. What a key means to a run is decided in `checks` and `build`."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from loadproof.plan.model import Session, Spacing
from loadproof.plan.units import UnitError, parse_duration, parse_rate
from loadproof.rules.model import Severity

USERS_MAX = 10_000_000
ITERATIONS_MAX = 1_000_000_000_000
SEED_MAX = (1 << 63) - 1
WEIGHT_MAX = 1_000_000


def _unit(kind: str, example: str, default_unit: str) -> Any:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise PydanticCustomError("unit", "must be {kind} in quotes such as {example}", _told(kind, example, None))
        if not isinstance(value, str):
            meant = f'"{value}{default_unit}"'
            raise PydanticCustomError("unit", "must be {kind} with its unit, in quotes", _told(kind, example, meant))
        try:
            return parse_duration(value) if kind == "a duration" else parse_rate(value)
        except UnitError as error:
            meant = f'"{error.suggestion}"' if error.suggestion else ""
            context = {"text": error.message, "suggestion": meant}
            raise PydanticCustomError("unit", "{text}", context) from None

    return BeforeValidator(read)


def _told(kind: str, example: str, suggestion: str | None) -> dict[str, Any]:
    return {"kind": kind, "example": f'"{example}"', "suggestion": suggestion or ""}


def _date(value: object) -> object:
    """A date may be TOML's own or a text."""
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            raise PydanticCustomError("date", 'must be a date such as "2026-12-31"') from None
    return value


def _mix_weight(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PydanticCustomError("weight", "must be a number, the transaction's share of the mix")
    if not 0 <= value <= WEIGHT_MAX:
        raise PydanticCustomError("weight", "must lie between 0 and 1,000,000")
    return value


Duration = Annotated[int, _unit("a duration", "30s", "s")]
Rate = Annotated[int, _unit("a rate", "5/s", "/s")]
Weight = Annotated[int | float, BeforeValidator(_mix_weight)]


class Table(BaseModel):
    """A table of the file: unknown keys are mistakes, and a number in quotes is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


class SuiteTable(Table):
    """`[suite]`: where the Python is, and the packages it needs."""

    module: str = "suite.py"
    requirements: str | None = None


class EnvironmentTable(Table):
    """`[environment]`: what is tested, and what may be reached."""

    name: str = ""
    build: str = "dev"
    targets: list[str] | None = None
    max_rate: Rate | None = None
    secrets: list[str] = Field(default_factory=list)


class ArrivalTable(Table):
    """One phase of `arrivals`."""

    name: str | None = None
    rate: Rate | None = None
    rate_from: Rate | None = Field(default=None, alias="from")
    rate_to: Rate | None = Field(default=None, alias="to")
    duration: Duration = Field(alias="for")
    warmup: bool = False


Users = Annotated[int, Field(ge=0, le=USERS_MAX)]


class UserTable(Table):
    """One phase of `users`."""

    name: str | None = None
    users: Users | None = None
    users_from: Users | None = Field(default=None, alias="from")
    users_to: Users | None = Field(default=None, alias="to")
    duration: Duration | None = Field(default=None, alias="for")
    iterations: Annotated[int, Field(ge=1, le=ITERATIONS_MAX)] | None = None
    warmup: bool = False


class ProfileTable(Table):
    """`[profiles.NAME]`: one load shape."""

    description: str = ""
    arrivals: list[dict[str, Any]] | None = None  # each an ArrivalTable, validated one by one
    users: list[dict[str, Any]] | None = None  # each a UserTable
    mix: dict[str, Weight] | None = None
    spacing: Spacing = "even"
    session: Session = "keep"
    max_in_flight: Annotated[int, Field(ge=1, le=USERS_MAX)] = 10_000
    graceful_stop: Duration = 30_000_000_000
    timeout: Duration | None = None
    seed: Annotated[int, Field(ge=0, le=SEED_MAX)] = 1
    pace: Duration = 0


class WaiverTable(Table):
    """`waiver = { ... }` of a rule."""

    reason: Annotated[str, Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]
    until: Annotated[dt.date, BeforeValidator(_date)]


class RuleTable(Table):
    """One `[[rules]]`."""

    require: str
    transaction: str | None = None
    tag: str | None = None
    step: str | None = None
    severity: Severity = "block"
    abort_after: Duration | None = None
    profiles: list[str] | None = None
    phase: str | None = None
    waiver: WaiverTable | None = None


TABLES = ("suite", "environment", "profiles", "rules")
"""Keys at the top of the file."""
