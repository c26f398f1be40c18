"""A run's log written without agents: deltas, states, checkpoints, in virtual time. For tests of the log."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from loadproof.histogram import sum_counts
from loadproof.metrics import (
    Delivery,
    Delta,
    Health,
    MergedState,
    SecondStats,
    SeriesKey,
    counts_from_samples,
    decode_delta,
    encode_delta,
)
from loadproof_controller.ledger import AgentBook
from loadproof_controller.runlog import LOG_NAME, LOG_VERSION, Replayed, RunLog, replay
from loadproof_controller.runlog.checkpoint import CheckpointWriter

AGENTS = ("a", "b")
EPOCH = 7


@cache
def delta_at(second: int, seed: int) -> bytes:
    """Return an encoded delta of `second` with a few samples by `seed`."""
    counts = counts_from_samples(np.array([900 + seed, 1_000 + 77 * seed, 50_000]))
    return encode_delta(
        Delta(
            second * 10**9,
            (second + 1) * 10**9,
            series={SeriesKey("Search", "", "", "load", "ok", "service"): counts},
            delivery={("Search", "load"): Delivery(started=3, completed=3)},
            seconds={(second, "Search"): SecondStats(started=3, completed=3, in_flight=seed % 3, response=counts)},
            health=Health(worker_cpu_permille=seed, memory_bytes=second, lag=counts),
        )
    )


class LoggedRun:
    """What a controller does with its log. `acked` is the last number that an agent was told is durable."""

    def __init__(self, place: Path, past: Replayed | None = None) -> None:
        self.place = place
        self.merged = past.merged if past is not None else MergedState()
        self.books = past.books if past is not None else {}
        self.acked = {(agent, EPOCH): 0 for agent in AGENTS} | (dict(past.seqs) if past is not None else {})
        known = past.checkpoint if past is not None else None
        self.writer = CheckpointWriter(place, known)
        self.log = RunLog(
            place / LOG_NAME,
            resume=past is not None,
            facts=past.facts if past is not None else None,
            checkpoint=known.number if known is not None else 0,
        )

    @classmethod
    def resumed(cls, place: Path) -> LoggedRun:
        """Return the run that the log in `place` tells of."""
        return cls(place, replay(place / LOG_NAME))

    def begin(self) -> None:
        """Write what a log begins with."""
        self.log.append("run", LOG_VERSION, "run-1", b"{}")
        self.log.append("request", b"{}")

    def hear(self, agent: str, encoded: bytes) -> None:
        """Log, merge and ack one delta."""
        name, seq = (agent, EPOCH), self.acked[agent, EPOCH] + 1
        self.log.append("delta", agent, EPOCH, seq, seq, encoded)
        delta = decode_delta(encoded)
        self.books.setdefault(name, AgentBook()).merged(delta)
        self.merged.apply(delta)
        self.acked[name] = seq

    def remember(self, number: int) -> None:
        """Log a state of the machine, some reservations and an event."""
        self.log.append("state", {"phase": "running", "number": number}, [{"agent_id": AGENTS[0], "epoch": EPOCH}])
        self.log.append("draws", AGENTS[0], EPOCH, [(number % 5, 0, number)])
        self.log.append("event", number, "note", f"event {number}", AGENTS[0], EPOCH, number + 1)

    def checkpoint(self) -> None:
        """Write one as the controller does, without a thread."""
        for _ in self.writer.write(self.log.seal(), self.log.facts.snapshot(), self.merged, self.books):
            pass
        self.log.removed(self.writer.removed_to)


def said(run: LoggedRun | Replayed) -> list[object]:
    """Return everything that must be the same after a crash as without one."""
    facts = run.log.facts if isinstance(run, LoggedRun) else run.facts
    merged = run.merged
    books = {
        name: (book.totals, book.started, book.cpu_permille_max, book.memory_bytes_max, sum_counts(book.lags))
        for name, book in run.books.items()
    }
    return [
        merged.digest(), merged.seconds, merged.intervals, merged.health_seconds, merged.deltas, merged.to_ns,
        facts.run_id, facts.request, facts.seqs, facts.draws, facts.run_state, facts.members, facts.events,
        facts.worker_events,
        books,
    ]  # fmt: skip


def script(seconds: int, checkpoint_every_s: int) -> Iterator[tuple[str, int]]:
    """Yield what happens in a run of `seconds`: ("delta a", second), ("remember", n), ("checkpoint", n)."""
    for second in range(seconds):
        for agent in AGENTS:
            yield f"delta {agent}", second
        yield "remember", second
        if (second + 1) % checkpoint_every_s == 0:
            yield "checkpoint", second


def play(run: LoggedRun, step: tuple[str, int]) -> None:
    """Do one step of a script; a delta that the run has already (it was logged, not acked) is left out."""
    what, second = step
    if what == "remember":
        if run.log.facts.run_state.get("number", -1) < second or len(run.log.facts.events) <= second:
            run.remember(second)
    elif what == "checkpoint":
        run.checkpoint()
    else:
        agent = what.removeprefix("delta ")
        if run.acked[agent, EPOCH] <= second:
            run.hear(agent, delta_at(second, second + len(agent)))
