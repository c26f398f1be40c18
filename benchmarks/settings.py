"""Which socket options, how to remember names, when to collect garbage: each against the worker as it is, in pairs.

    python -m benchmarks.settings [--restarts 3] [--windows 5] [--seconds 0.5] [--only GROUP ...]

Two real worker processes, one with the setting changed, run at the same time on one core, each against a server of its
own on the other; so what disturbs one disturbs the other. Compared is CPU per request: a ratio each window, the median
of all, and between which ratios the median lies with 95 % confidence (order statistics, binomial). The first of each
group changes nothing: a difference counts where it lies beyond that one's interval too. Windows of one start resemble
each other, so restarts are worth more than windows. Prints a table, writes results/settings.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import cores, cpu_ns, describe
from benchmarks.measuring import READY_S, ContenderFailed, scratch
from benchmarks.scaling import listen
from benchmarks.server import Server
from benchmarks.settings_worker import NAME
from benchmarks.worker import Load, WorkerRun

FILE = Path(__file__).resolve().parent / "results" / "settings.json"
PAIRS_MIN = 6
"""With fewer values the median lies outside all of them in more than 5 % of cases."""
AS_IT_IS, AGAIN = "as it is", "as it is (again)"
_SOCKETS = ("TCP_NODELAY off", "TCP_QUICKACK at connect", "TCP_QUICKACK at each read")
_BUFFERS = ("SO_RCVBUF, SO_SNDBUF 16 KB", "SO_RCVBUF, SO_SNDBUF 1 MB")
_COLLECTOR = (
    "thresholds of Python (700, 10, 10)", "thresholds (100,000, 50, 50)", "without the collector", "without gc.freeze",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """A load, what it is compared against, and the settings to compare. `name` is whether the target has a name."""

    load: Load
    settings: tuple[str, ...]
    base: str = AS_IT_IS
    again: str = AGAIN
    named: bool = False


GROUPS = {
    "small answers, 64 users": Group(Load("One step", users=64), (*_SOCKETS, *_BUFFERS)),
    "64 KB sent, 16 users": Group(Load("Upload", users=16), (_SOCKETS[0], *_BUFFERS)),
    "256 KB received, 16 users": Group(Load("Download", users=16), _BUFFERS),
    "new connection each time, 16 users": Group(
        Load("One step", users=16, session="new"), ("name, looked up each time",), base="name, remembered",
        again="name, remembered", named=True,
    ),
    "collector, 64 users": Group(Load("One step", users=64), _COLLECTOR),
    "collector, 1,000 users": Group(Load("One step", users=1_000), _COLLECTOR),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """CPU per request with a setting, as a multiple of that without, and what a request cost without (microseconds)."""

    group: str
    setting: str
    ratio: float
    low: float
    high: float
    base_us: float
    pairs: int
    floor: tuple[float, float] | None = (1.0, 1.0)
    """The interval of the group's comparison of nothing with nothing, what the method itself may show; None in that."""

    @property
    def verdict(self) -> str:
        """Whether the setting costs less or more, beyond what nothing against nothing shows."""
        if self.floor is None:
            return "nothing was changed"
        if self.pairs < PAIRS_MIN:
            return f"too few readings ({self.pairs})"
        low, high = min(1.0, *self.floor), max(1.0, *self.floor)
        return "cheaper" if self.high < low else "dearer" if self.low > high else "no difference found"


