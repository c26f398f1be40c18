"""One measurement: a contender under load for a while, its CPU per request by the kernel's and server's counters."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from benchmarks.install import end_group
from benchmarks.machine import cpu_ns, pinned
from benchmarks.noise import Clocks, Noise, noise_between
from benchmarks.server import Server

READY_S = 60.0
WARM_MORE_S = 30.0
_FIRST_REQUESTS = 50


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how long: windows are `seconds` long and begin `warm_s` after the first requests."""

    server: Server
    core: int
    seconds: float
    warm_s: float


@dataclass(frozen=True, slots=True)
class Warming:
    """What comes before a window: `seconds`, and until `cpu_s` of CPU were used, at most `WARM_MORE_S` later."""

    seconds: float
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a window showed: CPU microseconds a request, requests a second, share of its core that was used."""

    cpu_us: float
    per_s: float
    used: float
    noise: Noise
    said: str = ""


class ContenderFailed(Exception):
    """A contender ended early or sent nothing; the text is its last words."""


def window(pids: Sequence[int], servers: Sequence[Server], wait: Callable[[float], None], seconds: float) -> Reading:
    """Read CPU of the process trees `pids` and requests of the servers over `seconds`."""
    watched = [*pids, *(server.pid for server in servers)]
    clocks = Clocks.read(watched)
    cpu, requests, began = sum(map(cpu_ns, pids)), sum(server.requests() for server in servers), time.monotonic()
    wait(seconds)
    cpu_used = sum(map(cpu_ns, pids)) - cpu
    done = sum(server.requests() - 1 for server in servers) - requests
    took = time.monotonic() - began
    if done <= 0 or cpu_used <= 0:
        raise ContenderFailed("nothing was seen in the window")
    noise = noise_between(clocks, Clocks.read(watched), os.getloadavg()[0])
    return Reading(cpu_used / 1e3 / done, done / took, cpu_used / 1e9 / took, noise)


def external(
    setting: Setting, command: list[str], *, environ: dict[str, str], warm: Warming, to_end: bool = False
) -> Reading:
    """Run a program on the generator's core and read a window; `to_end` lets it finish, for what it then reports.

    Whatever the program started is ended with it. Raises ContenderFailed.
    """
    server = setting.server
    before = server.requests()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            pinned(setting.core, command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            text=True, env=environ, start_new_session=True,
        )  # fmt: skip
        try:
            _await_requests(server, before, process, output_of=lambda: _text(output))
            _warm_up(process.pid, warm)
            reading = window([process.pid], [server], time.sleep, setting.seconds)
            if process.poll() is not None:
                raise ContenderFailed("it ended inside the window: the machine is too busy for the time it was given")
            if to_end:
                _await_end(process)
        finally:
            end_group(process)
        return replace(reading, said=_text(output))


def _warm_up(pid: int, warm: Warming) -> None:
    time.sleep(warm.seconds)
    until = time.monotonic() + WARM_MORE_S
    while cpu_ns(pid) < warm.cpu_s * 1e9 and time.monotonic() < until:
        time.sleep(0.2)


def _await_end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(READY_S)
    except subprocess.TimeoutExpired as error:
        raise ContenderFailed(f"it went on {READY_S:.0f} s after its window and was ended") from error


def _text(output: IO[str]) -> str:
    output.seek(0)
    return output.read()[-20_000:]


def _await_requests(
    server: Server, before: int, process: subprocess.Popen[str], *, output_of: Callable[[], str]
) -> None:
    until = time.monotonic() + READY_S
    probes = 0
    while time.monotonic() < until:
        probes += 1
        if server.requests() - before - probes > _FIRST_REQUESTS:
            return
        if process.poll() is not None:
            raise ContenderFailed(f"ended with status {process.returncode}: {output_of().strip()[-160:]}")
        time.sleep(0.05)
    raise ContenderFailed(f"sent nothing in {READY_S:.0f} s: {output_of().strip()[-160:]}")


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for the server's files."""
    return tempfile.TemporaryDirectory(prefix="loadproof-bench-")


def authority(server: Server) -> Path:
    """Return the file with the certificate that clients must trust."""
    return server.certificate.authority
