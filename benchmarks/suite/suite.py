"""The transactions that are measured."""

from __future__ import annotations

from dataclasses import dataclass

from loadproof import Suite, VirtualUser

suite = Suite("Benchmark", base_url="${BENCH_URL}")
PATH = "/products/CH-1189"
WANTED = {"sku": "CH-1189"}
UPLOAD = b"x" * 65_536


@dataclass(frozen=True, slots=True)
class Product:
    """A row."""

    sku: str
    name: str


products = suite.dataset("products", "data/products.csv", row=Product, order="circular")


@suite.transaction("One step")
async def one_step(user: VirtualUser) -> None:
    async with user.step("Open"):
        (await user.http.get(PATH)).check(status=200)


@suite.transaction("One step, JSON")
async def one_step_json(user: VirtualUser) -> None:
    async with user.step("Open"):
        (await user.http.get(PATH)).check(status=200, json=WANTED)


@suite.transaction("Five steps", data=products)
async def five_steps(user: VirtualUser, product: Product) -> None:
    for name in ("Home", "Search", "Open", "Reviews", "Related"):
        async with user.step(name):
            (await user.http.get(PATH)).check(status=200, json={"sku": product.sku})
        await user.think(0.001)


@suite.transaction("Stay connected")
async def stay_connected(user: VirtualUser) -> None:
    async with user.step("Open"):
        (await user.http.get(PATH)).check(status=200)
    await user.think(3_600)


@suite.transaction("Upload")
async def upload(user: VirtualUser) -> None:
    async with user.step("Send"):
        (await user.http.post("/uploads", data=UPLOAD)).check(status=200)


@suite.transaction("Download")
async def download(user: VirtualUser) -> None:
    async with user.step("Fetch"):
        (await user.http.get("/large")).check(status=200)
