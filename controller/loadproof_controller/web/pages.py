"""The pages for people. Everything from outside is escaped by the templates; scripts come from `/static` only."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import importlib.resources
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web
from jinja2 import Environment, FunctionLoader

from loadproof_controller.fleet_service import FleetService
from loadproof_controller.run_store import RunEntry
from loadproof_controller.web.access import FailureLimit, Sessions, secret_of
from loadproof_controller.web.comparing import ComparingError, compare_runs
from loadproof_controller.web.guard import CALLER, REPORT_POLICY, SESSION
from loadproof_controller.web.hub import Hub
from loadproof_controller.web.problems import Problem, refuse
from loadproof_controller.web.uploads import Upload, Uploads
from loadproof_report.html.render import TONES, asset, environment
from loadproof_report.markdown import WORDS

STATIC = {
    "uPlot.css": ("report", "vendor/uPlot.min.css", "text/css"),
    "report.css": ("report", "report.css", "text/css"),
    "uPlot.js": ("report", "vendor/uPlot.iife.min.js", "text/javascript"),
    "charts.js": ("report", "charts.js", "text/javascript"),
    "web.css": ("web", "web.css", "text/css"),
    "live.js": ("web", "live.js", "text/javascript"),
    "overview.js": ("web", "overview.js", "text/javascript"),
}
"""Files of the report's room are served from there: one look, one source."""
RUNS_LISTED = 200
STATE_TONES = {"finished": "", "aborted": "warn", "failed": "bad", "running": "open", "queued": ""}


@dataclass(frozen=True, slots=True)
class Static:
    """A file as it is served, under a name that changes with its bytes."""

    body: bytes
    content_type: str
    version: str


@functools.cache
def static_files() -> dict[str, Static]:
    """Return everything under `/static`."""
    files: dict[str, Static] = {}
    for name, (room, path, kind) in STATIC.items():
        body = (asset(path) if room == "report" else _own(f"static/{path}")).encode()
        files[name] = Static(body, kind, hashlib.sha256(body).hexdigest()[:12])
    return files


@functools.cache
def _own(path: str) -> str:
    return (importlib.resources.files("loadproof_controller.web") / path).read_text(encoding="utf-8")


def _template(name: str) -> str:
    return asset(name) if name == "parts.html.j2" else _own(f"templates/{name}")


@functools.cache
def _environment() -> Environment:
    made = environment(FunctionLoader(_template))
    made.globals.update(
        tones=TONES,
        words=WORDS,
        state_tones=STATE_TONES,
        static=lambda name: f"/static/{static_files()[name].version}/{name}",
        quote=lambda text: quote(text, safe=""),
    )
    return made


