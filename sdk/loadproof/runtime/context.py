"""What all virtual users of a worker (or of one test) have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from loadproof.http import HttpEngine
from loadproof.plan import mix64
from loadproof.runtime.redact import Redactor
from loadproof.runtime.wheel import Wheel

if TYPE_CHECKING:
    from loadproof._user import VirtualUser

NO_STEP = "(no step)"
"""Step under which requests outside any step are counted."""
USER_START = "(user start)"
"""Step under which a virtual user's start is counted."""


class Observer(Protocol):
    """Looks on while a transaction runs; None under load. `loadproof try` and `loadproof.testing` have one."""

    def request(self, step: str, endpoint: str, service_ns: int, response: Any, error: BaseException | None) -> None:
        """A request ended with a response or an error."""
        ...

    def check(self, step: str, name: str, message: str, *, held: bool) -> None:
        """A check was tried."""
        ...

    def step(self, name: str, service_ns: int, *, ok: bool) -> None:
        """A step ended."""
        ...

    def error(self, step: str, endpoint: str, category: str, message: str) -> None:
        """A failure was counted."""
        ...


UserStart = Callable[["VirtualUser"], Any]


@dataclass(slots=True)
class RunContext:
    """Shared by the virtual users of one process; `engine`, `base_url` and `headers` make their HTTP clients.

    `seed_of` gives the seed of everything random in transaction number k. `zero_ns` is the run's start on `clock`.
    `turned_ns` is when a step or transaction last began or ended: what holds up the loop now did not begin before.
    `trace_high` is the upper half of every trace id, 0 for no `traceparent` header. `count` adds to a named counter.
    `wheel` wakes users that think; the first makes it.
    """

    engine: HttpEngine
    base_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: int = 1
    seed_of: Callable[[int], int] = mix64
    shared: Any = None
    user_start: UserStart | None = None
    redactor: Redactor = field(default_factory=Redactor)
    clock: Callable[[], int] = time.monotonic_ns
    zero_ns: int = 0
    turned_ns: int = 0
    trace_high: int = 0
    agent_id: str = ""
    wheel: Wheel | None = None
    observer: Observer | None = None
    count: Callable[[str], None] = lambda _name: None
