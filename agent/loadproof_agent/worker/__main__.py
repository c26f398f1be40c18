"""`python -m loadproof_agent.worker FD`: a worker on the inherited socket FD."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

import uvloop

from loadproof_agent.pipe.connection import PipeConnection
from loadproof_agent.worker import guard
from loadproof_agent.worker.process import Worker


async def _run(end: socket.socket) -> None:
    async with PipeConnection(end) as pipe:
        worker = Worker(pipe)
        guard.install(worker.report_stall, end.fileno())
        await worker.run()


def main(arguments: list[str]) -> int:
    """Run a worker until its supervisor lets it go.

    SIGINT and SIGTERM are ignored: a terminal's Ctrl+C or a service manager reaches every process, and what it means
    for the load is decided above. The pipe's end always ends a worker.
    """
    if len(arguments) != 1 or not arguments[0].isdigit():
        sys.stderr.write("usage: python -m loadproof_agent.worker FD\n")
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = socket.socket(fileno=int(arguments[0]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(end))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
