"""What holds for all tests, however they are started."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Take Ctrl+C again where a shell started us in the background: commands that tests start would ignore it, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
