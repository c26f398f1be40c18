"""Runs kept: a store of runs and named baselines (SQLite or PostgreSQL), trends over builds, a run as one file."""

from loadproof_report.history.archive import ArchiveError, read_archive, write_archive
from loadproof_report.history.errors import StoreError, StoreUnavailable, StoreVersionError, UnknownRun
from loadproof_report.history.files import RunFiles
from loadproof_report.history.store import Baseline, HistoryStore, RunEntry, TrendPoint, sqlite_url

__all__ = [
    "ArchiveError",
    "Baseline",
    "HistoryStore",
    "RunEntry",
    "RunFiles",
    "StoreError",
    "StoreUnavailable",
    "StoreVersionError",
    "TrendPoint",
    "UnknownRun",
    "read_archive",
    "sqlite_url",
    "write_archive",
]
