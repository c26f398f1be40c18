"""A large run on one machine: a controller and 20 agents over TLS, some killed and some added on the way.

    PYTHONPATH=tests/support python tests/support/large_run.py --minutes 10

In the end no arrival was run twice, every arrival the target saw is counted as started or as lost, what two readers of
the live page were told is what run.json says, and the report names each agent that was killed or added.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import psutil

from live_view import Follower, Seen, assert_same_numbers
from service_mode import Deployment, deployed, free_ports, until
from shop_cli import COMMAND, counted_suite, environment, run_json
from shop_process import RunningShop, running_shop

AGENTS = 20
AT_ONCE = 4
KILLED_MIN = 2
RATE = 20
"""Arrivals a second in all: low, so that two cores carry 41 processes and the target."""
END_S = 120.0
"""How long after the load's planned end the run may take."""
DEEDS_END_S = 25.0
"""No deed in the last seconds: a killed agent is lost when its lease of 15 s has ended."""
ATTACH_S = 300.0
"""Patience on a machine that is busy with other things as well."""
VERDICT_CODES = (0, 3)
FIRST_REQUESTS = frozenset({"GET /search", "GET /health"})


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done to the fleet, at a share of the load's length."""

    at: float
    what: Literal["kill", "add", "look"]
    name: str


DEEDS = (
    Deed(0.05, "kill", "agent-03"),
    Deed(0.10, "add", "new-1"),
    Deed(0.25, "kill", "agent-07"),
    Deed(0.28, "kill", "agent-11"),
    Deed(0.35, "add", "new-2"),
    Deed(0.38, "add", "new-3"),
    Deed(0.50, "look", "late"),
    Deed(0.55, "kill", "agent-15"),
    Deed(0.60, "add", "new-4"),
    Deed(0.70, "kill", "new-1"),
    Deed(0.80, "kill", "agent-19"),
)


@dataclass(slots=True)
class LargeRun:
    """A run while and after it is on."""

    place: Deployment
    shop: RunningShop
    seconds: int
    web: str
    process: subprocess.Popen[bytes]
    readers: dict[str, Follower] = field(default_factory=dict)
    done: list[Deed] = field(default_factory=list)
    orphans: list[psutil.Process] = field(default_factory=list)
    code: int = -1

    def look(self, name: str) -> Follower:
        """Begin to read the live page."""
        token = (self.place.data / "operator.token").read_text(encoding="utf-8").strip()
        run_id = self.run_id()
        self.readers[name] = Follower(f"{self.web}/api/v1/runs/{run_id}/events", token)
        return self.readers[name]

    def run_id(self) -> str:
        """Return the run's id once the controller has it."""
        folder = self.place.data / "runs"
        until(lambda: bool(list(folder.glob("*/entry.json"))))
        return next(folder.glob("*/entry.json")).parent.name

    def carry_out(self) -> None:
        """Do every deed at its time, by the run's own clock, unless that is nearly over, and wait for the end."""
        first = self.look("first")
        for deed in DEEDS:
            first.wait_until(reached(deed.at * self.seconds), self.seconds + END_S)
            if (first.seen[-1][1]["elapsed_s"] or 0) > self.seconds - DEEDS_END_S:
                break
            self.done.append(deed)
            if deed.what == "look":
                self.look(deed.name)
            elif deed.what == "add":
                self.place.start_agent(deed.name).wait_for("attached to", limit_s=ATTACH_S)
            else:
                victim = psutil.Process(self.place.agents[deed.name].process.pid)
                self.orphans += victim.children(recursive=True)
                victim.kill()
        self.code = self.process.wait(self.seconds + END_S)


def reached(due_s: float) -> Callable[[Any], bool]:
    """Return what tells whether a run, by its state, has come that far."""
    return lambda data: (data["elapsed_s"] or 0) >= due_s


