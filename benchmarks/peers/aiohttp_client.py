"""aiohttp's client alone on uvloop: python aiohttp_client.py URL USERS SECONDS [AUTHORITY]."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time

import aiohttp
import uvloop


async def main(url: str, users: int, seconds: float, authority: str = "") -> None:
    context = ssl.create_default_context(cafile=authority) if authority else None
    until = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def user() -> None:
            while time.monotonic() < until:
                async with session.get(url) as response:
                    await response.read()
                    assert response.status == 200

        async with asyncio.TaskGroup() as group:
            for _ in range(users):
                group.create_task(user())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]))
