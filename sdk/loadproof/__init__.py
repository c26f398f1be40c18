"""Loadproof: load tests in Python that end in a release decision. What a suite imports is here.

Responses and clients are in `loadproof.http`, running a transaction in a plain test is `loadproof.testing`.
"""

from loadproof._dataset import Dataset, DatasetError
from loadproof._errors import CheckFailed, LoadproofError, StepFailed, UsageError
from loadproof._suite import Suite, SuiteError
from loadproof._user import VirtualUser
from loadproof.runtime.hooks import Run

__version__ = "0.1.0"

__all__ = [
    "CheckFailed",
    "Dataset",
    "DatasetError",
    "LoadproofError",
    "Run",
    "StepFailed",
    "Suite",
    "SuiteError",
    "UsageError",
    "VirtualUser",
    "__version__",
]
