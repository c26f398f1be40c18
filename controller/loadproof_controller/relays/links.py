"""The controller's end of a relay: one stream, and behind it a link for each agent that looks like any other."""

from __future__ import annotations

import asyncio

from loadproof_controller.fleet import AgentLink
from loadproof_controller.messages import Hello, Lease, Refusal, ToAgent
from loadproof_controller.relays.messages import (
    ChildClosed,
    ChildTold,
    RelayHello,
    RelayRefusal,
    Renewal,
    Renewals,
    ToRelay,
)

OUTBOX_MAX = 65_536
"""Messages waiting for one relay, for all its agents; one that does not read them is put out."""
INTRODUCED_MAX = 20_000
"""Processes one relay may name in the life of a stream; then it is ended and begins anew."""


class LeaseMemory:
    """Tells a lease that only lasts on from one that says something new: the first goes out as a few numbers."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: Lease | None = None

    def renewed(self, lease: Lease) -> bool:
        """Say whether the agent has this lease already, but for its end; remember it."""
        known, self._known = self._known, lease
        return (
            known is not None
            and (known.run_id, known.fence) == (lease.run_id, lease.fence)
            and (known.shards is lease.shards or known.shards == lease.shards)
        )


class RelayLink:
    """One attached relay and the messages waiting for it. `children` are the agents attached through it now.

    `introduced` are all processes it has named on this stream: it may still hand over numbers of one that has left.
    """

    def __init__(self, hello: RelayHello) -> None:
        self.hello = hello
        self.token_id = ""
        self.children: dict[tuple[str, int], RelayedLink] = {}
        self.introduced: set[tuple[str, int]] = set()
        self._outbox: asyncio.Queue[ToRelay | None] = asyncio.Queue()
        self._renewals: list[Renewal] = []
        self._renewed_for: tuple[str, int] = ("", 0)
        self._closed = False

    @property
    def relay_id(self) -> str:
        """Return the relay's name."""
        return self.hello.relay_id

    def send(self, message: ToRelay) -> None:
        """Queue `message`."""
        if self._closed:
            return
        if self._outbox.qsize() >= OUTBOX_MAX:
            self.close(RelayRefusal("full", "this relay does not read what the controller sends it"))
            return
        self._outbox.put_nowait(message)

    def renew(self, agent_id: str, epoch: int, lease: Lease) -> None:
        """Queue a lease that lasts on; it goes out with the others at `flush`."""
        terms = (lease.run_id, lease.duration_ms)
        if terms != self._renewed_for:
            self.flush()
            self._renewed_for = terms
        self._renewals.append(Renewal(agent_id, epoch, lease.fence, lease.echo_ns))

    def flush(self) -> None:
        """Send the renewals that were queued, in one message."""
        renewals, self._renewals = self._renewals, []
        if renewals:
            self.send(Renewals(*self._renewed_for, tuple(renewals)))

    def close(self, last: RelayRefusal | None = None) -> None:
        """Queue `last` and the end of the stream; nothing can be sent after."""
        if not self._closed:
            self._closed = True
            if last is not None:
                self._outbox.put_nowait(last)
            self._outbox.put_nowait(None)

    async def next(self) -> ToRelay | None:
        """Return the next message to write, None at the end."""
        return await self._outbox.get()


class RelayedLink(AgentLink):
    """An agent behind a relay: what is sent to it goes on the relay's stream."""

    def __init__(self, hello: Hello, relay: RelayLink) -> None:
        super().__init__(hello, local=False)
        self.relay = relay
        self._leases = LeaseMemory()

    def send(self, message: ToAgent) -> None:
        """Send `message` by the relay; a lease that only lasts on waits for the others."""
        if self._closed:
            return
        if isinstance(message, Lease) and self._leases.renewed(message):
            self.relay.renew(self.agent_id, self.epoch, message)
        else:
            self.relay.send(ChildTold(self.agent_id, self.epoch, message))

    def flush(self) -> None:
        """Send the leases of the relay's agents that only last on."""
        self.relay.flush()

    def replaced(self) -> None:
        """The agent came by the same relay again, which has ended the older stream itself."""
        self._closed = True

    def close(self, last: Refusal | None = None) -> None:
        """Have the relay end the agent's stream, after `last`."""
        if not self._closed:
            if last is not None:
                self.relay.send(ChildTold(self.agent_id, self.epoch, last))
            self._closed = True
            self.relay.send(ChildClosed(self.agent_id, self.epoch))
