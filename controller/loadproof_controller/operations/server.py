"""The port for people, pipelines and joining agents: RunService and EnrollService over gRPC."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, cast

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # as in the controller's service

import grpc
import grpc.aio

from loadproof_controller.errors import RunRefused
from loadproof_controller.fleet import Fleet
from loadproof_controller.fleet_service import FleetService, Queued
from loadproof_controller.listening import cannot_listen
from loadproof_controller.operations import _wire as wire
from loadproof_controller.operations.guard import CALLER, MEMBER, Refusals
from loadproof_controller.run_store import RunEntry
from loadproof_controller.security import Authority, Caller, CertificateProblem, Member, Role
from loadproof_controller.security.authority import AGENT_LIFETIME
from loadproof_controller.security.names import AgentNames
from loadproof_controller.service import SERVER_OPTIONS
from loadproof_controller.submission import BASELINE_BYTES_MAX, BASELINE_FILES, Submission, decode_submission

LOGGER = logging.getLogger(__name__)
CHUNK_BYTES = 1024 * 1024
LIST_MAX = 1_000
STOP_GRACE_S = 5.0

Context = grpc.aio.ServicerContext[Any, Any]
run_pb2, enroll_pb2 = wire.run_pb2, wire.enroll_pb2


def server_credentials(
    key_pem: bytes, certificate_pem: bytes, client_authority: bytes | None
) -> grpc.ServerCredentials:
    """Return TLS for a port; with `client_authority` (PEM) every client must show a certificate of it."""
    return grpc.ssl_server_credentials(
        [(key_pem, certificate_pem)],
        root_certificates=client_authority,
        require_client_auth=client_authority is not None,
    )


def operations_server(
    servicers: Sequence[RunServicer | EnrollServicer],
    guard: grpc.aio.ServerInterceptor,
    address: str,
    credentials: grpc.ServerCredentials | None,
) -> tuple[grpc.aio.Server, int]:
    """Return a server bound to `address`, not started yet, and its port. Raises `ServiceError`."""
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=(guard,))
    for servicer in servicers:
        servicer.add_to(server)
    try:
        if credentials is None:
            return server, server.add_insecure_port(address)
        return server, server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise cannot_listen(address, "--listen", "where people and joining agents come in") from error


def contained(
    method: Callable[..., Coroutine[Any, Any, Any]],
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Give refusals to the caller as statuses, and nothing of any other exception."""

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: Context) -> Any:
        try:
            return await method(self, request, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except RunRefused as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except CertificateProblem as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Exception:
            LOGGER.exception("%s failed", method.__name__)
            await context.abort(grpc.StatusCode.UNKNOWN, "the controller failed on this call; see its log")

    return call


class RunServicer:
    """What operators and viewers may ask for; the guard has let them through."""

    def __init__(self, service: FleetService) -> None:
        self._service = service

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on `server`."""
        wire.run_pb2_grpc.add_RunServiceServicer_to_server(cast("Any", self), server)

    @contained
    async def Submit(self, requests: AsyncIterator[run_pb2.SubmitRequest], _context: Context) -> Any:  # noqa: N802
        """Take a run: the request is judged before its bundle is read, and nothing beyond what it announced."""
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "submission":
            raise RunRefused("a submission begins with the request")
        submission = decode_submission(first.submission)
        self._service.judge(submission)
        bundle, baselines = await _receive(requests, submission)
        ahead = self._service.submit(submission, bundle, baselines, by=_caller().name)
        return run_pb2.SubmitResponse(run_id=submission.run_id, ahead=ahead)

    @contained
    async def Watch(self, request: run_pb2.WatchRequest, context: Context) -> None:  # noqa: N802
        """Tell of a run until it is over, then send its files."""
        try:
            async with aclosing(cast("Any", self._service.watch(request.run_id))) as updates:
                async for update in updates:
                    if isinstance(update, Queued):
                        await context.write(wire.encode_queued(update))
                    elif isinstance(update, RunEntry):
                        await self._send_end(update, context)
                    else:
                        await context.write(wire.encode_progress(update))
        except KeyError:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this controller has no such run")

    async def _send_end(self, entry: RunEntry, context: Context) -> None:
        for path in self._service.files(entry.run_id) if entry.loaded else ():
            with await asyncio.to_thread(path.open, "rb") as file:
                while True:
                    data = await asyncio.to_thread(file.read, CHUNK_BYTES)
                    await context.write(run_pb2.WatchResponse(file=run_pb2.FileChunk(name=path.name, data=data)))
                    if len(data) < CHUNK_BYTES:
                        break
        await context.write(wire.encode_ended(entry))

    @contained
    async def StopRun(self, request: run_pb2.StopRunRequest, context: Context) -> Any:  # noqa: N802
        """End a run early."""
        if not self._service.stop(request.run_id, immediate=request.immediate, by=_caller().name):
            known = self._service.entry(request.run_id)
            text = f"run {known.run_id} is over: {known.state}" if known else "this controller has no such run"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return run_pb2.StopRunResponse()

    @contained
    async def ListRuns(self, request: run_pb2.ListRunsRequest, _context: Context) -> Any:  # noqa: N802
        """Return the newest runs."""
        entries = self._service.runs(min(request.limit or 100, LIST_MAX))
        return run_pb2.ListRunsResponse(runs=[wire.encode_run_entry(entry) for entry in entries])

    @contained
    async def ListFleet(self, _request: run_pb2.ListFleetRequest, _context: Context) -> Any:  # noqa: N802
        """Return the attached agents."""
        return run_pb2.ListFleetResponse(agents=[wire.encode_fleet_entry(entry) for entry in self._service.fleet()])

    @contained
    async def CreateToken(self, request: run_pb2.CreateTokenRequest, context: Context) -> Any:  # noqa: N802
        """Make a token."""
        try:
            entry, text = self._service.create_token(
                cast("Any", request.role), request.name, ttl_s=request.ttl_s, agents_max=request.agents_max
            )
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return run_pb2.CreateTokenResponse(token=text, entry=wire.encode_token_entry(entry))

    @contained
    async def ListTokens(self, _request: run_pb2.ListTokensRequest, _context: Context) -> Any:  # noqa: N802
        """Return the tokens."""
        return run_pb2.ListTokensResponse(tokens=[wire.encode_token_entry(entry) for entry in self._service.tokens()])

    @contained
    async def RevokeToken(self, request: run_pb2.RevokeTokenRequest, context: Context) -> Any:  # noqa: N802
        """End a token."""
        if not self._service.revoke_token(request.token_id):
            await context.abort(grpc.StatusCode.NOT_FOUND, "this controller has no such token")
        return run_pb2.RevokeTokenResponse()


class EnrollServicer:
    """Lets agents join with a token and renew with a certificate. `authority` None: plaintext on loopback."""

    def __init__(
        self,
        authority: Authority | None,
        names: AgentNames,
        fleet: Fleet,
        role_of: Callable[[str], Role | None],
        refusals: Refusals,
    ) -> None:
        self._authority = authority
        self._role_of = role_of
        self._names = names
        self._fleet = fleet
        self._refusals = refusals
        self.agents_port = 0

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on `server`; the guards decide which method is open there."""
        wire.enroll_pb2_grpc.add_EnrollServiceServicer_to_server(cast("Any", self), server)

    @contained
    async def Enroll(self, request: enroll_pb2.EnrollRequest, context: Context) -> Any:  # noqa: N802
        """Give an agent a name and what proves it. Where its token is full it may ask again: one may leave."""
        caller = _caller()
        full = self._fleet.token_full(caller.token_id)
        if full:
            await self._refusals.refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, full)
        agent_id = self._names.claim(request.name[:255], caller.token_id, self._fleet.has)
        response = enroll_pb2.EnrollResponse(agent_id=agent_id, agents_port=self.agents_port)
        if self._authority is None:
            response.identity = secrets.token_urlsafe(24)
            relay = caller.role == "relay"
            self._fleet.expect(response.identity, agent_id, local=False, relay=relay, token_id=caller.token_id)
        else:
            member = Member(agent_id, caller.token_id)
            response.certificate = self._authority.sign_member(request.csr, member, relay=caller.role == "relay")
            response.lifetime_s = int(AGENT_LIFETIME.total_seconds())
        LOGGER.info("%s %s joined with token %s", caller.role, agent_id, caller.token_id)
        return response

    @contained
    async def Renew(self, request: enroll_pb2.RenewRequest, _context: Context) -> Any:  # noqa: N802
        """Give an agent a new certificate for the name in the one it came with."""
        member = MEMBER.get()
        if self._authority is None or member is None:
            raise CertificateProblem("there are no certificates on this port")
        certificate = self._authority.sign_member(request.csr, member, relay=self._role_of(member.token_id) == "relay")
        return enroll_pb2.RenewResponse(certificate=certificate, lifetime_s=int(AGENT_LIFETIME.total_seconds()))


