"""What user code can do to this process besides raising: end it, crash it, fork it. Each leaves a trace upstairs.

- `os._exit` first says in which transaction and step it was called.
- A crash in C code leaves Python's stack on standard error, where the supervisor looks for the suite's lines.
- So does `STACK_SIGNAL`, which the supervisor sends before it kills a worker: the C code that answers it needs neither
  the loop nor the interpreter, so a worker that user code holds up still says where.
- A forked child can do work of its own (`multiprocessing` does), but it has none of our connections, and it ends when
  it comes back into the worker's loop: a second worker with the same schedule would double the load.
- When memory runs out, the kernel is asked to take a worker rather than its supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from loadproof_agent.pipe.messages import STACK_SIGNAL
from loadproof_agent.worker.health import running_in

end_process = os._exit
"""The real one; ours below is for user code."""
FORKED_CHILD_EXIT = 71
OUT_OF_MEMORY_SCORE = "500"

LOOP_DESCRIPTORS = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[timerfd]")
"""What Linux calls them; elsewhere pollers are not inherited."""

_crash_output: list[int] = []
"""Standard error under a number of its own: user code may close or replace the usual one."""


def install(report: Callable[[str, str], None], pipe_descriptor: int) -> None:
    """Guard this process. Call on the running loop; `report` takes a transaction and a step, quickly.

    `pipe_descriptor` is the worker's end of the pipe, which no forked child may write to.
    """
    with contextlib.suppress(OSError, ValueError):
        if not _crash_output:
            _crash_output.append(os.dup(2))
        faulthandler.enable(file=_crash_output[0], all_threads=False)
        faulthandler.register(STACK_SIGNAL, file=_crash_output[0], all_threads=False)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)  # Linux only; raising it is always allowed
    own = os.getpid()

    def guarded_exit(status: int) -> NoReturn:
        if os.getpid() == own:
            seen = running_in(sys._getframe())
            if seen is not None:
                report(seen.transaction, seen.step)
        end_process(status)

    os._exit = guarded_exit
    loop = asyncio.get_running_loop()
    os.register_at_fork(after_in_child=lambda: _in_forked_child(loop, pipe_descriptor))


def _in_forked_child(loop: asyncio.AbstractEventLoop, pipe_descriptor: int) -> None:
    """Take the load's connections away, and end the child when it comes back into the loop.

    The loop's own descriptors go first: its poller and timers are shared with the worker, so that callbacks which run
    on in the child would unregister the worker's sockets and stop its pacer.
    """
    os._exit = end_process
    faulthandler.disable()
    with contextlib.suppress(OSError):
        os.close(pipe_descriptor)
    for descriptor in _descriptors():
        if _is_network(descriptor) or _is_of_loop(descriptor):
            with contextlib.suppress(OSError):
                os.close(descriptor)
    with contextlib.suppress(RuntimeError):
        loop.call_soon(end_process, FORKED_CHILD_EXIT)


def _descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError, ValueError):
            return [int(entry.name) for entry in Path(folder).iterdir()]
    return []


def _is_of_loop(descriptor: int) -> bool:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(LOOP_DESCRIPTORS)
    except OSError:
        return False


def _is_network(descriptor: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        looked_at = socket.socket(fileno=descriptor)
    except OSError:
        return False
    family = looked_at.family
    looked_at.detach()
    return family in {socket.AF_INET, socket.AF_INET6}
