"""Many seeds on all cores. Not in `__main__`: the processes that run seeds could not import it from there."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from fleet_sim import Violation, simulate

CHUNK_MAX = 50


def trial(seed: int) -> str:
    """Run one seed; returns what it broke, nothing when all held."""
    try:
        simulate(seed)
    except Violation as violation:
        return str(violation)
    except Exception as error:
        return f"seed {seed}: {type(error).__name__}: {error}"
    return ""


def sweep(first: int, seeds: int) -> Iterator[str]:
    """Yield what each of `seeds` seeds from `first` on broke, in their order."""
    workers = max(1, min(os.cpu_count() or 1, seeds))
    chunk = max(1, min(CHUNK_MAX, seeds // (4 * workers)))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(trial, range(first, first + seeds), chunksize=chunk)
