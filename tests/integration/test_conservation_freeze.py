"""A target that stands still: response time counts from when each arrival was meant to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from shop_cli import assert_went_well, loadproof, run_json, write_suite
from shop_process import running_shop, trace_low

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("load")]

SUITE = '''
from loadproof import Suite, VirtualUser

suite = Suite("Frozen", base_url="${SHOP_URL}")


@suite.setup
async def freeze(run):
    """Order the freeze: it begins in the middle of the load."""
    import urllib.request
    urllib.request.urlopen(urllib.request.Request("${SHOP_URL}/__freeze__?seconds=2&in=5", method="POST")).read()
    return {}


@suite.transaction("Ask")
async def ask(user: VirtualUser) -> None:
    (await user.http.get("/health")).check(status=200)
'''

TOML = """
[suite]
module = "suite.py"

[profiles.steady]
arrivals = [{ rate = "200/s", for = "10s" }]
max_in_flight = 2000
"""


RATE = 200
SECONDS = 10


def test_a_frozen_target_is_seen_from_the_intended_start(tmp_path: Path) -> None:
    """Response times are those of the intended schedule and the target's own log, through a stop of 2 s."""
    with running_shop() as shop:
        suite = write_suite(tmp_path / "suite", toml=TOML, suite=SUITE.replace("${SHOP_URL}/", f"{shop.url}/"))
        out = tmp_path / "out"
        done = loadproof("run", suite, "--workers", "1", "--out", out, cwd=tmp_path, env={"SHOP_URL": shop.url})
        assert_went_well(done, out)
        (frozen,) = shop.log()["frozen"]
        received = {entry.trace_low: entry.at_ns for entry in shop.received()}
    report = run_json(tmp_path / "out")
    (transaction,) = report["transactions"]
    planned = RATE * SECONDS
    assert report["delivery"]["started"] == planned == len(received)
    assert transaction["failed"] == 0
    waits = sorted(waits_us([received[trace_low(k)] for k in range(planned)]))
    response = transaction["response_time_us"]
    for name, quantile in (("p90", 0.90), ("p95", 0.95)):
        expected = waits[int(quantile * planned) - 1]
        assert expected > 400_000, "the stop fell outside the load"
        assert response[name] == pytest.approx(expected, rel=0.1, abs=100_000), name
    assert response["max"] >= 0.9 * (frozen[1] - frozen[0]) / 1_000
    assert response["p50"] < 400_000


def waits_us(received_ns: list[int]) -> list[float]:
    """Return how long each arrival waited to be received, from its intended time on; the quickest gives the start."""
    offsets = [at_ns - k * 1_000_000_000 // RATE for k, at_ns in enumerate(received_ns)]
    start = min(offsets)
    return [(offset - start) / 1_000 for offset in offsets]
