"""The commands at work: init, check, try, run, report, on the example shop and on a new suite."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shop_cli import assert_went_well, counted_suite, loadproof, loadproof_here, run_json, write_suite
from shop_process import running_shop
from tree import ROOT

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("load")]

PROFILE = '[profiles.short]\narrivals = [{ rate = "40/s", for = "1s" }]'
FILES = {
    "run.json", "report.html", "report.md", "junit.xml", "summary.csv", "timeline.csv", "histograms.hlog",
    "intervals.bin", "plan.json", "events.jsonl",
}  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> Any:
    with running_shop() as running:
        yield running


@pytest.fixture(scope="module")
def stored(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run in runs/."""
    folder = tmp_path_factory.mktemp("stored")
    counted_suite(folder / "suite", PROFILE)
    done = loadproof("run", "suite", "--workers", "1", "--build", "7.1", cwd=folder, env={"SHOP_URL": shop.url})
    assert_went_well(done, run_folder(folder))
    (folder / "out.txt").write_text(done.out, encoding="utf-8")
    return folder


def run_folder(stored: Path) -> Path:
    (folder,) = (stored / "runs").iterdir()
    return folder


def verdict_of(stored: Path) -> str:
    decision: str = run_json(run_folder(stored))["verdict"]["decision"]
    return decision.replace("_", " ")


def test_a_run_leaves_all_its_files(stored: Path) -> None:
    """--out holds every documented file, whole, and nothing else."""
    assert {path.name for path in run_folder(stored).iterdir()} == FILES
    assert all(path.stat().st_size for path in run_folder(stored).iterdir() if path.name != "events.jsonl")


def test_a_run_prints_table_verdict_and_path(stored: Path) -> None:
    """Standard output holds a row per transaction, the rules, the verdict and where the report is."""
    text = (stored / "out.txt").read_text(encoding="utf-8")
    assert re.search(r"^Look +30 +0 +100\.00%", text, re.MULTILINE)
    assert re.search(r"^Ask +10 +0 ", text, re.MULTILINE)
    assert f"Verdict: {verdict_of(stored)}\n" in text
    assert f"Report: runs/{run_folder(stored).name}/report.html" in text


def test_the_build_is_in_the_report(stored: Path) -> None:
    """--build replaces the environment's build."""
    assert run_json(run_folder(stored))["build"] == "7.1"


def test_report_renders_again(stored: Path, tmp_path: Path) -> None:
    """A stored run is found by its id and rendered into another folder, the histograms copied along."""
    out = tmp_path / "again"
    done = loadproof_here("report", run_folder(stored).name, "-f", "html,md,junit,csv,hlog,json", "-o", out, cwd=stored)
    assert done.code == 0, done.err
    assert {path.name for path in out.iterdir()} == FILES - {"plan.json"}
    for name in ("run.json", "report.html", "junit.xml", "histograms.hlog"):
        assert (out / name).read_bytes() == (run_folder(stored) / name).read_bytes()
    assert f"Verdict: {verdict_of(stored)}\n" in done.out


def test_report_refuses_what_is_no_run(tmp_path: Path) -> None:
    """A run.json that is none, and a format there is not, are usage errors."""
    (tmp_path / "run.json").write_text('{"schema": "other/1"}', encoding="utf-8")
    done = loadproof_here("report", tmp_path, cwd=tmp_path)
    assert done.code == 2
    assert "run.json" in done.err
    done = loadproof_here("report", tmp_path, "-f", "pdf", cwd=tmp_path)
    assert done.code == 2
    assert "pdf" in done.err


def test_a_seed_changes_the_plan(stored: Path, shop: Any) -> None:
    """--seed is part of the plan's identity."""
    out = stored / "seeded"
    env = {"SHOP_URL": shop.url}
    done = loadproof("run", "suite", "--workers", "1", "--seed", "77", "--out", out, cwd=stored, env=env)
    assert_went_well(done, out)
    assert run_json(out)["plan"]["seed"] == 77
    assert run_json(out)["plan"]["sha256"] != run_json(run_folder(stored))["plan"]["sha256"]


def test_check_prints_the_plan_and_starts_nothing(tmp_path: Path) -> None:
    """check shows phases, arrivals, data and rules of every profile of the example shop."""
    done = loadproof_here("check", ROOT / "examples/shop/suite", cwd=tmp_path)
    assert done.code == 0, done.err
    for text in ("profile demo", "10/s to 60/s", "products", "success_rate >= 98%", "4 profiles checked"):
        assert text in done.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suite", ["shop/suite", "minimal"])
def test_the_examples_are_right(tmp_path: Path, suite: str) -> None:
    """Every example suite passes check."""
    assert loadproof_here("check", ROOT / "examples" / suite, cwd=tmp_path).code == 0


