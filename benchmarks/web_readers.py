"""What many readers of a live page cost the controller: its CPU with none and with N readers, in turns, in one run.

    python -m benchmarks.web_readers [--readers 100] [--rounds 4] [--seconds 15] [--out FILE]

A controller, an agent and the example shop are processes on loopback; the readers are connections of this process that
take each event as a browser does. CPU is user and system time of the controller's process in each window. Neighbours
make single windows worthless: the medians of both kinds are compared, and every reader must have had an event a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import cpu_ns, describe

SHOP = Path(__file__).resolve().parents[1] / "examples" / "shop"
COMMAND = [sys.executable, "-c", "from loadproof_cli.main import entry; entry()"]
PROFILE = '\n[profiles.watched]\narrivals = [{ rate = "20/s", for = "3600s" }]\ngraceful_stop = "1s"\n'
SETTLE_S = 2.0
START_S = 120.0
EVENTS_SHARE_MIN = 0.5
"""Of one event a second, on a machine that is shared."""


class ReadersFailed(Exception):
    """The run did not come up, or a reader was not served; the text says what."""


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU in seconds of the controller for each second; what a reader got in one second of its window."""

    readers: int
    cpu_without: list[float]
    cpu_with: list[float]
    events_per_s: float
    bytes_per_s: float

    @property
    def cost(self) -> float:
        """The share of a core that the readers take."""
        return statistics.median(self.cpu_with) - statistics.median(self.cpu_without)


@dataclass(frozen=True, slots=True)
class Live:
    """A run that is on. `pid` is the controller's."""

    pid: int
    web: tuple[str, int]
    path: str
    token: str


@contextlib.contextmanager
def live_run(folder: Path) -> Iterator[Live]:
    """Start shop, controller and agent, and submit a run; all ends with the context."""
    ports = _free_ports(3)
    data, people = folder / "data", f"127.0.0.1:{ports[0]}"
    shutil.copytree(SHOP / "suite", folder / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "suite" / "loadproof.toml").open("a", encoding="utf-8") as toml:
        toml.write(PROFILE)
    with contextlib.ExitStack() as stack:
        said = folder / "shop.log"
        stack.enter_context(_process(said, [sys.executable, str(SHOP / "server.py"), "--port", "0", "--fast"]))
        _wait_for(lambda: "\n" in said.read_text(encoding="utf-8"), "the shop did not start")
        url = json.loads(said.read_text(encoding="utf-8").splitlines()[0])["url"]
        listen = ["--listen", people, "--agents-port", str(ports[1]), "--web", f"127.0.0.1:{ports[2]}"]
        greeting = folder / "controller.log"
        controller = stack.enter_context(
            _process(greeting, [*COMMAND, "controller", *listen, "--insecure", "--data", str(data)])
        )
        _wait_for(lambda: "pages:" in greeting.read_text(encoding="utf-8"), "the controller did not start")
        join = ["--join-file", str(data / "join.token"), "--workers", "1"]
        stack.enter_context(_process(folder / "agent.log", [*COMMAND, "agent", people, *join]))
        submit = [*COMMAND, "run", str(folder / "suite"), "-p", "watched", "--controller", people, "--detach",
                  "--token-file", str(data / "operator.token"), "--wait-for-agents", "100s"]  # fmt: skip
        done = subprocess.run(
            submit, env={**os.environ, "SHOP_URL": url}, capture_output=True, text=True, cwd=folder, check=False
        )
        if done.returncode:
            raise ReadersFailed(done.stderr)
        token = (data / "operator.token").read_text(encoding="utf-8").strip()
        path = f"/api/v1/runs/{done.stdout.strip()}/events"
        yield Live(controller.pid, ("127.0.0.1", ports[2]), path, token)


class Reader:
    """One connection. `events` and `received` (bytes) are counted."""

    def __init__(self) -> None:
        self.events = 0
        self.received = 0

    async def read(self, live: Live) -> None:
        """Read until cancelled. Raises `ReadersFailed` when the stream ends."""
        reader, writer = await asyncio.open_connection(*live.web)
        head = f"GET {live.path} HTTP/1.1\r\nHost: {live.web[0]}\r\nAuthorization: Bearer {live.token}\r\n\r\n"
        try:
            writer.write(head.encode())
            while data := await reader.read(1 << 16):
                self.received += len(data)
                self.events += data.count(b"event: ")
        finally:
            writer.close()
        raise ReadersFailed("a reader was let go while the run was on")


async def measure(live: Live, readers: int, rounds: int, seconds: float) -> Reading:
    """Measure windows without and with readers in turns. Raises `ReadersFailed`."""
    without: list[float] = []
    with_readers: list[float] = []
    events = received = 0
    async with asyncio.timeout(START_S):
        await _first_tick(live)
    for _ in range(rounds):
        without.append(await _window(live, seconds))
        crowd = [Reader() for _ in range(readers)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reader.read(live)) for reader in crowd]
            await asyncio.sleep(SETTLE_S)
            before = sum(reader.events for reader in crowd), sum(reader.received for reader in crowd)
            with_readers.append(await _window(live, seconds))
            events += sum(reader.events for reader in crowd) - before[0]
            received += sum(reader.received for reader in crowd) - before[1]
            slowest = min(reader.events for reader in crowd)
            for task in tasks:
                task.cancel()
        if slowest < seconds * EVENTS_SHARE_MIN:
            raise ReadersFailed(f"a reader got {slowest} events in {seconds:.0f} s")
    each = rounds * seconds * readers
    return Reading(readers, without, with_readers, events / each, received / each)


async def _first_tick(live: Live) -> None:
    reader = Reader()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(reader.read(live))
        while reader.events < 10:  # another connection's progress, seen from outside
            await asyncio.sleep(0.2)
        task.cancel()


async def _window(live: Live, seconds: float) -> float:
    before, at = cpu_ns(live.pid), time.monotonic_ns()
    await asyncio.sleep(seconds)
    return (cpu_ns(live.pid) - before) / (time.monotonic_ns() - at)


@contextlib.contextmanager
def _process(log: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, cwd=log.parent
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)


def _wait_for(true: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + START_S
    while not true():
        if time.monotonic() > end:
            raise ReadersFailed(otherwise)
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports


def main() -> int:
    """Measure, print, and keep the figures where asked."""
    parser = argparse.ArgumentParser(description="CPU of the controller with and without readers of a live page")
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="lp-readers") as name, live_run(Path(name)) as live:
        found = asyncio.run(measure(live, options.readers, options.rounds, options.seconds))
    result = {"machine": machine, "cost": round(found.cost, 4), **asdict(found)}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
