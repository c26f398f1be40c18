"""The pages of a controller in a real browser, over a real run of a suite whose every name is hostile."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

import stored_runs
from live_view import EventReader, Seen, assert_same_numbers, kept_of
from loadproof_controller.run_store import RunEntry
from loadproof_report import build_result, write_outputs
from service_mode import deployed, free_ports
from shop_cli import COMMAND, environment, loadproof, write_suite
from shop_process import running_shop
from web_house import WebHouse, web_house, zipped

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

EVIL = "<img src=x onerror=window.pwned=1>"
SUITE = f"""
from loadproof import Suite, VirtualUser

suite = Suite("Shop {EVIL}", base_url="${{SHOP_URL}}")


@suite.transaction("Look {EVIL}", tags=("<b>",), owner="{EVIL}", weight=3)
async def look(user: VirtualUser) -> None:
    async with user.step("Open {EVIL}"):
        (await user.http.get("/health", name="/health{EVIL}")).check(status=200)


@suite.transaction("Break {EVIL}")
async def fail(user: VirtualUser) -> None:
    async with user.step("Fall"):
        await user.http.get("/health")
        raise RuntimeError("</script><script>window.pwned=1</script>{EVIL}")
"""
TOML = f"""
[suite]
module = "suite.py"
[environment]
name = '{EVIL}'
build = '{EVIL}'
[profiles.short]
arrivals = [{{ rate = "20/s", for = "4s" }}]
graceful_stop = "5s"
[profiles.long]
arrivals = [{{ rate = "20/s", for = "600s" }}]
graceful_stop = "5s"
[[rules]]
transaction = "*"
require = "success_rate >= 99%"
severity = "warn"
"""


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            await chromium.close()


async def _logged_in(browser: Any, up: Any, path: str, role: str = "operator", **context: Any) -> Any:
    page = await (await browser.new_context(**context)).new_page()
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("dialog", lambda dialog: page.troubles.append(f"dialog {dialog.message}"))
    page.on("console", lambda m: page.troubles.append(m.text) if "Content Security Policy" in m.text else None)
    page.on("request", lambda r: page.troubles.append(r.url) if not r.url.startswith((up.url, "data:,")) else None)
    await page.goto(up.url + path)
    await page.fill("input[name=token]", up.tokens[role])
    await page.click("main button")
    await page.wait_for_selector("nav form.who")
    return page


async def _events(up: WebHouse, run_id: str) -> Seen:
    """Return every event of a run's stream until its stored state came."""
    reader, url = EventReader(), f"{up.url}/api/v1/runs/{run_id}/events"
    async with aiohttp.request("GET", url, headers=up.headers("viewer")) as answer:
        async for raw in answer.content:
            if reader.line(raw):
                break
    return reader.seen


