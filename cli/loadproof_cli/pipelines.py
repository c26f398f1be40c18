"""What a pipeline's own pages show of a run: the step summary and annotations of GitHub Actions."""

from __future__ import annotations

from pathlib import Path

from loadproof_cli.console import Console
from loadproof_report import github_annotations, render_markdown
from loadproof_report.result import RunResult

SUMMARY_BYTES_MAX = 1_000_000
"""GitHub takes at most 1 MiB of summary from a step."""


def tell_pipeline(console: Console, result: RunResult) -> None:
    """Under GitHub Actions add the release note to the step's summary and annotate the run; else nothing."""
    if console.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in github_annotations(result):
        console.line(line)
    place = console.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    note = (render_markdown(result) + "\n").encode()
    if len(note) > SUMMARY_BYTES_MAX:
        note = note[:SUMMARY_BYTES_MAX].decode(errors="ignore").encode()
    try:
        with Path(place).open("ab") as file:
            file.write(note)
    except OSError as error:
        console.say(f"the step summary could not be written: {error.strerror}", style="yellow")
