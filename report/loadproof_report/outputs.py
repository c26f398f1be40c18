"""The files a run leaves. Each is written beside its place and renamed, so that none is ever seen half-written."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import orjson

from loadproof.metrics.hlog import write_hlog
from loadproof.metrics.intervals import write_intervals
from loadproof_report.html.render import render_html
from loadproof_report.junit import render_junit
from loadproof_report.markdown import render_markdown
from loadproof_report.result import RunResult
from loadproof_report.rundata import RunData
from loadproof_report.tabular import render_summary_csv, render_timeline_csv

FORMATS = ("json", "html", "md", "junit", "csv", "hlog")
"""What `--format` may name; `json` brings `plan.json` and `events.jsonl`, `hlog` brings `intervals.bin`."""


def write_outputs(
    result: RunResult, data: RunData | None, out: Path, formats: Collection[str] | None = None
) -> list[Path]:
    """Write the files of the chosen formats (default all) into `out`, made if need be; return their paths.

    Without `data` (rendering again from run.json) the histograms and the plan are not at hand: `histograms.hlog`,
    `intervals.bin` and `plan.json` stay as they are. Raises OSError; ValueError for an unknown format.
    """
    wanted = tuple(FORMATS if formats is None else formats)
    unknown = sorted(set(wanted) - set(FORMATS))
    if unknown:
        raise ValueError(f"unknown format {unknown[0]!r}: known are {', '.join(FORMATS)}")
    out.mkdir(parents=True, exist_ok=True)
    texts: dict[str, list[tuple[str, Callable[[], bytes]]]] = {
        "json": [("run.json", lambda: run_json(result)), ("events.jsonl", lambda: events_jsonl(result))],
        "html": [("report.html", lambda: render_html(result).encode())],
        "md": [("report.md", lambda: render_markdown(result).encode())],
        "junit": [("junit.xml", lambda: render_junit(result).encode())],
        "csv": [
            ("summary.csv", lambda: render_summary_csv(result).encode()),
            ("timeline.csv", lambda: render_timeline_csv(result).encode()),
        ],
    }
    if data is not None:
        plan = data.plan
        texts["json"].append(("plan.json", lambda: orjson.dumps(plan.to_dict(), option=orjson.OPT_INDENT_2) + b"\n"))
    written = []
    for name in FORMATS:
        if name not in wanted:
            continue
        for file, render in texts.get(name, ()):
            written.append(_replace(out / file, render()))
        if name == "hlog" and data is not None:
            hlog, intervals = out / "histograms.hlog", out / "intervals.bin"
            write_hlog(hlog, data.merged, started_at_s=_epoch_s(data.started_at))
            write_intervals(intervals, data.merged)
            written += [hlog, intervals]
    return written


def run_json(result: RunResult) -> bytes:
    """Return the bytes of run.json: one line of JSON that `stored.parse_result` reads back to an equal result."""
    return orjson.dumps(result.model_dump(mode="json", by_alias=True)) + b"\n"


def events_jsonl(result: RunResult) -> bytes:
    """Return the run's events, one JSON object a line, in time order."""
    ordered = sorted(result.events, key=lambda event: event.at_s)
    return b"".join(orjson.dumps(event.model_dump(mode="json")) + b"\n" for event in ordered)


def _epoch_s(started_at: str) -> float:
    try:
        return dt.datetime.fromisoformat(started_at).timestamp()
    except ValueError:
        return 0.0


def _replace(path: Path, content: bytes) -> Path:
    """Write the content under a temporary name in the same folder, then put it in place in one step."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.write_bytes(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path