def median_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the order statistics that hold the median with at least `confidence`; with few values the outermost."""
    ordered, count = sorted(values), len(values)
    tail, rank = 0.0, 0
    while rank < count // 2:
        tail += math.comb(count, rank) / 2**count
        if 2 * tail > 1 - confidence:
            break
        rank += 1
    place = max(0, rank - 1)
    return ordered[place], ordered[count - 1 - place]


def compare(
    name: str, setting: str, readings: list[tuple[float, float]], floor: tuple[float, float] | None = (1.0, 1.0)
) -> Compared:
    """Put windows together; each is (cost without, cost with the setting) in microseconds."""
    ratios = [changed / base for base, changed in readings]
    low, high = median_interval(ratios)
    base_us = statistics.median(base for base, _ in readings)
    return Compared(name, setting, statistics.median(ratios), low, high, base_us, len(ratios), floor)


def pairs(
    group: Group, setting: str, servers: tuple[Server, Server], core: int, windows: int, seconds: float
) -> list[tuple[float, float]]:
    """Run both workers once and read `windows`. Raises ContenderFailed."""
    runs = []
    with ExitStack() as running:
        for server, name in zip(servers, (group.base, setting), strict=True):
            url = f"http://{NAME}:{server.port}" if group.named else server.url
            run = WorkerRun(
                url, group.load, core, command=(sys.executable, "-m", "benchmarks.settings_worker"),
                environ={"BENCH_SETTING": name},
            )  # fmt: skip
            run.start()
            running.callback(run.stop)
            runs.append(run)
        _await_load(servers, group.load.users, runs)
        listen(runs, 1.0)
        found = [_reading(runs, servers, seconds) for _ in range(windows)]
        for run in runs:
            failed = sum(stats.count for stats in run.state.errors.values())
            if failed:
                raise ContenderFailed(f"{failed} transactions failed with {setting!r}")
    return [(base, changed) for base, changed in found if base and changed]


def _await_load(servers: tuple[Server, Server], users: int, runs: list[WorkerRun]) -> None:
    before = [server.requests() for server in servers]
    until, probes = time.monotonic() + READY_S, 0
    while time.monotonic() < until:
        listen(runs, 0.1)
        probes += 1
        seen = [server.requests() - past - probes for server, past in zip(servers, before, strict=True)]
        if min(seen) > users:
            return
    raise ContenderFailed(f"not all users were served within {READY_S:.0f} s")


def _reading(runs: list[WorkerRun], servers: tuple[Server, Server], seconds: float) -> list[float]:
    """Return the CPU microseconds a request of each worker; 0 where nothing was served."""
    used = [cpu_ns(run.pid) for run in runs]
    done = [server.requests() for server in servers]
    listen(runs, seconds)
    used = [cpu_ns(run.pid) - past for run, past in zip(runs, used, strict=True)]
    done = [server.requests() - 1 - past for server, past in zip(servers, done, strict=True)]
    return [us / 1e3 / count if count > 0 else 0.0 for us, count in zip(used, done, strict=True)]


def line(row: Compared) -> str:
    """Return a row of the table."""
    interval = f"{row.low:.3f}..{row.high:.3f}"
    return f"{row.group:<36}{row.setting:<36}{row.ratio:>7.3f}{interval:>17}{row.base_us:>12.1f}  {row.verdict}"


def write(out: Path, machine: dict[str, str | int | float], rows: list[Compared]) -> None:
    """Write what there is so far."""
    data = {"machine": machine, "rows": [{**asdict(row), "verdict": row.verdict} for row in rows]}
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Measure all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", nargs="*", metavar="GROUP", help="groups whose names begin so")
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    generator, serving = cores()
    machine = describe()
    rows: list[Compared] = []
    print(f"{'load':<36}{'setting':<36}{'ratio':>7}{'95 % interval':>17}{'us without':>12}  verdict")
    with scratch() as one, scratch() as two, ExitStack() as stack:
        servers = tuple(stack.enter_context(Server(Path(folder), serving)) for folder in (one, two))
        for name, group in GROUPS.items():
            if given.only and not any(name.startswith(part) for part in given.only):
                continue
            floor: tuple[float, float] | None = None
            for number, setting in enumerate((group.again, *group.settings)):
                readings: list[tuple[float, float]] = []
                for turn in range(given.restarts):
                    first, second = servers if turn % 2 == 0 else servers[::-1]
                    readings += pairs(group, setting, (first, second), generator, given.windows, given.seconds)
                row = compare(name, setting, readings, floor)
                rows.append(row)
                if number == 0:
                    floor = row.low, row.high
                print(line(row), flush=True)
                write(given.out, machine, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
