"""The REST interface against a real controller: its document, uploads that are no suites, reports, tokens."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from markupsafe import escape

import stored_runs
from loadproof_controller.run_store import RunEntry
from loadproof_report import write_outputs
from loadproof_report.history import HistoryStore, sqlite_url
from web_house import WebHouse, browser_of, csrf_of, web_house, zipped, zipped_shop

SCHEMATHESIS = shutil.which("schemathesis", path=str(Path(sys.executable).parent))


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[WebHouse]:
    async with web_house(tmp_path / "data") as house:
        yield house


def _stored(up: WebHouse, name: str, run_id: str) -> None:
    """Let the controller know a run that is over."""
    store = up.house.service._store
    store.create(RunEntry(run_id, "Shop", "release", submitted_at="2026-11-01T10:00:00Z"), b"", [])
    result = stored_runs.result_of(name).model_copy(update={"run_id": run_id})
    write_outputs(result, None, store.folder(run_id) / "result")
    store.put(RunEntry(run_id, "Shop", "release", state="finished", decision=result.verdict.decision, loaded=True,
                       submitted_at="2026-11-01T10:00:00Z"))  # fmt: skip


async def _ask(up: WebHouse, method: str, path: str, role: str = "operator", **more: Any) -> tuple[int, Any]:
    url = f"{up.url}/api/v1{path}"
    async with aiohttp.request(method, url, headers=up.headers(role), **more) as answer:
        body = await answer.read()
        if answer.status >= 400:
            assert answer.content_type == "application/problem+json", (method, path)
        return answer.status, json.loads(body) if body else None


def _form(suite: bytes | None, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value)
    if suite is not None:
        form.add_field("suite", suite, filename="suite.zip", content_type="application/zip")
    return form


BOMB = zipped({"suite.py": b"\0" * 30_000_000, "loadproof.toml": ""})
NO_SUITES: dict[str, tuple[bytes | None, str]] = {
    "nothing": (None, "choose a suite"),
    "no zip": (b"Hello", "this is no suite"),
    "half a zip": (zipped_shop()[:3_000], "this is no suite"),
    "no loadproof.toml": (zipped({"readme.txt": "x"}), "no loadproof.toml"),
    "two suites": (zipped({"a/loadproof.toml": "", "b/loadproof.toml": ""}), "no loadproof.toml"),
    "a way out": (zipped({"../../evil.py": "x", "loadproof.toml": ""}), "evil.py"),
    "a bomb": (BOMB, "unpacks to"),
    "a wrong key": (zipped({"loadproof.toml": "[suite]\nmodul = 'x'\n"}), "modul"),
    "a suite that exits": (zipped({"loadproof.toml": "", "suite.py": "import os; os._exit(3)"}), "ended the process"),
    "no such profile": (zipped_shop(), "profile"),
}


async def test_an_upload_that_is_no_suite_is_told_what_it_lacks(up: WebHouse) -> None:
    """422 with the reason, no path of this machine in it, nothing queued, nothing left in the temporary folder."""
    for what, (suite, words) in NO_SUITES.items():
        status, problem = await _ask(up, "POST", "/runs", data=_form(suite, profile="nope"))
        assert status == 422, (what, problem)
        assert words in problem["detail"], (what, problem)
        assert "/tmp" not in problem["detail"], what
    assert await _ask(up, "GET", "/runs") == (200, {"runs": []})
    for wrong in ({"agents": "many"}, {"variables": "no equals"}, {"secrets": "secret text"}, {"colour": "red"}):
        status, problem = await _ask(up, "POST", "/runs", data=_form(zipped_shop(), **wrong))
        assert status == 422
        assert "secret text" not in problem["detail"]


async def test_the_form_says_what_is_wrong_and_keeps_what_was_typed(up: WebHouse) -> None:
    """The page comes back with the mistakes and the fields, but never with secrets."""
    async with browser_of(up, "operator") as session:
        csrf = await csrf_of(session, "/new")
        form = {"csrf": csrf, "profile": "<b>nope", "secrets": "KEY=hidden", "variables": "A=kept"}
        async with session.post("/new", data=_form(zipped_shop(), **form)) as answer:
            page = await answer.text()
        assert answer.status == 422
        assert "&lt;b&gt;nope" in page
        assert "<b>nope" not in page
        assert "A=kept" in page
        assert "hidden" not in page.replace('type="hidden"', "")
        async with session.post("/new", data=_form(zipped_shop(), **{**form, "csrf": "0"})) as answer:
            assert answer.status == 403


PROBE = "import sys, pathlib, loadproof_controller.web.sandbox as s; sys.exit(0 if s.confine(pathlib.Path('.')) else 9)"
SPY = """
import os
from pathlib import Path
from loadproof import Suite, VirtualUser

