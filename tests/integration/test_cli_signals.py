"""Interrupting a run: the first signal drains and reports, the second stops at once, and nothing is left running."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from shop_cli import COMMAND, counted_suite, environment, run_json, write_suite
from shop_process import running_shop

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("load")]

PROFILE = '[profiles.long]\narrivals = [{ rate = "20/s", for = "60s" }]\ngraceful_stop = "20s"'
HANGING = """
import asyncio
from loadproof import Suite, VirtualUser

suite = Suite("Hanging", base_url="${SHOP_URL}")


@suite.transaction("Hang")
async def hang(user: VirtualUser) -> None:
    (await user.http.get("/health")).check(status=200)
    await asyncio.Event().wait()
"""


@pytest.fixture(scope="module")
def shop() -> Any:
    with running_shop() as running:
        yield running


class Command:
    """A run in a process of its own, whose lines on standard error can be waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._queue.put(line)
        self._queue.put(None)

    def wait_for(self, text: str, limit_s: float = 180) -> str:
        """Return the first line from now on that holds `text`."""
        end = time.monotonic() + limit_s
        while True:
            line = self._queue.get(timeout=max(0.1, end - time.monotonic()))
            assert line is not None, f"ended without {text!r}: {self.lines}"
            self.lines.append(line)
            if text in line:
                return line

    def descendants(self) -> list[psutil.Process]:
        """Return the agents and workers."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def signal(self, number: int) -> None:
        """Send the command, and only it, a signal."""
        os.kill(self.process.pid, number)

    def end(self, limit_s: float = 180) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(timeout=limit_s)


@contextmanager
def running(suite: Path, out: Path, url: str) -> Iterator[Command]:
    """Start a run of two agents and make sure that it is gone afterwards."""
    command = [*COMMAND, "run", str(suite), "--agents", "2", "--workers", "1", "--out", str(out)]
    process = subprocess.Popen(
        command, env=environment({"SHOP_URL": url}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    run = Command(process)
    try:
        yield run
    finally:
        process.kill()
        process.wait()
        run._reader.join(timeout=30)
        assert process.stderr
        process.stderr.close()


def gone(processes: list[psutil.Process], limit_s: float = 120) -> bool:
    """Say whether all of them end in time."""
    _, alive = psutil.wait_procs(processes, timeout=limit_s)
    return not alive


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_reports(shop: Any, tmp_path: Path, number: int) -> None:
    """One SIGINT or SIGTERM ends the load, lets what runs finish, writes the report and leaves with code 4."""
    suite = counted_suite(tmp_path / "suite", PROFILE)
    shop.clear()
    with running(suite, tmp_path / "out", shop.url) as run:
        run.wait_for(" running, started")
        run.wait_for(" running, started")
        processes = run.descendants()
        assert len(processes) >= 4
        run.signal(number)
        run.wait_for("stopping")
        assert run.end() == 4
        assert gone(processes)
    report = run_json(tmp_path / "out")
    assert report["status"] == "aborted"
    delivery = report["delivery"]
    assert delivery["planned"] == sum(delivery[part] for part in ("started", "dropped", "missed", "lost"))
    assert 0 < delivery["started"] == delivery["completed"] < 1200
    first = {"GET /search", "GET /health"}
    assert sum(n for endpoint, n in shop.counts().items() if endpoint in first) == delivery["started"]


def test_the_second_signal_stops_at_once(shop: Any, tmp_path: Path) -> None:
    """Transactions that never end are cancelled by the second signal; the report is written all the same."""
    toml = f'[suite]\nmodule = "suite.py"\n\n{PROFILE}\n'
    suite = write_suite(tmp_path / "suite", toml=toml, suite=HANGING)
    with running(suite, tmp_path / "out", shop.url) as run:
        run.wait_for(" running, started")
        run.wait_for(" running, started")
        processes = run.descendants()
        run.signal(signal.SIGINT)
        run.wait_for("stopping")
        run.signal(signal.SIGINT)
        run.wait_for("stopping at once")
        assert run.end() == 4
        assert gone(processes)
    (transaction,) = run_json(tmp_path / "out")["transactions"]
    assert {error["category"] for error in transaction["errors"]} == {"cancelled"}


def test_a_killed_command_leaves_no_agent_behind(shop: Any, tmp_path: Path) -> None:
    """When the command is killed, its agents see their pipe end, stop their load and leave."""
    suite = counted_suite(tmp_path / "suite", PROFILE)
    with running(suite, tmp_path / "out", shop.url) as run:
        run.wait_for(" running, started")
        processes = run.descendants()
        assert len(processes) >= 4
        run.signal(signal.SIGKILL)
        assert gone(processes)
    assert not (tmp_path / "out").exists()


def test_a_signal_before_the_load_ends_the_run(shop: Any, tmp_path: Path) -> None:
    """Interrupting before anything was started ends the command with code 4, no files and nothing left running."""
    suite = counted_suite(tmp_path / "suite", PROFILE)
    with running(suite, tmp_path / "out", shop.url) as run:
        run.wait_for("pending")
        processes = run.descendants()
        run.signal(signal.SIGINT)
        assert run.end() == 4
        assert gone(processes)
    assert not (tmp_path / "out").exists()
