"""A controller's run history in a real PostgreSQL: recorded by itself, away when it is down, its password nowhere."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import aiohttp
import psutil
import pytest

from loadproof_report.history import HistoryStore, sqlite_url, tables
from postgres_server import running_postgres
from service_mode import deployed, until
from shop_cli import assert_went_well, counted_suite, loadproof, loadproof_here, run_json
from shop_process import running_shop
from web_house import web_house

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("load")]

PASSWORD = "hunter2-do-not-print"  # looked for, and to be found nowhere
PROFILE = '[profiles.short]\narrivals = [{ rate = "20/s", for = "2s" }]\n'


def test_a_controller_records_its_runs_in_postgres_and_loses_none_when_that_is_down(tmp_path: Path) -> None:
    """The first is in the database; the second, while it is down, ends the same with all files and is recorded by the
    controller's next process; no password leaks."""
    with ExitStack() as stack, ExitStack() as base:
        shop = stack.enter_context(running_shop())
        url = base.enter_context(running_postgres()).replace("loadproof@", f"loadproof:{PASSWORD}@")
        env = {"LOADPROOF_STORE": url}
        place = stack.enter_context(deployed(tmp_path, {"one": []}, env=env))
        suite = counted_suite(tmp_path / "suite", PROFILE)
        run = ("run", suite, "-p", "short", "--no-record", "--out")
        to = {"SHOP_URL": shop.url, **place.operator}
        first = loadproof(*run, "first", cwd=tmp_path, env=to)
        assert_went_well(first, tmp_path / "first")
        run_id = run_json(tmp_path / "first")["run_id"]
        with HistoryStore(url) as store:
            until(lambda: bool(store.runs()), place.controller.text)
            assert store.files(run_id).result == (tmp_path / "first" / "run.json").read_bytes()
        children = psutil.Process(place.controller.process.pid).children(recursive=True)
        assert not [child for child in children if PASSWORD in " ".join(child.cmdline())]

        base.close()
        second = loadproof(*run, "second", cwd=tmp_path, env=to)
        assert_went_well(second, tmp_path / "second")
        files = {path.name for path in (tmp_path / "first").iterdir()}
        assert {path.name for path in (tmp_path / "second").iterdir()} == files
        place.controller.wait_for("is not yet in the run history, and is tried again")
        kept = place.data / "runs" / run_json(tmp_path / "second")["run_id"] / "result"
        assert {path.name for path in kept.iterdir()} == files
        assert "Is the database up" in place.controller.text()
        place.log_lines()
    assert place.controller.process.returncode == 0
    second_id = run_json(tmp_path / "second")["run_id"]
    with deployed(tmp_path, {}) as again, HistoryStore(sqlite_url(again.data / "history.db")) as store:
        until(lambda: [entry.run_id for entry in store.runs()] == [second_id], again.controller.text)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) > 20
    assert not [path for path in left if PASSWORD.encode() in path.read_bytes()]


def test_a_history_that_cannot_be_used_ends_the_controller_before_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down: code 5. A server with older tables, or no database's address: code 2. One line each, and no run touched."""
    start = ("controller", "--insecure", "--listen", "127.0.0.1:0", "--data", tmp_path / "data")
    down = loadproof_here(*start, "--store", f"postgresql://me:{PASSWORD}@127.0.0.1:1/none", cwd=tmp_path)
    assert (down.code, "Is the database up" in down.err, down.err.count("\n")) == (5, True, 1), down.err
    wrong = loadproof_here(*start, cwd=tmp_path, env={"LOADPROOF_STORE": f"mysql://me:{PASSWORD}@127.0.0.1/x"})
    assert (wrong.code, "no kind of database" in wrong.err, wrong.err.count("\n")) == (2, True, 1), wrong.err
    with running_postgres() as url:
        with HistoryStore(url):
            pass
        monkeypatch.setattr(tables, "SCHEMA_VERSION", 2)
        monkeypatch.setattr(tables, "UPGRADES", {1: ("SELECT 1",)})
        older = loadproof_here(*start, "--store", url, cwd=tmp_path)
    assert (older.code, "loadproof history upgrade" in older.err, older.err.count("\n")) == (2, True, 1), older.err
    assert not [each for each in (down, wrong, older) if PASSWORD in each.out + each.err]
    assert not (tmp_path / "data" / "runs").exists()


async def test_baselines_of_a_database_that_went_down_are_said_to_be_unavailable(tmp_path: Path) -> None:
    """The controller stays up; it answers 503 for what needs the database, and the password is not in it."""
    with ExitStack() as base:
        url = base.enter_context(running_postgres()).replace("loadproof@", f"loadproof:{PASSWORD}@")
        async with web_house(tmp_path / "data", store=url) as up:
            base.close()
            for method, more in (("GET", {}), ("POST", {"json": {"run_ids": ["a"]}})):
                address = f"{up.url}/api/v1/baselines"
                async with aiohttp.request(method, address, headers=up.headers("operator"), **more) as answer:
                    said = await answer.text()
                    assert (answer.status, "Is the database up" in said, PASSWORD in said) == (503, True, False), said
