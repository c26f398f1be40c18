"""`loadproof capacity` against a real target, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import stored_runs
from loadproof.config import load_project
from loadproof_cli.capacity_runs import CapacityRun, rules_to_hold
from loadproof_report import build_result
from loadproof_report.capacity import Limits, step_of
from shop_cli import counted_suite, loadproof, loadproof_here, write_suite
from shop_process import running_shop

PROFILE = '[profiles.smoke]\narrivals = [{ rate = "5/s", for = "2s" }]'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "100/s", "--to", "50/s"), "is more than --to"),
        (("--from", "fast"), "--from fast"),
        (("--hold", "long"), "--hold long"),
        (("--rule", "p95 <= 800"), "did you mean: p95 <= 800ms"),
        (("--rule", "Lok: p95 <= 800ms"), 'did you mean "Look"'),
        (("--rule", "p95 <= baseline + 10%"), "baseline"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_load(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Usage errors name the option and a remedy."""
    suite = counted_suite(tmp_path / "suite", PROFILE)
    done = loadproof_here("capacity", suite, *arguments, cwd=tmp_path, env={"SHOP_URL": "http://127.0.0.1:1"})
    assert (done.code, said in done.err) == (2, True), done.err
    assert not (tmp_path / "runs").exists()


def with_rule(folder: Path, rule: str) -> Path:
    """Write the counted suite with one rule more."""
    suite = counted_suite(folder, PROFILE)
    with (suite / "loadproof.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[[rules]]\n{rule}\n")
    return suite


def test_a_limit_from_a_baseline_in_the_suite_is_refused_before_any_load(tmp_path: Path) -> None:
    """Every step would prove nothing: the rule is named, and what to do instead."""
    suite = with_rule(tmp_path / "suite", 'transaction = "Look"\nrequire = "p95 <= baseline + 10%"')
    done = loadproof_here("capacity", suite, cwd=tmp_path, env={"SHOP_URL": "http://127.0.0.1:1"})
    assert done.code == 2
    assert 'the rule "p95 <= baseline + 10%" on Look takes its limit from a baseline' in done.err
    assert "--rule" in done.err
    assert not (tmp_path / "runs").exists()


def test_a_waiver_makes_no_load_bearable(tmp_path: Path) -> None:
    """A waived rule of the suite is held against each step like any other, and its breaking ends the search."""
    waiver = '{ reason = "known", owner = "me", until = "2099-01-01" }'
    suite = with_rule(tmp_path / "suite", f'transaction = "Look"\nrequire = "p95 <= 1us"\nwaiver = {waiver}')
    project = load_project(suite, environ={"SHOP_URL": "http://127.0.0.1:1"})
    wanted = CapacityRun(project, "smoke", (), Limits(1, 2), 1, 0, 1, 1, None, None)
    rules = rules_to_hold(wanted)
    assert [(rule.require, rule.waiver) for rule in rules] == [("success_rate >= 99%", None), ("p95 <= 1us", None)]
    held = stored_runs.rule("*", rules[1].require, waiver=rules[1].waiver)
    assert step_of(build_result(replace(stored_runs.run_of("healthy"), rules=(held,))), 1.0).outcome == "broken"


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("load")
def test_each_step_is_a_run_and_the_answer_says_which_rule_broke(tmp_path: Path) -> None:
    """A throughput no load of the range reaches breaks the rule at --from: one step, its report, exit code 1."""
    suite = counted_suite(tmp_path / "suite", PROFILE)
    with running_shop() as shop:
        done = loadproof(
            "capacity", suite, "--from", "20/s", "--to", "40/s", "--hold", "2s", "--settle", "1s", "--confirm", "0",
            "--rule", "Look: throughput >= 1000/s", "--out", "out", cwd=tmp_path,
            env={"SHOP_URL": shop.url}, timeout=200,
        )  # fmt: skip
    assert done.code == 1, done.err
    found = json.loads((tmp_path / "out" / "capacity.json").read_text())
    assert (found["schema"], found["conclusion"]["kind"]) == ("loadproof.capacity/1", "below")
    assert "Look broke throughput >= 1000/s" in found["steps"][0]["broken"][0]
    step = json.loads((tmp_path / "out" / "step-01" / "run.json").read_text())
    assert [phase["name"] for phase in step["plan"]["phases"]] == ["settle", "hold"]
    assert step["delivery"]["planned"] == 60
    assert "broken" in (tmp_path / "out" / "capacity.md").read_text()


BUYING = """
from loadproof import Suite, VirtualUser

suite = Suite("Buying", base_url="${SHOP_URL}")


@suite.transaction("Buy")
async def buy(user: VirtualUser) -> None:
    async with user.step("Sign in"):
        (await user.http.post("/login", json={"name": "@NAME", "password": "@PASSWORD"})).check(status=200)
    async with user.step("Fill the cart"):
        (await user.http.post("/cart", json={"sku": "@SKU", "quantity": 1})).check(status=201)
    async with user.step("Pay"):
        (await user.http.post("/checkout", json={"payment": "card"})).check(status=201)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("load")
def test_the_capacity_of_a_shop_whose_limit_is_known_is_found(tmp_path: Path) -> None:
    """4 payments at once of 200 ms each are 20 a second: the answer lies near, held again and broke above."""
    data = Path(__file__).parents[2] / "examples/shop/suite/data"
    name, password = (data / "customers.csv").read_text().splitlines()[1].split(",")[:2]
    sku = (data / "products.csv").read_text().splitlines()[1].split(",")[0]
    code = BUYING.replace("@NAME", name).replace("@PASSWORD", password).replace("@SKU", sku)
    toml = f'[suite]\nmodule = "suite.py"\n\n{PROFILE}\n'
    suite = write_suite(tmp_path / "suite", toml=toml, suite=code)
    with running_shop(slow=True, payment_ms=200) as shop:
        done = loadproof(
            "capacity", suite, "--from", "8/s", "--to", "60/s", "--hold", "8s", "--settle", "2s", "--confirm", "1",
            "--precision", "0.2", "--rule", "Buy: p95 <= 700ms", "--out", "out", cwd=tmp_path,
            env={"SHOP_URL": shop.url}, timeout=580,
        )  # fmt: skip
    found = json.loads((tmp_path / "out" / "capacity.json").read_text())
    conclusion = found["conclusion"]
    assert (done.code, conclusion["kind"]) == (0, "found"), done.out
    assert 12 <= conclusion["holds_per_s"] <= 22
    assert conclusion["holds_per_s"] < conclusion["breaks_per_s"] <= 30
    assert conclusion["held"] == 2
    assert all("Buy is too slow" in step["broken"][0] for step in found["steps"] if step["outcome"] == "broken")
    assert f"The highest load at which the rules hold is {conclusion['holds_per_s']:g}/s" in done.out
