"""A suite that computes too long is told so, by step, all the way from the worker into the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from shop_cli import loadproof, run_json, write_suite

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("load")]

SUITE = """
import time

from loadproof import Suite, VirtualUser

suite = Suite("Heavy")


@suite.transaction("Find a product")
async def find(user: VirtualUser) -> None:
    async with user.step("Prepare"):
        pass
    async with user.step("Search"):
        until = time.thread_time_ns() + 38_000_000
        while time.thread_time_ns() < until:
            pass
"""


def test_a_step_that_burns_38_ms_is_named_in_evidence_and_report(tmp_path: Path) -> None:
    """The step that computes is named with about as long as it takes, its neighbour is not."""
    write_suite(tmp_path / "s", toml='[profiles.p]\narrivals = [{ rate = "8/s", for = "2s" }]\n', suite=SUITE)
    done = loadproof("run", "s", "--workers", "1", "--out", "out", cwd=tmp_path)
    assert (tmp_path / "out").is_dir(), done.err
    found = [one for one in run_json(tmp_path / "out")["evidence"]["findings"] if one["code"] == "user_code"]
    assert [one["text"].split(" kept ")[0] for one in found] == ["Step Search of Find a product"]
    assert found[0]["value"] >= 20_000
    assert "Step Search of Find a product kept its worker for" in (tmp_path / "out/report.html").read_text("utf-8")
