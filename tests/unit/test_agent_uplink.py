"""What surrounds the stream: outbox, statuses, log lines, configuration."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from chaos_proxy import ChaosProxy
from fake_controller import FakeController
from loadproof_agent import events as e
from loadproof_agent import records as r
from loadproof_agent.config import AgentConfig, Limits
from loadproof_agent.errors import ConfigurationError
from loadproof_agent.lines import Lines
from loadproof_agent.uplink import OPTIONS, Outbox, Uplink, error_of
from loadproof_proto.v1 import agent_pb2, agent_pb2_grpc

BEAT = r.Heartbeat("", 1)
LATER = r.Heartbeat("", 2)
PONG = r.Pong(1, 2, 3, 4)


async def test_a_heartbeat_goes_before_everything_and_replaces_one_that_waits() -> None:
    """Leases hang on it: on a slow link it does not queue behind what was measured, nor behind stale ones."""
    box = Outbox(10)
    for record in (BEAT, PONG, LATER):
        assert box.put(record)
    box.close()
    assert [await box.get(), await box.get(), await box.get()] == [LATER, PONG, None]


async def test_a_block_that_waits_does_not_wait_twice() -> None:
    """It is said again every few seconds without an ack; a stuck stream is not filled with repetitions."""
    box = Outbox(3)
    block = r.SnapshotBlock("run", (r.SnapshotRange("a", 1, 1, 1),), b"delta")
    other = r.SnapshotBlock("run", (r.SnapshotRange("a", 1, 2, 2),), b"delta")
    for record in (block, other, block, other, block):
        assert box.put(record)
    box.close()
    assert [await box.get(), await box.get(), await box.get()] == [block, other, None]


async def test_outbox_is_bounded_and_gives_up_log_lines_first() -> None:
    """A full box means a stuck stream, except for lines, which are only left out."""
    box = Outbox(1)
    assert box.put(PONG)
    assert box.put(r.LogBatch("run", ("line",)))
    assert not box.put(PONG)


async def test_outbox_wakes_its_reader() -> None:
    """Waiting costs nothing until something comes, or the end."""
    box = Outbox(1)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(box.get())
        await asyncio.sleep(0)
        box.put(PONG)
    assert first.result() == PONG
    box.put(PONG)
    box.abort()
    assert await box.get() is None
    assert box.aborted


@pytest.mark.parametrize(
    ("code", "retry"),
    [
        (grpc.StatusCode.UNAVAILABLE, True),
        (grpc.StatusCode.INTERNAL, True),
        (grpc.StatusCode.UNAUTHENTICATED, False),
        (grpc.StatusCode.FAILED_PRECONDITION, False),
        (grpc.StatusCode.UNIMPLEMENTED, False),
    ],
)
def test_statuses_become_our_errors(code: grpc.StatusCode, retry: bool) -> None:
    """Nobody else reads status codes; words name the controller."""
    metadata = grpc.aio.Metadata()
    mapped = error_of(grpc.aio.AioRpcError(code, metadata, metadata, "why"), "host:1")
    assert (mapped.code, mapped.retry) == (code.name.lower(), retry)
    assert "host:1" in mapped.text
    assert "why" in mapped.text


def test_a_place_that_may_become_free_is_a_refusal_in_words_that_is_tried_again() -> None:
    """No name of a status is shown where the controller's own words say it all."""
    metadata = grpc.aio.Metadata()
    full = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, metadata, metadata, "1 agent at a time")
    assert error_of(full, "host:1").text == "the controller at host:1 refused: 1 agent at a time"
    assert error_of(full, "host:1").retry
    broken = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, metadata, metadata, "Internal error from Core")
    assert error_of(broken, "host:1").text == "the stream to the controller at host:1 broke: Internal error from Core"


def test_anything_unexpected_is_tried_again() -> None:
    """asyncio's own errors come out of ended streams too."""
    assert error_of(asyncio.InvalidStateError("ended"), "host:1").retry
    mapped = error_of(asyncio.InvalidStateError("ended"), "host:1")
    assert error_of(mapped, "host:1") is mapped


def test_the_measured_options_are_set() -> None:
    """Each of these was found by a failure; none may get lost."""
    options = dict(OPTIONS)
    assert options["grpc.http2.ping_timeout_ms"] == 10_000
    assert options["grpc.enable_http_proxy"] == 0
    assert [options[f"grpc.{name}_reconnect_backoff_ms"] for name in ("initial", "min", "max")] == [250, 1_000, 5_000]


def test_lines_are_cleaned_redacted_bounded_and_counted() -> None:
    """User code prints what it likes; the controller gets safe lines and the number of those left out."""
    lines = Lines(Limits(log_lines_max=3, log_line_characters_max=20), ("hunter2", "hunter22", ""))
    lines.add("token=hunter22 \x1b[31m\u202e")
    lines.add("x" * 100)
    lines.add("third")
    lines.add("fourth")
    first, second, rest = lines.take()
    assert first.startswith("token=[redacted]")
    assert first.isprintable()
    assert len(second) == 20
    assert "2 more lines" in rest
    assert lines.take() == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 0}, "at least 1"),
        ({"agent_id": ""}, "agent_id"),
        ({"address": "unix:/tmp/" + "x" * 100}, "bytes long"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes: dict[str, object], words: str) -> None:
    """Before anything is started, with the field's name."""
    fields = {"address": "unix:/tmp/c", "agent_id": "a1"} | changes
    with pytest.raises(ConfigurationError, match=words):
        AgentConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["is not yet valid: OK", "has expired"])
def test_a_certificate_that_is_not_good_now_is_put_down_to_the_clocks(what: str) -> None:
    """Setting a clock mends it, so it is tried again; the words say so instead of TLS's own."""
    details = f"failed to connect: Tls handshake failed: CERTIFICATE_VERIFY_FAILED: certificate {what}"
    error = error_of(
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details), "a:1"
    )
    assert (error.code, error.retry) == ("clock", True)
    assert error.text.endswith("set the clock of one of the two, or start the controller again")


class _Deaf(agent_pb2_grpc.AgentServiceServicer):
    """Ends every stream without a word, as a relay does that is full or has lost its controller."""

    async def Attach(self, request_iterator: Any, context: Any) -> Any:  # type: ignore[override]
        return

    async def FetchBundle(self, request: Any, context: Any) -> Any:
        yield agent_pb2.FetchBundleResponse()


async def test_who_ends_a_stream_without_a_word_is_asked_over_another_connection() -> None:
    """One name may lead to several peers, as a Service of Kubernetes does: the next connection finds who answers."""
    async with FakeController() as controller, asyncio.timeout(60):
        places = [await _listening(servicer) for servicer in (_Deaf(), controller)]
        (_, deaf), (_, able) = places
        async with ChaosProxy(able, first=deaf) as name:
            uplink = Uplink((name.address,), on_event=lambda event: greet(event), limits=Limits(reconnect_ms=(1, 10)))

            def greet(event: Any) -> None:
                if isinstance(event, e.Connected):
                    uplink.send(r.Hello(1, 1, "layout", "a1", 1))

            async with asyncio.TaskGroup() as group:
                running = group.create_task(uplink.run())
                stream = await controller.attached()
                uplink.close()
                stream.drop()
            assert running.done()
        for server, _ in places:
            await server.stop(None)
        assert stream.hello.agent_id == "a1"


async def _listening(servicer: agent_pb2_grpc.AgentServiceServicer) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server()
    agent_pb2_grpc.add_AgentServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"