seen = []
for path in (os.environ["DATA"], "/etc/passwd", "/root"):
    try:
        seen.append(os.listdir(path) if os.path.isdir(path) else Path(path).read_text())
    except OSError:
        pass
if seen or "SECRET_OF_THE_CONTROLLER" in os.environ:
    raise RuntimeError(f"saw {seen}")
suite = Suite("Spy", base_url="http://127.0.0.1:1")


@suite.transaction("Look")
async def look(user: VirtualUser) -> None:
    pass
"""


async def test_reading_a_suite_opens_nothing_of_the_controller(
    up: WebHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that runs at import sees neither the controller's files and keys nor its environment."""
    tried = await asyncio.create_subprocess_exec(sys.executable, "-c", PROBE, cwd=tmp_path)
    if await tried.wait() == 9:
        pytest.skip("this system has no Landlock")
    monkeypatch.setenv("SECRET_OF_THE_CONTROLLER", "x")
    toml = '[profiles.p]\narrivals = [{ rate = "1/s", for = "1s" }]\n'
    suite = zipped(
        {"suite.py": SPY.replace('os.environ["DATA"]', repr(str(tmp_path / "data"))), "loadproof.toml": toml}
    )
    status, answer = await _ask(up, "POST", "/runs", data=_form(suite, wait_for_agents_s="60"))
    assert status == 201, answer
    assert (await _ask(up, "POST", f"/runs/{answer['run_id']}/stop", json={"immediate": True}))[0] == 204


async def test_a_run_waits_is_listed_and_is_stopped(up: WebHouse) -> None:
    """Submitted runs queue up; without agents they are refused at once; viewers cannot stop them."""
    variables = {"profile": "smoke", "variables": "SHOP_URL=http://127.0.0.1:1"}
    status, problem = await _ask(up, "POST", "/runs", data=_form(zipped_shop(), **variables))
    assert status == 409
    assert "the fleet has 0" in problem["detail"]
    status, first = await _ask(up, "POST", "/runs", data=_form(zipped_shop(), **variables, wait_for_agents_s="60"))
    assert status == 201
    path = f"/runs/{first['run_id']}"
    status, run = await _ask(up, "GET", path, "viewer")
    assert (status, run["suite"], run["submitted_by"]) == (200, "Shop", "test operator")
    assert (await _ask(up, "GET", f"{path}/live", "viewer"))[1]["run"]["run_id"] == first["run_id"]
    assert (await _ask(up, "POST", f"{path}/stop", "viewer", json={}))[0] == 403
    assert (await _ask(up, "POST", f"{path}/stop", json={"immediate": "yes"}))[0] == 422
    assert (await _ask(up, "POST", f"{path}/stop", json={"immediate": True}))[0] == 204


RARE_RULE = """
[[rules]]
transaction = "Buy"
require = "p99.9 <= 1s"
"""
WARNED = {
    "suite/loadproof.toml": '[suite]\nmodule = "suite.py"\n'
    '[profiles.smoke]\narrivals = [{ rate = "1/s", for = "5s" }]\n' + RARE_RULE,
    "suite/suite.py": "from loadproof import Suite\n"
    'suite = Suite("Shop", base_url="http://127.0.0.1:1")\n'
    '@suite.transaction("Buy")\nasync def buy(user):\n    await user.http.get("/")\n',
}  # fmt: skip


async def test_an_uploaded_suite_gets_the_warnings_of_check(up: WebHouse) -> None:
    """A rule that can have no data: the answer, the run and its page say it in the words of the command line."""
    for files in (WARNED, {name.removeprefix("suite/"): text for name, text in WARNED.items()}):
        status, taken = await _ask(up, "POST", "/runs", data=_form(zipped(files), wait_for_agents_s="60"))
        assert status == 201
        (warning,) = taken["warnings"]
        assert warning.startswith("loadproof.toml:6: ")
        assert "p99.9" in warning
        assert "the rule has no data there" in warning
        _, run = await _ask(up, "GET", f"/runs/{taken['run_id']}", "viewer")
        assert run["warnings"] == taken["warnings"]
        async with browser_of(up, "viewer") as session, session.get(f"/runs/{taken['run_id']}") as answer:
            page = await answer.text()
        assert escape(warning.splitlines()[0]) in page
        await _ask(up, "POST", f"/runs/{taken['run_id']}/stop", json={"immediate": True})


