"""A service-mode controller inside the test's process, and calls with whatever credentials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from loadproof.trust import CONTROLLER_NAME
from loadproof_controller.house import House, HouseOptions, open_house
from loadproof_controller.security import Authority

OPTIONS = [("grpc.ssl_target_name_override", CONTROLLER_NAME), ("grpc.enable_http_proxy", 0)]


@asynccontextmanager
async def house_in(folder: Path, *, insecure: bool = False) -> AsyncIterator[House]:
    """Serve on free ports of loopback, with everything kept in `folder`."""
    async with open_house(HouseOptions("127.0.0.1", 0, folder / "data", insecure=insecure)) as house:
        yield house


def authority_of(folder: Path) -> Authority:
    """Return the authority of the controller that keeps its things in `folder`."""
    return Authority.load(folder / "data" / "pki")


def trusting(folder: Path) -> grpc.ChannelCredentials:
    """Return what a client without a certificate shows."""
    return grpc.ssl_channel_credentials(authority_of(folder).pem)


def channel(port: int, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Return a channel to a port of the house; None: plaintext."""
    if credentials is None:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=OPTIONS)


async def attached(house: House) -> None:
    """Wait until an agent is attached."""
    while not house.service.fleet():
        await asyncio.sleep(0.02)


async def status_of(where: grpc.aio.Channel, method: str, token: str | None = None) -> grpc.StatusCode:
    """Call any method with one empty message and return how that ended.

    A refusal may come before the message is written; gRPC's core then tells now and then of the stream's reset instead
    of the status it came with: INTERNAL. Such a call is made again; a handler that fails does so each time.
    """
    for _ in range(5):
        code = await _ended(where, method, token)
        if code is not grpc.StatusCode.INTERNAL:
            break
    return code


async def _ended(where: grpc.aio.Channel, method: str, token: str | None) -> grpc.StatusCode:
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    call: Any = where.stream_stream(method)(metadata=metadata, timeout=20)
    try:
        await call.write(b"")
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
    except (grpc.aio.AioRpcError, grpc.aio.UsageError):
        pass
    code: grpc.StatusCode = await call.code()
    return code