async def _receive(
    requests: AsyncIterator[run_pb2.SubmitRequest], submission: Submission
) -> tuple[bytes, list[dict[str, bytes]]]:
    """Return bundle and baselines. Raises `RunRefused` beyond what was announced."""
    bundle = bytearray()
    baselines: list[dict[str, bytearray]] = [{} for _ in range(submission.baselines)]
    baseline_bytes = 0
    async for request in requests:
        part, chunk = request.WhichOneof("part"), request.baseline_chunk
        if part == "bundle_chunk":
            bundle += request.bundle_chunk
        elif part == "baseline_chunk" and chunk.index < len(baselines) and chunk.file in BASELINE_FILES:
            baselines[chunk.index].setdefault(chunk.file, bytearray()).extend(chunk.data)
            baseline_bytes += len(chunk.data)
        else:
            raise RunRefused("a submission with a part it did not announce")
        if len(bundle) > submission.bundle_bytes or baseline_bytes > BASELINE_BYTES_MAX:
            raise RunRefused("the bundle is larger than announced, or the baselines are over their limit")
    if len(bundle) != submission.bundle_bytes or any("run.json" not in files for files in baselines):
        raise RunRefused("the bundle or a baseline did not arrive whole; submit again")
    if hashlib.sha256(bundle).hexdigest() != submission.bundle.sha256:
        raise RunRefused("the bundle is not the one the request names; submit again")
    return bytes(bundle), [{name: bytes(data) for name, data in files.items()} for files in baselines]


def _caller() -> Caller:
    caller = CALLER.get()
    assert caller is not None, "the guard lets nobody unknown through"
    return caller


__all__ = ["EnrollServicer", "RunServicer", "operations_server", "server_credentials"]