def test_check_tells_a_waiver_that_has_ended_from_one_in_use(tmp_path: Path) -> None:
    """The table says of each rule whether it is waived, and the warning which one blocks again."""
    suite = counted_suite(tmp_path / "suite", '[profiles.smoke]\narrivals = [{ rate = "5/s", for = "2s" }]')
    with (suite / "loadproof.toml").open("a", encoding="utf-8") as file:
        for step, until in (("Search", "2024-01-01"), ("Open", "2999-12-31")):
            waiver = f'{{ reason = "known", owner = "me", until = "{until}" }}'
            file.write(
                f'\n[[rules]]\ntransaction = "Look"\nstep = "{step}"\nrequire = "p95 <= 1s"\nwaiver = {waiver}\n'
            )
    done = loadproof_here("check", suite, cwd=tmp_path, env={"SHOP_URL": "http://127.0.0.1:1"})
    assert done.code == 0, done.err
    lines = {
        step: next(line for line in done.out.splitlines() if f"step {step}" in line) for step in ("Search", "Open")
    }
    assert "waiver ended on 2024-01-01" in lines["Search"]
    assert "waived until" not in lines["Search"]
    assert "waived until 2999-12-31" in lines["Open"]
    assert 'of me for "p95 <= 1s" on Look, step Search ended on 2024-01-01' in " ".join(done.err.split())


def test_check_says_that_a_suite_is_too_large_to_be_sent(tmp_path: Path) -> None:
    """As run does, with the largest files, before anybody waits for a run."""
    suite = counted_suite(tmp_path / "suite", '[profiles.short]\narrivals = [{ rate = "1/s", for = "1s" }]')
    with (suite / "dump.bin").open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    done = loadproof_here("check", suite, cwd=tmp_path, env={"SHOP_URL": "http://127.0.0.1:9"})
    assert (done.code, "nothing wrong" in done.out) == (2, False), done
    assert "cannot be shipped to the agents" in done.err
    assert "dump.bin (62.9 MB)" in done.err


def test_try_shows_steps_requests_and_checks(shop: Any, tmp_path: Path) -> None:
    """try runs each transaction once and names what it did."""
    done = loadproof("try", ROOT / "examples/shop/suite", cwd=tmp_path, env={"SHOP_URL": shop.url})
    assert done.code == 0, done.out + done.err
    for text in (
        "Checkout  ok",
        "Sign in  ok",
        "POST /login  200",
        "holds  status of POST /checkout",
        "3 tried, 0 failed",
    ):
        assert text in done.out


def test_try_shows_what_failed(shop: Any, tmp_path: Path) -> None:
    """A transaction that fails shows the request and the broken check, and the code is 1."""
    suite = counted_suite(tmp_path / "suite", PROFILE)
    text = (suite / "suite.py").read_text(encoding="utf-8")
    (suite / "suite.py").write_text(text.replace("check(status=200)", "check(status=201)"), encoding="utf-8")
    done = loadproof("try", suite, "-t", "Look", cwd=tmp_path, env={"SHOP_URL": shop.url})
    assert done.code == 1
    assert "Look  FAILED" in done.out
    assert "BROKEN" in done.out
    assert "Ask" not in done.out


def test_try_refuses_an_unknown_transaction(tmp_path: Path) -> None:
    """A misspelt transaction gets a suggestion."""
    suite = counted_suite(tmp_path / "suite", PROFILE)
    done = loadproof_here("try", suite, "-t", "Lock", cwd=tmp_path, env={"SHOP_URL": "http://127.0.0.1:9"})
    assert done.code == 2
    assert 'did you mean "Look"' in done.err


def test_init_does_not_touch_what_is_there(tmp_path: Path) -> None:
    """init refuses a folder with something in it, and leaves it as it is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("x", encoding="utf-8")
    done = loadproof_here("init", "mine", cwd=tmp_path)
    assert done.code == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.timeout(900)  # mypy reads all of our dependencies, on a fresh clone without a cache
def test_a_new_suite_and_the_examples_pass_strict_typing(tmp_path: Path) -> None:
    """Users who check their suites with mypy --strict have no complaint to fix, neither in ours."""
    assert loadproof_here("init", "new", cwd=tmp_path).code == 0
    folders = [tmp_path / "new", ROOT / "examples/shop/suite", ROOT / "examples/minimal"]
    for folder in folders:
        files = sorted(path.name for path in folder.glob("*.py"))
        command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={ROOT / '.mypy_cache' / 'suites'}", *files]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_target_outside_the_allow_list_is_never_asked(shop: Any, tmp_path: Path) -> None:
    """With `targets` naming another host every request fails, and the shop receives none."""
    shop.clear()
    toml = (
        '[suite]\nmodule = "suite.py"\n\n[environment]\ntargets = ["shop.example.com"]\n\n'
        f'{PROFILE}\n\n[[rules]]\ntransaction = "*"\nrequire = "success_rate >= 99%"\n'
    )
    source = counted_suite(tmp_path / "made", PROFILE)
    files = {"rows.csv": (source / "rows.csv").read_text(encoding="utf-8")}
    suite = write_suite(
        tmp_path / "suite", toml=toml, suite=(source / "suite.py").read_text(encoding="utf-8"), files=files
    )
    done = loadproof(
        "run", suite, "--workers", "1", "--out", tmp_path / "out", cwd=tmp_path, env={"SHOP_URL": shop.url}
    )
    assert done.code == 1, done.out + done.err
    assert run_json(tmp_path / "out")["delivery"]["completed"] == 40
    assert not shop.counts()
