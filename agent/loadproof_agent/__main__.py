"""`python -m loadproof_agent --local`: a local agent, started by `loadproof run` in a session of its own.

It reads one JSON line from standard input (`address`, `identity`, `agent_id`, `workers`, optionally `labels`,
`limits`: fields of `Limits` by name, and `packages_dir`: where packages of suites may be installed), ignores SIGINT
(the controller decides what a Ctrl+C means), and ends when its standard input ends, so that it never outlives its
parent. Exit codes: 0 asked to leave, 2 wrong use, 5 not let in or unable to reach the controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import orjson

from loadproof_agent.config import AgentConfig, Limits
from loadproof_agent.errors import EXIT_INFRASTRUCTURE, AgentError, ConfigurationError
from loadproof_agent.files import raise_open_files

LINE_BYTES_MAX = 64 * 1024
USAGE = "use: python -m loadproof_agent --local, with one JSON line on standard input"


def local_config(line: bytes) -> AgentConfig:
    """Return the configuration in a local agent's line. Raises ConfigurationError."""
    try:
        data: dict[str, Any] = orjson.loads(line)
        return AgentConfig(
            address=str(data["address"]),
            identity=str(data["identity"]),
            agent_id=str(data["agent_id"]),
            workers=int(data["workers"]),
            packages_dir=Path(data["packages_dir"]) if "packages_dir" in data else None,
            labels={str(name): str(value) for name, value in data.get("labels", {}).items()},
            limits=Limits(**data.get("limits", {})),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"the local agent's line can't be read ({error!r}); {USAGE}") from error


def read_line(descriptor: int) -> bytes:
    """Read one line without taking a byte beyond it, so that what follows (the end) is left to watch."""
    line = bytearray()
    while len(line) < LINE_BYTES_MAX:
        byte = os.read(descriptor, 1)
        if not byte or byte == b"\n":
            return bytes(line)
        line += byte
    raise ConfigurationError(f"the local agent's line is longer than {LINE_BYTES_MAX} bytes; {USAGE}")


async def run_local(config: AgentConfig, descriptor: int) -> None:
    """Run until `descriptor` ends or SIGTERM comes."""
    from loadproof_agent.supervisor import Supervisor

    supervisor = Supervisor(config)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, supervisor.stop)

    def readable() -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(descriptor, 4_096):
                loop.remove_reader(descriptor)
                supervisor.stop()

    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, readable)
    try:
        await supervisor.run()
    finally:
        loop.remove_reader(descriptor)


def main(arguments: list[str]) -> int:
    """Run the agent; returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if arguments != ["--local"]:
            raise ConfigurationError(USAGE)
        config = local_config(read_line(sys.stdin.fileno()))
        raise_open_files()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run_local(config, sys.stdin.fileno()))
    except AgentError as error:
        print(f"loadproof agent: {error.text}".replace("\n", " "), file=sys.stderr, flush=True)  # noqa: T201
        return error.exit_code
    except Exception:  # a bug of ours must not end with Python's own status 1, which means NO-GO
        traceback.print_exc()
        return EXIT_INFRASTRUCTURE
    return 0


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # uvloop is no dependency on every platform
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
