"""Who tells the truth about a two-second freeze? Each contender's own percentiles beside the true ones.

A target answers after 5 ms, freezes once for two seconds, and keeps a log. Contenders run open-loop at a fixed rate, as
wrk2 does: what counts is how long after its *intended* start each request was answered. That is known from the schedule
and the log, whatever a contender sent meanwhile.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contend import Place, Task, command_of
from benchmarks.freeze_target import FREEZE_AT_S, FREEZE_S
from benchmarks.install import Found, end_group
from benchmarks.machine import pinned
from benchmarks.measuring import ContenderFailed
from benchmarks.reported import WANTED, Percentiles, reported

RATE, SECONDS = 200, 15
"""Arrivals a second, and how long: 13 % of the arrivals meet the freeze."""
USERS = 64
"""Connections of a contender that has a fixed number."""
ON_TIME_NS = 100_000_000
_OVER_S = 90.0

SUITE = """
from loadproof import Suite, VirtualUser

suite = Suite("Freeze", base_url="@URL")


@suite.transaction("Open")
async def open_product(user: VirtualUser) -> None:
    async with user.step("Open"):
        (await user.http.get("/products/CH-1189")).check(status=200)
"""
PROJECT = f"""
[suite]
module = "suite.py"

[profiles.freeze]
arrivals = [{{ name = "load", rate = "{RATE}/s", for = "{SECONDS}s" }}]
"""


@dataclass(frozen=True, slots=True)
class Log:
    """The target's log: nanoseconds since the first request, in order of arrival; None for a request not answered."""

    arrived_ns: Sequence[int]
    answered_ns: Sequence[int | None]

    @property
    def service_ns(self) -> int:
        """The middle of what the target took outside the freeze."""
        end_ns = (FREEZE_AT_S + FREEZE_S) * 1e9
        took = [
            answered - arrived
            for arrived, answered in zip(self.arrived_ns, self.answered_ns, strict=True)
            if answered is not None and not FREEZE_AT_S * 1e9 <= arrived <= end_ns
        ]
        if not took:
            raise ContenderFailed("the target was asked nothing outside its freeze")
        return int(statistics.median(took))


@dataclass(frozen=True, slots=True)
class Told:
    """What a contender says of itself and what is true, in microseconds by percent; how it kept its schedule."""

    own: Percentiles
    true: Percentiles
    per_s: float
    on_time: float

    @property
    def off_percent(self) -> float:
        """By how much the 95th or 99th percentile, whichever is worse, departs from the truth."""
        return max(abs(self.own[percent] / self.true[percent] - 1) * 100 for percent in (95, 99))


def intended_ns(number: int, rate: int) -> int:
    """Return when arrival `number` is meant to start, counted from the first."""
    return number * 1_000_000_000 // rate


def true_percentiles(service_ns: int, rate: int = RATE, seconds: float = SECONDS) -> Percentiles:
    """Return the percentiles from the intended starts, in microseconds, by nearest rank."""
    end_ns, began_ns = int((FREEZE_AT_S + FREEZE_S) * 1e9), int(FREEZE_AT_S * 1e9)
    took = []
    for number in range(int(rate * seconds)):
        at_ns = intended_ns(number, rate)
        took.append(service_ns + (end_ns - at_ns if began_ns <= at_ns < end_ns else 0))
    took.sort()
    return {percent: took[math.ceil(len(took) * percent / 100) - 1] / 1e3 for percent in WANTED}


def on_time_share(arrived_ns: Sequence[int], rate: int = RATE, seconds: float = SECONDS) -> float:
    """Return the share of the schedule's arrivals that reached the target within 100 ms of their intended start."""
    wanted = int(rate * seconds)
    good = sum(abs(at_ns - intended_ns(number, rate)) <= ON_TIME_NS for number, at_ns in enumerate(arrived_ns[:wanted]))
    return good / wanted


def told(own: Percentiles, log: Log) -> Told:
    """Put a contender's words beside the log. Raises ContenderFailed where one of them is not there."""
    if set(WANTED) - set(own):
        raise ContenderFailed("it printed no percentiles that could be read")
    share = on_time_share(log.arrived_ns)
    return Told(own, true_percentiles(log.service_ns), len(log.arrived_ns) / SECONDS, share)


@contextmanager
def target(core: int) -> Iterator[tuple[str, list[Log]]]:
    """Serve while inside; yields the address and a list that has the log afterwards."""
    logs: list[Log] = []
    process = subprocess.Popen(
        pinned(core, [sys.executable, "-m", "benchmarks.freeze_target"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=Path(__file__).resolve().parent.parent, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", logs
        seen = json.loads(process.communicate("", timeout=30)[0])
        logs.append(Log(seen["arrived_ns"], seen["answered_ns"]))
    finally:
        end_group(process)


def measure_peer(name: str, found: Found, cores: tuple[int, int], *, corrected: bool = True) -> Told:
    """Run another tool against the freeze on `cores` (generator's, target's). Raises ContenderFailed."""
    task = Task(users=USERS, rate=RATE, corrected=corrected, waiting=RATE * 3)
    with tempfile.TemporaryDirectory(prefix="loadproof-bench-") as folder, target(cores[1]) as (url, logs):
        command, environ = command_of(name, found, task, Place(url, Path(folder)), SECONDS)
        said = _finished(pinned(cores[0], command), environ)
    return told(reported(name, said), logs[0])


def measure_ours(cores: tuple[int, int]) -> Told:
    """Run the real command, with agent and worker, against the freeze. Raises ContenderFailed."""
    with tempfile.TemporaryDirectory(prefix="loadproof-bench-") as name, target(cores[1]) as (url, logs):
        folder = Path(name)
        (folder / "suite.py").write_text(SUITE.replace("@URL", url), encoding="utf-8")
        (folder / "loadproof.toml").write_text(PROJECT, encoding="utf-8")
        program = str(Path(sys.executable).with_name("loadproof"))
        command = [program, "run", name, "--workers", "1", "--out", str(folder / "out")]
        said = _finished(pinned(cores[0], command), {}, allowed=(0, 1, 3))
        result = folder / "out" / "run.json"
        if not result.exists():
            raise ContenderFailed(f"the run left no result: {said.strip()[-160:]}")
        run = json.loads(result.read_text(encoding="utf-8"))
    spread = run["transactions"][0]["response_time_us"]
    return told({percent: float(spread[f"p{percent}"]) for percent in WANTED}, logs[0])


def _finished(command: list[str], environ: dict[str, str], allowed: Sequence[int] = (0,)) -> str:
    """Run a contender to its end and return what it said. Raises ContenderFailed."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **environ}, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(SECONDS + _OVER_S)
        except subprocess.TimeoutExpired as error:
            raise ContenderFailed(f"it was not done {_OVER_S:.0f} s after its time and was ended") from error
        finally:
            end_group(process)
        output.seek(0)
        said = output.read()
    if process.returncode not in allowed:
        raise ContenderFailed(f"ended with status {process.returncode}: {said.strip()[-160:]}")
    return said
