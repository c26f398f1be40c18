"""How each contender is told to do a case: users or rate, TLS or not, with a JSON check or not."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.install import Found
from benchmarks.measuring import WARM_MORE_S, Reading, Setting, Warming, external
from benchmarks.recipes import PEERS
from benchmarks.server import PATH


@dataclass(frozen=True, slots=True)
class Task:
    """What to do. `rate` above 0 is an open loop at that many requests a second, else `users` go round and round.

    `corrected` is whether a contender that can is told to count latency from the intended start; `waiting` how many
    requests at most may be under way at a rate, for those that make users for it beforehand.
    """

    users: int = 64
    rate: int = 0
    tls: bool = False
    json: bool = False
    corrected: bool = True
    waiting: int = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where the target is, and a folder for what a contender writes."""

    base: str
    folder: Path


Command = tuple[list[str], dict[str, str]]

WARM_S = {"gatling": 8.0}
"""Warm-up in seconds where it is longer than for the others: a JVM compiles what is hot while it runs."""
WARM_CPU_S = {"gatling": 12.0}
"""CPU seconds that a closed loop must have had before its window; on a busy machine the time alone is not enough."""


def contend(name: str, found: Found, task: Task, setting: Setting) -> Reading:
    """Measure one contender at one task. Raises ContenderFailed."""
    warm_s = WARM_S.get(name, setting.warm_s)
    warm_cpu_s = 0.0 if task.rate else WARM_CPU_S.get(name, 0.0)
    spare_s = 3 if task.rate else 10 + (WARM_MORE_S if warm_cpu_s else 0)  # a closed loop is ended by us
    seconds = math.ceil(warm_s + setting.seconds + spare_s)
    server = setting.server
    place = Place(server.tls_url if task.tls else server.url, server.folder)
    command, environ = command_of(name, found, task, place, seconds)
    warm = Warming(warm_s, warm_cpu_s)
    return external(setting, command, environ={**os.environ, **environ}, warm=warm, to_end=task.rate > 0)


def command_of(name: str, found: Found, task: Task, place: Place, seconds: int) -> Command:
    """Return a contender's command and what its environment has besides."""
    return _COMMANDS[name](found.program, task, place, seconds)


def _wrk(program: str, task: Task, place: Place, seconds: int) -> Command:
    return [program, "-t1", f"-c{task.users}", f"-d{seconds}s", "--timeout", "10s", "--latency", place.base + PATH], {}


def _wrk2(program: str, task: Task, place: Place, seconds: int) -> Command:
    pace = f"-R{task.rate}"
    return [program, "-t1", f"-c{task.users}", f"-d{seconds}s", pace, "--latency", place.base + PATH], {}


def _k6(program: str, task: Task, place: Place, seconds: int) -> Command:
    environ = {"URL": place.base, "USERS": str(task.users), "FOR": f"{seconds}s"}
    environ |= {"RATE": str(task.rate), "WAITING": str(task.waiting)} if task.rate else {}
    environ |= {"JSON": "1"} if task.json else {}
    options = [part for name, value in environ.items() for part in ("-e", f"{name}={value}")]
    return [program, "run", "--quiet", "--no-usage-report", "--address", "", *options, str(PEERS / "k6.js")], {}


def _locust(program: str, task: Task, place: Place, seconds: int) -> Command:
    command = [
        program, "--headless", "--only-summary", "--loglevel", "ERROR", "-u", str(task.users), "-r", str(task.users),
        "-t", f"{seconds}s", "-f", str(PEERS / "locustfile.py"), "--host", place.base,
    ]  # fmt: skip
    environ = {"BENCH_JSON": "1"} if task.json else {}
    environ |= {"BENCH_EACH_PER_S": str(task.rate / task.users)} if task.rate else {}
    return command, environ


def _aiohttp(program: str, task: Task, place: Place, seconds: int) -> Command:
    trusted = [str(place.folder / "server.pem")] if task.tls else []
    client = str(PEERS / "aiohttp_client.py")
    return [program, client, place.base + PATH, str(task.users), str(seconds), *trusted], {}


def _bare_loop(program: str, task: Task, place: Place, seconds: int) -> Command:
    client = str(PEERS / "bare_loop.py")
    return [program, client, place.base + PATH, str(task.users), str(task.rate), str(seconds)], {}


def _vegeta(program: str, task: Task, place: Place, seconds: int) -> Command:
    targets = place.folder / "vegeta.targets"
    targets.write_text(f"GET {place.base}{PATH}\n", encoding="utf-8")
    results = place.folder / "vegeta.bin"
    pace = [f"-rate={task.rate}/1s"] if task.rate else ["-rate=0", f"-max-workers={task.users}"]
    attack = [program, "attack", f"-targets={targets}", f"-duration={seconds}s", f"-output={results}", *pace]
    if not task.rate:
        return attack, {}
    return ["sh", "-c", '"$@"; "$0" report -type=text ' + str(results), program, *attack], {}


def _oha(program: str, task: Task, place: Place, seconds: int) -> Command:
    pace = ["-q", str(task.rate)] if task.rate else []
    pace += ["--latency-correction"] if task.rate and task.corrected else []
    shown = ["--no-tui", "--output-format", "json"]
    return [program, *shown, "-z", f"{seconds}s", "-c", str(task.users), *pace, place.base + PATH], {}


def _goose(program: str, task: Task, place: Place, seconds: int) -> Command:
    users = ["-u", str(task.users), "-r", "1000"]  # all within the warm-up
    return [program, "--host", place.base, *users, "-t", f"{seconds}s", "-q", "--no-print-metrics"], {}


def _gatling(program: str, task: Task, place: Place, seconds: int) -> Command:
    pace = f"-Drate={task.rate}" if task.rate else f"-Dusers={task.users}"
    paths = ":".join(f"{program}/{part}" for part in ("classes", "resources", "jars/*"))
    report = [] if task.rate else ["--no-reports"]  # percentiles come with the report only
    return [
        "java", "-Xmx1G", "--add-opens=java.base/java.lang=ALL-UNNAMED", f"-Durl={place.base}", pace,
        f"-Dseconds={seconds}", "-cp", paths, "io.gatling.app.Gatling", "--simulation", "Bench", *report,
        "--results-folder", str(place.folder / "gatling"),
    ], {}  # fmt: skip


_COMMANDS: dict[str, Callable[[str, Task, Place, int], Command]] = {
    "wrk": _wrk, "wrk2": _wrk2, "k6": _k6, "locust": _locust, "aiohttp": _aiohttp, "vegeta": _vegeta, "oha": _oha,
    "goose": _goose, "gatling": _gatling, "bare loop": _bare_loop,
}  # fmt: skip
