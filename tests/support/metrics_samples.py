"""Deltas and samples for tests of metrics, all seeded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loadproof.metrics import Delta, Recorder, Sample


def heavy_tailed(n: int, seed: int = 1) -> NDArray[np.int64]:
    """Return `n` latencies in µs with a Pareto tail, up to minutes."""
    rng = np.random.default_rng(seed)
    return (rng.pareto(1.1, n) * 20_000 + 500).clip(0, 3_600_000_000).astype(np.int64)


def bimodal(n: int, seed: int = 1) -> NDArray[np.int64]:
    """Return `n` latencies in µs around 2 ms and 800 ms."""
    rng = np.random.default_rng(seed)
    fast = rng.normal(2_000, 200, n)
    slow = rng.normal(800_000, 60_000, n)
    return np.where(rng.random(n) < 0.9, fast, slow).clip(1).astype(np.int64)


def sample(rank: int, agent: str = "a1") -> Sample:
    """Return a sample of that rank."""
    return Sample(rank, rank * 10, 5, agent, "trace", "GET /", "500", "boom")


def recorded(seed: int, transactions: int = 2, samples: int = 30) -> Delta:
    """Return a delta with every kind of record in it, one second long, at second `seed` modulo 50."""
    rng = np.random.default_rng(seed)
    recorder = Recorder(seed, f"agent-{seed}")
    second = seed % 50
    for index in range(transactions):
        series = recorder.transaction(f"T{index}", "peak" if seed % 2 else "ramp")
        times = [int(t) for t in rng.lognormal(16, 1.5, samples)]
        series.turn(second)
        series.started += samples
        series.late += 1
        series.response_ok += times[1:]
        series.response_failed += times[:1]
        series.service_ok += times[1:]
        series.lateness += [5]
        series.turn(-1)
        series.started += 1
        for ordinal, name in enumerate(("Search", "Open")):
            step = series.step(name, ordinal)
            step.ok += times[1:]
            step.failed += times[:1]
            endpoint = step.endpoint("GET /products/{sku}")
            endpoint.ok += times
        series.error(
            "Open", "GET /products/{sku}", "check", f"id {seed} is wrong", 7 + seed, lambda: sample(seed), rank=seed
        )
    recorder.count("http.retried", 2)
    recorder.draw("products")
    recorder.exhausted("users")
    recorder.health.worker_cpu_permille = 100 + seed
    recorder.health.user_cpu_us["T0", "Search"] = 1_000 + seed
    return recorder.take(second * 10**9, (second + 1) * 10**9, {"T0": 3})
