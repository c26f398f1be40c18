"""What the controller does with runs that its run history cannot take now, or ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import stored_runs
from loadproof_controller import run_history
from loadproof_controller.run_history import FILE, RunHistory
from loadproof_controller.run_store import RESULT, RUNS, RunEntry
from loadproof_report import write_outputs
from loadproof_report.history import HistoryStore, sqlite_url


def ended(data: Path, run_id: str) -> RunEntry:
    """Write a run's files as a controller does, and return what it then knows."""
    result = stored_runs.result_of("healthy").model_copy(update={"run_id": run_id})
    write_outputs(result, None, data / RUNS / run_id / RESULT)
    return RunEntry(run_id, state="finished", loaded=True)


class Recorded:
    """Which runs were recorded, in order."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, run_id: str) -> None:
        self.runs.append(run_id)
        self._news.set()

    async def wait(self, count: int) -> None:
        """Wait until so many are."""
        async with asyncio.timeout(60):
            while len(self.runs) < count:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def serving(history: RunHistory, recorded: Recorded) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group, asyncio.timeout(120):
        group.create_task(history.serve(recorded))
        yield
        history.close()


@asynccontextmanager
async def telling(words: str) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set when the history logs these words."""
    told = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                told.set()

    listener = Listener()
    run_history.LOGGER.addHandler(listener)
    try:
        yield told
    finally:
        run_history.LOGGER.removeHandler(listener)


async def test_runs_that_end_while_the_store_is_down_are_recorded_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked again after pauses, without a person, and the log tells of an outage once."""
    history, recorded = RunHistory("", tmp_path, pause_s=(0.01, 0.05)), Recorded()
    (tmp_path / FILE).mkdir()  # no database can be here
    async with telling("not yet in the run history") as outage, serving(history, recorded):
        for run_id in ("run-1", "run-2"):
            history.observe(run_id, ended(tmp_path, run_id))
        async with asyncio.timeout(60):
            await outage.wait()
        assert recorded.runs == []
        (tmp_path / FILE).rmdir()
        await recorded.wait(2)
    assert sorted(recorded.runs) == ["run-1", "run-2"]
    assert caplog.text.count("not yet in the run history") == 1
    with HistoryStore(sqlite_url(tmp_path / FILE)) as store:
        assert {entry.run_id for entry in store.runs()} == {"run-1", "run-2"}


async def test_a_run_that_can_never_be_recorded_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged result is named with the command for later, and the next run is recorded."""
    history, recorded = RunHistory("", tmp_path, pause_s=(0.01, 0.05)), Recorded()
    entries = [ended(tmp_path, run_id) for run_id in ("run-1", "run-2")]
    place = tmp_path / RUNS / "run-1" / RESULT
    (place / "run.json").write_text("{", encoding="utf-8")
    async with serving(history, recorded):
        for entry in entries:
            history.observe(entry.run_id, entry)
        await recorded.wait(1)
    assert recorded.runs == ["run-2"]
    assert f"loadproof history import {place}" in caplog.text


async def test_a_run_that_the_database_does_not_take_holds_up_no_other(tmp_path: Path) -> None:
    """Whether an error is of the database or of one run it does not say: the others have their turn."""
    history, recorded = RunHistory("", tmp_path, pause_s=(0.01, 0.05)), Recorded()
    with history.opened():
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON loadproof_runs WHEN new.run_id = 'run-1'"
            " BEGIN SELECT RAISE(ABORT, 'too large'); END"
        )
    async with serving(history, recorded):
        for run_id in ("run-1", "run-2", "run-3"):
            history.observe(run_id, ended(tmp_path, run_id))
        await recorded.wait(2)
    assert recorded.runs == ["run-2", "run-3"]


HANGING = """
import asyncio, threading
from pathlib import Path
from loadproof_controller import run_history
from loadproof_controller.run_store import RunEntry

async def serve():
    history = run_history.RunHistory("", Path("."))
    history._record = lambda run_id: threading.Event().wait()
    history.observe("run-1", RunEntry("run-1", state="finished", loaded=True))
    history.close()
    await history.serve(print)

run_history.RECORD_S = 0.05
asyncio.run(serve())
"""


def test_a_database_that_never_answers_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    """Nobody waits for the thread that asks it, not even Python at its end."""
    command = [sys.executable, "-c", HANGING]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "it did not answer" in done.stderr


async def test_a_database_that_is_slow_is_asked_one_thing_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try that took too long is still at it when the next one comes, which waits for it."""
    history, recorded = RunHistory("", tmp_path, pause_s=(0.01, 0.05)), Recorded()
    asked: list[int] = []
    answer = threading.Event()

    def slowly(_run_id: str) -> None:
        asked.append(1)
        answer.wait()

    monkeypatch.setattr(history, "_record", slowly)
    monkeypatch.setattr(run_history, "RECORD_S", 0.05)
    async with telling("is tried again") as outage, serving(history, recorded):
        history.observe("run-1", RunEntry("run-1", state="finished", loaded=True))
        async with asyncio.timeout(60):
            await outage.wait()
        for _ in range(3):
            assert await history._tried("run-1", recorded)
        assert len(asked) == 1
        monkeypatch.setattr(run_history, "RECORD_S", 60.0)
        answer.set()
        await recorded.wait(1)
    assert recorded.runs == ["run-1"]


async def test_a_controller_that_ends_during_an_outage_waits_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that what is missing is recorded at the next start, and leaves, whatever pause it is in."""
    history, recorded = RunHistory("", tmp_path, pause_s=(3_600.0, 3_600.0)), Recorded()
    (tmp_path / FILE).mkdir()
    async with telling("not yet in the run history") as outage, serving(history, recorded):
        history.observe("run-1", ended(tmp_path, "run-1"))
        async with asyncio.timeout(60):
            await outage.wait()
    assert recorded.runs == []
    assert "(1) are recorded at the next start" in caplog.text


def test_only_runs_with_files_that_are_over_and_not_recorded_wait(tmp_path: Path) -> None:
    """One that is on, one that never loaded and one that is recorded already are left alone."""
    history = RunHistory("", tmp_path)
    for entry in (
        RunEntry("on", state="running", loaded=True),
        RunEntry("none", state="failed"),
        RunEntry("there", state="finished", loaded=True, recorded=True),
    ):
        history.observe(entry.run_id, entry)
    assert not history._waiting
