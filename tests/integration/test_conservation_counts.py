"""What a run reports is what the target received, on any number of agents."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shop_cli import Finished, assert_went_well, counted_suite, loadproof, run_json
from shop_process import Received, RunningShop, running_shop, trace_low

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("load")]

PROFILES = """
[profiles.open]
arrivals = [{ name = "ramp", from = "10/s", to = "60/s", for = "3s" }, { name = "peak", rate = "60/s", for = "2s" }]
seed = 5

[profiles.poisson]
arrivals = [{ rate = "60/s", for = "4s" }]
spacing = "poisson"
session = "new"

[profiles.users]
users = [{ from = 0, to = 6, for = "1s" }, { users = 6, for = "2s" }]
pace = "50ms"

[profiles.count]
users = [{ users = 5, iterations = 123 }]
"""
OPEN = ("open", "poisson")
REQUESTS = {"Look": {"Search": "GET /search", "Open": "GET /products/{sku}"}, "Ask": {"(no step)": "GET /health"}}


@pytest.fixture(scope="module")
def shop() -> Any:
    with running_shop() as running:
        yield running


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counted_suite(tmp_path_factory.mktemp("counted"), PROFILES)


class Run:
    """One run's report and what the shop received meanwhile."""

    def __init__(self, shop: RunningShop, suite: Path, profile: str, agents: int) -> None:
        shop.clear()
        out = suite.parent / f"{profile}-{agents}"
        self.done: Finished = loadproof(
            "run", suite, "-p", profile, "--agents", str(agents), "--workers", "1", "--out", out,
            cwd=suite.parent, env={"SHOP_URL": shop.url},
        )  # fmt: skip
        assert_went_well(self.done, out)
        self.report = run_json(out)
        self.received: list[Received] = shop.received()

    @property
    def delivery(self) -> dict[str, int]:
        delivery: dict[str, int] = self.report["delivery"]
        return delivery

    def arrivals(self) -> Counter[tuple[int, str, str]]:
        """Return what was run as (arrival, transaction, row), each as often as its first request was received."""
        first = {"GET /search", "GET /health"}
        return Counter(
            (entry.trace_low, entry.transaction, entry.row) for entry in self.received if entry.endpoint in first
        )


@pytest.fixture(scope="module")
def runs(shop: RunningShop, suite: Path) -> Any:
    @cache
    def run(profile: str, agents: int) -> Run:
        return Run(shop, suite, profile, agents)

    return run


@pytest.mark.parametrize("agents", [1, 2, 3])
@pytest.mark.parametrize("profile", ["open", "users"])
def test_reported_counts_are_the_targets_own(runs: Any, profile: str, agents: int) -> None:
    """Requests by endpoint and transactions by name in run.json equal what the shop counted."""
    run = runs(profile, agents)
    sent = Counter(entry.endpoint for entry in run.received)
    by_transaction = Counter((entry.transaction, entry.endpoint) for entry in run.received)
    reported: Counter[str] = Counter()
    for transaction in run.report["transactions"]:
        for step in transaction["steps"]:
            for endpoint in step["endpoints"]:
                reported[endpoint["name"]] += endpoint["count"]
                assert endpoint["count"] == by_transaction[transaction["name"], endpoint["name"]]
                assert REQUESTS[transaction["name"]][step["name"]] == endpoint["name"]
                assert endpoint["count"] == transaction["count"]
    assert reported == sent
    assert sum(transaction["count"] for transaction in run.report["transactions"]) == run.delivery["completed"]
    assert len(run.report["fleet"]) == agents


@pytest.mark.parametrize("agents", [1, 2, 3])
@pytest.mark.parametrize("profile", ["open", "users"])
def test_nothing_planned_is_unaccounted_for(runs: Any, profile: str, agents: int) -> None:
    """planned = started + dropped + missed + lost, and on a sound machine the last three are 0."""
    delivery = runs(profile, agents).delivery
    assert delivery["planned"] == sum(delivery[part] for part in ("started", "dropped", "missed", "lost"))
    assert (delivery["dropped"], delivery["missed"], delivery["lost"]) == (0, 0, 0)
    assert delivery["started"] == delivery["completed"] > 0


def test_the_same_plan_does_the_same_on_any_number_of_agents(runs: Any) -> None:
    """The multiset of (arrival, transaction, row) that reached the shop is the plan's on 1, 2 and 3 agents."""
    one, two, three = (runs("open", agents) for agents in (1, 2, 3))
    assert one.report["plan"]["sha256"] == two.report["plan"]["sha256"] == three.report["plan"]["sha256"]
    assert one.arrivals() == two.arrivals() == three.arrivals()
    planned = one.delivery["planned"]
    assert {trace for trace, _, _ in one.arrivals()} == {trace_low(k) for k in range(planned)}
    assert set(one.arrivals().values()) == {1}


def test_random_spacing_and_fresh_sessions_repeat_too(runs: Any) -> None:
    """Poisson arrivals with a new session each are the same on 1 and on 3 agents."""
    assert runs("poisson", 1).arrivals() == runs("poisson", 3).arrivals()


@pytest.mark.parametrize("agents", [1, 3])
def test_a_number_of_iterations_is_kept_exactly(runs: Any, agents: int) -> None:
    """123 iterations of 5 users are 123 transactions, and planned equals started."""
    run = runs("count", agents)
    assert run.delivery["planned"] == run.delivery["started"] == run.delivery["completed"] == 123
    assert sum(run.arrivals().values()) == 123


def test_iterations_draw_the_same_rows_on_any_number_of_agents(runs: Any) -> None:
    """Users choose the same transactions and draw the same rows however they are dealt to agents."""
    chosen = [Counter((name, row) for _, name, row in runs("count", agents).arrivals().elements()) for agents in (1, 3)]
    assert chosen[0] == chosen[1]
