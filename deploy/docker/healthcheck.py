"""Health of the container's one process: a controller must accept connections, an agent must not be gone or stopped.

Reads what process 1 was started as, needs no token, and exits with 0 (healthy) or 1.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

DEFAULT_PORT = 7443
LIMIT_S = 3.0
DEAD = frozenset("TtXZ")


def listening_port(command: list[str]) -> int:
    """Return the port a controller was told to listen at."""
    for index, word in enumerate(command):
        value = word.partition("=")[2] if word.startswith("--listen=") else ""
        if word == "--listen" and index + 1 < len(command):
            value = command[index + 1]
        if value:
            return int(value.rpartition(":")[2])
    return DEFAULT_PORT


def healthy(process: Path) -> bool:
    """Say whether the process described in `process` (a folder of /proc) does its work."""
    command = [word.decode("utf-8", "replace") for word in (process / "cmdline").read_bytes().split(b"\0")]
    state = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    if state in DEAD:
        return False
    if "controller" not in command:
        return True
    with socket.create_connection(("127.0.0.1", listening_port(command)), LIMIT_S):
        return True


if __name__ == "__main__":
    try:
        sys.exit(0 if healthy(Path(sys.argv[1] if len(sys.argv) > 1 else "/proc/1")) else 1)
    except (OSError, ValueError, IndexError) as error:
        print(f"not healthy: {error}")
        sys.exit(1)
