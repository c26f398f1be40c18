"""Talks to a running controller on behalf of a person or a pipeline."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the core's own lines say nothing a person can act on

import grpc
import grpc.aio

from loadproof.trust import CONTROLLER_NAME, Token, TrustError, fetch_authority, split_address
from loadproof_controller.errors import ClientError
from loadproof_controller.fleet_service import FleetEntry, Queued
from loadproof_controller.operations import _wire as wire
from loadproof_controller.request import Progress
from loadproof_controller.run_store import RunEntry
from loadproof_controller.security import TokenEntry
from loadproof_controller.submission import BaselineFiles, Submission, encode_submission
from loadproof_controller.text import clean

CALL_LIMIT_S = 30.0
SUBMIT_LIMIT_S = 600.0
CHUNK_BYTES = 1024 * 1024
REASON_CHARACTERS_MAX = 2_000
LOST_CODES = frozenset({"unavailable", "unreachable", "deadline_exceeded", "cancelled"})
"""Ends of a call that say nothing of what the controller did, and that trying again may mend."""
GRPCS_OWN_CODE = "internal"
"""What gRPC itself says when something went wrong in it; a controller says it of no call of a person's."""
ASKED_AGAIN_MAX = 3
NEWEST = 50
"""A run that was just taken is among so many."""
OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.ssl_target_name_override", CONTROLLER_NAME),
)
run_pb2 = wire.run_pb2


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of one of the run's files; another name ends a file."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """A run is over and its files are here. `problems` are what went wrong before any load."""

    status: str
    aborted_by: str
    reason: str
    loaded: bool
    problems: tuple[str, ...]


Seen = Queued | Progress | FilePart | Ended


