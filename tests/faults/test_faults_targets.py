"""A target that is down, resets or never answers: errors are data, the schedule goes on, the verdict is NO-GO."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fault_cli import command
from fault_target import CountingTarget
from shop_cli import run_json, write_suite

SUITE = """
from loadproof import Suite

suite = Suite("Faulty", base_url="${TARGET}")


@suite.transaction("Browse")
async def browse(user):
    async with user.step("Open"):
        (await user.http.get("/item", timeout=LIMIT_S)).check(status=200)
"""
TOML = """
[suite]
module = "suite.py"

[profiles.fault]
arrivals = [{ rate = "40/s", for = "2s" }]
graceful_stop = "2s"

[[rules]]
transaction = "*"
require = "success_rate >= 95%"
"""


@pytest.mark.parametrize(
    ("manner", "category"), [("down", "connect"), ("reset", "connect"), ("silent", "timeout"), ("garbage", "protocol")]
)
async def test_a_broken_target_is_the_targets_fault(tmp_path: Path, manner: str, category: str) -> None:
    """Every arrival is started on time, fails in its category, and is blamed on the target: NO-GO, code 1."""
    limit_s = "0.3" if manner == "silent" else "20"
    suite = write_suite(tmp_path / "suite", toml=TOML, suite=SUITE.replace("LIMIT_S", limit_s))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port meanwhile
        async with CountingTarget(manner="answer" if manner == "down" else manner) as target:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}" if manner == "down" else target.url
            done = await command(
                "run", suite, "--workers", "1", "--out", tmp_path / "out", cwd=tmp_path, env={"TARGET": url}
            )
            received = len(target.got)
    assert done.code == 1, done.out + done.err
    report = run_json(tmp_path / "out")
    delivery = report["delivery"]
    assert delivery["planned"] == delivery["started"] == delivery["completed"] == 80
    (transaction,) = report["transactions"]
    assert (transaction["count"], transaction["ok"]) == (80, 0)
    assert {error["category"] for error in transaction["errors"]} == {category}
    assert sum(error["count"] for error in transaction["errors"]) == 80
    assert received == (0 if manner == "down" else 80), "no storm of retries"
    assert report["verdict"]["decision"] == "NO_GO"
    assert "Browse" in " ".join(report["verdict"]["reasons"])
    assert "NO-GO" in done.out
