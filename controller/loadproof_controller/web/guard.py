"""Stands before every handler: who asks is known, and may; what a browser gets is told what it may load and run."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from loadproof_controller.errors import RunRefused
from loadproof_controller.security import Caller
from loadproof_controller.web.access import Session, Sessions, bearer, same_origin
from loadproof_controller.web.problems import Problem, problem_response
from loadproof_controller.web.routes import Handler, Route

LOGGER = logging.getLogger(__name__)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
SESSION: web.RequestKey[Session] = web.RequestKey("session", Session)
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts allow-modals allow-popups; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A report is a page of its own that allows its own script by hash; here it also gets no origin, so no cookie."""
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
HSTS = "max-age=31536000"
UNKNOWN = "not authorised: the token is missing, wrong, expired or revoked"
TELL_PAGE = Callable[[web.Request, Problem], Awaitable[web.Response]]


class Guard:
    """Wraps the handlers of the table. `page_of` renders a problem for people."""

    def __init__(
        self,
        caller_of: Callable[[str], Caller | None],
        sessions: Sessions,
        page_of: TELL_PAGE,
        *,
        secure: bool,
    ) -> None:
        self._caller_of = caller_of
        self._sessions = sessions
        self._page_of = page_of
        self._secure = secure

    def handler(self, route: Route) -> Handler:
        """Return the route's handler behind a look at who asks. Nothing of an exception reaches a peer."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                self._let_in(route, request)
                return await route.handler(request)
            except web.HTTPException as problem:
                if problem.status < 400:
                    raise
                return await self._tell(route.kind, request, Problem(problem.status, problem.reason))
            except Problem as problem:
                return await self._tell(route.kind, request, problem)
            except RunRefused as refused:
                return await self._tell(route.kind, request, Problem(409, str(refused)))
            except ConnectionError:
                raise
            except Exception:
                LOGGER.exception("%s %s failed", route.method, route.path)
                failure = Problem(500, "the controller failed on this request; see its log")
                return await self._tell(route.kind, request, failure)

        return handle

    async def fallback(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer what is not in the table: an unknown path or method."""
        try:
            return await handler(request)
        except web.HTTPException as problem:
            if problem.status < 400:
                raise
            allow = {"Allow": problem.headers["Allow"]} if "Allow" in problem.headers else None
            kind = "api" if request.path.startswith("/api/") else "page"
            what = {404: "there is nothing at this address", 405: "that method is not served here"}
            detail = what.get(problem.status, problem.reason)
            return await self._tell(kind, request, Problem(problem.status, detail, allow))

    async def _tell(self, kind: str, request: web.Request, problem: Problem) -> web.Response:
        if kind == "api":
            return problem_response(problem)
        return await self._page_of(request, problem)

    def _let_in(self, route: Route, request: web.Request) -> None:
        caller = self._caller(route, request)
        if caller is not None:
            request[CALLER] = caller
        if route.roles is None:
            return
        if caller is None:
            raise Problem(401, UNKNOWN, {"WWW-Authenticate": "Bearer"} if route.kind == "api" else {})
        if caller.role not in route.roles:
            raise Problem(403, f"a token with the role {caller.role} may not do this")

    def _caller(self, route: Route, request: web.Request) -> Caller | None:
        reading = request.method in {"GET", "HEAD"}
        if route.kind == "api":
            secret = bearer(request)
            if secret is not None:
                return self._caller_of(secret) if secret else None
            if not reading:
                return None  # a cookie alone changes nothing here, so no other site's form can
        session = self._sessions.read(request)
        if session is None:
            return None
        request[SESSION] = session
        if not reading and not same_origin(request):
            raise Problem(403, "this form was sent by another site's page")
        return session.caller

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Give every answer its security headers; what a handler set itself stays."""
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if self._secure:
            response.headers.setdefault("Strict-Transport-Security", HSTS)
        response.headers["Server"] = "loadproof"
