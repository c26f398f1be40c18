"""Suites on disk for tests of the configuration and of bundles."""

from __future__ import annotations

import textwrap
from pathlib import Path

SUITE = """
from dataclasses import dataclass

from loadproof._suite import Suite

suite = Suite("Shop", base_url="${SHOP_URL:-http://127.0.0.1:8080}")


@dataclass(frozen=True, slots=True)
class Product:
    sku: str
    price: float = 1.0


products = suite.dataset("products", "data/products.csv", row=Product)


@suite.transaction("Search", tags=["catalog"], criticality="high", owner="catalog team", weight=7, data=products)
async def search(user, product):
    await user.think(1)


@suite.transaction("Checkout", tags=["money"], weight=3)
async def checkout(user):
    await user.think(1)
"""

TOML = """
[suite]
module = "suite.py"

[profiles.smoke]
arrivals = [{ rate = "5/s", for = "30s" }]
"""

PRODUCTS = "sku,price\nA1,2.5\nB2,\nC3,4\n"


def write_suite(folder: Path, *, toml: str = TOML, suite: str = SUITE, **files: str) -> Path:
    """Write a suite into `folder` and return it; `files` are more, `__` in a name for `/`, `_DOT_` for `.`."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "loadproof.toml").write_text(textwrap.dedent(toml), encoding="utf-8")
    (folder / "suite.py").write_text(textwrap.dedent(suite), encoding="utf-8")
    (folder / "data" / "products.csv").write_text(PRODUCTS, encoding="utf-8")
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
