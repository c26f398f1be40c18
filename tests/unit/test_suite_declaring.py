"""Declaring a suite: what is kept, and what is refused where it stands."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from loadproof._interpolate import VariableError, fill, references
from loadproof._suite import Suite, SuiteError
from loadproof.plan import NS_PER_S


def here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


async def nothing(user) -> None:
    await user.think(1)


async def with_row(user, row) -> None:
    await user.think(row)


def test_a_declared_transaction_is_kept_with_its_place() -> None:
    """Everything the decorator was told, the function itself and where it stands; the function stays as it is."""
    suite = Suite("Shop")
    data = suite.dataset("rows", "rows.csv", order="shuffle")
    line = here() + 1
    decorate = suite.transaction("Buy", tags=["money"], criticality="critical", owner="me", weight=4, data=data)
    assert decorate(with_row) is with_row
    kept = suite.transactions["Buy"]
    assert (kept.name, kept.function, kept.tags, kept.criticality) == ("Buy", with_row, ("money",), "critical")
    assert (kept.owner, kept.weight, kept.data, kept.takes_row, kept.awaits) == ("me", 4, data, True, True)
    assert (kept.file, kept.line) == (__file__, line)
    assert (suite.datasets["rows"].order, suite.datasets["rows"].line) == ("shuffle", line - 2)


def test_hooks_are_kept() -> None:
    """Set-up, teardown and the start of a user."""
    suite = Suite("Shop")

    @suite.setup
    async def start(run): ...

    @suite.teardown
    async def end(run, shared): ...

    @suite.on_user_start
    async def sign_in(user): ...

    assert (suite.hooks.setup, suite.hooks.teardown, suite.hooks.user_start) == (start, end, sign_in)
    with pytest.raises(SuiteError, match=r"@suite.setup is declared twice; first at .*test_suite_declaring.py:\d+"):
        suite.setup(start)
    with pytest.raises(SuiteError, match=r"must take \(run, shared\)"):
        Suite("x").teardown(start)


def test_two_transactions_of_one_name_name_both_places() -> None:
    """The error stands at the second and tells of the first."""
    suite = Suite("Shop")
    first = here() + 1
    suite.transaction("Buy")(nothing)
    with pytest.raises(SuiteError) as caught:
        suite.transaction("Buy")(nothing)
    assert caught.value.line == first + 2
    assert f"declared twice; first at {__file__}:{first}" in str(caught.value)


def test_a_plain_function_is_refused_at_once() -> None:
    """It would block every other user of its worker."""
    with pytest.raises(SuiteError, match="'Buy' must be an `async def`, not a plain function") as caught:
        Suite("Shop").transaction("Buy")(lambda user: None)
    assert caught.value.line == here() - 1

    async def generator(user):
        yield user

    with pytest.raises(SuiteError, match="must not `yield`"):
        Suite("Shop").transaction("Buy")(generator)


def test_parameters_must_fit_the_data() -> None:
    """A row is taken exactly where there is data."""
    suite = Suite("Shop")
    with pytest.raises(SuiteError, match=r"must take \(user\), because it draws no data"):
        suite.transaction("Buy")(with_row)
    data = suite.dataset("rows", "rows.csv")
    with pytest.raises(SuiteError, match=r"must take \(user, row\), because it draws data"):
        suite.transaction("Buy", data=data)(nothing)
    with pytest.raises(SuiteError, match="a dataset of another suite"):
        Suite("Other").transaction("Buy", data=data)(with_row)


@pytest.mark.parametrize(
    ("misuse", "expected"),
    [
        (lambda: Suite(""), "a suite's name must be a text"),
        (lambda: Suite("x", base_url=None), "base_url must be a text, not None"),
        (lambda: Suite("x", headers={"a": 1}), "header a must be a text, not 1"),
        (lambda: Suite("x", timeout="10sec"), "no known unit of time"),
        (lambda: Suite("x", timeout=0), "more than nothing"),
        (lambda: Suite("x").transaction(nothing), 'Write @suite.transaction("Name")'),
        (lambda: Suite("x").transaction("*"), "rules mean all of them"),
        (lambda: Suite("x").transaction("a\nb"), "printable"),
        (lambda: Suite("x").transaction("a", data="rows.csv"), "data must be what suite.dataset"),
        (lambda: Suite("x").transaction("a", tags="money")(nothing), "tags must be a list of texts"),
        (lambda: Suite("x").transaction("a", weight=0.5)(nothing), "weight must be a whole number"),
        (lambda: Suite("x").transaction("a", criticality="hihg")(nothing), 'criticality must be one of "low"'),
        (lambda: Suite("x").dataset("a", "a.csv", order="random"), 'order must be one of "circular"'),
        (lambda: Suite("x").dataset("a", 3), "path must be a text"),
    ],
)
def test_misuse_is_refused_in_words_with_its_place(misuse, expected: str) -> None:
    """Every error names the line of the suite that is to be changed."""
    with pytest.raises(SuiteError, match=r"^.*test_suite_declaring\.py:\d+: ") as caught:
        misuse()
    assert expected in caught.value.message
    if "hihg" in caught.value.message:
        assert caught.value.suggestion == "high"


def test_a_function_without_any_await_is_known() -> None:
    """`await`, `async with` and `async for` count, also in comprehensions; those of inner functions do not."""
    suite = Suite("Shop")

    @suite.transaction("none")
    async def none(user):
        async def inner():
            await user.think(1)

        return inner

    @suite.transaction("with")
    async def with_block(user):
        async with user.step("a"):
            pass

    @suite.transaction("for")
    async def for_loop(user):
        async for _ in user:
            pass

    @suite.transaction("comprehension")
    async def comprehension(user):
        return [item async for item in user]

    found = {name: entry.awaits for name, entry in suite.transactions.items()}
    assert found == {"none": False, "with": True, "for": True, "comprehension": True}


def test_timeouts_are_seconds_or_texts() -> None:
    """Both give nanoseconds."""
    assert Suite("x").timeout_ns is None
    assert Suite("x", timeout=2.5).timeout_ns == 2_500_000_000
    assert Suite("x", timeout="10s").timeout_ns == 10 * NS_PER_S


def test_references_are_filled_from_the_first_source_that_has_them() -> None:
    """Empty counts as not set where there is a default, as in a shell; `$${` is a plain `${`."""
    assert fill("http://${HOST:-x}:${PORT}/", {"HOST": ""}, {"PORT": "1"}) == "http://x:1/"
    assert fill("$${HOST} ${A:-} ${B}", {"B": ""}) == "${HOST}  "
    assert references("${A} ${B:-x} ${A:-y} $${C}") == {"A": False, "B": True}
    with pytest.raises(VariableError, match="NAME is not set"):
        fill("${NAME}")
    with pytest.raises(VariableError, match="not a reference"):
        references("${a b}")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_suite_with_wrong_types_fails_mypy_and_a_right_one_passes(tmp_path: Path) -> None:
    """A row's type flows from the dataset into the transaction, under `mypy --strict`."""
    good = tmp_path / "good.py"
    good.write_text(
        "from dataclasses import dataclass\n"
        "from typing import Any\n"
        "from loadproof import Suite, VirtualUser\n"
        "suite = Suite('Shop')\n"
        "@dataclass\n"
        "class Product:\n"
        "    sku: str\n"
        "products = suite.dataset('products', 'p.csv', row=Product)\n"
        "loose = suite.dataset('loose', 'l.csv')\n"
        "@suite.setup\n"
        "async def start(run: Any) -> dict[str, int]:\n"
        "    return {}\n"
        "@suite.on_user_start\n"
        "async def sign_in(user: VirtualUser) -> None: ...\n"
        "@suite.transaction('A', tags=['x'], data=products)\n"
        "async def a(user: VirtualUser, product: Product) -> None: ...\n"
        "@suite.transaction('B', data=loose)\n"
        "async def b(user: VirtualUser, row: dict[str, Any]) -> None: ...\n"
        "@suite.transaction('C')\n"
        "async def c(user: VirtualUser) -> None: ...\n"
    )
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from loadproof import Suite, VirtualUser\n"
        "suite = Suite('Shop')\n"
        "rows = suite.dataset('rows', 'p.csv', row=int)\n"
        "@suite.transaction('A', data=rows)\n"
        "async def a(user: VirtualUser, row: str) -> None: ...\n"
        "@suite.transaction('B')\n"
        "def b(user: VirtualUser) -> None: ...\n"
        "@suite.transaction('C', criticality='hihg')\n"
        "async def c(user: VirtualUser) -> None: ...\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "--no-error-summary"]
    done = subprocess.run([*command, str(good), str(bad)], capture_output=True, text=True, check=False, cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line for line in lines if "good.py" in line] == []
    assert {line.split(":")[1] for line in lines if "bad.py" in line} == {"4", "6", "8"}
