"""How many times as much do two workers do as one?

Where four cores are, one server has a core of its own and the workers have theirs. With fewer, none is left for the
server; there a worker shares its core with a server of its own, alone as well as beside the other. So servers take the
same part of every core, and what is missing from 2 is what two workers (and servers) do to one another.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import READY_S, ContenderFailed, Reading, Setting, scratch, window
from benchmarks.noise import Noise
from benchmarks.server import Server
from benchmarks.worker import Load, WorkerRun

USERS = 64
"""Users of a worker."""


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's core and the server that it loads."""

    core: int
    server: Server


@dataclass(frozen=True, slots=True)
class Scaling:
    """`times` one worker's requests a second; the same by CPU a request; and how it was arranged."""

    times: float
    times_by_cpu: float
    note: str
    noise: Noise


def two_workers(setting: Setting) -> Scaling:
    """Measure one worker in each place, and between them both at once."""
    server = setting.server
    free = [core for core in sorted(os.sched_getaffinity(0)) if core != server.core]
    if len(free) >= 3:
        return _scaling(setting, [Place(free[0], server), Place(free[1], server)], "the server has a core of its own")
    with scratch() as folder, Server(Path(folder), free[0] if free else server.core) as second:
        places = [Place(second.core, second), Place(server.core, server)]
        return _scaling(setting, places, "each worker shares its core with a server of its own")


def _scaling(setting: Setting, places: list[Place], note: str) -> Scaling:
    first = _together(setting, places[:1])
    both = _together(setting, places)
    last = _together(setting, places[1:])
    one_per_s, one_us = (first.per_s + last.per_s) / 2, (first.cpu_us + last.cpu_us) / 2
    noises = [reading.noise for reading in (first, both, last)]
    worst = max(noises, key=lambda noise: (noise.busy, noise.others))
    return Scaling(both.per_s / one_per_s, 2 * one_us / both.cpu_us, note, worst)


def _together(setting: Setting, places: list[Place]) -> Reading:
    """Requests a second of workers that share one run's users, `USERS` each."""
    count = len(places)
    load = Load("One step", users=USERS * count)
    workers = [
        WorkerRun(place.server.url, load, place.core, shard=(index, count)) for index, place in enumerate(places)
    ]
    servers = list({place.server.pid: place.server for place in places}.values())
    before = [server.requests() for server in servers]
    with ExitStack() as running:
        for worker in workers:
            worker.start()
            running.callback(worker.stop)
        _await_load(servers, before, workers)
        listen(workers, setting.warm_s)
        return window(
            [worker.pid for worker in workers], servers, lambda seconds: listen(workers, seconds), setting.seconds
        )


def _await_load(servers: list[Server], before: list[int], workers: list[WorkerRun]) -> None:
    until = time.monotonic() + READY_S
    probes = 0
    while time.monotonic() < until:
        probes += 1
        seen = [server.requests() - past - probes for server, past in zip(servers, before, strict=True)]
        if min(seen) >= USERS:
            return
        listen(workers, 0.05)
    raise ContenderFailed(f"workers did not send {USERS} requests each in {READY_S:.0f} s")


def listen(workers: list[WorkerRun], seconds: float) -> None:
    """Read what several workers say, for so long."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for worker in workers:
            worker.wait(min(0.05, left))
