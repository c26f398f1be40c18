"""Which contenders do which cases, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable, Collection

from benchmarks import freeze, ours
from benchmarks.contend import Task, contend
from benchmarks.install import Found, Missing
from benchmarks.measuring import Setting
from benchmarks.reported import reported
from benchmarks.results import OURS, Row
from benchmarks.scaling import two_workers
from benchmarks.worker import Load

RATES = (1_000, 5_000, 10_000)
"""Arrivals a second of the open cases."""
PEERS_RATE = 5_000
"""The one that other tools are run at too: most of them fall behind at more on one core."""
CLOSED: dict[str, tuple[Load, bool, dict[str, Task]]] = {
    "one step": (
        Load("One step", users=64), False,
        {name: Task() for name in ("wrk", "k6", "locust", "aiohttp", "vegeta", "oha", "goose", "gatling", "bare loop")},
    ),
    "one step + JSON": (
        Load("One step, JSON", users=64), False, {"k6": Task(json=True), "locust": Task(json=True)},
    ),
    "1,000 users": (Load("One step", users=1_000), False, {"wrk": Task(1_000)}),
    "TLS": (Load("One step", users=64), True, {name: Task(tls=True) for name in ("wrk", "k6", "aiohttp")}),
    "five steps": (Load("Five steps", users=640, dataset="products"), False, {}),
}  # fmt: skip
OPEN = ("wrk2", "k6", "vegeta", "oha", "gatling")
PEERS_AT = {PEERS_RATE: OPEN, 10_000: ("bare loop",)}
FREEZE = "2 s freeze"
UNCORRECTED = "oha, plain"
"""oha without `--latency-correction`."""
FROZEN = (*OPEN, UNCORRECTED, "locust")

Measure = Callable[[Row], None]
Cases = dict[tuple[str, str], Measure]


def names() -> list[tuple[str, str]]:
    """Return every (case, contender) in its order; ours begins each case."""
    closed = [(case, name) for case, (_, _, peers) in CLOSED.items() for name in (OURS, *peers)]
    opened = [(_open(rate), name) for rate in RATES for name in (OURS, *PEERS_AT.get(rate, ()))]
    frozen = [(FREEZE, name) for name in (OURS, *FROZEN)]
    return [*closed, *opened, *frozen, *((case, OURS) for case in ("idle users", "two workers", "recording"))]


def chosen(only: Collection[str], contenders: Collection[str]) -> list[tuple[str, str]]:
    """Return what is wanted of `names()`; nothing named means all. `only` are cases, or how their names begin.

    A case's whole name means that case alone ("one step" is not "one step + JSON").
    """
    every = names()
    cases = {case for case, _ in every}
    wanted = {case for part in only for case in cases if case == part or (part not in cases and case.startswith(part))}
    return [
        (case, name) for case, name in every
        if (not only or case in wanted) and (not contenders or tool_of(name) in contenders)
    ]  # fmt: skip


def measures(keys: Collection[tuple[str, str]], setting: Setting, found: dict[str, Found | Missing]) -> Cases:
    """Return how to measure each of `keys`."""
    every = {**_closed(setting, found), **_open_cases(setting, found), **_freeze(setting, found), **_own(setting)}
    return {key: every[key] for key in keys}


def _open(rate: int) -> str:
    return f"open {rate:,}/s"


def _closed(setting: Setting, found: dict[str, Found | Missing]) -> Cases:
    cases: Cases = {}
    for case, (load, tls, peers) in CLOSED.items():

        def mine(row: Row, load: Load = load, tls: bool = tls) -> None:
            reading = ours.closed(setting, load, tls=tls)
            row.add(reading.cpu_us, reading.noise, per_s=reading.per_s, used=reading.used)

        cases[case, OURS] = mine
        for name, task in peers.items():
            cases[case, name] = _peer(setting, name, found.get(name), task)
    return cases


def _open_cases(setting: Setting, found: dict[str, Found | Missing]) -> Cases:
    """The same at fixed rates; what a contender says of its percentiles is kept beside."""
    cases: Cases = {}
    for rate in RATES:

        def mine(row: Row, rate: int = rate) -> None:
            reading, figures = ours.opened(setting, rate)
            row.add(reading.cpu_us, reading.noise, per_s=reading.per_s, **figures)

        cases[_open(rate), OURS] = mine
        for name in PEERS_AT.get(rate, ()):
            cases[_open(rate), name] = _peer(setting, name, found.get(name), Task(rate=rate))
    return cases


def _freeze(setting: Setting, found: dict[str, Found | Missing]) -> Cases:
    """What contenders say of a target that freezes; once, for it is no matter of noise."""
    cores = setting.core, setting.server.core

    def measure(row: Row, name: str) -> None:
        row.unit, row.rounds_max = "ms, own p99", 1
        tool = found.get(tool_of(name))
        if name == OURS:
            told = freeze.measure_ours(cores)
        elif isinstance(tool, Found):
            told = freeze.measure_peer(tool_of(name), tool, cores, corrected=name != UNCORRECTED)
        else:
            row.missing = "not asked for" if tool is None else tool.reason
            return
        spread = {f"p{percent}_ms": us / 1e3 for percent, us in told.own.items() if percent != 99}
        spread |= {f"true_p{percent}_ms": us / 1e3 for percent, us in told.true.items()}
        row.add(
            told.own[99] / 1e3, None, **spread, off_percent=told.off_percent, per_s=told.per_s, on_time=told.on_time
        )

    return {(FREEZE, name): lambda row, name=name: measure(row, name) for name in (OURS, *FROZEN)}  # type: ignore[misc]


def tool_of(name: str) -> str:
    """Return the tool that a contender's name is of."""
    return "oha" if name == UNCORRECTED else name


def _own(setting: Setting) -> Cases:
    """What only we measure of ourselves."""

    def idle(row: Row) -> None:
        row.unit, row.rounds_max = "MB resident", 2
        row.add(ours.memory_mb(setting))

    def pair(row: Row) -> None:
        scaling = two_workers(setting)
        row.unit, row.note = "times one worker", scaling.note
        row.add(scaling.times, scaling.noise, by_cpu=scaling.times_by_cpu)

    def recording(row: Row) -> None:
        row.unit = "ns a sample"
        row.add(ours.recording_ns())

    return {("idle users", OURS): idle, ("two workers", OURS): pair, ("recording", OURS): recording}


def _peer(setting: Setting, name: str, found: Found | Missing | None, task: Task) -> Measure:
    def measure(row: Row) -> None:
        if not isinstance(found, Found):
            row.missing = "not asked for" if found is None else found.reason
            return
        reading = contend(name, found, task, setting)
        said = {f"p{percent}_ms": us / 1e3 for percent, us in reported(name, reading.said).items()} if task.rate else {}
        row.add(reading.cpu_us, reading.noise, per_s=reading.per_s, used=reading.used, **said)

    return measure
