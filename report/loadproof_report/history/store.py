"""The store: runs with what comparing them needs, and the names of the last stable ones."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import zstandard
from sqlalchemy import Connection, Row, delete, insert, select

from loadproof_report.errors import ResultError
from loadproof_report.history import tables
from loadproof_report.history.database import Database, sqlite_url
from loadproof_report.history.errors import StoreError, UnknownRun
from loadproof_report.history.files import RESULT, RunFiles
from loadproof_report.result import RunResult
from loadproof_report.stored import BYTES_MAX
from loadproof_report.stored_run import INTERVALS, StoredRun

STABLE: Final = "stable"
"""The baseline that runs of a suite's profile are compared with unless told otherwise."""
BASELINE_RUNS_MAX: Final = 20
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,198}")
_COUNT_MAX: Final = (1 << 63) - 1
"""What a database can count to; only a hostile run.json says more."""

__all__ = ["BASELINE_RUNS_MAX", "STABLE", "Baseline", "HistoryStore", "RunEntry", "TrendPoint", "sqlite_url"]


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One line of the history. `decision` as in run.json; `reason` is the verdict's first sentence."""

    run_id: str
    suite: str
    profile: str
    build: str
    environment: str
    status: str
    decision: str
    started_at: str
    duration_s: float
    plan_sha256: str
    tool_version: str
    digest: str
    completed: int
    failed: int
    reason: str


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One transaction in one run. Latencies in microseconds of response time, of what succeeded."""

    run: RunEntry
    name: str
    criticality: str
    completed: int
    failed: int
    p50_us: int | None
    p95_us: int | None
    p99_us: int | None
    mean_us: float | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """A named baseline of a suite's profile: its runs, the first one the last stable run."""

    suite: str
    profile: str
    name: str
    run_ids: tuple[str, ...]
    set_at: str


class HistoryStore:
    """A store of runs at a database address. Enter it to connect; raises `StoreError` from every method."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.shown = self._database.shown

    def __enter__(self) -> Self:
        self._database.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def upgrade(self) -> None:
        """Bring the tables of a server to this version; instead of entering it."""
        try:
            self._database.open(upgrade=True)
        finally:
            self._database.close()

    def record(self, files: RunFiles) -> bool:
        """Keep a run; False when it is there already. Raises `ResultError`, or `StoreError` when another has its id."""
        run = files.parse().result
        if not _RUN_ID.fullmatch(run.run_id):
            reason = "its id is none that Loadproof makes (letters, digits, dots and dashes)"
            raise ResultError(files.source, reason, "Nothing was stored.")
        with self._database.transaction(write=True) as connection:
            self._database.exclude_others(connection)  # a controller and `run` may record one run at the same moment
            known = connection.execute(select(tables.runs.c.digest).where(tables.runs.c.run_id == run.run_id)).scalar()
            if known == run.digest:
                return False
            if known is not None:
                remedy = "Is one of them changed? Nothing was stored."
                raise StoreError(self.shown, f"there is another run with the id {run.run_id}", remedy)
            _insert(connection, run, files)
        return True

    def runs(self, *, suite: str | None = None, profile: str | None = None, limit: int | None = None) -> list[RunEntry]:
        """Return runs, the newest first."""
        wanted = select(tables.runs).order_by(tables.runs.c.started_at.desc(), tables.runs.c.run_id.desc())
        if suite is not None:
            wanted = wanted.where(tables.runs.c.suite == suite)
        if profile is not None:
            wanted = wanted.where(tables.runs.c.profile == profile)
        with self._database.transaction() as connection:
            return [_entry(row) for row in connection.execute(wanted.limit(limit))]

    def entry(self, run_id: str) -> RunEntry:
        """Return one run's line. Raises `UnknownRun`."""
        with self._database.transaction() as connection:
            row = connection.execute(select(tables.runs).where(tables.runs.c.run_id == run_id)).one_or_none()
        if row is None:
            raise UnknownRun(self.shown, f"there is no run {run_id}", "See: loadproof history.")
        return _entry(row)

    def trend(self, run_ids: Sequence[str]) -> list[TrendPoint]:
        """Return every transaction of the runs, in the runs' order and that of each run's report."""
        runs, points = tables.runs, tables.transactions
        found: dict[str, list[TrendPoint]] = {run_id: [] for run_id in run_ids}
        with self._database.transaction() as connection:
            entries = {
                row.run_id: _entry(row)
                for row in connection.execute(select(runs).where(runs.c.run_id.in_(list(run_ids))))
            }
            wanted = select(points).where(points.c.run_id.in_(list(run_ids))).order_by(points.c.position)
            for row in connection.execute(wanted):
                found[row.run_id].append(_point(entries[row.run_id], row))
        return [point for run_id in run_ids for point in found[run_id]]

    def files(self, run_id: str) -> RunFiles:
        """Return a run's bytes. Raises `UnknownRun`, or `StoreError` where they are damaged."""
        wanted = select(tables.files.c.name, tables.files.c.content).where(tables.files.c.run_id == run_id)
        with self._database.transaction() as connection:
            packed = {row.name: row.content for row in connection.execute(wanted)}
        if RESULT not in packed:
            raise UnknownRun(self.shown, f"there is no run {run_id}", "See: loadproof history.")
        found = {name: self._unpacked(run_id, content) for name, content in packed.items()}
        return RunFiles(found[RESULT], found.get(INTERVALS), f"{run_id} in {self.shown}")

    def load(self, run_id: str) -> StoredRun:
        """Return a run. Raises `UnknownRun`, `StoreError` or `ResultError`."""
        return self.files(run_id).parse()

    def set_baseline(self, run_ids: Sequence[str], name: str = STABLE) -> Baseline:
        """Name stored runs as the baseline of their suite and profile, replacing what had the name.

        Several runs of one build show how much runs differ. Raises `UnknownRun`, or `StoreError` when the runs are not
        of one suite and profile.
        """
        entries = [self.entry(run_id) for run_id in dict.fromkeys(run_ids)]
        kinds = {(entry.suite, entry.profile) for entry in entries}
        if len(kinds) != 1 or len(entries) > BASELINE_RUNS_MAX:
            reason = f"a baseline is made of 1 to {BASELINE_RUNS_MAX} runs of one suite and profile"
            raise StoreError(self.shown, reason, "Nothing was changed.")
        suite, profile = next(iter(kinds))
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        with self._database.transaction(write=True) as connection:
            _drop(connection, suite, profile, name)
            for position, entry in enumerate(entries):
                row = {"suite": suite, "profile": profile, "name": name, "position": position}
                connection.execute(insert(tables.baselines).values(**row, run_id=entry.run_id, set_at=now))
        return Baseline(suite, profile, name, tuple(entry.run_id for entry in entries), now)

    def unset_baseline(self, suite: str, profile: str, name: str = STABLE) -> bool:
        """Forget a baseline's name, not its runs; False when there was none."""
        with self._database.transaction(write=True) as connection:
            return _drop(connection, suite, profile, name)

    def baselines(self, *, suite: str | None = None, profile: str | None = None) -> list[Baseline]:
        """Return the named baselines, by suite, profile and name."""
        table = tables.baselines
        wanted = select(table).order_by(table.c.suite, table.c.profile, table.c.name, table.c.position)
        if suite is not None:
            wanted = wanted.where(table.c.suite == suite)
        if profile is not None:
            wanted = wanted.where(table.c.profile == profile)
        found: dict[tuple[str, str, str], Baseline] = {}
        with self._database.transaction() as connection:
            for row in connection.execute(wanted):
                key = (row.suite, row.profile, row.name)
                before = found[key].run_ids if key in found else ()
                found[key] = Baseline(*key, (*before, row.run_id), row.set_at)
        return list(found.values())

    def baseline(self, suite: str, profile: str, name: str = STABLE) -> Baseline | None:
        """Return one named baseline, None when there is none."""
        return next((b for b in self.baselines(suite=suite, profile=profile) if b.name == name), None)

    def _unpacked(self, run_id: str, content: bytes) -> bytes:
        try:
            return zstandard.ZstdDecompressor().decompress(content, max_output_size=BYTES_MAX)
        except zstandard.ZstdError:
            reason, remedy = f"what it keeps of {run_id} is damaged", "Import the run again from its folder."
            raise StoreError(self.shown, reason, remedy) from None