async def test_a_hostile_run_live_from_its_upload_to_its_report(browser: Any, tmp_path: Path) -> None:
    """Started in the form, followed live; the numbers at the end are run.json's; nothing of a name ran or loaded."""
    with running_shop() as target:
        async with web_house(tmp_path / "data") as up:
            arguments = ["agent", "--join-file", up.join_file, "--workers", "1", "--label", f"evil={EVIL}",
                         "--cache", tmp_path / "cache", f"127.0.0.1:{up.house.port}"]  # fmt: skip
            agent = await asyncio.create_subprocess_exec(
                *COMMAND, *map(str, arguments), env=environment(), stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                page = await _logged_in(browser, up, "/new")
                suite = tmp_path / "suite.zip"
                suite.write_bytes(zipped({"suite/suite.py": SUITE, "suite/loadproof.toml": TOML}))
                await page.set_input_files("input[name=suite]", str(suite))
                await page.fill("input[name=profile]", "short")
                await page.fill("textarea[name=variables]", f"SHOP_URL={target.url}")
                await page.fill("input[name=wait_for_agents_s]", "60")
                await page.click("main button")
                await page.wait_for_selector("#live", timeout=60_000)
                run_id = page.url.rpartition("/")[2]
                events = await asyncio.wait_for(_events(up, run_id), 100)
                await page.wait_for_selector("html[data-over=yes]", timeout=30_000)
                await _check_numbers(up, run_id, events, page)
                for path in ("/", "/fleet", f"/compare?base={run_id}&run={run_id}"):
                    await page.goto(up.url + path)
                    await page.wait_for_timeout(300)  # nothing is to happen, which no event announces
                    assert await page.evaluate("window.pwned === undefined"), path
                await page.goto(f"{up.url}/runs/{run_id}/report")
                await page.wait_for_selector("html[data-ready=yes]")
                assert await page.evaluate("window.pwned === undefined && origin === 'null'")
                assert page.troubles == []
            finally:
                agent.terminate()
                await agent.wait()


async def _check_numbers(up: WebHouse, run_id: str, events: Seen, page: Any) -> None:
    url = f"{up.url}/api/v1/runs/{run_id}/reports/json"
    async with aiohttp.request("GET", url, headers=up.headers("viewer")) as answer:
        result = await answer.json()
    ticks = [data for name, data in events if name == "tick"]
    assert len(ticks) >= 3
    assert_same_numbers(result, events)
    for transaction in result["transactions"]:
        kept = kept_of(transaction)
        shown = await page.locator("#transactions tr", has_text=transaction["name"][:6]).locator("td").all_inner_texts()
        assert shown[1:5] == [f"{kept[name]:,}" for name in ("planned", "started", "completed", "failed")]
    assert ticks[-1]["errors"][0]["count"] == 20
    assert await page.evaluate("window.pwned === undefined && document.images.length === 0")
    assert await page.locator(".chart canvas").count() == 3
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert EVIL in await page.inner_text("#live")


async def test_a_page_recovers_when_its_controller_restarts(browser: Any, tmp_path: Path) -> None:
    """The page says that it lost the controller, and comes back by itself, still logged in, with what happened."""
    suite = zipped({"suite.py": SUITE, "loadproof.toml": TOML})
    async with web_house(tmp_path / "data") as up:
        port, page = int(up.url.rpartition(":")[2]), await _logged_in(browser, up, "/", "viewer")
        form = aiohttp.FormData(
            {"profile": "short", "variables": "SHOP_URL=http://127.0.0.1:1", "wait_for_agents_s": "600"}
        )
        form.add_field("suite", suite, filename="suite.zip")
        url = f"{up.url}/api/v1/runs"
        async with aiohttp.request("POST", url, data=form, headers=up.headers("operator")) as answer:
            assert answer.status == 201, await answer.text()
            run_id = (await answer.json())["run_id"]
        await page.goto(f"{up.url}/runs/{run_id}")
        await page.wait_for_selector("#word:text-is('Waiting for agents')")
        assert await page.locator("#stop-form").count() == 0
    await page.wait_for_selector("#connection[data-state=lost]")
    async with web_house(tmp_path / "data", port=port):
        await page.wait_for_selector("#word:text-is('Stopped')", timeout=30_000)
        await page.wait_for_selector("#connection:empty", state="attached")
        assert page.troubles == []


@pytest.mark.parametrize("role", ["operator", "viewer"])
async def test_pages_fit_a_phone(browser: Any, tmp_path: Path, role: str) -> None:
    """At 390 pixels nothing sticks out to the right, every link at the top can be reached, and the name is whole."""
    async with web_house(tmp_path / "data") as up:
        page = await _logged_in(browser, up, "/", role, viewport={"width": 390, "height": 844})
        for path in ("/", "/fleet", "/compare", "/new", "/runs/none-such"):
            await page.goto(up.url + path)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            for item in await page.locator("nav a, nav button").all():
                box = await item.bounding_box()
                assert box["x"] >= 0, path
                assert box["x"] + box["width"] <= 390, path
            assert await page.evaluate(LINES, "nav strong") == 1, path
        assert page.troubles == []


LINES = """(selector) => {
  const range = document.createRange();
  range.selectNodeContents(document.querySelector(selector));
  return range.getClientRects().length;
}"""
FAINT_TEXT = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  for (const node of document.querySelectorAll("body, body *")) {
    const texts = [...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data);
    const text = texts.join("").trim();
    if (!text || node.closest("svg, noscript, .visually-hidden") || !node.checkVisibility()) continue;
    const behind = [];
    for (let at = node; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(node), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const [light, dark] = [paint(behind), paint([...behind, style.color])].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${node.className} ${text.slice(0, 40)}`);
  }
  const page = [document.documentElement, document.body].map((node) => getComputedStyle(node).backgroundColor);
  return [faint, paint(page)];
}"""
CHANGED = """(known) => new Promise((done) => {
  const node = document.getElementById("fact-started");
  const look = () => { if (parseInt(node.textContent.replaceAll(",", "")) !== known) done(); };
  new MutationObserver(look).observe(node, { childList: true, subtree: true, characterData: true });
  if (known) look();
})"""
METRICS = ("p50", "p95", "mean")
LIT = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let lit = 0;
  for (let at = 0; at < data.length; at += 4) {
    lit += data[at + 3] > 200 && Math.max(data[at], data[at + 1], data[at + 2]) > 110;
  }
  return lit;
}"""
"""Pixels of a chart that can be told from a dark page."""


async def _assert_dark(page: Any) -> None:
    """Every text stands out from what lies behind it (WCAG 2 AA), on a page that is dark, and so do the charts."""
    faint, behind = await page.evaluate(FAINT_TEXT)
    assert (faint, behind < 0.1) == ([], True), behind
    for chart in await page.locator(".chart canvas").all():
        assert await chart.evaluate(LIT) > 300


async def _assert_fits_phone(page: Any) -> None:
    """Nothing sticks out to the right; what is wide scrolls by itself; every button is as wide as a thumb's way."""
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown = "nav a, nav button, .actions button, .actions a, .facts div, .chart, .card"
    for item in await page.locator(shown).all():
        box = await item.bounding_box()
        if box is not None:
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390, await item.inner_text()


async def _started(page: Any) -> int:
    """Return how many iterations the page says were started; the "of 60 planned" behind it is another element."""
    text = await page.evaluate("document.getElementById('fact-started').firstChild.data")
    return int(text.replace(",", "")) if text[:1].isdigit() else 0


async def _until_started(page: Any, least: int) -> None:
    """Wait until the page says so, looking whenever that changes."""
    async with asyncio.timeout(60):
        while (now := await _started(page)) < least:
            await page.evaluate(CHANGED, now)


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("load")
async def test_open_pages_of_a_running_run_outlive_their_controller(browser: Any, tmp_path: Path) -> None:
    """In the dark and on a phone: readable; the controller is killed and back; numbers go on and are right."""
    port, _ = free_ports()
    with ExitStack() as stack:
        target = stack.enter_context(running_shop())
        place = await asyncio.to_thread(
            stack.enter_context, deployed(tmp_path, {"one": []}, "--web", f"127.0.0.1:{port}")
        )
        up = SimpleNamespace(url=f"http://127.0.0.1:{port}", tokens={"operator": place.operator["LOADPROOF_TOKEN"]})
        suite = write_suite(tmp_path / "suite", toml=TOML, suite=SUITE)
        env = {"SHOP_URL": target.url, **place.operator}
        started = await asyncio.to_thread(loadproof, "run", suite, "-p", "long", "--detach", cwd=tmp_path, env=env)
        assert started.code == 0, started.err
        run_id = started.out.strip()
        here = f"/runs/{run_id}"
        dark = await _logged_in(browser, up, here, color_scheme="dark", viewport={"width": 1280, "height": 900})
        phone = await _logged_in(browser, up, here, viewport={"width": 390, "height": 844})
        for page in (dark, phone):
            await page.goto(up.url + here)
            await _until_started(page, 60)
            await page.wait_for_selector("#chart-percentiles canvas")
            await page.wait_for_selector("#errors .error")
        await _assert_dark(dark)
        await _assert_fits_phone(phone)

        place.controller.end(signal.SIGKILL)
        for page in (dark, phone):
            await page.wait_for_selector("#connection[data-state=lost]")
        before = await _started(dark)
        await asyncio.to_thread(place.restart_controller)
        for page in (dark, phone):
            await page.wait_for_selector("#connection[data-state=live]", timeout=60_000)
            await _until_started(page, before + 40)
            assert await page.locator("#stop-form:visible").count() == 1
        await _assert_dark(dark)
        await _assert_fits_phone(phone)

        await phone.click("#stop-form button[value=drain]")
        for page in (dark, phone):
            await page.wait_for_selector("html[data-over=yes]", timeout=60_000)
            await page.wait_for_selector("#report-link:visible")
        await _assert_dark(dark)
        await _assert_fits_phone(phone)
        token = {"Authorization": f"Bearer {up.tokens['operator']}"}
        async with aiohttp.request("GET", f"{up.url}/api/v1/runs/{run_id}/reports/json", headers=token) as answer:
            result = await answer.json()
        for page in (dark, phone):
            for transaction in result["transactions"]:
                kept = kept_of(transaction)
                row = page.locator("#transactions tr", has_text=transaction["name"][:6]).locator("td")
                numbers = (await row.all_inner_texts())[1:5]
                assert numbers == [f"{kept[name]:,}" for name in ("planned", "started", "completed", "failed")]
            assert page.troubles == []


def _stored(up: WebHouse, run_id: str, story: stored_runs.Story) -> None:
    """Let the controller know a run that is over, with all that comparing takes."""
    data = dataclasses.replace(story, run_id=run_id, build=f"build of {run_id}").build_run()
    result = build_result(data, today="2026-11-23")
    store = up.house.service._store
    store.create(RunEntry(run_id, "Shop", "release", submitted_at="2026-11-01T10:00:00Z"), b"", [])
    write_outputs(result, data, store.folder(run_id) / "result")
    known = {"state": "finished", "decision": result.verdict.decision, "loaded": True}
    store.put(dataclasses.replace(store.get(run_id), **known))  # type: ignore[type-var]


@pytest.mark.parametrize(
    "context",
    [
        {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
        {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
    ],
    ids=["desktop-dark", "phone-light"],
)
async def test_two_different_runs_are_compared_on_a_page(browser: Any, tmp_path: Path, context: dict[str, Any]) -> None:
    """Chosen in the form: the slower transaction stands in a table with both values, and the page fits its screen."""
    async with web_house(tmp_path / "data") as up:
        _stored(up, "before", stored_runs.healthy())
        _stored(up, "after", stored_runs.regressed())
        page = await _logged_in(browser, up, "/compare", "viewer", **context)
        await page.goto(f"{up.url}/compare")
        await page.select_option("select[name=base]", "before")
        await page.select_option("select[name=run]", "after")
        await page.click("main button")
        await page.wait_for_selector("#h-changes", timeout=60_000)
        changes = page.locator("section[aria-labelledby=h-changes]")
        rows = [
            await row.locator("td").all_inner_texts()
            for row in await changes.locator("table").first.locator("tbody tr").all()
        ]
        assert [[row[0], row[1], row[-1]] for row in rows[:3]] == [["Checkout", name, "worse"] for name in METRICS]
        url = f"{up.url}/api/v1/runs/after/comparison?baseline=before"
        async with aiohttp.request("GET", url, headers=up.headers("viewer")) as answer:
            told = [change["judgement"] for change in (await answer.json())["changes"]]
        assert len(rows) == told.count("worse") + told.count("better")
        sides = await page.locator("section[aria-labelledby=h-sides] tbody tr").all_inner_texts()
        assert ["build of before" in sides[0], "build of after" in sides[1]] == [True, True]
        if context["color_scheme"] == "dark":
            await _assert_dark(page)
        else:
            await _assert_fits_phone(page)
        assert page.troubles == []
