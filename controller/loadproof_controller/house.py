"""Puts a service-mode controller together: its data folder, its two ports, its queue.

The folder holds the authority, hashed tokens, the agents' names and the runs. Two files hold tokens in the clear, mode
0600, for the person at this machine: `join.token` and `operator.token`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadproof.trust import Token, TrustError, parse_token
from loadproof_controller.errors import ServiceError
from loadproof_controller.fleet_service import FleetService
from loadproof_controller.operations.guard import MEMBER, CertificateGuard, Refusals, TokenGuard
from loadproof_controller.operations.server import (
    STOP_GRACE_S,
    EnrollServicer,
    RunServicer,
    operations_server,
    server_credentials,
)
from loadproof_controller.relays.server import RelayServicer
from loadproof_controller.run_history import RunHistory
from loadproof_controller.run_store import RUNS, RunStore
from loadproof_controller.security import Authority, Role, TokenStore
from loadproof_controller.security.files import private_folder, write_private
from loadproof_controller.security.names import AgentNames
from loadproof_controller.service import ControllerService, is_loopback
from loadproof_controller.web.server import WebOptions, WebServer, open_web

LOGGER = logging.getLogger(__name__)
JOIN_TOKEN = "join.token"  # noqa: S105  # a file's name
OPERATOR_TOKEN = "operator.token"  # noqa: S105  # a file's name


@dataclass(frozen=True, slots=True)
class HouseOptions:
    """Where a controller listens and keeps its things. `agents_port` 0 means any free one, None the next after `port`.

    `insecure` serves plaintext, on loopback only; tokens are asked for all the same. `advertise` is the host that the
    pages' command for joining agents names, where it is not `host`. `store` is the address of the run history, which
    may hold a password; empty for a file in `data`.
    """

    host: str
    port: int
    data: Path
    agents_port: int | None = None
    insecure: bool = False
    web: WebOptions | None = None
    advertise: str = ""
    store: str = field(default="", repr=False)
    orphan_grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class House:
    """A controller that is up. `operator_token_file` holds the local operator's token, `web` is None without pages.

    `history` is the run history's address without its password.
    """

    service: FleetService
    port: int
    agents_port: int
    join_token: str
    operator_token_file: Path
    history: str
    web: WebServer | None = None


@asynccontextmanager
async def open_house(options: HouseOptions) -> AsyncIterator[House]:
    """Serve until left; then the run that is on is stopped at once, its files are written, and both ports closed.

    Raises `ServiceError` with what to do: the folder is used or not private, a port is taken, plaintext off loopback;
    `StoreError` when the run history cannot be used.
    """
    if options.insecure and not is_loopback(f"{_bracketed(options.host)}:0"):
        raise ServiceError(f"--insecure serves plaintext and so only 127.0.0.1 or ::1, not {options.host}")
    data = private_folder(options.data)
    with _locked(data):
        history = RunHistory(options.store, data)
        await asyncio.to_thread(history.check)
        authority = None if options.insecure else Authority.load(private_folder(data / "pki"))
        pair = authority.server_pair(data / "pki", _hosts(options)) if authority is not None else None
        tokens = TokenStore(data / ("tokens-insecure.json" if authority is None else "tokens.json"), _pin(authority))
        join = _standing_token(data / JOIN_TOKEN, tokens, "agent", _pin(authority))
        _standing_token(data / OPERATOR_TOKEN, tokens, "operator", _pin(authority))
        refusals = Refusals()
        names = AgentNames(data / "agents.json")
        listen = f"{_bracketed(options.host)}:"
        agents_port = options.agents_port
        if agents_port is None:
            agents_port = options.port + 1 if options.port else 0

        def also_serve(server: Any) -> None:  # when this is called both are there
            enroll.add_to(server)
            relays.add_to(server)

        controller = ControllerService(
            f"{listen}{agents_port}",
            credentials=server_credentials(*pair, authority.pem) if authority and pair else None,
            orphan_grace_s=options.orphan_grace_s,
            interceptors=(CertificateGuard(authority, tokens.role_of, refusals),),
            member=MEMBER.get,
            also_serve=also_serve,
        )
        enroll = EnrollServicer(authority, names, controller.fleet, tokens.role_of, refusals)
        relays = RelayServicer(controller, tokens.known if authority is not None else None)
        controller.fleet.token_limit = tokens.agents_max
        runs = RunStore(data / RUNS)
        service = FleetService(controller, runs, tokens)
        service.observers.append(history.observe)
        for entry in reversed(list(runs)):  # what an earlier process could not record
            history.observe(entry.run_id, entry)
        async with controller:
            server, port = operations_server(
                (RunServicer(service), enroll),
                TokenGuard(service.caller, refusals),
                f"{listen}{options.port}",
                server_credentials(*pair, None) if pair else None,
            )
            enroll.agents_port = int(controller.address.rpartition(":")[2])
            await server.start()
            try:
                async with _pages(options, service, history, join.text, port) as pages, asyncio.TaskGroup() as group:
                    group.create_task(_work(service, history))
                    group.create_task(history.serve(service.recorded))
                    try:
                        operator = data / OPERATOR_TOKEN
                        yield House(service, port, enroll.agents_port, join.text, operator, history.shown, pages)
                    finally:
                        service.close()
            finally:
                await server.stop(STOP_GRACE_S)


async def _work(service: FleetService, history: RunHistory) -> None:
    """Work the queue to its end; what the last run left is still recorded if it can be."""
    try:
        await service.serve()
    finally:
        history.close()


@asynccontextmanager
async def _pages(
    options: HouseOptions, service: FleetService, history: RunHistory, join: str, port: int
) -> AsyncIterator[WebServer | None]:
    """Serve pages where they are asked for, with the certificate of the controller."""
    if options.web is None:
        yield None
        return
    data = options.data
    tls = None if options.insecure else (data / "pki" / "server.pem", data / "pki" / "server.key")
    command = f"loadproof agent --join {join} {_bracketed(options.advertise or options.host)}:{port}"
    async with open_web(options.web, service, data, history, join_command=command, tls=tls) as pages:
        yield pages


def _pin(authority: Authority | None) -> str:
    return authority.pin if authority is not None else ""


def _hosts(options: HouseOptions) -> list[str]:
    """Return what people's browsers may know this controller by."""
    given = [options.advertise, options.host, options.web.host if options.web is not None else ""]
    return sorted({host for host in given if host} - {"0.0.0.0", "::"})  # noqa: S104  # compared with, not listened at


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises `ServiceError` when another has it."""
    try:
        descriptor = os.open(data / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServiceError(f"{data} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ServiceError(f"another controller uses {data}; stop it, or choose another folder with --data") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _standing_token(path: Path, tokens: TokenStore, role: Role, pin: str) -> Token:
    """Return the token in `path` while it is good, else make one and keep it there, readable by this user only."""
    with contextlib.suppress(OSError, TrustError):
        token = parse_token(path.read_text(encoding="utf-8"))
        caller = tokens.caller(token.secret)
        if token.pin == pin and caller is not None and caller.role == role:
            return token
    _entry, token = tokens.create(role, f"first {role}" if role != "agent" else "first join token")
    write_private(path, token.text.encode() + b"\n")
    return token