class Pages:
    """Handlers of the pages. `join_command` is what attaches an agent; only operators see its token."""

    def __init__(
        self,
        service: FleetService,
        hub: Hub,
        sessions: Sessions,
        limit: FailureLimit,
        uploads: Uploads,
        join_command: str,
        version: str,
    ) -> None:
        self._service = service
        self._hub = hub
        self._sessions = sessions
        self._limit = limit
        self._uploads = uploads
        self._join_command = join_command
        self._version = version

    # --- reading ------------------------------------------------------------------------------------------------------

    async def runs(self, request: web.Request) -> web.Response:
        """Runs, live and past."""
        return self._page(request, "runs.html.j2", runs=self._service.runs(RUNS_LISTED))

    async def run(self, request: web.Request) -> web.Response:
        """One run, live."""
        entry = self._entry(request.match_info["run_id"])
        others = [other for other in self._service.runs(RUNS_LISTED) if other.loaded and other.run_id != entry.run_id]
        others.sort(key=lambda other: (other.suite, other.profile) != (entry.suite, entry.profile))
        return self._page(request, "run.html.j2", run=entry, others=others)

    async def report(self, request: web.Request) -> web.StreamResponse:
        """The report of a run that is over."""
        entry = self._entry(request.match_info["run_id"])
        files = self._service.files(entry.run_id) if entry.over else []
        path = next((path for path in files if path.name == "report.html"), None)
        if path is None:
            refuse(404, "that run has no report: it is not over, or ended before any load")
        headers = {"Content-Security-Policy": REPORT_POLICY, "Content-Type": "text/html; charset=utf-8"}
        return web.FileResponse(path, headers=headers)

    async def compare(self, request: web.Request) -> web.Response:
        """Any two runs side by side."""
        runs = [entry for entry in self._service.runs(RUNS_LISTED) if entry.loaded]
        base, run = request.query.get("base", ""), request.query.get("run", "")
        context: dict[str, Any] = {"runs": runs, "base": base, "run": run, "comparison": None, "trouble": ""}
        if base and run:
            try:
                found = await asyncio.to_thread(compare_runs, self._service, base, run)
            except ComparingError as error:
                context["trouble"] = str(error)
            else:
                context.update(comparison=found.comparison, left=found.base, right=found.run)
        return self._page(request, "compare.html.j2", **context)

    async def fleet(self, request: web.Request) -> web.Response:
        """The fleet, and how to attach to it."""
        return self._page(request, "fleet.html.j2", fleet=self._service.fleet(), join_command=self._join_command)

    # --- doing --------------------------------------------------------------------------------------------------------

    async def new(self, request: web.Request) -> web.Response:
        """The form that starts a run."""
        return self._page(request, "new.html.j2", fleet=self._service.fleet(), problems=(), values={})

    async def start(self, request: web.Request) -> web.Response:
        """Start a run of an uploaded suite, or say in the form what is wrong with it."""
        upload = await self._uploads.read(request, check=lambda fields: self._checked(request, fields))
        problems = await self._try_start(request, upload)
        if not problems:
            raise web.HTTPSeeOther(f"/runs/{upload.run_id}")
        shown = {name: value for name, value in upload.fields.items() if name not in {"csrf", "secrets"}}
        response = self._page(request, "new.html.j2", fleet=self._service.fleet(), problems=problems, values=shown)
        response.set_status(422)
        return response

    async def _try_start(self, request: web.Request, upload: Upload) -> tuple[str, ...]:
        try:
            await self._uploads.start(upload, by=request[CALLER].name)
        except Problem as problem:
            return tuple(problem.detail.splitlines())
        return ()

    async def stop(self, request: web.Request) -> web.Response:
        """Stop a run: drain, or at once."""
        run_id = request.match_info["run_id"]
        form = await request.post()
        self._checked(request, {name: str(value) for name, value in form.items()})
        entry = self._entry(run_id)
        if not self._service.stop(run_id, immediate=form.get("how") == "now", by=request[CALLER].name):
            refuse(409, f"run {run_id} is over: {entry.state}")
        raise web.HTTPSeeOther(f"/runs/{run_id}")

    # --- coming and going ---------------------------------------------------------------------------------------------

    async def login_form(self, request: web.Request) -> web.Response:
        """The form that takes a token."""
        return self._page(request, "login.html.j2", trouble="", target=_target(request.query.get("next", "/")))

    async def login(self, request: web.Request) -> web.Response:
        """Begin a session with a viewer's or operator's token."""
        address = request.remote or ""
        wait_s = self._limit.wait_s(address)
        if wait_s:
            refuse(429, f"too many wrong tokens from this address; try again in {wait_s} s", Retry_After=str(wait_s))
        form = await request.post()
        target = _target(str(form.get("next", "/")))
        secret = secret_of(str(form.get("token", "")))
        caller = self._service.caller(secret) if secret else None
        if caller is None or caller.role not in {"viewer", "operator"}:
            self._limit.failed(address)
            what = "That token is wrong, expired or revoked."
            if caller is not None:
                what = "That token lets agents join; it does not open these pages."
            response = self._page(request, "login.html.j2", trouble=what, target=target)
            response.set_status(401 if caller is None else 403)
            return response
        there = web.HTTPSeeOther(target)
        self._sessions.begin(there, caller)
        raise there

    async def logout(self, request: web.Request) -> web.Response:
        """End the session in this browser."""
        form = await request.post()
        self._checked(request, {name: str(value) for name, value in form.items()})
        there = web.HTTPSeeOther("/login")
        self._sessions.end(there)
        raise there

    async def static(self, request: web.Request) -> web.Response:
        """A style or script, kept by the browser: its address changes with its bytes."""
        file = static_files().get(request.match_info["name"])
        if file is None:
            refuse(404, "there is nothing at this address")
        return web.Response(
            body=file.body,
            content_type=file.content_type,
            charset="utf-8",
            headers={"Cache-Control": "public, max-age=31536000, immutable"},
        )

    async def health(self, _request: web.Request) -> web.Response:
        """For load balancers and probes."""
        return web.Response(text="ok\n")

    async def problem(self, request: web.Request, problem: Problem) -> web.Response:
        """Render a problem; somebody unknown gets the login form in place."""
        if problem.status == 401:
            response = self._page(request, "login.html.j2", trouble="", target=_target(_asked(request)))
        else:
            response = self._page(request, "problem.html.j2", problem=problem)
        response.set_status(problem.status)
        response.headers.update(problem.headers)
        return response

    # --- parts --------------------------------------------------------------------------------------------------------

    def _entry(self, run_id: str) -> RunEntry:
        entry = self._service.entry(run_id)
        if entry is None:
            refuse(404, "this controller has no such run")
        return entry

    @staticmethod
    def _checked(request: web.Request, fields: dict[str, str]) -> None:
        session = request.get(SESSION)
        if session is None or not hmac.compare_digest(fields.get("csrf", "").encode(), session.csrf.encode()):
            refuse(403, "this form is not one of ours, or too old; load its page again")

    def _page(self, request: web.Request, template: str, **context: Any) -> web.Response:
        session = request.get(SESSION)
        context |= {
            "caller": session.caller if session else None,
            "csrf": session.csrf if session else "",
            "operator": session is not None and session.caller.role == "operator",
            "here": request.path,
            "version": self._version,
        }
        page = _environment().get_template(template).render(context)
        return web.Response(text=page, content_type="text/html")


def _asked(request: web.Request) -> str:
    """Return the page somebody wanted to see; of a form that was sent, the page it was on, as the browser tells."""
    if request.method in {"GET", "HEAD"}:
        return request.path_qs
    try:
        before = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        return "/"
    query = f"?{before.query}" if before.query else ""
    return f"{before.path}{query}" if before.netloc == request.host else "/"


def _target(text: str) -> str:
    """Return where to go after logging in: a path of ours, never another site."""
    if not text.startswith("/") or text.startswith(("//", "/\\")) or any(ord(c) < 33 for c in text):
        return "/"
    return text[:500]


__all__ = ["Pages", "static_files"]
