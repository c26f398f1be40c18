"""The `loadproof` command as a person runs it, in a process of its own, and suites for it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadproof_cli.console import Console
from loadproof_cli.main import main

COMMAND = [sys.executable, "-c", "from loadproof_cli.main import entry; entry()"]

COUNTED_SUITE = """
from dataclasses import dataclass
from loadproof import Suite, VirtualUser

suite = Suite("Counted", base_url="${SHOP_URL}")


@dataclass(frozen=True)
class Row:
    number: int
    sku: str


rows = suite.dataset("rows", "rows.csv", row=Row, order="shuffle")


@suite.transaction("Look", weight=3, data=rows)
async def look(user: VirtualUser, row: Row) -> None:
    said = {"x-transaction": "Look", "x-row": str(row.number)}
    async with user.step("Search"):
        (await user.http.get("/search", params={"q": "red"}, headers=said)).check(status=200)
    async with user.step("Open"):
        (await user.http.get(f"/products/{row.sku}", name="/products/{sku}", headers=said)).check(status=200)


@suite.transaction("Ask", data=rows)
async def ask(user: VirtualUser, row: Row) -> None:
    said = {"x-transaction": "Ask", "x-row": str(row.number)}
    (await user.http.get("/health", headers=said)).check(status=200)
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


def loadproof(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 240) -> Finished:
    """Run the command to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, env=environment(env), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=timeout, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def in_time(attempt: Callable[[], Finished], tries: int = 4) -> Finished:
    """Return the first of `tries` runs that this machine let start all of its load, or the last.

    A run that says itself that it came too late for a part tells nothing of what a test of a whole run asks.
    """
    for _ in range(tries - 1):
        done = attempt()
        if done.code != 3 or "never started" not in done.out:
            return done
    return attempt()


def loadproof_here(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Finished:
    """Run the command inside this process: for what ends before anything is started."""
    out, err = io.StringIO(), io.StringIO()
    console = Console(tuple(map(str, arguments)), environment(env), cwd, out, err)
    code = main(console)
    return Finished(code, out.getvalue(), err.getvalue())


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what would change the command's ways, and `extra`."""
    kept = {
        name: value for name, value in os.environ.items() if name not in {"CI", "SHOP_URL", "TARGET_URL", "COLUMNS"}
    }
    return {**kept, **(extra or {})}


def write_suite(folder: Path, *, toml: str, suite: str, files: dict[str, str] | None = None) -> Path:
    """Write a suite's files and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"loadproof.toml": toml, "suite.py": suite, **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def counted_suite(folder: Path, profiles: str) -> Path:
    """Write the suite whose requests say which transaction and row they belong to."""
    shop_rows = (Path(__file__).parents[2] / "examples/shop/suite/data/products.csv").read_text(encoding="utf-8")
    skus = [line.split(",")[0] for line in shop_rows.splitlines()[1:]]
    rows = "number,sku\n" + "".join(f"{number},{sku}\n" for number, sku in enumerate(skus))
    toml = (
        f'[suite]\nmodule = "suite.py"\n\n{profiles}\n\n[[rules]]\ntransaction = "*"\nrequire = "success_rate >= 99%"\n'
    )
    return write_suite(folder, toml=toml, suite=COUNTED_SUITE, files={"rows.csv": rows})


BUSY = {"late_starts", "generator_cpu", "loop_lag"}
"""What makes a run unsound where the machine was too busy with something else to start it on time."""


def assert_went_well(done: Finished, out: Path) -> str:
    """Assert that a run's rules held and that nothing but a busy machine took from its evidence; return its verdict.

    One start in a hundred that is 100 ms late is enough for NOT PROVEN: no test of something else may depend on that.
    """
    report = run_json(out)
    unsound = {finding["code"] for finding in report["evidence"]["findings"] if finding["severity"] == "unsound"}
    excused = BUSY if report["delivery"]["lost"] else BUSY | {"missed_or_lost"}
    assert unsound <= excused, done.out + done.err
    assert done.code == (3 if unsound else 0), done.out + done.err
    decision: str = report["verdict"]["decision"]
    return decision.replace("_", " ")


def run_json(out: Path) -> dict[str, Any]:
    """Return a run's run.json."""
    data: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return data
