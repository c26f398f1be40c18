"""What a run's page is told, as a reader of its event stream gets it, and whether run.json says the same."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

NUMBERS = ("planned", "started", "completed", "failed", "late", "dropped", "missed")
LATENCIES = ("p50", "p95", "p99", "max")
COLUMNS = ((1, "planned"), (2, "started"), (3, "completed"), (4, "failed"))
LIMIT_S = 60.0
STILL = "still reading"

Seen = list[tuple[str, Any]]


class EventReader:
    """Puts the lines of an event stream together; `seen` holds each event's name and data."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self._name = ""

    def line(self, raw: bytes) -> bool:
        """Take one line; say whether the run's stored result has come, the last there is to read."""
        text = raw.decode().rstrip("\n")
        if text.startswith("event: "):
            self._name = text[7:]
        elif text.startswith("data: "):
            self.seen.append((self._name, json.loads(text[6:])))
            run = self.seen[-1][1]["run"]
            return bool(run["over"] and (self.seen[-1][1]["reasons"] or not run["loaded"]))
        return False


class Follower:
    """Reads a run's stream in a thread from now to its end. `ended` says why it stopped, empty when all came."""

    def __init__(self, url: str, token: str) -> None:
        self.ended = STILL
        self._reader = EventReader()
        self._changed = threading.Condition()
        self._request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def seen(self) -> Seen:
        """Everything so far."""
        return self._reader.seen

    def wait_until(self, true: Callable[[Any], bool], limit_s: float) -> None:
        """Wait until the newest event's data satisfies `true`; fail when the run ends before."""

        def met() -> bool:
            return any(true(data) for _, data in self.seen[-1:])

        with self._changed:
            self._changed.wait_for(lambda: met() or self.ended != STILL, limit_s)
            assert met(), f"not within {limit_s:.0f} s: {self.ended or 'the run is over'}"

    def join(self, limit_s: float = LIMIT_S) -> Seen:
        """Wait for the end of the run; return every event."""
        self._thread.join(limit_s)
        assert self.ended == "", self.ended
        return self.seen

    def _read(self) -> None:
        ended = self._follow()
        with self._changed:
            self.ended = ended
            self._changed.notify_all()

    def _follow(self) -> str:
        """Read to the end; return what went wrong, empty when all came."""
        try:
            with urllib.request.urlopen(self._request, timeout=LIMIT_S) as answer:
                for raw in answer:
                    over = self._reader.line(raw)
                    with self._changed:
                        self._changed.notify_all()
                    if over:
                        return ""
            return "the stream ended before the run"
        except OSError as error:
            return f"the stream broke: {error}"


def assert_same_numbers(result: dict[str, Any], seen: Seen) -> None:
    """The last figures a reader was told while the run was on are those of run.json, and so is what it was told after.

    While a run is on, planned is what is due by then: where arrivals were lost, the last may not have been due yet.
    """
    last = [data for name, data in seen if name == "tick"][-1]
    assert seen[-1][1]["run"]["over"]
    for data in (last, seen[-1][1]):
        rows = {row["name"]: row for row in data["transactions"]}
        for transaction in result["transactions"]:
            row, kept, response = rows[transaction["name"]], kept_of(transaction), transaction["response_time_us"]
            told = {name: row[name] for name in (*NUMBERS, *LATENCIES)}
            wanted = {name: kept[name] for name in NUMBERS} | {name: response[name] for name in LATENCIES}
            if data is last and kept["lost"]:
                assert told.pop("planned") <= wanted.pop("planned")
            assert told == wanted, f"told {told}, run.json {wanted}"
            assert row["s95"] == transaction["service_time_us"]["p95"]
    drawn: dict[int, Any] = {}
    for name, data in seen[:-1]:
        if name == "state":
            drawn = {row[0]: row for row in data["chart"]["rows"]}
        else:
            drawn |= {row[0]: row for row in data["rows"]}
    for at, name in COLUMNS:
        if name != "planned" or not result["delivery"]["lost"]:
            assert sum(row[at] for row in drawn.values()) == sum(second[name] for second in result["timeline"]), name
    stored = [row[: len(COLUMNS) + 1] for row in seen[-1][1]["chart"]["rows"]]
    assert stored == [[second["second"], *(second[name] for _, name in COLUMNS)] for second in result["timeline"]]


def kept_of(transaction: dict[str, Any]) -> dict[str, int]:
    """Return the numbers of a transaction of run.json under the names that the page has for them."""
    return {**transaction["delivery"], "completed": transaction["count"], "failed": transaction["failed"]}
