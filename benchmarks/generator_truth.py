"""At which CPU and loop lag does what we report depart from the truth? The measurement behind the evidence's limits.

    .venv/bin/python benchmarks/generator_truth.py [--seconds 8] [--rounds 3] [--rate 400]

A target answers each request after about 5 ms and notes how long each took it, so the true distribution is known. The
suite that loads it (the real command, agent and worker) burns CPU in user code: evenly, so that a worker is busy to a
given share, or in rare long stretches. The table shows by how much the reported service time exceeds the truth, beside
what health readings said. Prints a table and writes benchmarks/results/generator_truth.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

RESULTS = Path(__file__).resolve().parent / "results" / "generator_truth.json"
DELAY_S = 0.005
BUSY = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Shares of a core that user code burns evenly, beside what the requests cost."""
STRETCHES_MS = (10, 20, 38, 100, 300)
"""Long stretches: one each second."""

SUITE = """
import time

from loadproof import Suite, VirtualUser

suite = Suite("Truth", base_url="@URL")
EACH_NS = @EACH
LONG_NS = @LONG
last = time.monotonic_ns()


def burn(ns: int) -> None:
    until = time.thread_time_ns() + ns
    while time.thread_time_ns() < until:
        pass


@suite.transaction("Get")
async def get(user: VirtualUser) -> None:
    global last
    async with user.step("Fetch"):
        (await user.http.get("/")).check(status=200)
    async with user.step("Compute"):
        if EACH_NS:
            burn(EACH_NS)
        if LONG_NS and time.monotonic_ns() - last > 1_000_000_000:
            last = time.monotonic_ns()
            burn(LONG_NS)
"""

PROJECT = """
[suite]
module = "suite.py"

[profiles.truth]
arrivals = [
  {{ name = "settle", rate = "{rate}/s", for = "1s", warmup = true }},
  {{ name = "load", rate = "{rate}/s", for = "{seconds}s" }},
]
"""

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server(asyncio.Protocol):
    """Answers each request after `DELAY_S`; `took_us` has how long each really took."""

    took_us: ClassVar[list[int]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, _data: bytes) -> None:
        asyncio.get_running_loop().call_later(DELAY_S, self.answer, time.monotonic_ns())

    def answer(self, began_ns: int) -> None:
        self.transport.write(ANSWER)
        self.took_us.append((time.monotonic_ns() - began_ns) // 1_000)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(sorted(Server.took_us)), flush=True)


def measure(rate: int, seconds: int, each_ns: int, long_ns: int) -> dict[str, float]:
    """Run once; return what was reported beside the truth."""
    python = sys.executable
    target = subprocess.Popen([python, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert target.stdin
    assert target.stdout
    port = target.stdout.readline().strip()
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "suite")
        suite.mkdir()
        text = SUITE.replace("@URL", f"http://127.0.0.1:{port}")
        (suite / "suite.py").write_text(text.replace("@EACH", str(each_ns)).replace("@LONG", str(long_ns)))
        (suite / "loadproof.toml").write_text(PROJECT.format(rate=rate, seconds=seconds))
        done = subprocess.run(
            [str(Path(python).with_name("loadproof")), "run", str(suite), "--workers", "1", "--out", f"{folder}/out"],
            check=False, capture_output=True,
        )  # fmt: skip
        if done.returncode not in {0, 1, 3}:
            raise SystemExit(done.stderr.decode())
        run = json.loads(Path(folder, "out", "run.json").read_text())
    truth = json.loads(target.communicate("")[0])
    return figures(run, truth, seconds)


def figures(run: dict[str, Any], truth: list[int], seconds: int) -> dict[str, float]:
    """Put one run's figures together, in milliseconds and shares."""
    found = run["transactions"][0]["steps"][0]["service_time_us"]
    health = [entry for entry in run["health"] if 1 <= entry["second"] <= seconds]
    delivery = run["delivery"]

    def at(q: float) -> int:
        return truth[min(len(truth) - 1, int(len(truth) * q))]

    stretches = [f["value"] for f in run["evidence"]["findings"] if f["code"] == "user_code"]
    return {
        "cpu": statistics.median(entry["worker_cpu_permille"] for entry in health) / 1_000,
        "machine": statistics.median(entry["machine_cpu_permille"] for entry in health) / 1_000,
        "lag_p99_ms": statistics.median(entry["loop_lag_us_p99"] or 0 for entry in health) / 1_000,
        "late_share": delivery["late"] / max(1, delivery["started"]),
        "missed_share": delivery["missed"] / max(1, delivery["planned"]),
        "off_p50_ms": (found["p50"] - at(0.5)) / 1_000,
        "off_p95_ms": (found["p95"] - at(0.95)) / 1_000,
        "off_p99_ms": (found["p99"] - at(0.99)) / 1_000,
        "named_ms": max(stretches, default=0) / 1_000,
    }


def main() -> None:
    """Measure all in turns, `--rounds` times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=400)
    wanted = parser.parse_args()
    if wanted.serve:
        asyncio.run(serve())
        return
    cases = [(f"evenly {share:.0%}", int(share * 1e9 / wanted.rate), 0) for share in BUSY]
    cases += [(f"{ms} ms each second", 0, ms * 1_000_000) for ms in STRETCHES_MS]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in cases}
    for _ in range(wanted.rounds):
        for name, each_ns, long_ns in cases:
            rounds[name].append(measure(wanted.rate, wanted.seconds, each_ns, long_ns))
    table = {
        name: {key: round(statistics.median(one[key] for one in found), 4) for key in found[0]}
        for name, found in rounds.items()
    }
    columns = list(next(iter(table.values())))
    print("burnt in user code   " + "".join(f"{column:>13}" for column in columns))
    for name, row in table.items():
        print(f"{name:21}" + "".join(f"{row[column]:13.3f}" for column in columns))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rate": wanted.rate, "seconds": wanted.seconds, "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
