"""Checks on responses: what matches, and what the message of a mismatch says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from loadproof import CheckFailed, UsageError
from loadproof.checks import check_response, json_mismatch
from loadproof.http import Headers
from loadproof.metrics import fold_message


@dataclass
class FakeResponse:
    """A response nobody sent."""

    status: int = 200
    body: bytes = b"{}"
    accepted: bool = False
    elapsed_ns: int = 5_000_000
    endpoint: str = "GET /x"
    content_type: str = "application/json"

    @property
    def headers(self) -> Headers:
        return Headers([("Content-Type", self.content_type)])

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Product:
    sku: str
    price: int


class ProductModel(BaseModel):
    sku: str
    price: int


class ProductDict(TypedDict):
    sku: str
    price: int


def failure(response: FakeResponse, **expected: Any) -> str:
    with pytest.raises(CheckFailed) as raised:
        check_response(response, **expected)
    assert raised.value.category == "check"
    assert raised.value.endpoint == "GET /x"
    return raised.value.message


@pytest.mark.parametrize("wanted", [200, {200, 201}, [200], range(200, 300)], ids=repr)
def test_a_status_is_a_number_or_any_collection_of_numbers(wanted: Any) -> None:
    """Single numbers, sets, lists and ranges all accept the status they contain."""
    response = FakeResponse(200)
    assert check_response(response, status=wanted) is response
    assert response.accepted


def test_a_status_mismatch_says_what_was_expected_and_found() -> None:
    """The message has both sides, and both survive the folding of numbers."""
    message = failure(FakeResponse(503), status=200)
    assert fold_message(message) == message
    assert failure(FakeResponse(503), status=200) == "expected status 200, found status 503"
    assert failure(FakeResponse(503), status={201, 200}) == "expected status 200 or status 201, found status 503"
    assert failure(FakeResponse(503), status=range(200, 300)) == "expected status 200 to status 299, found status 503"


@pytest.mark.parametrize(
    ("expected", "found", "message"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ({}, {"anything": 1}, None),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, None),
        ([1, 2], [1, 2], None),
        ([{"a": 1}], [{"a": 1, "b": 2}], None),
        ({"a": ...}, {"a": None}, None),
        (1, 1.0, None),
        ({"a": 1}, {}, "$.a: expected 1, found no such key"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "$.a.b: expected 1, found 2"),
        ([1], [1, 2], "$: expected 1 items, found 2"),
        ([1, 2], [2, 1], "$[0]: expected 1, found 2"),
        ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, '$.a[0].b: expected "x", found "y"'),
        ({"a": True}, {"a": 1}, "$.a: expected true, found 1"),
        ({"a": 1}, {"a": True}, "$.a: expected 1, found true"),
        ({"a": None}, {"a": 0}, "$.a: expected null, found 0"),
        ({"a": 1}, [1], "$: expected an object, found a list of 1 items"),
        ([1], {"a": 1}, "$: expected a list, found an object of 1 keys"),
    ],
)
def test_json_matches_objects_as_subsets_and_lists_exactly(expected: Any, found: Any, message: str | None) -> None:
    """Further keys are fine at any depth; lists need the same length and order; booleans are no numbers."""
    assert json_mismatch(expected, found) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_any_json_matches_itself(value: Any) -> None:
    """A value is a subset of itself."""
    assert json_mismatch(value, value) is None


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.text(max_size=3), JSON)
def test_a_further_key_never_breaks_a_match(value: dict[str, Any], key: str, extra: Any) -> None:
    """What the target adds to an object does not fail a check."""
    assert json_mismatch(value, {key: extra, **value}) is None


def test_a_body_that_is_no_json_is_shown_shortly() -> None:
    """The message shows the start of what came instead."""
    assert failure(FakeResponse(body=b"<html>" + b"x" * 99), json={"a": 1}).startswith(
        'json: expected JSON, found "<html>x'
    )
    assert failure(FakeResponse(body=b""), json={"a": 1}) == "json: expected JSON, found an empty body"


@pytest.mark.parametrize(
    "schema", [Product, ProductModel, ProductDict, TypeAdapter(Product)], ids=lambda s: str(s)[:20]
)
def test_a_schema_is_any_type_of_the_usual_kinds(schema: Any) -> None:
    """Dataclasses, models, TypedDicts and adapters validate; the message names path and reason."""
    check_response(FakeResponse(body=b'{"sku": "A", "price": 3}'), schema=schema)
    message = failure(FakeResponse(body=b'{"sku": "A", "price": "3"}'), schema=schema)
    assert message == "schema: $.price: Input should be a valid integer"
    assert "(and 1 more)" in failure(FakeResponse(body=b"{}"), schema=schema)


def test_a_schema_of_lists_and_a_body_that_is_no_json() -> None:
    """Generic types work, and a broken body is a failed check, not an exception."""
    check_response(FakeResponse(body=b'[{"sku": "A", "price": 3}]'), schema=list[Product])
    assert failure(FakeResponse(body=b"{oops"), schema=Product).startswith("schema: $: Invalid JSON")


@pytest.mark.parametrize("schema", [{"type": "object"}, ["x"]], ids=repr)
def test_what_is_no_type_is_a_usage_error(schema: Any) -> None:
    """A JSON Schema dictionary is refused with words, not silently accepted."""
    with pytest.raises(UsageError, match="takes a type"):
        check_response(FakeResponse(), schema=schema)


def test_contains_takes_texts_and_bytes() -> None:
    """Every text must be there."""
    check_response(FakeResponse(body=b"one two"), contains="one")
    check_response(FakeResponse(body=b"one two"), contains=["one", "two"])
    check_response(FakeResponse(body=b"one two"), contains=b"two")
    assert failure(FakeResponse(body=b"one"), contains=["one", "three"]) == (
        'contains: expected "three" in the body, found "one"'
    )


def test_headers_match_by_name_in_any_case() -> None:
    """Values are compared exactly, `...` asks only for presence."""
    check_response(FakeResponse(), headers={"content-type": "application/json", "Content-Type": ...})
    assert failure(FakeResponse(), headers={"X-Id": ...}) == "headers: expected X-Id, found no such header"
    assert failure(FakeResponse(), headers={"content-type": "text/html"}) == (
        'headers: content-type: expected "text/html", found "application/json"'
    )


def test_max_ms_is_a_limit_on_service_time() -> None:
    """Exactly the limit still holds."""
    check_response(FakeResponse(elapsed_ns=5_000_000), max_ms=5)
    assert failure(FakeResponse(elapsed_ns=5_100_000), max_ms=5) == "max_ms: expected at most 5 ms, took 5.1 ms"


def test_a_check_of_nothing_is_a_usage_error() -> None:
    """check() without expectations would always hold; that is a mistake."""
    with pytest.raises(UsageError, match="checks nothing"):
        check_response(FakeResponse())


def test_a_soft_check_without_a_user_raises_nothing() -> None:
    """Soft means go on."""
    check_response(FakeResponse(500), status=200, soft=True)
