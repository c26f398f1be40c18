"""The report's page in a real browser: no script of a name runs, charts draw, tables sort and filter by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import stored_runs
from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof_report import build_result, render_html

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

Open = Callable[..., Awaitable[Any]]
DRAWN = """() => Object.fromEntries([...document.querySelectorAll(".chart")].map((box) => {
  const canvas = box.querySelector("canvas");
  if (!canvas) return [box.id, [0, 0]];
  const points = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let at = 0; at < points.length; at += 4) {
    const rgb = points.slice(at, at + 3);
    painted += points[at + 3] > 100 && Math.max(...rgb) - Math.min(...rgb) > 40;
  }
  return [box.id, [canvas.getBoundingClientRect().width / box.clientWidth, painted]];
}))"""
"""By chart: its canvas's share of the width there is, and its coloured points (axes are grey)."""


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            await chromium.close()


@pytest.fixture
def page_of(browser: Any, tmp_path: Path) -> Open:
    """Open a stored run's page; `page.troubles` collects errors, refusals and every address asked for."""

    async def load(name: str, **context: Any) -> Any:
        file = tmp_path / f"{name}.html"
        file.write_text(render_html(stored_runs.result_of(name)), encoding="utf-8")
        page = await (await browser.new_context(**context)).new_page()
        page.troubles = []
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("console", lambda m: page.troubles.append(m.text) if m.type in ("error", "warning") else None)
        page.on("dialog", lambda dialog: page.troubles.append(f"dialog {dialog.message}"))
        page.on("request", lambda r: page.troubles.append(r.url) if r.url != file.as_uri() else None)
        await page.goto(file.as_uri())
        await page.wait_for_selector("html[data-ready=yes]")
        return page

    return load


async def test_no_hostile_name_runs_or_loads_anything(page_of: Open) -> None:
    """Every hostile name opened, sorted, filtered and charted: nothing of it ran, nothing was fetched."""
    page = await page_of("hostile")
    await page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    for index in range(len(stored_runs.HOSTILE) + 1):
        await page.select_option("#chart-transaction", str(index))
    for button in await page.query_selector_all("th button"):
        await button.click()
    assert await page.evaluate("typeof window.pwned") == "undefined"
    assert await page.evaluate("({}).polluted === undefined && document.scripts.length === 2")
    assert page.troubles == []


