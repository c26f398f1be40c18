"""The real worker process with one setting changed: `BENCH_SETTING=NAME python -m benchmarks.settings_worker FD`."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

from loadproof.http import resolver
from loadproof.http.connection import Connection
from loadproof_agent.worker import __main__ as worker
from loadproof_agent.worker import process

NAME = "a-name.loadproof.test"
"""A name that the look-ups below send to the loopback."""


def on_connect(*options: tuple[int, int, int]) -> Callable[[], None]:
    """Return a change that sets socket options on every new connection."""

    def change() -> None:
        made = Connection.connection_made

        def connection_made(self: Connection, transport: asyncio.BaseTransport) -> None:
            made(self, transport)
            for level, option, value in options:
                transport.get_extra_info("socket").setsockopt(level, option, value)

        setattr(Connection, "connection_made", connection_made)  # noqa: B010 - mypy forbids the assignment

    return change


def acknowledge_each() -> None:
    """Ask for an immediate acknowledgement after every read; the kernel forgets the option by itself."""
    received = Connection.data_received

    def data_received(self: Connection, data: bytes) -> None:
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        received(self, data)

    setattr(Connection, "data_received", data_received)  # noqa: B010 - as above


def thresholds(*numbers: int) -> Callable[[], None]:
    """Return a change of the collector's thresholds."""

    def change() -> None:
        setattr(process, "GC_THRESHOLDS", numbers)  # noqa: B010 - as above

    return change


def unfrozen() -> None:
    """Leave what was there at the start to the collector."""
    setattr(gc, "freeze", lambda: None)  # noqa: B010 - as above


async def look_up(_host: str, port: int) -> list[str]:
    """Ask the system's resolver, in a thread as the engine does; the answer is where the target listens."""
    await asyncio.get_running_loop().getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
    return ["127.0.0.1"]


def remembered() -> None:
    """Names are looked up and remembered as the engine does it."""
    cast("Any", resolver.Resolver.__init__).__defaults__ = (look_up, 30_000_000_000)


def looked_up_each_time() -> None:
    """Names are looked up for every connection, each for itself."""

    async def resolve(_self: resolver.Resolver, host: str, port: int, _turn: int) -> list[str]:
        return await look_up(host, port)

    setattr(resolver.Resolver, "resolve", resolve)  # noqa: B010 - mypy forbids the assignment


def nothing() -> None:
    """The worker as it is."""


_KB = 1_024
SETTINGS: dict[str, Callable[[], None]] = {
    "as it is": nothing,
    "as it is (again)": nothing,
    "TCP_NODELAY off": on_connect((socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)),
    "TCP_QUICKACK at connect": on_connect((socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)),
    "TCP_QUICKACK at each read": acknowledge_each,
    "SO_RCVBUF, SO_SNDBUF 16 KB": on_connect(
        (socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * _KB), (socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * _KB)
    ),
    "SO_RCVBUF, SO_SNDBUF 1 MB": on_connect(
        (socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024 * _KB), (socket.SOL_SOCKET, socket.SO_SNDBUF, 1_024 * _KB)
    ),
    "name, remembered": remembered,
    "name, looked up each time": looked_up_each_time,
    "thresholds of Python (700, 10, 10)": thresholds(700, 10, 10),
    "thresholds (100,000, 50, 50)": thresholds(100_000, 50, 50),
    "without the collector": thresholds(0),
    "without gc.freeze": unfrozen,
}


if __name__ == "__main__":
    SETTINGS[os.environ["BENCH_SETTING"]]()
    sys.exit(worker.main(sys.argv[1:]))
