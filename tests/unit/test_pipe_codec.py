"""Frames between a supervisor and its workers."""

from __future__ import annotations

import contextlib
import socket
import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadproof_agent.pipe.codec import FRAME_BYTES_MAX, Decoder, Message, PipeError, encode
from loadproof_agent.pipe.connection import PipeClosedError, PipeConnection
from loadproof_agent.pipe.messages import (
    Assign,
    Beat,
    Exit,
    Finished,
    Log,
    Prepare,
    Prepared,
    Problem,
    Renew,
    Setup,
    SetupDone,
    Snapshot,
    Start,
    Stop,
    Teardown,
    TeardownDone,
)

EVERY_MESSAGE: list[Message] = [
    Prepare(
        "r1", "a1", "bundle", {"phases": [{"rate": 1}], "seed": 2**63}, {"module": "suite.py"}, 4, 10**9, {"K": "v"}
    ),
    Setup(),
    Teardown(b"{}"),
    Assign(3, ((0, 0), (2, 17)), 10**15, 100),
    Renew(5),
    Start(12, b"null"),
    Stop(0, immediate=True),
    Exit(),
    Prepared((Problem("suite.import", "no", "trace"),)),
    Prepared(),
    SetupDone(b"1", None),
    SetupDone(b"", Problem("setup.failed", "x")),
    TeardownDone(None),
    Snapshot(b"\x00\xff"),
    Beat(1, 2, 3, 4, "Search", "Open"),
    Finished(9, ((0, 0, 4), (1, 3, 5))),
    Log("warning", "täxt"),
]


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_pipe_unchanged(message: Message) -> None:
    """Encoding and decoding gives an equal record, tuples and inner records included."""
    assert Decoder().feed(encode(message)) == [message]


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=60))
def test_messages_do_not_depend_on_how_the_bytes_are_cut(sizes: list[int]) -> None:
    """Any split of the byte stream gives the same messages in the same order."""
    stream = b"".join(encode(message) for message in EVERY_MESSAGE)
    decoder, found = Decoder(), []
    for size in sizes:
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    found += decoder.feed(stream)
    assert found == EVERY_MESSAGE
    assert decoder.pending == 0


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_nothing_but_pipe_errors(body: bytes) -> None:
    """A frame of arbitrary bytes is a message or is refused with one typed error."""
    with contextlib.suppress(PipeError):
        Decoder().feed(struct.pack(">I", len(body)) + body)


@pytest.mark.parametrize(
    "values",
    [[], [99], [-1], [True], "text", [4, "five"], [4], [4, 5, 6], [3, 1, [[0]], 5, 6], [3, 1, [[0, "x"]], 5, 6]],
    ids=repr,
)
def test_wrong_kinds_counts_and_types_of_fields_are_refused(values: object) -> None:
    """A well-formed msgpack body that is no message of ours is a PipeError."""
    body = msgpack.packb(values)
    with pytest.raises(PipeError):
        Decoder().feed(struct.pack(">I", len(body)) + body)


def test_a_frame_over_the_limit_is_refused_before_its_body_comes() -> None:
    """The length alone is enough to refuse, so nothing over the bound is ever kept."""
    with pytest.raises(PipeError, match="over the limit"):
        Decoder().feed(struct.pack(">I", FRAME_BYTES_MAX + 1))
    with pytest.raises(PipeError, match="over the limit"):
        encode(Snapshot(bytes(FRAME_BYTES_MAX)))


async def test_two_ends_talk_until_one_closes() -> None:
    """Iteration gives what the peer sent and ends at its close; sending afterwards is a typed error."""
    left, right = socket.socketpair()
    async with PipeConnection(right) as peer:
        async with PipeConnection(left) as pipe:
            for message in EVERY_MESSAGE:
                await pipe.send(message)
        assert [message async for message in peer] == EVERY_MESSAGE
    with pytest.raises(PipeClosedError):
        await pipe.send(Exit())


async def test_a_frame_cut_by_the_peers_death_is_an_error() -> None:
    """An end of file inside a frame is told apart from a clean close."""
    left, right = socket.socketpair()
    left.sendall(encode(Exit())[:-1] if len(encode(Exit())) > 5 else b"\x00")
    left.close()
    async with PipeConnection(right) as peer:
        with pytest.raises(PipeError, match="inside a frame"):
            assert [message async for message in peer] == []


async def test_a_large_snapshot_passes_whole() -> None:
    """A message larger than every socket buffer arrives as it was sent."""
    left, right = socket.socketpair()
    big = Snapshot(bytes(range(256)) * 20_000)
    async with PipeConnection(left) as pipe, PipeConnection(right) as peer:
        pipe.post(big)
        async for message in peer:
            assert message == big
            break
