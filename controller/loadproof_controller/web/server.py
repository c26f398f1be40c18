"""The web server of a controller: pages, REST interface and metrics on one port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aiohttp import web

from loadproof_controller.errors import ServiceError
from loadproof_controller.fleet_service import FleetService
from loadproof_controller.run_history import RunHistory
from loadproof_controller.security import Role
from loadproof_controller.service import is_loopback
from loadproof_controller.web.access import FailureLimit, Sessions
from loadproof_controller.web.api import Api
from loadproof_controller.web.baselines import Baselines
from loadproof_controller.web.following import Following
from loadproof_controller.web.guard import Guard
from loadproof_controller.web.hub import Hub
from loadproof_controller.web.openapi import document
from loadproof_controller.web.operations import OPERATIONS
from loadproof_controller.web.otlp import Exporter
from loadproof_controller.web.pages import Pages
from loadproof_controller.web.prometheus import MEDIA_TYPE, exposition
from loadproof_controller.web.routes import OPEN, OPERATORS, READERS, Handler, Route
from loadproof_controller.web.telemetry import families
from loadproof_controller.web.uploads import Uploads

LOGGER = logging.getLogger(__name__)
BODY_BYTES_MAX = 1024 * 1024
"""Of anything but an upload, which is read in parts and bounded there."""
SHUTDOWN_S = 2.0
ROUTES: web.AppKey[tuple[Route, ...]] = web.AppKey("routes", tuple)
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Where to serve pages. `metrics` serves `/metrics`, `otlp_url` pushes the same there; both off by default."""

    host: str
    port: int
    metrics: bool = False
    otlp_url: str = ""


@dataclass(frozen=True, slots=True)
class WebServer:
    """A web server that is up, and the table of what it serves."""

    url: str
    port: int
    routes: tuple[Route, ...]


