"""A small shop to put under load: products, search, login, cart, checkout. It writes down all that it really receives.

    python examples/shop/server.py --port 0

prints one JSON line, {"url": ..., "pid": ...}, and serves until SIGTERM, SIGINT or, with `--until-eof`, until standard
input ends. `GET /__log__` answers what arrived: counts by route, and with `?entries=1` every request with its time.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import secrets
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

DATA = Path(__file__).parent / "suite" / "data"
NS_PER_S = 1_000_000_000
TERMINALS = 4
"""Payments the payment provider handles at once; more than that wait, which is where this shop slows down."""
PAYMENT_MS = 12
DECLINED_EACH = 113
"""Each so-manieth payment fails at the provider: small, steady and dangerous, as a load test should find it."""
LOG_ENTRIES_MAX = 2_000_000


@dataclass(frozen=True, slots=True)
class Product:
    """One article. Prices are integers in cents."""

    sku: str
    term: str
    name: str
    price_cents: int

    def as_json(self) -> dict[str, object]:
        return {"sku": self.sku, "name": self.name, "price": self.price_cents / 100}


@dataclass(slots=True)
class Session:
    """What the shop remembers of one signed-in customer."""

    customer: str
    cart: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One request as received: monotonic ns, method and route, status, and what the sender says of itself."""

    at_ns: int
    endpoint: str
    status: int
    transaction: str
    row: str
    trace: str


@dataclass(slots=True)
class Shop:
    """The shop's state and its log."""

    products: dict[str, Product]
    customers: dict[str, str]
    slow: bool
    payment_ms: int
    sessions: dict[str, Session] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    orders: int = 0
    payments: int = 0
    terminals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TERMINALS))
    frozen: list[tuple[int, int]] = field(default_factory=list)


SHOP: web.AppKey[Shop] = web.AppKey("shop", Shop)
routes = web.RouteTableDef()


def read_shop(*, slow: bool, payment_ms: int) -> Shop:
    """Return a shop with the articles and customers of the suite's data files."""
    with (DATA / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    products = {row["sku"]: Product(row["sku"], row["term"], row["name"], int(row["price_cents"])) for row in rows}
    with (DATA / "customers.csv").open(encoding="utf-8", newline="") as file:
        customers = {row["name"]: row["password"] for row in csv.DictReader(file)}
    return Shop(products, customers, slow, payment_ms)


def problem(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def session_of(request: web.Request) -> Session | None:
    return request.app[SHOP].sessions.get(request.cookies.get("session", ""))


@routes.get("/health")
async def health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "up"})


@routes.get("/search")
async def search(request: web.Request) -> web.Response:
    shop = request.app[SHOP]
    term = request.query.get("q", "").lower()
    if not term:
        return problem(400, "q is missing")
    if shop.slow:
        await asyncio.sleep(0.003)
    found = [product.as_json() for product in shop.products.values() if term in product.name.lower()]
    return web.json_response({"query": term, "total": len(found), "results": found[:20]})


@routes.get("/products/{sku}")
async def product_details(request: web.Request) -> web.Response:
    product = request.app[SHOP].products.get(request.match_info["sku"])
    if product is None:
        return problem(404, "no such product")
    return web.json_response(
        {**product.as_json(), "stock": 25, "reviews": [{"stars": 4, "text": "Does what it says."}]}
    )


@routes.post("/login")
async def login(request: web.Request) -> web.Response:
    shop = request.app[SHOP]
    body = await request.json()
    if shop.customers.get(body.get("name", "")) != body.get("password", ""):
        return problem(401, "wrong name or password")
    if shop.slow:
        await asyncio.sleep(0.006)
    token = secrets.token_hex(16)
    shop.sessions[token] = Session(body["name"])
    answer = web.json_response({"customer": body["name"]})
    answer.set_cookie("session", token, httponly=True)
    return answer


@routes.get("/cart")
async def show_cart(request: web.Request) -> web.Response:
    session = session_of(request)
    if session is None:
        return problem(401, "not signed in")
    return web.json_response(cart_json(request.app[SHOP], session))


@routes.post("/cart")
async def add_to_cart(request: web.Request) -> web.Response:
    session = session_of(request)
    if session is None:
        return problem(401, "not signed in")
    shop = request.app[SHOP]
    body = await request.json()
    sku, quantity = body.get("sku", ""), body.get("quantity", 1)
    if sku not in shop.products or not isinstance(quantity, int) or quantity < 1:
        return problem(422, "no such product or quantity")
    session.cart[sku] = session.cart.get(sku, 0) + quantity
    return web.json_response(cart_json(shop, session), status=201)


