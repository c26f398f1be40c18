"""What a pipeline shows beside a commit: GitHub's workflow commands, one line for each thing to know."""

from __future__ import annotations

from loadproof_report.markdown import WORDS
from loadproof_report.result import RunResult
from loadproof_report.text import clean

ANNOTATIONS_MAX = 10
"""GitHub shows at most ten annotations of a kind per step."""


def github_annotations(result: RunResult) -> list[str]:
    """Return lines for standard output under GitHub Actions: errors for NO-GO and NOT PROVEN, else milder.

    Names in them can neither end the line nor begin another command. The note for `$GITHUB_STEP_SUMMARY` is
    `render_markdown`.
    """
    level = {"GO": "notice", "GO_WITH_RISK": "warning", "NO_GO": "error", "NOT_PROVEN": "error"}[
        result.verdict.decision
    ]
    title = f"{WORDS[result.verdict.decision]}: {result.suite} {result.profile}"
    reasons = result.verdict.reasons[:1] if level == "notice" else result.verdict.reasons[:ANNOTATIONS_MAX]
    return [f"::{level} title={_property(title)}::{_message(reason)}" for reason in reasons]


def _message(text: str) -> str:
    return clean(text, 1_000).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
