"""What a benchmark needs of the machine: which cores, what a tree of processes has used, and a description."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

PROC = Path("/proc")


def cores() -> tuple[int, int]:
    """Return (generator's core, server's core): different ones where there are two, the first two we may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """Return `command` so that it and all it starts stay on `core`. `taskset` replaces itself: the pid stays."""
    return ["taskset", "-c", str(core), *command]


def tree(pid: int) -> list[int]:
    """Return `pid` and all its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for known in found:
        found.extend(children.get(known, ()))
    return found


def cpu_ns(pid: int) -> int:
    """Return the CPU time (user and system, all threads alive) of the processes below and with `pid`, in ns."""
    total = 0
    for member in tree(pid):
        try:
            for thread in (PROC / str(member) / "task").iterdir():
                total += int((thread / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total


def resident_bytes(pid: int) -> int:
    """Return the resident memory of one process."""
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def describe() -> dict[str, str | int | float]:
    """Return what the numbers depend on: processor, cores, kernel, interpreter, and how busy the machine is."""
    model = platform.machine()
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count() or 1,
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 1),
    }