@routes.post("/checkout")
async def checkout(request: web.Request) -> web.Response:
    session = session_of(request)
    if session is None:
        return problem(401, "not signed in")
    shop = request.app[SHOP]
    if not session.cart:
        return problem(409, "the cart is empty")
    total = cart_json(shop, session)["total"]
    if shop.slow:
        async with shop.terminals:
            await asyncio.sleep(shop.payment_ms / 1_000)
        shop.payments += 1
        if shop.payments % DECLINED_EACH == 0:
            return problem(502, "the payment provider gave no answer")
    shop.orders += 1
    session.cart.clear()
    return web.json_response({"order": f"O-{shop.orders:06}", "total": total}, status=201)


def cart_json(shop: Shop, session: Session) -> dict[str, object]:
    items = [{"sku": sku, "quantity": quantity} for sku, quantity in session.cart.items()]
    cents = sum(shop.products[sku].price_cents * quantity for sku, quantity in session.cart.items())
    return {"customer": session.customer, "items": items, "total": cents / 100}


@routes.get("/__log__")
async def read_log(request: web.Request) -> web.Response:
    shop = request.app[SHOP]
    counts: dict[str, int] = {}
    statuses: dict[str, int] = {}
    transactions: dict[str, int] = {}
    for entry in shop.entries:
        counts[entry.endpoint] = counts.get(entry.endpoint, 0) + 1
        status = f"{entry.endpoint} {entry.status}"
        statuses[status] = statuses.get(status, 0) + 1
        if entry.transaction:
            transactions[entry.transaction] = transactions.get(entry.transaction, 0) + 1
    answer: dict[str, object] = {
        "counts": counts,
        "statuses": statuses,
        "transactions": transactions,
        "orders": shop.orders,
        "sessions": len(shop.sessions),
        "frozen": shop.frozen,
        "now_ns": time.monotonic_ns(),
    }
    if request.query.get("entries"):
        answer["entries"] = [
            [entry.at_ns, entry.endpoint, entry.status, entry.transaction, entry.row, entry.trace]
            for entry in shop.entries
        ]
    return web.json_response(answer)


@routes.delete("/__log__")
async def clear_log(request: web.Request) -> web.Response:
    request.app[SHOP].entries.clear()
    return web.json_response({})


@routes.post("/__freeze__")
async def freeze(request: web.Request) -> web.Response:
    """Stop answering at all, as a long garbage collection would, `in` seconds from now for `seconds`."""
    shop = request.app[SHOP]
    seconds = min(float(request.query.get("seconds", "1")), 10.0)

    def stand_still() -> None:
        began = time.monotonic_ns()
        time.sleep(seconds)
        shop.frozen.append((began, time.monotonic_ns()))

    asyncio.get_running_loop().call_later(float(request.query.get("in", "0")), stand_still)
    return web.json_response({"now_ns": time.monotonic_ns()})


@web.middleware
async def write_down(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log each request of a customer with the time at which it was taken up."""
    at_ns = time.monotonic_ns()
    status = 500
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        resource = request.match_info.route.resource
        route = resource.canonical if resource else request.path
        shop = request.app[SHOP]
        if not route.startswith("/__") and len(shop.entries) < LOG_ENTRIES_MAX:
            headers = request.headers
            entry = Entry(
                at_ns,
                f"{request.method} {route}",
                status,
                headers.get("x-transaction", ""),
                headers.get("x-row", ""),
                headers.get("traceparent", ""),
            )
            shop.entries.append(entry)


def application(*, slow: bool = True, payment_ms: int = PAYMENT_MS) -> web.Application:
    """Return the shop as an aiohttp application. `slow` gives it the delays and failures of a real one."""
    app = web.Application(middlewares=[write_down])
    app[SHOP] = read_shop(slow=slow, payment_ms=payment_ms)
    app.add_routes(routes)
    return app


def end_at_eof(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 65536):
        ended.set()


async def serve(app: web.Application, host: str, port: int, *, until_eof: bool) -> None:
    """Serve until told to end; the address goes to standard output as soon as it is known."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=4096)
    await site.start()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), end_at_eof, ended)
    address = runner.addresses[0]
    print(json.dumps({"url": f"http://{address[0]}:{address[1]}", "pid": os.getpid()}), flush=True)
    try:
        await ended.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="A small shop to put under load.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--fast", action="store_true", help="without the delays and failures of a real shop")
    parser.add_argument(
        "--payment-ms", type=int, default=PAYMENT_MS, help="how long the payment provider takes: a slower release"
    )
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    given = parser.parse_args()
    app = application(slow=not given.fast, payment_ms=given.payment_ms)
    asyncio.run(serve(app, given.host, given.port, until_eof=given.until_eof))


if __name__ == "__main__":
    main()
