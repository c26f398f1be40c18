"""What can go wrong with stored runs.

ReportError
└── StoreError           the store cannot do what was asked: `reason`, `remedy`
    ├── StoreUnavailable     it cannot be reached or read at all
    ├── StoreVersionError    it was made by an older or newer Loadproof
    └── UnknownRun           it holds no such run or baseline
"""

from __future__ import annotations

from loadproof_report.errors import ReportError


class StoreError(ReportError):
    """A store of runs cannot do what was asked. `store` is its address without a password."""

    def __init__(self, store: str, reason: str, remedy: str) -> None:
        super().__init__(f"run history {store}: {reason}. {remedy}")
        self.store = store
        self.reason = reason
        self.remedy = remedy


class StoreUnavailable(StoreError):
    """The database is down, refuses us, is damaged or is no run history."""


class StoreVersionError(StoreError):
    """The database's tables are older or newer than this code. Nothing was read or written."""


class UnknownRun(StoreError):
    """There is no such run or baseline in the store."""
