"""`loadproof.testing`, used as its users use it."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import sys
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

import tree
from loadproof import Suite, UsageError, VirtualUser
from loadproof.runtime.hooks import HookFailed
from loadproof.testing import FakeTarget, run_transaction


@dataclass(frozen=True)
class Product:
    sku: str


def shop() -> Suite:
    suite = Suite("Shop", base_url="${SHOP_URL:-http://127.0.0.1:1}", headers={"X-Key": "${KEY:-none}"})
    products = suite.dataset("products", "products.csv", row=Product)

    @suite.transaction("Open", data=products)
    async def open_product(user: VirtualUser, product: Product) -> None:
        async with user.step("Open"):
            answer = await user.http.get(f"/products/{product.sku}", name="/products/{sku}")
            answer.check(status=200, json={"sku": product.sku})

    @suite.transaction("Shared")
    async def shared(user: VirtualUser) -> None:
        user.check("tenant", user.shared == {"tenant": 5})

    return suite


async def test_a_transaction_runs_against_a_fake_target() -> None:
    """Rows, route parameters, recorded steps and what the target received are all at hand."""
    async with FakeTarget() as target:
        target.answer("GET", "/products/{sku}", lambda request: {"sku": request.match["sku"]})
        seen = await run_transaction(shop(), "Open", target=target, row=Product("A1"), secrets={"KEY": "hidden!"})
    assert seen.ok
    step = seen.step("Open")
    assert [(request.endpoint, request.status) for request in step.requests] == [("GET /products/{sku}", 200)]
    assert [check.held for check in step.checks] == [True, True]
    (received,) = target.requests
    assert (received.method, received.path, received.headers["X-Key"]) == ("GET", "/products/A1", "hidden!")
    assert seen.merged().histogram("Open").n == 1


async def test_a_url_and_the_suites_own_address_are_targets_too() -> None:
    """Without `target` the suite's base URL counts, filled from `variables`."""
    async with FakeTarget() as target:
        target.answer("GET", "/products/A1", json={"sku": "A1"})
        by_url = await run_transaction(shop(), "Open", target=target.url, row=Product("A1"))
        by_variable = await run_transaction(shop(), "Open", row=Product("A1"), variables={"SHOP_URL": target.url})
    assert by_url.ok
    assert by_variable.ok


async def test_the_newest_answer_wins_and_an_unknown_path_is_404() -> None:
    """A test can change its mind, and a forgotten route shows as what it is."""
    async with FakeTarget() as target:
        missing = await run_transaction(shop(), "Open", target=target, row=Product("A1"))
        target.answer("GET", "/products/A1", json={"sku": "B"})
        target.answer("GET", "/products/A1", json={"sku": "A1"})
        found = await run_transaction(shop(), "Open", target=target, row=Product("A1"))
    assert missing.errors[0].message == "expected status 200, found status 404"
    assert found.ok


async def test_shared_is_given_or_comes_from_set_up() -> None:
    """`setup=True` runs the hook; otherwise the test says what it would have returned."""
    suite = shop()

    @suite.setup
    async def set_up(run: Any) -> dict[str, int]:
        return {"tenant": 5}

    assert (await run_transaction(suite, "Shared", shared={"tenant": 5})).ok
    assert (await run_transaction(suite, "Shared", setup=True)).ok
    assert not (await run_transaction(suite, "Shared")).ok


async def test_a_failing_set_up_is_an_error_of_the_test() -> None:
    """What set-up raises is told with its message."""
    suite = shop()

    @suite.setup
    async def set_up(run: Any) -> None:
        run.check("there is a tenant", False, "none left")

    with pytest.raises(HookFailed, match="there is a tenant: none left"):
        await run_transaction(suite, "Shared", setup=True)


async def test_mistakes_of_the_test_are_usage_errors() -> None:
    """An unknown name, a missing row and a target that does not listen are told in words."""
    with pytest.raises(UsageError, match="'Open', 'Shared'"):
        await run_transaction(shop(), "Close")
    with pytest.raises(UsageError, match="row="):
        await run_transaction(shop(), "Open")
    with pytest.raises(UsageError, match="not listening"):
        await run_transaction(shop(), "Shared", target=FakeTarget())


@pytest.mark.parametrize("turns", range(6))
async def test_a_fake_target_closes_connections_it_is_just_accepting(turns: int) -> None:
    """Whenever a client has connected, leaving the target leaves no socket open."""
    async with FakeTarget() as target:
        with socket.create_connection(("127.0.0.1", int(target.url.rpartition(":")[2]))):
            for _ in range(turns):
                await asyncio.sleep(0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(one.message) for one in seen] == []


async def test_the_documented_example_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in docs/reference/sdk.md runs as it stands."""
    page = (tree.ROOT / "docs/reference/sdk.md").read_text()
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "run_transaction" in block]
    suite = Suite("Documented")
    rows = suite.dataset("terms", "terms.csv")

    @suite.transaction("Search", data=rows)
    async def search(user: VirtualUser, row: dict[str, Any]) -> None:
        async with user.step("Search"):
            (await user.http.get("/search", params={"q": row["term"]})).check(status=200)

    module = ModuleType("suite")
    module.suite = suite  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "suite", module)
    names: dict[str, Any] = {}
    exec(compile(example, "sdk.md", "exec"), names)
    tests = [function for name, function in names.items() if name.startswith("test_")]
    assert tests
    for function in tests:
        await function()
