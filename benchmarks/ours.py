"""Our own cases: the real worker process under load, its memory, two of them at once, and recording alone."""

from __future__ import annotations

import time

from benchmarks.machine import resident_bytes
from benchmarks.measuring import READY_S, ContenderFailed, Reading, Setting, authority, window
from benchmarks.worker import Load, WorkerRun

IDLE_USERS = 10_000
_CONNECTED_S = 60.0


def closed(setting: Setting, load: Load, *, tls: bool = False) -> Reading:
    """CPU per request of a worker whose users go round and round."""
    server = setting.server
    url, trusted = (server.tls_url, authority(server)) if tls else (server.url, None)
    worker = WorkerRun(url, load, setting.core, authority=trusted)
    before, probes = server.requests(), 0
    worker.start()
    try:
        until = time.monotonic() + READY_S
        while server.requests() - before - probes <= load.users and time.monotonic() < until:
            probes += 1
            worker.wait(0.05)
        worker.wait(setting.warm_s)
        reading = window([worker.pid], [server], worker.wait, setting.seconds)
    finally:
        worker.stop()
    _only_good(worker)
    return reading


def opened(setting: Setting, rate: int) -> tuple[Reading, dict[str, float | None]]:
    """CPU per start of a worker at so many arrivals a second, how late they were, and whether all are accounted for."""
    seconds = round(setting.warm_s + setting.seconds + 2)
    load = Load("One step", rate=rate, seconds=seconds)
    worker = WorkerRun(setting.server.url, load, setting.core, counted_from_s=1)
    worker.start()
    try:
        worker.wait(setting.warm_s + 0.3)
        reading = window([worker.pid], [setting.server], worker.wait, setting.seconds)
        worker.wait(seconds + 20)
    finally:
        worker.stop()
    late, response = worker.lateness(), worker.response()
    delivery = list(worker.state.delivery.values())
    accounted = 0 if worker.finished is None else sum(count for _, _, count in worker.finished.shards)
    started, lost = sum(one.started for one in delivery), sum(one.dropped + one.missed for one in delivery)
    figures: dict[str, float | None] = {
        "not_started": lost,
        "unaccounted": rate * seconds - accounted,
    }
    if started > rate * (seconds - 1) * 0.99:  # lateness of the few that were started would flatter
        figures |= {
            "late_p50_ms": (late.quantile(0.5) or 0) / 1e3,
            "late_p99_ms": (late.quantile(0.99) or 0) / 1e3,
            "p99_ms": (response.quantile(0.99) or 0) / 1e3,
        }
    return reading, figures


def memory_mb(setting: Setting, users: int = IDLE_USERS) -> float:
    """Resident megabytes of a worker with so many users that are connected and idle."""
    server = setting.server
    before = server.requests()
    worker = WorkerRun(server.url, Load("Stay connected", users=users), setting.core)
    worker.start()
    try:
        until = time.monotonic() + _CONNECTED_S
        probes = 0
        while time.monotonic() < until:
            worker.wait(0.5)
            probes += 1
            if server.requests() - before - probes >= users:
                break
        else:
            raise ContenderFailed(f"fewer than {users} users were connected after {_CONNECTED_S:.0f} s")
        worker.wait(1.5)
        return resident_bytes(worker.pid) / 1e6
    finally:
        worker.stop()


def recording_ns() -> float:
    """CPU nanoseconds a sample costs, from the append in the transaction path to the counted delta of each second."""
    from loadproof.metrics import Recorder

    recorder = Recorder(1, "bench")
    series = recorder.transaction("T", "load")
    step = series.step("Open")
    endpoint = step.endpoint("GET /products/{sku}")
    transactions, ticks = 20_000, 5
    best = float("inf")
    for tick in range(ticks):
        began = time.process_time_ns()
        for number in range(transactions):
            took = 200_000 + number * 7
            endpoint.ok.append(took)
            step.ok.append(took)
            if tick != series.now_second:
                series.turn(tick)
            series.response_ok.append(took)
            series.service_ok.append(took)
        recorder.take(tick * 10**9, (tick + 1) * 10**9, {})
        best = min(best, (time.process_time_ns() - began) / (transactions * 5))
    return best


def _only_good(worker: WorkerRun) -> None:
    failed = sum(stats.count for stats in worker.state.errors.values())
    if failed:
        raise ContenderFailed(f"{failed} transactions failed")
