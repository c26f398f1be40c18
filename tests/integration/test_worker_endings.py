"""How a worker process went is told by how it went, also where it went in the middle of something."""

from __future__ import annotations

import asyncio
import sys

import pytest

from loadproof_agent.worker_process import Departure, WorkerProcess


async def ending_of(script: str) -> Departure:
    """Return how a worker went that runs `script`; `pipe` is the number of its pipe."""
    command = (sys.executable, "-c", f"import os, signal, sys\npipe = int(sys.argv[1])\n{script}")
    worker = WorkerProcess(0, on_message=lambda _worker, _message: None, on_line=lambda _line: None, command=command)
    async with asyncio.timeout(60):
        return await worker.run()


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "it was killed by SIGKILL"),
        ("os._exit(3)", "it ended by itself with status 3"),
    ],
)
async def test_a_worker_that_ends_in_the_middle_of_a_message_is_not_blamed_for_the_message(how: str, text: str) -> None:
    """The kernel takes a worker while it writes a large snapshot: that, not half a message, is why it went."""
    assert (await ending_of(f"os.write(pipe, b'\\0\\0\\1')\n{how}")).text == text


async def test_the_stack_of_a_crash_is_kept_where_the_crash_cut_a_message() -> None:
    """Python's last words say where; they were printed before the pipe ended."""
    crash = "import faulthandler\nfaulthandler.enable()\nos.write(pipe, b'\\0\\0\\1')\nfaulthandler._sigsegv()"
    departure = await ending_of(crash)
    assert (departure.kind, departure.text) == ("crashed", "it crashed with SIGSEGV")
    assert departure.stack[0].startswith("Fatal Python error")


async def test_what_is_no_message_is_told_as_that() -> None:
    """A worker that goes on is killed for it."""
    departure = await ending_of("os.write(pipe, b'\\0\\0\\0\\2hi')\nimport time\ntime.sleep(60)")
    assert departure.kind == "crashed"
    assert "no message" in departure.text