@pytest.mark.parametrize(
    "context",
    [
        {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
        {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
    ],
    ids=["desktop-light", "phone-dark"],
)
async def test_the_page_fits_its_screen_and_draws_every_chart(page_of: Open, context: dict[str, Any]) -> None:
    """No sideways scrolling, not of the transactions either, six charts with a canvas, no error in the console."""
    page = await page_of("small_but_dangerous", **context)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    table = "document.getElementById('transactions-table').parentElement"
    assert await page.evaluate(f"{table}.scrollWidth <= {table}.clientWidth")
    assert await page.locator(".chart canvas").count() == 6
    assert page.troubles == []


TEXTS = """() => {
  window.texts = [];
  const write = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...more) {
    const chart = this.canvas.closest(".chart")?.id, end = x + this.measureText(text).width;
    if (this.textAlign === "left") window.texts.push([chart, y, x, end, text]);
    return write.call(this, text, x, y, ...more);
  };
}"""
"""Notes what charts write from left to right, the names of phases: chart, row, from, to, text."""


async def test_names_of_phases_do_not_run_into_each_other(browser: Any, tmp_path: Path) -> None:
    """A short warm-up is named in short, or not at all where not even that fits; a long phase always is."""
    phases = (
        ArrivalPhase("a phase with a long name", 20_000, 20_000, 2 * NS_PER_S),
        ArrivalPhase("warm", 20_000, 20_000, 8 * NS_PER_S, warmup=True),
        ArrivalPhase("peak", 30_000, 30_000, 60 * NS_PER_S),
    )
    run = stored_runs.Story(phases=phases).build_run()
    file = tmp_path / "report.html"
    file.write_text(render_html(build_result(run, today="2026-11-23")), encoding="utf-8")
    page = await (await browser.new_context(viewport={"width": 900, "height": 900})).new_page()
    await page.add_init_script(f"({TEXTS})()")
    await page.goto(file.as_uri())
    await page.wait_for_selector("html[data-ready=yes]")
    texts = await page.evaluate("texts")
    assert "peak" in {text for *_, text in texts}
    assert "a phase with a long name" not in {text for *_, text in texts}
    rows: dict[tuple[str, float], set[tuple[float, float]]] = {}
    for chart, y, left, right, _text in texts:
        rows.setdefault((chart, y), set()).add((left, right))
    for spans in rows.values():
        for (_, right), (left, _) in pairwise(sorted(spans)):
            assert right <= left


async def test_text_has_enough_contrast_in_both_schemes(page_of: Open) -> None:
    """Soft text and verdict colours reach a contrast of 4.5 against what lies behind them (WCAG 2 AA)."""
    pairs = [("--ink", "--page"), ("--soft", "--page"), ("--soft", "--card"), ("--link", "--card")]
    pairs += [(f"--{tone}", f"--{tone}-wash") for tone in ("go", "risk", "stop", "open")]
    pairs += [("--soft", f"--{tone}-wash") for tone in ("go", "risk", "stop", "open")]
    for scheme in ("light", "dark"):
        page = await page_of("healthy", color_scheme=scheme)
        for front, back in pairs:
            ratio = await page.evaluate(
                """([front, back]) => {
                  const light = (name) => {
                    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
                    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
                      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
                  };
                  const [a, z] = [light(front), light(back)].sort((x, y) => y - x);
                  return (a + 0.05) / (z + 0.05);
                }""",
                [front, back],
            )
            assert ratio >= 4.5, (scheme, front, back, ratio)


async def test_the_table_sorts_and_filters_by_keyboard(page_of: Open) -> None:
    """Tab to a column's button, press Enter: sorted, and a screen reader is told; a filter hides the others."""
    page = await page_of("regressed")
    await page.focus("#transactions-table th:nth-child(7) button")
    await page.keyboard.press("Enter")
    names = page.locator("#transactions-table tbody tr:not([hidden]) td:first-child a")
    assert (await names.all_inner_texts())[0] == "Checkout"
    assert await page.get_attribute("#transactions-table th:nth-child(7)", "aria-sort") == "descending"
    await page.keyboard.press("Enter")
    assert (await names.all_inner_texts())[-1] == "Checkout"
    await page.select_option("#filter-tag", "catalog")
    assert sorted(await names.all_inner_texts()) == ["Browse category", "Search and open product details"]
    assert await page.inner_text("#filter-count") == "2 of 4 shown"


async def test_a_link_in_the_table_opens_the_drill_down(page_of: Open) -> None:
    """Following a transaction shows its steps."""
    page = await page_of("small_but_dangerous")
    await page.click("#transactions-table tbody tr:first-child a")
    await page.wait_for_selector("details.flow[open] >> text=Add to cart")
    assert await page.locator("details.flow[open] .title").inner_text() == "Checkout"


async def test_without_script_the_page_still_tells_everything_but_charts(browser: Any, tmp_path: Path) -> None:
    """Verdict, tables and drill-downs need no script."""
    file = tmp_path / "report.html"
    file.write_text(render_html(stored_runs.result_of("regressed")), encoding="utf-8")
    page = await (await browser.new_context(java_script_enabled=False)).new_page()
    await page.goto(file.as_uri())
    assert await page.inner_text("h1") == "NO-GO"
    assert "timeline.csv holds the same numbers" in await page.inner_text("#time")


async def test_the_page_prints_with_failures_open(page_of: Open) -> None:
    """On paper the failing transaction's details are open, nothing is wider than the sheet, charts are drawn."""
    page = await page_of("small_but_dangerous", viewport={"width": 760, "height": 1000}, color_scheme="dark")
    await page.emulate_media(media="print")
    await page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert await page.locator("details.flow[open]").count() >= 1
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert len(await page.pdf(format="A4")) > 20_000
    charts = await page.evaluate(DRAWN)
    assert len(charts) == await page.locator(".chart").count() >= 6
    for name, (share, painted) in charts.items():
        assert 0.8 < share <= 1.01, (name, share)
        assert painted > 300, (name, painted)
