"""From what a run measured to a release decision, and to the files people and machines read. Pure; works offline."""

from loadproof_report.annotations import github_annotations
from loadproof_report.assemble import build_result
from loadproof_report.compared import compare_run, compare_stored, with_comparison
from loadproof_report.errors import ReportError, ResultError
from loadproof_report.html.render import render_html
from loadproof_report.junit import render_junit
from loadproof_report.markdown import render_markdown
from loadproof_report.outputs import FORMATS, write_outputs
from loadproof_report.result import RunResult, Verdict
from loadproof_report.stored import load_result, parse_result
from loadproof_report.stored_run import StoredRun, load_run
from loadproof_report.tabular import render_summary_csv, render_timeline_csv
from loadproof_report.verdict import exit_code

__all__ = [
    "FORMATS",
    "ReportError",
    "ResultError",
    "RunResult",
    "StoredRun",
    "Verdict",
    "build_result",
    "compare_run",
    "compare_stored",
    "exit_code",
    "github_annotations",
    "load_result",
    "load_run",
    "parse_result",
    "render_html",
    "render_junit",
    "render_markdown",
    "render_summary_csv",
    "render_timeline_csv",
    "with_comparison",
    "write_outputs",
]
