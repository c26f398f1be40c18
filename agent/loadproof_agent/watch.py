"""When a worker has to be killed: too long silent, preparing, in a hook or finishing, or too much memory."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path

import psutil

from loadproof_agent.config import NS_PER_S, Limits
from loadproof_agent.worker_process import Kind, WorkerProcess

MEMORY_LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux tells a container its limit; "max" is none."""


def sick(
    worker: WorkerProcess,
    now_ns: int,
    *,
    limits: Limits,
    prepare_by_ns: int | None,
    hook_by_ns: int | None,
    finish_by_ns: int | None,
    workers: int = 1,
) -> tuple[Kind, str] | None:
    """Say why `worker` must be killed, as kind and words; None when it is well.

    `workers` share the machine's memory. Importing a suite and its hooks may block their loop, so silence counts only
    outside of both.
    """
    if worker.pid == 0:
        return None
    memory_max = limits.worker_memory_bytes_max or _memory_max() // max(1, workers)
    memory = worker.memory_bytes()
    if memory > memory_max:
        return "memory", f"it used {memory >> 20} MiB of memory, at most {memory_max >> 20} MiB are allowed; killed"
    if prepare_by_ns is not None:
        return ("blocked", "it did not come to an end of preparing; killed") if now_ns > prepare_by_ns else None
    if hook_by_ns is not None:
        return ("blocked", "the suite's hook did not come to an end; killed") if now_ns > hook_by_ns else None
    silent_ns = worker.silent_ns(now_ns)
    if silent_ns > limits.blocked_ns:
        return "blocked", f"its loop gave no sign of life for {silent_ns / NS_PER_S:.1f} s; killed"
    if finish_by_ns is not None and now_ns > finish_by_ns:
        return "blocked", "it did not finish after its load had ended; killed"
    return None


@cache
def _memory_max() -> int:
    """Return four fifths of what this machine, or the container we are in, has."""
    total = int(psutil.virtual_memory().total)
    for file in MEMORY_LIMIT_FILES:
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(file.read_text()))
    return total * 4 // 5
