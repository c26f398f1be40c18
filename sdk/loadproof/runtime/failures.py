"""Exceptions of user code as errors of the report: category, short message, short traceback."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable

from loadproof._errors import StepFailed
from loadproof.http.errors import HttpError
from loadproof.metrics.delta import CATEGORIES, Category

_FRAMES_MAX = 6


def category_of(error: BaseException) -> Category:
    """Return the error's category; what is neither ours nor a timeout is `exception`."""
    if isinstance(error, StepFailed):
        return error.category
    if isinstance(error, HttpError):
        for category in CATEGORIES:
            if category == error.category:
                return category
    return "timeout" if isinstance(error, TimeoutError) else "exception"


def message_of(error: BaseException) -> str:
    """Return "Type: text" in one line; text alone for errors of ours."""
    if isinstance(error, StepFailed):
        return error.message
    try:
        text = str(error)
    except Exception:  # a user's exception may fail to print
        text = "(its text cannot be made)"
    name = type(error).__name__
    if isinstance(error, AttributeError) and issubclass(type(error.obj), Awaitable):
        text += " (is an await missing before it?)"
    return f"{name}: {text}" if text else name


def traceback_of(error: BaseException) -> str:
    """Return the innermost frames as "file:line in function", the last one first, and the message."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in reversed(frames)]
    return "\n".join([message_of(error), *places])
