"""The REST interface: `/api/v1`. What is taken and given is in `schemas`; errors are problems."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from loadproof_controller.fleet_service import FleetService
from loadproof_controller.run_store import RunEntry
from loadproof_controller.text import clean
from loadproof_controller.web.baselines import Baselines, NotStable
from loadproof_controller.web.comparing import ComparingError, compare_runs
from loadproof_controller.web.guard import CALLER, REPORT_POLICY
from loadproof_controller.web.hub import Hub
from loadproof_controller.web.openapi import query_of
from loadproof_controller.web.operations import OPERATIONS, REPORT_FILES
from loadproof_controller.web.problems import refuse
from loadproof_controller.web.schemas import BaselineRequest, StopRequest, TokenRequest
from loadproof_controller.web.uploads import Uploads
from loadproof_report import ReportError
from loadproof_report.history import StoreError, StoreUnavailable

BODY_BYTES_MAX = 64 * 1024
Taken = TypeVar("Taken", bound=BaseModel)


class Api:
    """Handlers of the REST interface; the guard has let the caller through."""

    def __init__(self, service: FleetService, hub: Hub, uploads: Uploads, baselines: Baselines) -> None:
        self._service = service
        self._hub = hub
        self._uploads = uploads
        self._baselines = baselines
        self.document: dict[str, Any] = {}
        """What `openapi` answers with; set when the table of routes is whole."""

    async def openapi(self, request: web.Request) -> web.Response:
        """Return the document of this interface."""
        query_of(request, OPERATIONS["openapi"])
        return _json(self.document)

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def runs(self, request: web.Request) -> web.Response:
        """Return the newest runs."""
        query = query_of(request, OPERATIONS["listRuns"])
        entries = self._service.runs(1_000)
        if query["state"]:
            entries = [entry for entry in entries if entry.state == query["state"]]
        if query["suite"]:
            entries = [entry for entry in entries if entry.suite == query["suite"]]
        return _json({"runs": [dataclasses.asdict(entry) for entry in entries[: query["limit"]]]})

    async def run(self, request: web.Request) -> web.Response:
        """Return one run."""
        query_of(request, OPERATIONS["getRun"])
        return _json(dataclasses.asdict(self._entry(request)))

    async def start(self, request: web.Request) -> web.Response:
        """Start a run of an uploaded suite."""
        query_of(request, OPERATIONS["startRun"])
        upload = await self._uploads.read(request, check=lambda _fields: None)
        ahead = await self._uploads.start(upload, by=request[CALLER].name)
        there = {"Location": f"/api/v1/runs/{upload.run_id}"}
        taken = {"run_id": upload.run_id, "ahead": ahead, "warnings": upload.warnings}
        return _json(taken, status=201, headers=there)

    async def stop(self, request: web.Request) -> web.Response:
        """Stop a run, or take it out of the queue."""
        query_of(request, OPERATIONS["stopRun"])
        wanted = await _body(request, StopRequest)
        entry = self._entry(request)
        if not self._service.stop(entry.run_id, immediate=wanted.immediate, by=request[CALLER].name):
            refuse(409, f"run {entry.run_id} is over: {entry.state}")
        return web.Response(status=204)

    async def live(self, request: web.Request) -> web.Response:
        """Return a run as its page shows it now."""
        query_of(request, OPERATIONS["getRunLive"])
        page = await self._hub.page(self._entry(request).run_id)
        assert page is not None, "a known run has a page"
        return _json(page.state)

    async def comparison(self, request: web.Request) -> web.Response:
        """Return what differs between a run and another one."""
        query = query_of(request, OPERATIONS["compareRun"])
        entry = self._entry(request)
        try:
            found = await asyncio.to_thread(compare_runs, self._service, query["baseline"], entry.run_id)
        except ComparingError as error:
            refuse(409, clean(str(error), 500))
        return _json(found.comparison.model_dump(mode="json"))

    # --- reports ------------------------------------------------------------------------------------------------------

    async def reports(self, request: web.Request) -> web.Response:
        """Return the formats in which a run's report is there."""
        query_of(request, OPERATIONS["listReports"])
        there = {path.name for path in self._files(request)}
        return _json({"formats": [name for name, (file, _kind) in REPORT_FILES.items() if file in there]})

    async def report(self, request: web.Request) -> web.StreamResponse:
        """Return a run's report in one format."""
        query_of(request, OPERATIONS["getReport"])
        wanted = REPORT_FILES.get(request.match_info["format"])
        if wanted is None:
            refuse(404, f"there is no such format; there are {', '.join(REPORT_FILES)}")
        file, kind = wanted
        path = next((path for path in self._files(request) if path.name == file), None)
        if path is None:
            refuse(404, "that run has no such report: it is not over, or ended before any load")
        how = {"Content-Type": kind, "Content-Security-Policy": REPORT_POLICY}
        if not kind.startswith("text/html"):
            how["Content-Disposition"] = f'attachment; filename="{file}"'
        return web.FileResponse(path, headers=how)

    def _files(self, request: web.Request) -> list[Path]:
        entry = self._entry(request)
        return self._service.files(entry.run_id) if entry.over else []

    # --- baselines ----------------------------------------------------------------------------------------------------

    async def baselines(self, request: web.Request) -> web.Response:
        """Return the named baselines."""
        query_of(request, OPERATIONS["listBaselines"])
        try:
            found = await asyncio.to_thread(self._baselines.all)
        except StoreError as error:
            refuse(503, clean(str(error), 500))
        return _json({"baselines": [dataclasses.asdict(baseline) for baseline in found]})

    async def set_baseline(self, request: web.Request) -> web.Response:
        """Name runs as the baseline of their suite and profile."""
        query_of(request, OPERATIONS["setBaseline"])
        wanted = await _body(request, BaselineRequest)
        try:
            baseline = await asyncio.to_thread(self._baselines.set, wanted.run_ids, wanted.name, force=wanted.force)
        except StoreUnavailable as error:
            refuse(503, clean(str(error), 500))
        except (NotStable, StoreError, ReportError) as error:
            refuse(409, clean(str(error), 500))
        return _json(dataclasses.asdict(baseline))

    async def unset_baseline(self, request: web.Request) -> web.Response:
        """Forget a baseline's name, not its runs."""
        query = query_of(request, OPERATIONS["unsetBaseline"])
        try:
            gone = await asyncio.to_thread(self._baselines.unset, query["suite"], query["profile"], query["name"])
        except StoreError as error:
            refuse(503, clean(str(error), 500))
        if not gone:
            refuse(404, "there is no such baseline")
        return web.Response(status=204)

    # --- fleet and tokens ---------------------------------------------------------------------------------------------

    async def fleet(self, request: web.Request) -> web.Response:
        """Return the attached agents."""
        query_of(request, OPERATIONS["listFleet"])
        return _json({"agents": [dataclasses.asdict(agent) for agent in self._service.fleet()]})

    async def tokens(self, request: web.Request) -> web.Response:
        """Return the tokens that are good, without their secrets."""
        query_of(request, OPERATIONS["listTokens"])
        return _json({"tokens": [dataclasses.asdict(token) for token in self._service.tokens()]})

    async def create_token(self, request: web.Request) -> web.Response:
        """Make a token; its text is told once."""
        query_of(request, OPERATIONS["createToken"])
        wanted = await _body(request, TokenRequest)
        try:
            entry, text = self._service.create_token(
                wanted.role, wanted.name, ttl_s=wanted.ttl_s, agents_max=wanted.agents_max
            )
        except ValueError as error:
            refuse(409, str(error))
        return _json({"token": text, "entry": dataclasses.asdict(entry)}, status=201)

    async def revoke_token(self, request: web.Request) -> web.Response:
        """End a token, its sessions, and the agents that joined with it."""
        query_of(request, OPERATIONS["revokeToken"])
        if not self._service.revoke_token(request.match_info["token_id"]):
            refuse(404, "this controller has no such token")
        return web.Response(status=204)

    def _entry(self, request: web.Request) -> RunEntry:
        entry = self._service.entry(request.match_info["run_id"])
        if entry is None:
            refuse(404, "this controller has no such run")
        return entry


async def _body(request: web.Request, kind: type[Taken]) -> Taken:
    """Return the JSON body as `kind`. A message names fields, never values."""
    if request.content_type != "application/json":
        refuse(415, "send application/json")
    if (request.content_length or 0) > BODY_BYTES_MAX:
        refuse(413, f"the body is over {BODY_BYTES_MAX} bytes")
    data = await request.read()
    if len(data) > BODY_BYTES_MAX:
        refuse(413, f"the body is over {BODY_BYTES_MAX} bytes")
    try:
        orjson.loads(data)  # stricter than the next: no NaN, no lone surrogates
        return kind.model_validate_json(data)
    except orjson.JSONDecodeError:
        refuse(400, "the body is not JSON")
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)[:3]
        texts = [f"{'.'.join(str(part) for part in p['loc']) or 'body'}: {p['msg']}" for p in problems]
        refuse(422, clean("; ".join(texts), 500))


def _json(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = orjson.dumps(value, option=orjson.OPT_UTC_Z)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
