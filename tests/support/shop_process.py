"""The example shop as a process of its own, and what it says it received."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadproof.runtime.scope import _trace_low
from tree import ROOT

SERVER = ROOT / "examples" / "shop" / "server.py"


class Received(NamedTuple):
    """One request as the shop logged it."""

    at_ns: int
    endpoint: str
    status: int
    transaction: str
    row: str
    trace: str

    @property
    def trace_low(self) -> int:
        """The lower half of the trace id, which names the arrival: see `trace_low`."""
        return int(self.trace.split("-")[1][16:], 16)


def trace_low(k: int) -> int:
    """Return what arrival `k` (or iteration) writes into the lower half of its trace id."""
    return _trace_low(k)


@dataclass(frozen=True, slots=True)
class RunningShop:
    """A shop that listens on `url`, on loopback."""

    url: str

    def log(self) -> dict[str, Any]:
        """Return the shop's counts."""
        counts: dict[str, Any] = self._ask("/__log__")
        return counts

    def received(self) -> list[Received]:
        """Return every request, in order of arrival."""
        return [Received(*entry) for entry in self._ask("/__log__?entries=1")["entries"]]

    def counts(self) -> Counter[str]:
        """Return requests by method and route."""
        return Counter(self.log()["counts"])

    def clear(self) -> None:
        """Forget what was received."""
        self._ask("/__log__", "DELETE")

    def freeze(self, seconds: float, *, after: float = 0.0) -> None:
        """Let the shop stand still for `seconds`, `after` seconds from now."""
        self._ask(f"/__freeze__?seconds={seconds}&in={after}", "POST")

    def _ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def running_shop(*, slow: bool = False, payment_ms: int = 12) -> Iterator[RunningShop]:
    """Start a shop on a free port; it ends with the context. `slow` gives it a real shop's delays and failures.

    It then takes 4 payments at once, each `payment_ms` long.
    """
    command = [sys.executable, str(SERVER), "--port", "0", "--until-eof", *([] if slow else ["--fast"])]
    command += ["--payment-ms", str(payment_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            line = process.stdout.readline()
            assert line, "the shop did not start"
            yield RunningShop(json.loads(line)["url"])
        finally:
            process.stdin.close()
            process.wait(timeout=20)
