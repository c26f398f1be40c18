"""The event loop that commands with much to do run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def fast_loop() -> Callable[[], Any] | None:
    """Return what makes uvloop's loop where it is installed, None (asyncio's own) elsewhere."""
    try:
        import uvloop
    except ImportError:  # uvloop is no dependency on every platform
        return None
    return uvloop.new_event_loop
