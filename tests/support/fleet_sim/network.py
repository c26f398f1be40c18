"""Streams between agents and the controller: in order and without loss until they break, as TCP's are.

A rough stream also repeats, swaps and loses single messages, which no transport does: the protocol must bear it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleet_sim.world import MS, World

Deliver = Callable[[Any], None]
ROUGH = ("SnapshotBlock", "SnapshotAck", "Heartbeat", "Lease", "RelayBlock", "BlockAnswer", "RelayBeats", "Renewals")
"""What a rough stream disturbs."""


class Stream:
    """One stream. `up` goes to the controller, `down` to the agent. Broken means that nothing arrives any more."""

    def __init__(self, world: World, up: Deliver, down: Deliver, *, rough: bool, slow_ns: int) -> None:
        self._world = world
        self._deliver = {"up": up, "down": down}
        self._free_ns = {"up": 0, "down": 0}
        self._held: list[tuple[str, Any]] = []
        self._rough = rough
        self.slow_ns = slow_ns
        self.stalled = False
        self.broken = False

    def delay_ns(self) -> int:
        """Return how long the next message takes."""
        return self._world.random.randrange(MS // 2, 8 * MS) + self._world.random.randrange(self.slow_ns + 1)

    def send(self, way: str, message: Any) -> None:
        """Put a message on its way."""
        if self.broken:
            return
        if self.stalled:
            self._held.append((way, message))
            return
        copies, at_ns = 1, self._world.now + self.delay_ns()
        if self._rough and type(message).__name__ in ROUGH:
            lot = self._world.random.random()
            copies = 0 if lot < 0.1 else 2 if lot < 0.25 else 1
            if lot > 0.6:
                at_ns += self._world.random.randrange(600 * MS)
        else:
            at_ns = self._free_ns[way] = max(at_ns, self._free_ns[way] + 1)
        for copy in range(copies):
            self._world.after(at_ns - self._world.now + copy * 3 * MS, lambda: self._arrive(way, message))

    def _arrive(self, way: str, message: Any) -> None:
        if self.stalled:
            self._held.append((way, message))
        elif not self.broken:
            self._deliver[way](message)

    def heal(self) -> None:
        """What was held goes on its way."""
        held, self._held, self.stalled = self._held, [], False
        for way, message in held:
            self.send(way, message)
