"""A real controller with its pages on a free port, in this process, and what asks it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from loadproof_controller.house import House, HouseOptions, open_house
from loadproof_controller.web.server import WebOptions
from tree import ROOT

SHOP_SUITE = ROOT / "examples" / "shop" / "suite"


@dataclass
class WebHouse:
    """A controller that is up; tokens by role, their texts."""

    house: House
    url: str
    tokens: dict[str, str]
    join_file: Path

    def headers(self, role: str) -> dict[str, str]:
        """Return what a program of that role sends."""
        return {"Authorization": f"Bearer {self.tokens[role]}"}


@asynccontextmanager
async def web_house(data: Path, **web: Any) -> AsyncIterator[WebHouse]:
    """Open a plaintext controller on loopback with pages."""
    options = HouseOptions("127.0.0.1", web.pop("listen", 0), data, agents_port=0, insecure=True,
                           store=web.pop("store", ""),
                           web=WebOptions("127.0.0.1", web.pop("port", 0), **web))  # fmt: skip
    async with open_house(options) as house:
        assert house.web is not None
        tokens = {role: house.service.create_token(role, f"test {role}")[1] for role in ("operator", "viewer", "agent")}
        yield WebHouse(house, house.web.url.rstrip("/"), tokens, data / "join.token")


@asynccontextmanager
async def browser_of(up: WebHouse, role: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a session that has logged in with a form, as a browser does."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(up.url, cookie_jar=jar) as session:
        async with session.post("/login", data={"token": up.tokens[role], "next": "/"}) as answer:
            assert answer.status == 200, await answer.text()
        yield session


async def csrf_of(session: aiohttp.ClientSession, path: str = "/") -> str:
    """Return the token a page's forms carry."""
    async with session.get(path) as answer:
        page = await answer.text()
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def zipped(files: dict[str, str | bytes]) -> bytes:
    """Return a zip as a person's tool makes it, entries of folders included."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
            archive.writestr(folder + "/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zipped_shop() -> bytes:
    """Return the example shop's suite, in a folder of its own."""
    return zipped(
        {
            f"suite/{path.relative_to(SHOP_SUITE).as_posix()}": path.read_bytes()
            for path in SHOP_SUITE.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
    )
