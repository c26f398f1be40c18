"""`response.check(...)`: each expectation given is tried in turn; the first that does not hold fails the step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, TypeVar

from loadproof._errors import CheckFailed, UsageError
from loadproof.checks.schema import schema_mismatch
from loadproof.checks.subset import SHOWN_MAX, json_mismatch, shown

_NS_PER_MS = 1_000_000
_BODY_SHOWN = 40


class CheckScope(Protocol):
    """Where the checks of a response are counted: the virtual user that asked."""

    @property
    def observed(self) -> bool:
        """Whether checks that hold are to be noted."""
        ...

    def check_held(self, check: str, response: Any) -> None:
        """Note a check that held."""
        ...

    def check_broke(self, check: str, message: str, response: Any, *, soft: bool) -> None:
        """Count a failed check; raises CheckFailed unless `soft`."""
        ...


class CheckedResponse(Protocol):
    """What a check reads of a response."""

    accepted: bool

    @property
    def status(self) -> int: ...  # noqa: D102 - the obvious
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def elapsed_ns(self) -> int: ...  # noqa: D102
    def json(self) -> Any: ...  # noqa: D102


ResponseT = TypeVar("ResponseT", bound=CheckedResponse)


def check_response(
    response: ResponseT,
    *,
    status: int | Collection[int] | None = None,
    json: Any = None,
    contains: str | bytes | Collection[str] | None = None,
    schema: Any = None,
    headers: Mapping[str, Any] | None = None,
    max_ms: float | None = None,
    soft: bool = False,
) -> ResponseT:
    """Check `response` and return it. The first expectation that does not hold fails the step and ends the transaction.

    `status`: a number or a collection or range of them; a match accepts a status of 400 or more. `json`: matched as a
    subset (`json_mismatch`). `contains`: text, or several texts, the body has. `schema`: a type that the JSON fits,
    strictly. `headers`: values by name, in any case; `...` asks only for presence. `max_ms`: the longest service time.

    `soft=True` counts every expectation that does not hold and goes on; step and transaction still count as failed.
    Raises CheckFailed, or UsageError when nothing is checked.
    """
    scope: CheckScope | None = getattr(response, "scope", None)
    quiet = scope is not None and not scope.observed  # a check that holds is of interest to nobody
    tried = False
    if status is not None:
        tried = True
        found = response.status
        response.accepted = True  # matched, or the failed check says it: never counted twice
        matches = found == status or (not isinstance(status, int) and found in status)
        if not matches or not quiet:
            _count(scope, response, "status", None if matches else _status_text(status, found), soft=soft)
    if json is not None:
        tried = True
        mismatch = _json(json, response)
        if mismatch is not None or not quiet:
            _count(scope, response, "json", mismatch, soft=soft)
    if contains is not None:
        tried = True
        _count(scope, response, "contains", _contains(contains, response), soft=soft)
    if schema is not None:
        tried = True
        _count(scope, response, "schema", schema_mismatch(schema, response.body), soft=soft)
    if headers is not None:
        tried = True
        _count(scope, response, "headers", _headers(headers, response.headers), soft=soft)
    if max_ms is not None:
        tried = True
        took = response.elapsed_ns
        slow = took > max_ms * _NS_PER_MS
        text = f"expected at most {max_ms:g} ms, took {took / _NS_PER_MS:.1f} ms" if slow else None
        _count(scope, response, "max_ms", text, soft=soft)
    if not tried:
        raise UsageError("check() without an expectation checks nothing; give status=, json=, schema= or another")
    return response


def _count(scope: CheckScope | None, response: Any, check: str, mismatch: str | None, *, soft: bool) -> None:
    if mismatch is None:
        if scope is not None:
            scope.check_held(check, response)
        return
    message = mismatch if check == "status" else f"{check}: {mismatch}"
    if scope is not None:
        scope.check_broke(check, message, response, soft=soft)
    elif not soft:
        raise CheckFailed(check, message, getattr(response, "endpoint", ""))


def _status_text(expected: int | Collection[int], found: int) -> str:
    """Say "status" before each number: those survive when numbers in messages are folded."""
    if isinstance(expected, range) and expected.step == 1:
        wanted = f"status {expected.start} to status {expected.stop - 1}"
    elif isinstance(expected, int):
        wanted = f"status {expected}"
    else:
        wanted = " or ".join(f"status {one}" for one in sorted(expected))
    return f"expected {wanted}, found status {found}"


def _json(expected: Any, response: CheckedResponse) -> str | None:
    try:
        found = response.json()
    except Exception:  # whatever keeps a body from being JSON: syntax, charset, encoding
        return f"expected JSON, found {_glimpse(response.body)}"
    return json_mismatch(expected, found)


def _contains(expected: str | bytes | Collection[str], response: CheckedResponse) -> str | None:
    if isinstance(expected, bytes):
        return None if expected in response.body else f"expected {expected[:SHOWN_MAX]!r} in the body, found it nowhere"
    for text in (expected,) if isinstance(expected, str) else expected:
        if text not in response.text:
            return f"expected {shown(text)} in the body, found {_glimpse(response.body)}"
    return None


def _headers(expected: Mapping[str, Any], found: Mapping[str, str]) -> str | None:
    for name, wanted in expected.items():
        value = found.get(name)
        if value is None:
            return f"expected {name}, found no such header"
        if wanted is not ... and value != wanted:
            return f"{name}: expected {shown(wanted)}, found {shown(value)}"
    return None


def _glimpse(body: bytes) -> str:
    if not body:
        return "an empty body"
    start = body[:_BODY_SHOWN].decode("utf-8", "replace")
    return f'"{start}{"…" if len(body) > _BODY_SHOWN else ""}"'
