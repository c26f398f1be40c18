"""Which names stay apart when a run has too many of them: decided at the end, from counts, so not by order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loadproof.metrics.text import OTHER

CAP: Final = 2_000
"""Names (transaction, step, endpoint) a run reports apart."""
ERRORS_CAP: Final = 500
"""Kinds of error a run reports apart."""


class FoldPlan:
    """Says under which name each (transaction, step, endpoint) is reported.

    `counts` gives each name its number of samples. Whole transactions stay first, then the others by count, then by
    name; an endpoint whose step is folded is folded with it.
    """

    def __init__(self, counts: Mapping[tuple[str, str, str], int], cap: int) -> None:
        ranked = sorted(counts, key=lambda name: (bool(name[1] or name[2]), -counts[name], name))
        self.folded = frozenset(ranked[cap:])

    def name(self, transaction: str, step: str, endpoint: str) -> tuple[str, str, str]:
        """Return the name to report under."""
        if (transaction, "", "") in self.folded:
            return OTHER, step and OTHER, endpoint and OTHER
        if step and (transaction, step, "") in self.folded:
            return transaction, OTHER, endpoint and OTHER
        if endpoint and (transaction, step, endpoint) in self.folded:
            return transaction, step, OTHER
        return transaction, step, endpoint