async def test_reports_in_every_format_and_baselines(up: WebHouse) -> None:
    """Each file of a run under its format and media type; a NO-GO run is a baseline by force only; it is listed."""
    _stored(up, "regressed", "run-1")
    formats = (await _ask(up, "GET", "/runs/run-1/reports"))[1]["formats"]
    assert {"json", "html", "md", "junit", "csv", "timeline", "events"} <= set(formats)
    for name in formats:
        url = f"{up.url}/api/v1/runs/run-1/reports/{name}"
        async with aiohttp.request("GET", url, headers=up.headers("viewer")) as answer:
            assert answer.status == 200
            assert await answer.read() or name == "events"
            assert answer.headers["Content-Security-Policy"].startswith("sandbox")
    assert (await _ask(up, "GET", "/runs/run-1/reports/exe"))[0] == 404
    assert (await _ask(up, "GET", "/runs/run-1/comparison?baseline=none"))[0] == 409
    assert (await _ask(up, "GET", "/runs/run-1/comparison?baseline=run-1", "viewer"))[0] == 200
    assert (await _ask(up, "POST", "/baselines", json={"run_ids": ["none"]}))[0] == 409
    status, problem = await _ask(up, "POST", "/baselines", json={"run_ids": ["run-1"]})
    assert (status, problem["detail"].partition(";")[0]) == (409, "run-1 ended in NO-GO: no stable run")
    assert (await _ask(up, "GET", "/baselines", "viewer"))[1]["baselines"] == []
    status, baseline = await _ask(up, "POST", "/baselines", json={"run_ids": ["run-1"], "force": True})
    assert (status, baseline["name"], baseline["run_ids"]) == (200, "stable", ["run-1"])
    assert (await _ask(up, "GET", "/baselines", "viewer"))[1]["baselines"] == [baseline]
    assert (up.join_file.parent / "history.db").stat().st_mode & 0o077 == 0
    where = {"suite": baseline["suite"], "profile": baseline["profile"]}
    assert (await _ask(up, "DELETE", "/baselines", params=where))[0] == 204
    assert (await _ask(up, "DELETE", "/baselines", params=where))[0] == 404


async def test_tokens_are_made_told_once_and_revoked(up: WebHouse) -> None:
    """A viewer's token works until it is revoked; lists hold no secret."""
    status, made = await _ask(up, "POST", "/tokens", json={"role": "viewer", "name": "board", "ttl_s": 60})
    assert status == 201
    secret = made["token"].rpartition(".")[2]
    assert secret not in json.dumps((await _ask(up, "GET", "/tokens"))[1])
    up.tokens["board"] = made["token"]
    assert (await _ask(up, "GET", "/fleet", "board"))[0] == 200
    assert (await _ask(up, "DELETE", f"/tokens/{made['entry']['token_id']}"))[0] == 204
    assert (await _ask(up, "GET", "/fleet", "board"))[0] == 401


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(SCHEMATHESIS is None, reason="schemathesis is not installed")
async def test_schemathesis_finds_nothing(up: WebHouse, tmp_path: Path) -> None:
    """Every operation but the streams and revoking, with what its document allows and forbids."""
    _stored(up, "regressed", "run-1")
    assert SCHEMATHESIS is not None
    arguments = ["run", f"{up.url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {up.tokens['operator']}",
                 "--checks", "all", "--exclude-checks", "positive_data_acceptance",
                 "--phases", "examples,coverage,fuzzing",
                 "--max-examples", "10", "--no-color", "--generation-deterministic"]  # fmt: skip
    for operation in ("followRun", "followAll", "revokeToken"):
        arguments += ["--exclude-operation-id", operation]
    child = await asyncio.create_subprocess_exec(
        SCHEMATHESIS, *arguments, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await child.communicate()
    assert child.returncode == 0, out.decode()[-5_000:]


async def test_runs_that_are_not_in_the_history_say_so_until_the_next_start_records_them(tmp_path: Path) -> None:
    """What a controller could not record it tells in the interface and on its pages; its next process records it."""
    async with web_house(tmp_path / "data") as up:
        _stored(up, "healthy", "20261101-100000-release-aaaa")
        _, answer = await _ask(up, "GET", "/runs")
        (entry,) = answer["runs"]
        assert entry["recorded"] is False
        async with browser_of(up, "viewer") as session:
            for path in ("/", f"/runs/{entry['run_id']}"):
                async with session.get(path) as answer:
                    assert "not yet in the" in (await answer.text()).lower()
    async with web_house(tmp_path / "data") as up, asyncio.timeout(60):
        entry = {**entry, "recorded": None}
        while not entry["recorded"]:
            _, entry = await _ask(up, "GET", f"/runs/{entry['run_id']}")
        with HistoryStore(sqlite_url(tmp_path / "data" / "history.db")) as store:
            assert [kept.run_id for kept in store.runs()] == [entry["run_id"]]
        async with browser_of(up, "viewer") as session, session.get("/") as answer:
            assert "not yet in the" not in await answer.text()
