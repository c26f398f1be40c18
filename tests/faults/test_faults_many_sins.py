"""One suite with every bad habit that does not end its worker, through the command: the good part is exact."""

from __future__ import annotations

import json
from pathlib import Path

from fault_cli import command
from fault_target import CountingTarget
from shop_cli import run_json, write_suite

SUITE = '''
import asyncio, os, signal, string, sys
from loadproof import Suite

suite = Suite("Sinful", base_url="${TARGET}")


def letters(number):
    """Return a word that no normalising of numbers can fold."""
    word = ""
    while number or not word:
        number, digit = divmod(number, 26)
        word += string.ascii_lowercase[digit]
    return word


@suite.transaction("Good", weight=6)
async def good(user):
    async with user.step("Open"):
        (await user.http.get("/good")).check(status=200)


@suite.transaction("Leaves")
async def leaves(user):
    async with user.step("Say goodbye"):
        sys.exit(4)


@suite.transaction("Names")
async def names(user):
    for number in range(200):
        await user.http.get("/names", name="/names/" + letters(user.random.getrandbits(60)))


@suite.transaction("Complains")
async def complains(user):
    for _ in range(60):
        user.check("luck", False, letters(user.random.getrandbits(60)), soft=True)
    raise ValueError("no " + letters(user.random.getrandbits(60)))


@suite.transaction("Babbles")
async def babbles(user):
    for number in range(100):
        print("x" * 5_000)
        print("\\x1b[31mred\\x07", file=sys.stderr)
        user.log.info("y" * 5_000)


@suite.transaction("Meddles")
async def meddles(user):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    sys.stdin.close()
    sys.setrecursionlimit(200)
    os.environ.clear()
    raise KeyboardInterrupt


@suite.transaction("Stays")
async def stays(user):
    async with user.step("Wait for ever"):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
'''
TOML = """
[suite]
module = "suite.py"

[profiles.sins]
arrivals = [{ rate = "60/s", for = "3s" }]
graceful_stop = "1s"
seed = 3

[[rules]]
transaction = "Good"
require = "success_rate >= 100%"
"""


async def test_bad_habits_spoil_nothing_but_themselves(tmp_path: Path) -> None:
    """Exits, endless names and messages, floods of output, changed handlers and refusals to end are counted where they
    belong; the good transaction's numbers are the target's own.
    """
    suite = write_suite(tmp_path / "suite", toml=TOML, suite=SUITE)
    async with CountingTarget() as target:
        done = await command(
            "run", suite, "--workers", "1", "--out", tmp_path / "out", cwd=tmp_path, env={"TARGET": target.url}
        )
        received = sum(entry.path == "/good" for entry in target.got)
    assert done.code in {0, 3}, done.out + done.err
    report = run_json(tmp_path / "out")
    found = {transaction["name"]: transaction for transaction in report["transactions"]}
    assert found["Good"]["count"] == found["Good"]["ok"] == received == 90
    delivery = report["delivery"]
    assert delivery["planned"] == delivery["started"] == delivery["completed"] == 180
    errors = {name: {(e["category"], e["message"]) for e in found[name]["errors"]} for name in found}
    assert "SystemExit" in str(errors["Leaves"])
    assert found["Leaves"]["errors"][0]["step"] == "Say goodbye"
    assert "KeyboardInterrupt" in str(errors["Meddles"])
    assert found["Stays"]["errors"][0]["category"] == "cancelled"
    assert "did not end when it was stopped" in str(errors["Stays"])
    endpoints = [e["name"] for t in report["transactions"] for s in t["steps"] for e in s["endpoints"]]
    assert "(other)" in endpoints
    assert len(endpoints) <= 2_010
    assert sum(len(e) for e in errors.values()) <= 2_000
    assert "(other)" in str(errors["Complains"])
    evidence = {finding["code"]: finding["text"] for finding in report["evidence"]["findings"]}
    assert "are counted under (other)" in evidence["series_folded"]
    assert "x" * 100 not in done.out
    assert "\x1b[31m" not in (tmp_path / "out/events.jsonl").read_text()
    events = [json.loads(line) for line in (tmp_path / "out/events.jsonl").read_text().splitlines()]
    assert len(events) < 3_000
    assert not [event for event in events if event["kind"] in {"worker_crashed", "worker_blocked", "worker_memory"}]
