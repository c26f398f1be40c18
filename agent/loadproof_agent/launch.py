"""How another process starts a local agent."""

from __future__ import annotations

import sys


def local_agent_command() -> list[str]:
    """Return the command of an agent that reads one JSON line from its standard input and leaves when that ends.

    The line holds `address`, `identity`, `agent_id`, `workers` and optionally `labels`, `limits` and `packages_dir`.
    Start it in a session of its own and keep the pipe open for as long as the agent shall live.
    """
    return [sys.executable, "-m", "loadproof_agent", "--local"]