@contextmanager
def large_run(folder: Path, seconds: int) -> Iterator[LargeRun]:
    """Start the fleet and submit the run; everything is ended on leaving."""
    profile = f'[profiles.large]\narrivals = [{{ rate = "{RATE}/s", for = "{seconds}s" }}]\ngraceful_stop = "10s"\n'
    suite = counted_suite(folder / "suite", profile)
    web = f"127.0.0.1:{free_ports()[0]}"
    with running_shop() as shop, deployed(folder, {}, "--web", web) as place, (folder / "err.txt").open("wb") as err:
        attach(place)
        options = ["-p", "large", "--agents", str(AGENTS), "--on-agent-loss", "redeal", "--out", str(folder / "out")]
        env = environment({**place.operator, "SHOP_URL": shop.url})
        process = subprocess.Popen(
            [*COMMAND, "run", str(suite), *options, "--no-record"], env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=err, cwd=folder,
        )  # fmt: skip
        try:
            yield LargeRun(place, shop, seconds, f"http://{web}", process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(END_S)


def attach(place: Deployment) -> None:
    """Attach the agents, a few at a time: starting Python so often at once is more than two cores carry."""
    for first in range(0, AGENTS, AT_ONCE):
        names = [f"agent-{number:02}" for number in range(first, min(first + AT_ONCE, AGENTS))]
        for agent in [place.start_agent(name) for name in names]:
            agent.wait_for("attached to", limit_s=ATTACH_S)


def named(deeds: list[Deed], what: str) -> list[str]:
    """Return the agents that something was done to."""
    return [deed.name for deed in deeds if deed.what == what]


def assert_conserved(result: dict[str, Any], shop: RunningShop) -> dict[str, int]:
    """Nothing twice, nothing unplanned, and what the target saw lies between started and started with lost."""
    delivery: dict[str, int] = result["delivery"]
    parts = ("started", "dropped", "missed", "lost")
    assert delivery["planned"] == sum(delivery[part] for part in parts), delivery
    in_flight = delivery["started"] - delivery["completed"]
    assert 0 <= in_flight <= RATE, f"{in_flight} began on agents that were killed and have no end: {delivery}"
    received = shop.received()
    ran = Counter(entry.trace_low for entry in received if entry.endpoint in FIRST_REQUESTS)
    assert not [k for k, times in ran.items() if times > 1], "an arrival ran twice"
    assert delivery["started"] <= len(ran) <= delivery["started"] + delivery["lost"], (len(ran), delivery)
    requests = Counter(entry.endpoint for entry in received)
    told: Counter[str] = Counter()
    for transaction in result["transactions"]:
        for step in transaction["steps"]:
            told.update({each["name"]: each["count"] for each in step["endpoints"]})
    assert told.keys() == requests.keys()
    assert not told - requests, (told, requests)
    return {"seen by the target": len(ran), "requests received": requests.total(), "reported": told.total(), **delivery}


class _Rows(HTMLParser):
    """The rows of a page's tables, each the texts of its cells."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._cell = tag in ("td", "th") or (self._cell and tag != "tr")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def events_of(page: str) -> set[tuple[str, str]]:
    """Return kind and agent of every event that a report's page lists."""
    parser = _Rows()
    parser.feed(page)
    head = parser.rows.index(["At", "What", "Agent", ""])
    rows = itertools.takewhile(lambda row: len(row) == 4, parser.rows[head + 1 :])
    return {(row[1], row[2]) for row in rows}


def assert_named(result: dict[str, Any], page: str, note: str, done: list[Deed]) -> None:
    """run.json and the page have an event for each agent killed or added; the fleet and the note say who was lost."""
    killed, added = named(done, "kill"), named(done, "add")
    assert len(killed) >= KILLED_MIN, done
    assert added, done
    lost = {agent["agent_id"] for agent in result["fleet"] if agent["lost"]}
    told = {(event["kind"], event["agent_id"]) for event in result["events"]}
    events = told & events_of(page)
    for name in killed:
        assert ("agent_detached", name) in events or ("agent_lost", name) in events, (name, sorted(events))
        # One killed while it was kept in reserve held nothing that could be lost.
        assert name in lost or name in added, (name, sorted(events))
    assert {("agent_spare", name) for name in added} <= events, sorted(events)
    assert all(name in note.replace("\\", "") for name in lost), (lost, note)


def assert_live(result: dict[str, Any], readers: dict[str, Follower]) -> dict[str, int]:
    """Who read from the beginning and who came late were told the numbers of run.json; return ticks by reader."""
    seen: dict[str, Seen] = {name: reader.join() for name, reader in readers.items()}
    for events in seen.values():
        assert_same_numbers(result, events)
    return {name: len(events) for name, events in seen.items()}


def check(run: LargeRun, folder: Path) -> dict[str, Any]:
    """Hold everything against each other; return the figures."""
    assert run.code in VERDICT_CODES, (folder / "err.txt").read_text(encoding="utf-8")[-4_000:]
    result = run_json(folder / "out")
    figures: dict[str, Any] = dict(assert_conserved(result, run.shop))
    assert result["delivery"]["planned"] == RATE * run.seconds
    page, note = ((folder / "out" / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    assert_named(result, page, note, run.done)
    figures["events told to"] = assert_live(result, run.readers)
    assert psutil.wait_procs(run.orphans, timeout=60)[1] == [], "workers of killed agents leave by themselves"
    figures |= {
        "verdict": result["verdict"]["decision"],
        "agents": len(result["fleet"]),
        "killed": named(run.done, "kill"),
        "added": named(run.done, "add"),
    }
    return figures


def main() -> int:
    """Run for as long as asked and print the figures."""
    parser = argparse.ArgumentParser(description="one controller, 20 agents, some killed and some added on the way")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--keep", type=Path, help="copy run.json and report.html there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loadproof-large-") as name:
        folder = Path(name)
        with large_run(folder, round(options.minutes * 60)) as run:
            run.carry_out()
            figures = check(run, folder)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for file in ("run.json", "report.html"):
                (options.keep / file).write_bytes((folder / "out" / file).read_bytes())
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
