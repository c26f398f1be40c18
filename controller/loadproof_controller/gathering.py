"""Snapshots and heartbeats are taken in bursts: code that runs ten times in a row costs a third of ten single runs.

Nothing is acked before it is taken, so a message that waits here is one that has not arrived yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from loadproof_controller.fleet import AgentLink, FleetListener
from loadproof_controller.messages import FromAgent, Heartbeat, SnapshotBlock

if TYPE_CHECKING:
    from loadproof_controller.relays.links import RelayLink
    from loadproof_controller.relays.messages import ChildBeat, RelayBlock

LOGGER = logging.getLogger(__name__)
Said = tuple[AgentLink, FromAgent]
WAIT_S = 0.1
"""Longest wait. It adds to the time until an ack, and a lease then lasts that much longer than its holder believes."""
MESSAGES_MAX = 512
BYTES_MAX = 8 * 1024 * 1024


class Gathering:
    """A `FleetListener` that hands on to another in the order of arrival, frequent messages a little later, together.

    Whatever else happens is handed on at once, after what waits. `close()` hands on what still waits; `announce` is
    told before what that is.
    """

    def __init__(self, listener: FleetListener, announce: Callable[[Sequence[Said]], None] = lambda _: None) -> None:
        self._listener = listener
        self._announce = announce
        self._waiting: list[Said] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def attached(self, link: AgentLink) -> None:
        """`link` is attached and its clock known."""
        self.close()
        self._listener.attached(link)

    def detached(self, link: AgentLink) -> None:
        """`link`'s stream ended."""
        self.close()
        self._listener.detached(link)

    def heard(self, link: AgentLink, message: FromAgent) -> None:
        """`link` said something."""
        if not isinstance(message, SnapshotBlock | Heartbeat):
            self.close()
            self._listener.heard(link, message)
            return
        self._waiting.append((link, message))
        self._bytes += len(message.delta) if isinstance(message, SnapshotBlock) else 0
        if len(self._waiting) >= MESSAGES_MAX or self._bytes >= BYTES_MAX:
            self.close()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT_S, self.close)

    def heard_block(self, relay: RelayLink, block: RelayBlock) -> None:
        """`relay` sent what it has merged: many agents' messages in one, so it need not wait for others."""
        self.close()
        self._listener.heard_block(relay, block)

    def heard_beats(self, relay: RelayLink, beats: Sequence[ChildBeat]) -> None:
        """`relay` brought heartbeats: they are together already."""
        self.close()
        self._listener.heard_beats(relay, beats)

    def relay_changed(self, relay: RelayLink, text: str) -> None:
        """`relay` came or went."""
        self.close()
        self._listener.relay_changed(relay, text)

    def close(self) -> None:
        """Hand on what waits, and let the answers go. A message that we fail on costs its agent the stream, as it would
        alone.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        self._announce(waiting)
        for link, message in waiting:
            try:
                self._listener.heard(link, message)
            except Exception:
                LOGGER.exception("taking a message of agent %s failed", link.agent_id)
                link.close()
        for link, _message in waiting:
            link.flush()
