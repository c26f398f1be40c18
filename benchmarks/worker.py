"""Drives the real worker process over its pipe, as the supervisor does, and keeps what it reports."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import pinned
from loadproof.config import load_project
from loadproof.histogram import Histogram
from loadproof.metrics import MergedState, decode_delta
from loadproof.plan import ArrivalPhase, DatasetPlan, Plan, RunSpec, TransactionPlan, UserPhase
from loadproof.plan.model import Session
from loadproof_agent.pipe import messages as m
from loadproof_agent.pipe.codec import Decoder, encode

SUITE = Path(__file__).resolve().parent / "suite"
S = 1_000_000_000
FOREVER_NS = 3_600 * S


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker is to do: one transaction, with `users` (closed model) or at `rate` arrivals a second (open)."""

    transaction: str
    users: int = 0
    rate: int = 0
    seconds: int = 0
    """Length of an open run; a closed one goes on until the worker is told to leave."""
    dataset: str | None = None
    session: Session = "keep"


def plan_of(load: Load, datasets: Mapping[str, DatasetPlan]) -> Plan:
    """Return the plan of one load."""
    phase: ArrivalPhase | UserPhase
    if load.rate:
        phase = ArrivalPhase("load", load.rate * 1_000, load.rate * 1_000, load.seconds * S)
    else:
        phase = UserPhase("load", load.users, load.users, FOREVER_NS)
    used = () if load.dataset is None else (datasets[load.dataset],)
    return Plan(
        "Benchmark", "bench", "open" if load.rate else "closed", (phase,),
        (TransactionPlan(load.transaction, 1, dataset=load.dataset),), used, session=load.session,
    )  # fmt: skip


@dataclass
class WorkerRun:
    """One worker process under load. `start`, then `wait` as often as wanted, then `stop`.

    `state` is merged from the snapshots of whole seconds from `counted_from_s` on (offsets of the run).
    """

    url: str
    load: Load
    core: int | None
    authority: Path | None = None
    counted_from_s: int = 0
    shard: tuple[int, int] = (0, 1)
    command: tuple[str, ...] = (sys.executable, "-m", "loadproof_agent.worker")
    environ: Mapping[str, str] = field(default_factory=dict)
    state: MergedState = field(default_factory=MergedState)
    finished: m.Finished | None = None
    zero_ns: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and its load; returns when the run's zero is fixed. Raises RuntimeError, with it ended."""
        try:
            self._start()
        except BaseException:
            if self._process is not None:
                self.stop()
            raise

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environ}
        if self.authority is not None:
            environ["SSL_CERT_FILE"] = str(self.authority)
        command = [*self.command, str(theirs.fileno())]
        self._process = subprocess.Popen(
            command if self.core is None else pinned(self.core, command), pass_fds=[theirs.fileno()], env=environ
        )
        theirs.close()
        self._end, self._decoder, self._seen = ours, Decoder(), list[m.FromWorker]()
        spec = RunSpec("suite.py", {"BENCH_URL": self.url})
        index, count = self.shard
        plan = plan_of(self.load, _datasets(self.url))
        self._say(m.Prepare("bench", "bench-agent", str(SUITE), plan.to_dict(), spec.to_dict(), count, S))
        self._await_prepared()
        self._say(m.Assign(1, ((index, 0),), time.monotonic_ns() + FOREVER_NS, 50_000))
        self.zero_ns = time.monotonic_ns() + S // 10
        self._say(m.Start(self.zero_ns, b"null"))

    @property
    def pid(self) -> int:
        """The worker's process."""
        assert self._process is not None
        return self._process.pid

    def wait(self, seconds: float) -> None:
        """Read what the worker says for so long, or until it has finished."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self.finished is None:
            self._read(left)

    def stop(self) -> None:
        """Tell the worker to leave, and see it gone."""
        assert self._process is not None
        with contextlib.suppress(OSError):  # it may be gone already
            self._say(m.Exit())
        try:
            self._process.wait(8)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._end.close()

    def lateness(self) -> Histogram:
        """Return how late transactions started, in microseconds."""
        return self.state.histogram(self.load.transaction, measure="lateness", outcome=None)

    def response(self) -> Histogram:
        """Return the response times, in microseconds."""
        return self.state.histogram(self.load.transaction, measure="response", outcome=None)

    def _say(self, message: m.ToWorker) -> None:
        self._end.sendall(encode(message))

    def _await_prepared(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            self._read(1.0)
            for message in self._seen:
                if isinstance(message, m.Prepared):
                    if message.problems:
                        raise RuntimeError(f"the worker refuses: {message.problems}")
                    return
        raise RuntimeError("the worker does not get ready")

    def _read(self, seconds: float) -> None:
        if not select.select([self._end], [], [], seconds)[0]:
            return
        data = self._end.recv(1 << 18)
        if not data:
            assert self._process is not None
            raise RuntimeError(f"the worker is gone, status {self._process.wait(5)}")
        for message in self._decoder.feed(data):
            if isinstance(message, m.Snapshot):
                delta = decode_delta(message.delta)
                if delta.from_ns >= self.counted_from_s * S:
                    self.state.apply(delta)
            elif isinstance(message, m.Finished):
                self.finished = message
            elif isinstance(message, m.Prepared):
                self._seen.append(message)


def _datasets(url: str) -> dict[str, DatasetPlan]:
    project = load_project(SUITE, environ={"BENCH_URL": url})
    found = {}
    for name, dataset in project.suite.datasets.items():
        rows = dataset.load(SUITE)
        found[name] = DatasetPlan(name, rows.sha256, len(rows.rows))
    return found
