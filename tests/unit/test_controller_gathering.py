"""Frequent messages are taken in bursts: in order, none lost, and each agent answers for its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from loadproof.histogram import LAYOUT_ID
from loadproof_controller import messages as m
from loadproof_controller.fleet import AgentLink
from loadproof_controller.gathering import BYTES_MAX, MESSAGES_MAX, WAIT_S, Gathering
from loadproof_controller.relays import messages as rm
from loadproof_controller.relays.links import RelayedLink, RelayLink
from virtual_time import run_virtual


class Listener:
    """Notes what it is told; fails on heartbeats of the agent named "bad"."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def attached(self, link: AgentLink) -> None:
        self.told.append((link.agent_id, "attached"))

    def detached(self, link: AgentLink) -> None:
        self.told.append((link.agent_id, "detached"))

    def heard(self, link: AgentLink, message: m.FromAgent) -> None:
        if link.agent_id == "bad":
            raise RuntimeError("a mistake of ours")
        self.told.append((link.agent_id, message))


def link_of(name: str) -> AgentLink:
    """Return the link of an agent of that name."""
    return AgentLink(m.Hello(1, 1, LAYOUT_ID, name, 1), local=False)


def snapshot(delta: bytes = b"x") -> m.SnapshotBlock:
    """Return a snapshot with that delta."""
    return m.SnapshotBlock("run", (m.SnapshotRange("a", 1, 1, 1),), delta)


async def said_to(relay: RelayLink) -> AsyncIterator[rm.ToRelay]:
    """Yield what is queued for a relay whose stream is closed."""
    while (message := await relay.next()) is not None:
        yield message


BEAT = m.Heartbeat("run", 1)


def test_frequent_messages_wait_a_moment_and_keep_their_order() -> None:
    """Snapshots and heartbeats of all agents arrive together, as they came."""

    async def scene() -> None:
        listener = Listener()
        gathering, a, b = Gathering(listener), link_of("a"), link_of("b")
        sent = [(a, BEAT), (b, snapshot()), (a, snapshot()), (b, BEAT)]
        for link, message in sent:
            gathering.heard(link, message)
        await asyncio.sleep(WAIT_S * 0.9)
        assert listener.told == []
        await asyncio.sleep(WAIT_S * 0.2)
        assert listener.told == [(link.agent_id, message) for link, message in sent]
        gathering.heard(a, BEAT)
        await asyncio.sleep(WAIT_S)
        assert listener.told[4:] == [("a", BEAT)]

    run_virtual(scene())


def test_what_waits_is_announced_before_it_is_told() -> None:
    """So that deltas of one burst can be read together."""

    async def scene() -> None:
        listener = Listener()
        seen: list[Any] = []
        gathering, a = (
            Gathering(listener, lambda waiting: seen.append((list(waiting), len(listener.told)))),
            link_of("a"),
        )
        gathering.heard(a, BEAT)
        gathering.heard(a, snapshot())
        gathering.close()
        assert seen == [([(a, BEAT), (a, snapshot())], 0)]
        assert len(listener.told) == 2

    run_virtual(scene())


@pytest.mark.parametrize("rare", ["final", "attached", "detached"])
def test_what_is_rare_is_told_at_once_after_what_waits(rare: str) -> None:
    """Final never overtakes the last snapshot, the end of a stream nothing that was said on it."""

    async def scene() -> None:
        listener = Listener()
        gathering, a = Gathering(listener), link_of("a")
        gathering.heard(a, snapshot())
        final = m.Final("run", 1, 1)
        if rare == "final":
            gathering.heard(a, final)
        else:
            getattr(gathering, rare)(a)
        assert listener.told == [("a", snapshot()), ("a", final if rare == "final" else rare)]

    run_virtual(scene())


def test_only_so_much_waits() -> None:
    """A burst of messages or of bytes is taken before its time."""

    async def scene() -> None:
        listener = Listener()
        gathering, a = Gathering(listener), link_of("a")
        for _ in range(MESSAGES_MAX):
            gathering.heard(a, BEAT)
        assert len(listener.told) == MESSAGES_MAX
        gathering.heard(a, snapshot(bytes(BYTES_MAX // 2)))
        assert len(listener.told) == MESSAGES_MAX
        gathering.heard(a, snapshot(bytes(BYTES_MAX // 2)))
        assert len(listener.told) == MESSAGES_MAX + 2

    run_virtual(scene())


def test_a_message_we_fail_on_costs_its_agent_the_stream_alone() -> None:
    """Those before and after it in the burst are taken."""

    async def scene() -> None:
        listener = Listener()
        gathering, a, bad = Gathering(listener), link_of("a"), link_of("bad")
        gathering.heard(a, BEAT)
        gathering.heard(bad, BEAT)
        gathering.heard(a, snapshot())
        gathering.close()
        assert listener.told == [("a", BEAT), ("a", snapshot())]
        assert await bad.next() is None
        a.send(m.End("run"))
        assert await a.next() == m.End("run")

    run_virtual(scene())


def test_leases_that_last_on_go_out_with_the_burst_they_answer() -> None:
    """Heartbeats that a relay brought are taken a moment later: it need not speak again to have the renewals."""

    class Renewing(Listener):
        """Answers each heartbeat with a lease, as a run does."""

        def heard(self, link: AgentLink, message: m.FromAgent) -> None:
            link.send(m.Lease("run", 1, (), 15_000, 1))

    async def scene() -> None:
        gathering = Gathering(Renewing())
        relay = RelayLink(rm.RelayHello(1, 1, LAYOUT_ID, "r", 5))
        links = [RelayedLink(m.Hello(1, 1, LAYOUT_ID, name, 1), relay) for name in "ab"]
        for link in [*links, *links]:
            gathering.heard(link, BEAT)
        await asyncio.sleep(2 * WAIT_S)
        relay.close()
        told = [message async for message in said_to(relay)]
        assert [type(message) for message in told] == [rm.ChildTold, rm.ChildTold, rm.Renewals]
        assert told[2] == rm.Renewals("run", 15_000, tuple(rm.Renewal(name, 1, 1, 1) for name in "ab"))

    run_virtual(scene())
