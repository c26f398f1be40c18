"""The example shop under load: what customers do there, in their own words."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from loadproof import Suite, VirtualUser

suite = Suite("Shop", base_url="${SHOP_URL:-http://127.0.0.1:8080}", headers={"accept": "application/json"})


@dataclass(frozen=True, slots=True)
class Product:
    """A row of data/products.csv."""

    sku: str
    term: str
    name: str
    price_cents: int


@dataclass(frozen=True, slots=True)
class Customer:
    """A row of data/customers.csv."""

    name: str
    password: str


class Found(BaseModel):
    """One search result."""

    sku: str
    name: str
    price: float


class SearchResults(BaseModel):
    """What the shop answers to a search."""

    query: str
    total: int
    results: list[Found]


class Order(BaseModel):
    """What the shop answers to a checkout."""

    order: str
    total: float


products = suite.dataset("products", "data/products.csv", row=Product, order="shuffle")
customers = suite.dataset("customers", "data/customers.csv", row=Customer)


@suite.transaction(
    "Search and open product details",
    tags=["catalog"],
    criticality="high",
    owner="catalog team",
    weight=6,
    data=products,
)
async def search_and_open(user: VirtualUser, product: Product) -> None:
    """A visitor looks for a thing and opens it."""
    async with user.step("Search"):
        results = await user.http.get("/search", params={"q": product.term})
        results.check(status=200, schema=SearchResults)
    async with user.step("Open details"):
        details = await user.http.get(f"/products/{product.sku}", name="/products/{sku}")
        details.check(status=200, json={"sku": product.sku, "name": product.name})
        user.check("price is right", details.json()["price"] == product.price_cents / 100)


@suite.transaction("Fill the cart", tags=["basket"], owner="basket team", weight=2, data=customers)
async def fill_the_cart(user: VirtualUser, customer: Customer) -> None:
    """A customer signs in, adds two things found by searching, and looks at the cart."""
    await sign_in(user, customer)
    async with user.step("Search"):
        results = await user.http.get("/search", params={"q": user.random.choice(["chair", "mug", "lamp"])})
        results.check(status=200, schema=SearchResults)
        wanted = user.random.sample(results.json()["results"], 2)
    async with user.step("Add to cart"):
        for item in wanted:
            added = await user.http.post("/cart", json={"sku": item["sku"], "quantity": 1})
            added.check(status=201)
    async with user.step("Look at cart"):
        cart = await user.http.get("/cart")
        cart.check(status=200, json={"customer": customer.name})


@suite.transaction(
    "Checkout", tags=["basket", "money"], criticality="critical", owner="payment team", weight=2, data=customers
)
async def check_out(user: VirtualUser, customer: Customer) -> None:
    """A customer signs in, buys one thing and pays."""
    await sign_in(user, customer)
    async with user.step("Add to cart"):
        results = await user.http.get("/search", params={"q": "desk"})
        results.check(status=200)
        item = user.random.choice(results.json()["results"])
        added = await user.http.post("/cart", json={"sku": item["sku"], "quantity": 1})
        added.check(status=201)
    async with user.step("Pay"):
        order = await user.http.post("/checkout", json={"payment": "card"})
        order.check(status=201, schema=Order, max_ms=2000)


async def sign_in(user: VirtualUser, customer: Customer) -> None:
    """The step that several transactions begin with."""
    async with user.step("Sign in"):
        answer = await user.http.post("/login", json={"name": customer.name, "password": customer.password})
        answer.check(status=200, json={"customer": customer.name})
