"""Reads what a machine is like, on Linux and macOS. Everything that cannot be read is None; nothing is judged here."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil

SAMPLE_S = 0.3
"""How long the processors are watched."""
_CLOCK_READS = 2_000
_SYSCTL_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class MachineReadings:
    """What a machine is like now. Shares in [0, 1] of all processors; memory and disk in bytes; None is not known.

    `open_files_hard` is None when there is no limit. `governors` counts processors by frequency governor.
    `processors_allowed` is what a container or affinity leaves of `processors`.
    """

    system: str = "linux"
    processors: int = 1
    processors_allowed: float = 1.0
    busy_share: float | None = None
    stolen_share: float | None = None
    load_1m: float | None = None
    open_files_soft: int | None = None
    open_files_hard: int | None = None
    ports: tuple[int, int] | None = None
    tw_reuse: int | None = None
    somaxconn: int | None = None
    governors: dict[str, int] = field(default_factory=dict)
    clock_source: str | None = None
    clock_sources: tuple[str, ...] = ()
    clock_read_ns: float | None = None
    memory_available: int | None = None
    memory_total: int | None = None
    disk_free: int | None = None
    disk_path: str = ""
    uvloop: bool = True


def read_machine(*, sample_s: float = SAMPLE_S, root: Path = Path("/")) -> MachineReadings:
    """Read this machine; takes `sample_s`. `root` is where /proc and /sys are looked for."""
    linux = sys.platform.startswith("linux")
    processors = os.cpu_count() or 1
    busy, stolen = _watch(sample_s)
    memory = psutil.virtual_memory()
    scratch = tempfile.gettempdir()
    soft, hard = _open_files()
    return MachineReadings(
        system="linux" if linux else "macos",
        processors=processors,
        processors_allowed=_allowed(root, processors),
        busy_share=busy,
        stolen_share=stolen,
        load_1m=os.getloadavg()[0],
        open_files_soft=soft,
        open_files_hard=hard,
        ports=_ports(root, linux=linux),
        tw_reuse=_number(root / "proc/sys/net/ipv4/tcp_tw_reuse"),
        somaxconn=_number(root / "proc/sys/net/core/somaxconn") if linux else _sysctl("kern.ipc.somaxconn"),
        governors=_governors(root),
        clock_source=_text(root / _CLOCK / "current_clocksource"),
        clock_sources=tuple((_text(root / _CLOCK / "available_clocksource") or "").split()),
        clock_read_ns=_clock_read_ns(time.monotonic_ns),
        memory_available=memory.available,
        memory_total=memory.total,
        disk_free=shutil.disk_usage(scratch).free,
        disk_path=scratch,
        uvloop=find_spec("uvloop") is not None,
    )


_CLOCK = "sys/devices/system/clocksource/clocksource0"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _sysctl(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, timeout=_SYSCTL_LIMIT_S, check=True
        )
        return int(done.stdout)
    return None


def _open_files() -> tuple[int | None, int | None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        None if soft == resource.RLIM_INFINITY else soft,
        None if hard == resource.RLIM_INFINITY else hard,
    )


def _ports(root: Path, *, linux: bool) -> tuple[int, int] | None:
    if not linux:
        low, high = _sysctl("net.inet.ip.portrange.first"), _sysctl("net.inet.ip.portrange.last")
        return None if low is None or high is None else (low, high)
    words = (_text(root / "proc/sys/net/ipv4/ip_local_port_range") or "").split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(word.isdigit() for word in words) else None


def _governors(root: Path) -> dict[str, int]:
    folder = root / "sys/devices/system/cpu"
    found = (_text(path) for path in folder.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return dict(Counter(name for name in found if name))


def _allowed(root: Path, processors: int) -> float:
    """Return how many processors this process may use: affinity, and a container's quota (cgroup 2, then 1)."""
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else processors)
    quota, period = (*(_text(root / "sys/fs/cgroup/cpu.max") or "").split(), "", "")[:2]
    if not quota:
        quota = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us") or ""
        period = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us") or ""
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        allowed = min(allowed, int(quota) / int(period))
    return allowed


def _watch(sample_s: float) -> tuple[float | None, float | None]:
    """Return the shares of all processors that were busy and that the hypervisor gave to others."""
    percent = psutil.cpu_times_percent(interval=sample_s)
    stolen = getattr(percent, "steal", 0.0) / 100
    idle = (percent.idle + getattr(percent, "iowait", 0.0)) / 100
    return max(0.0, 1.0 - idle - stolen), stolen


def _clock_read_ns(clock: Callable[[], int]) -> float:
    """Return what reading the clock costs: about 50 ns, 500 and more where the kernel has to be asked. Best of 3."""
    best = float("inf")
    for _ in range(3):
        began = clock()
        for _ in range(_CLOCK_READS):
            clock()
        best = min(best, (clock() - began) / _CLOCK_READS)
    return best