def _insert(connection: Connection, run: RunResult, files: RunFiles) -> None:
    connection.execute(
        insert(tables.runs).values(
            run_id=run.run_id,
            suite=run.suite[:200],
            profile=run.profile[:200],
            build=run.build[:200],
            environment=run.environment.name[:200],
            status=run.status,
            decision=run.verdict.decision,
            started_at=run.started_at[:40],
            duration_s=run.duration_s,
            plan_sha256=run.plan.sha256[:64],
            tool_version=run.tool_version[:40],
            digest=run.digest[:64],
            completed=_counted(run.delivery.completed),
            failed=_counted(sum(t.failed for t in run.transactions)),
            reason=run.verdict.reasons[0] if run.verdict.reasons else "",
        )
    )
    for position, transaction in enumerate({t.name[:200]: t for t in run.transactions}.values()):
        judged = transaction.judged or transaction
        response = judged.response_time_us
        connection.execute(
            insert(tables.transactions).values(
                run_id=run.run_id,
                name=transaction.name[:200],
                position=position,
                criticality=transaction.criticality,
                completed=_counted(judged.count),
                failed=_counted(judged.failed),
                p50_us=_counted(response.p50),
                p95_us=_counted(response.p95),
                p99_us=_counted(response.p99),
                mean_us=response.mean,
            )
        )
    packer = zstandard.ZstdCompressor(level=6)
    for name, content in ((RESULT, files.result), (INTERVALS, files.intervals)):
        if content is not None:
            packed = packer.compress(content)
            connection.execute(insert(tables.files).values(run_id=run.run_id, name=name, content=packed))


def _counted(number: int | None) -> int | None:
    return None if number is None else min(number, _COUNT_MAX)


def _drop(connection: Connection, suite: str, profile: str, name: str) -> bool:
    table = tables.baselines
    gone = delete(table).where(table.c.suite == suite, table.c.profile == profile, table.c.name == name)
    return bool(connection.execute(gone).rowcount)


def _entry(row: Row[Any]) -> RunEntry:
    return RunEntry(**row._mapping)


def _point(run: RunEntry, row: Row[Any]) -> TrendPoint:
    fields = dict(row._mapping)
    del fields["run_id"], fields["position"]
    return TrendPoint(run=run, **fields)