class ControllerClient:
    """Calls of one person with one token. `async with` trusts the controller that made the token, and no other.

    A token of a plaintext controller is only ever sent to this machine itself. Every method raises `ClientError`.
    """

    def __init__(self, address: str, token: Token) -> None:
        self._address = address
        self._token = token
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None

    async def __aenter__(self) -> Self:
        """Find the authority the token names and open a channel. Raises `ClientError`."""
        try:
            host, port = split_address(self._address)
            target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if self._token.pin:
                authority = await asyncio.to_thread(fetch_authority, host, port, self._token.pin)
                credentials = grpc.ssl_channel_credentials(authority)
                self._channel = grpc.aio.secure_channel(target, credentials, options=OPTIONS)
            elif host in {"127.0.0.1", "::1", "localhost"}:
                self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
            else:
                text = "this token is for a controller without TLS, which only this machine itself can reach"
                raise ClientError("token", text)
        except TrustError as error:
            raise ClientError(error.code, error.text) from error
        self._stub = wire.run_pb2_grpc.RunServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def submit(self, submission: Submission, bundle: bytes, baselines: Sequence[BaselineFiles] = ()) -> int:
        """Send a run; return how many are before it. An error says whether the run may have been taken: `in_doubt`.

        A refusal may come before all is sent. gRPC then often loses its words and tells of an internal error of its
        own, so the request is sent again, alone: it is refused in the same words, for want of its bundle at the latest.
        """
        sent = False

        async def parts() -> AsyncIterator[Any]:
            nonlocal sent
            waiting = _submit_parts(submission, bundle, baselines)
            part = next(waiting)
            for following in waiting:
                yield part
                part = following
            sent = True  # all before the last is out, so there is a connection; without the last no run is taken
            yield part

        try:
            return await self._submit(parts())
        except ClientError as error:
            error.in_doubt = sent and error.code in LOST_CODES
            if error.code == GRPCS_OWN_CODE and bundle:
                error.in_doubt = sent and await self._is_there(submission.run_id)
                if not error.in_doubt:
                    await self._refused_in_words(submission)
            raise

    async def _is_there(self, run_id: str) -> bool:
        try:
            return any(entry.run_id == run_id for entry in await self.runs(NEWEST))
        except ClientError:  # whoever may not ask was not heard before either
            return False

    async def _refused_in_words(self, submission: Submission) -> None:
        for _ in range(ASKED_AGAIN_MAX):
            try:
                await self._submit(itertools.islice(_submit_parts(submission, b"", ()), 1))
            except ClientError as error:
                if error.code != GRPCS_OWN_CODE:
                    raise

    async def _submit(self, parts: Any) -> int:
        async with self._call():
            answer = await self._stub.Submit(parts, timeout=SUBMIT_LIMIT_S, metadata=self._metadata())
            return int(answer.ahead)

    async def watch(self, run_id: str) -> AsyncIterator[Seen]:
        """Follow a run; the last is `Ended`, after its files."""
        async with self._call():
            call = self._stub.Watch(run_pb2.WatchRequest(run_id=run_id), metadata=self._metadata())
            try:
                async for message in call:
                    yield _seen(message)
            finally:
                call.cancel()

    async def stop(self, run_id: str, *, immediate: bool) -> None:
        """End a run early."""
        await self._ask("StopRun", run_pb2.StopRunRequest(run_id=run_id, immediate=immediate))

    async def runs(self, limit: int) -> list[RunEntry]:
        """Return the newest runs."""
        answer = await self._ask("ListRuns", run_pb2.ListRunsRequest(limit=limit))
        return [wire.decode_run_entry(entry) for entry in answer.runs]

    async def fleet(self) -> list[FleetEntry]:
        """Return the attached agents."""
        answer = await self._ask("ListFleet", run_pb2.ListFleetRequest())
        return [wire.decode_fleet_entry(entry) for entry in answer.agents]

    async def create_token(self, role: str, name: str, *, ttl_s: int, agents_max: int = 0) -> tuple[TokenEntry, str]:
        """Make a token; return it and its text."""
        answer = await self._ask(
            "CreateToken", run_pb2.CreateTokenRequest(role=role, name=name, ttl_s=ttl_s, agents_max=agents_max)
        )
        return wire.decode_token_entry(answer.entry), str(answer.token)

    async def tokens(self) -> list[TokenEntry]:
        """Return the tokens that are good now."""
        answer = await self._ask("ListTokens", run_pb2.ListTokensRequest())
        return [wire.decode_token_entry(entry) for entry in answer.tokens]

    async def revoke_token(self, token_id: str) -> None:
        """End a token."""
        await self._ask("RevokeToken", run_pb2.RevokeTokenRequest(token_id=token_id))

    async def _ask(self, method: str, request: Any) -> Any:
        async with self._call():
            return await getattr(self._stub, method)(request, timeout=CALL_LIMIT_S, metadata=self._metadata())

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token.text}"),)

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """Give what gRPC raises our names and words."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise ClientError(error.code().name.lower(), self._words(error)) from error

    def _words(self, error: grpc.aio.AioRpcError) -> str:
        details = clean((error.details() or "").strip(), REASON_CHARACTERS_MAX)
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return f"the controller at {self._address} cannot be reached ({details}); is it up?"
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"the controller at {self._address} did not answer in time"
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return f"the controller at {self._address} is of another version: install the same Loadproof on both sides"
        return f"the controller at {self._address} refused: {details}"


def _submit_parts(submission: Submission, bundle: bytes, baselines: Sequence[BaselineFiles]) -> Iterator[Any]:
    yield run_pb2.SubmitRequest(submission=encode_submission(submission))
    for offset in range(0, len(bundle), CHUNK_BYTES):
        yield run_pb2.SubmitRequest(bundle_chunk=bundle[offset : offset + CHUNK_BYTES])
    for index, files in enumerate(baselines):
        for name, data in files.items():
            for offset in range(0, len(data), CHUNK_BYTES):
                chunk = run_pb2.BaselineChunk(index=index, file=name, data=data[offset : offset + CHUNK_BYTES])
                yield run_pb2.SubmitRequest(baseline_chunk=chunk)


def _seen(message: Any) -> Seen:
    kind = message.WhichOneof("message")
    if kind == "queued":
        return Queued(message.queued.ahead)
    if kind == "progress":
        return wire.decode_progress(message.progress)
    if kind == "file":
        return FilePart(message.file.name, message.file.data)
    if kind == "ended":
        ended = message.ended
        problems = tuple(clean(text, REASON_CHARACTERS_MAX) for text in ended.problems[:100])
        reason = clean(ended.reason, REASON_CHARACTERS_MAX)
        return Ended(ended.status, ended.aborted_by, reason, ended.loaded, problems)
    raise ClientError("version", "the controller says something this version does not know")