@asynccontextmanager
async def open_web(
    options: WebOptions,
    service: FleetService,
    data: Path,
    history: RunHistory,
    *,
    join_command: str,
    tls: tuple[Path, Path] | None,
) -> AsyncIterator[WebServer]:
    """Serve until left. `tls` are the files with certificate and key; on loopback pages are served without.

    Raises `ServiceError` when the address cannot be had, or is not loopback without `tls`.
    """
    loopback = is_loopback(f"{options.host}:0")
    if tls is None and not loopback:
        raise ServiceError(f"--web {options.host} can be reached from other machines: it takes TLS, so no --insecure")
    secure = not loopback
    hub = Hub(service)
    app = application(options, service, hub, data, history, join_command=join_command, secure=secure)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        context = _tls(*tls) if tls is not None and secure else None
        site = web.TCPSite(runner, options.host, options.port, ssl_context=context, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise ServiceError(
                f"cannot serve pages at {options.host}:{options.port}: {error.strerror or error}"
            ) from error
        port = int(runner.addresses[0][1])
        host = f"[{options.host}]" if ":" in options.host else options.host
        async with asyncio.TaskGroup() as group:
            group.create_task(hub.serve())
            exporter = _exporter(options, service, hub, group)
            try:
                yield WebServer(f"{'https' if secure else 'http'}://{host}:{port}/", port, app[ROUTES])
            finally:
                if exporter is not None:
                    exporter.cancel()
                hub.close()
    finally:
        await runner.cleanup()


def _exporter(
    options: WebOptions, service: FleetService, hub: Hub, group: asyncio.TaskGroup
) -> asyncio.Task[None] | None:
    if not options.otlp_url:
        return None
    return group.create_task(Exporter(options.otlp_url, lambda: families(service, hub), _version()).serve())


def application(
    options: WebOptions,
    service: FleetService,
    hub: Hub,
    data: Path,
    history: RunHistory,
    *,
    join_command: str,
    secure: bool,
) -> web.Application:
    """Return the application with every route of the table behind the guard."""
    sessions = Sessions(data, service.caller_by_id, secure=secure)
    baselines = Baselines(history, service)
    uploads = Uploads(service, baselines)
    pages = Pages(service, hub, sessions, FailureLimit(), uploads, join_command, _version())
    guard = Guard(service.caller, sessions, pages.problem, secure=secure)
    api = Api(service, hub, uploads, baselines)
    routes = page_routes(pages) + api_routes(api) + stream_routes(Following(hub, service.caller_by_id))
    if options.metrics:
        routes.append(Route("GET", "/metrics", _metrics(service, hub), READERS, "api"))
    api.document = document(routes, _version())

    @web.middleware
    async def fallback(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await guard.fallback(request, handler)

    app = web.Application(middlewares=[fallback], client_max_size=BODY_BYTES_MAX)
    app[ROUTES] = tuple(routes)
    app.on_response_prepare.append(guard.add_headers)
    for route in routes:
        app.router.add_route(route.method, route.path, guard.handler(route))
    return app


def _metrics(service: FleetService, hub: Hub) -> Handler:
    async def metrics(_request: web.Request) -> web.Response:
        body = exposition(families(service, hub)).encode()
        return web.Response(body=body, headers={"Content-Type": MEDIA_TYPE})

    return metrics


def page_routes(pages: Pages) -> list[Route]:
    """Return what browsers ask for."""
    return [
        Route("GET", "/", pages.runs, READERS),
        Route("GET", "/runs/{run_id}", pages.run, READERS),
        Route("GET", "/runs/{run_id}/report", pages.report, READERS),
        Route("POST", "/runs/{run_id}/stop", pages.stop, OPERATORS),
        Route("GET", "/compare", pages.compare, READERS),
        Route("GET", "/fleet", pages.fleet, READERS),
        Route("GET", "/new", pages.new, OPERATORS),
        Route("POST", "/new", pages.start, OPERATORS),
        Route("GET", "/login", pages.login_form, OPEN),
        Route("POST", "/login", pages.login, OPEN),
        Route("POST", "/logout", pages.logout, READERS),
        Route("GET", "/static/{version}/{name}", pages.static, OPEN),
        Route("GET", "/healthz", pages.health, OPEN),
    ]


def stream_routes(following: Following) -> list[Route]:
    """Return the event streams."""
    return [
        Route("GET", "/api/v1/events", following.overview, READERS, "api", OPERATIONS["followAll"]),
        Route("GET", "/api/v1/runs/{run_id}/events", following.run, READERS, "api", OPERATIONS["followRun"]),
    ]


def api_routes(api: Api) -> list[Route]:
    """Return what programs ask for."""
    runs, one = "/api/v1/runs", "/api/v1/runs/{run_id}"
    table: list[tuple[str, str, str, Handler, frozenset[Role] | None]] = [
        ("openapi", "GET", "/api/v1/openapi.json", api.openapi, OPEN),
        ("listRuns", "GET", runs, api.runs, READERS),
        ("startRun", "POST", runs, api.start, OPERATORS),
        ("getRun", "GET", one, api.run, READERS),
        ("stopRun", "POST", f"{one}/stop", api.stop, OPERATORS),
        ("getRunLive", "GET", f"{one}/live", api.live, READERS),
        ("compareRun", "GET", f"{one}/comparison", api.comparison, READERS),
        ("listReports", "GET", f"{one}/reports", api.reports, READERS),
        ("getReport", "GET", f"{one}/reports/{{format}}", api.report, READERS),
        ("listBaselines", "GET", "/api/v1/baselines", api.baselines, READERS),
        ("setBaseline", "POST", "/api/v1/baselines", api.set_baseline, OPERATORS),
        ("unsetBaseline", "DELETE", "/api/v1/baselines", api.unset_baseline, OPERATORS),
        ("listFleet", "GET", "/api/v1/fleet", api.fleet, READERS),
        ("listTokens", "GET", "/api/v1/tokens", api.tokens, OPERATORS),
        ("createToken", "POST", "/api/v1/tokens", api.create_token, OPERATORS),
        ("revokeToken", "DELETE", "/api/v1/tokens/{token_id}", api.revoke_token, OPERATORS),
    ]
    return [
        Route(method, path, handler, roles, "api", OPERATIONS[name]) for name, method, path, handler, roles in table
    ]


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ServiceError(f"{certificate} cannot be used for TLS: {error}") from error
    return context


def _version() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version("loadproof")
    return "0"


__all__ = ["WebOptions", "WebServer", "application", "open_web"]
