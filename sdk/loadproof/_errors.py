"""What a suite can run into, as one tree.

    LoadproofError
    +-- UsageError         the suite uses a user, a step or a check in a way that means nothing; the message says how to
    +-- StepFailed         a step failed here and now; already counted when it is raised
        +-- CheckFailed    because a check did not hold

Transport errors are `loadproof.http.HttpError` and its children; a suite need not catch any of these. Catching one does
not unmake the failure: it was counted when it was raised, and the transaction stays failed.
"""

from __future__ import annotations

from loadproof.metrics.delta import Category


class LoadproofError(Exception):
    """Root of the errors that Loadproof's own code raises into suites."""


class UsageError(LoadproofError):
    """The suite asks for something that has no meaning, as a step inside a step."""


class StepFailed(LoadproofError):
    """A step failed, which ends the transaction there.

    `category` is one of `loadproof.metrics.delta.CATEGORIES`, `message` says what was expected and found, `endpoint` is
    "METHOD /route" or "" when no request is to blame.
    """

    def __init__(self, category: Category, message: str, endpoint: str = "") -> None:
        super().__init__(message)
        self.category: Category = category
        self.message = message
        self.endpoint = endpoint


class CheckFailed(StepFailed):
    """A check did not hold. `check` is its name: "status", "json", or what `user.check` was given."""

    def __init__(self, check: str, message: str, endpoint: str = "") -> None:
        super().__init__("check", message, endpoint)
        self.check = check
