"""Rules with `over 30s`: the requirement must hold in every window of that length, on really merged histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from loadproof.histogram import Counts, Histogram, sum_counts
from loadproof.metrics import MergedState
from loadproof.plan.model import NS_PER_S
from loadproof.rules.model import Criterion
from loadproof_report.measured import Measured
from loadproof_report.scope import PhaseSpan

WINDOWS_MAX = 4_000
"""Windows looked at per rule and phase; in longer runs they move on by more than a second."""


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of [`from_s`, `to_s`), whole seconds since the run's start."""

    from_s: int
    to_s: int
    measured: Measured


class WindowSource:
    """The merged state's interval histograms and failures, read once for any number of rules."""

    def __init__(self, merged: MergedState) -> None:
        self._intervals = merged.intervals
        self._failures = merged.failures
        self._width_s = merged.intervals_width_s
        self._dropped: dict[str, dict[int, int]] = {}
        for (second, name), stats in merged.seconds.items():
            if stats.dropped:
                self._dropped.setdefault(name, {})[second] = stats.dropped

    def windows(
        self,
        criterion: Criterion,
        transaction: str,
        step: str,
        spans: Iterable[PhaseSpan],
        now_ns: int,
        last: int | None = None,
    ) -> Iterator[Window]:
        """Yield every window that lies wholly within one span and before `now_ns`, in time order.

        Windows slide by one interval (a second; more in runs over an hour). `last` keeps only so many at each span's
        end, for a run that goes on.
        """
        assert criterion.window_ns is not None
        stride = self._width_s
        width = max(stride, -(-criterion.window_ns // NS_PER_S // stride) * stride)
        for span in spans:
            ok, failed = self._cells(criterion, transaction, step, frozenset({span.name}))
            errors = self._errors(criterion, transaction, step, span.name)
            dropped = {} if step else self._dropped.get(transaction, {})
            first = -(-span.start_ns // NS_PER_S // stride) * stride
            end = (now_ns if span.end_ns is None else min(span.end_ns, now_ns)) // NS_PER_S
            if last is not None:
                first = max(first, (end - width) // stride * stride - last * stride)
            starts = range(first, end - width + 1, stride)
            skip = max(1, -(-len(starts) // WINDOWS_MAX))
            for start in starts[::skip]:
                seconds = range(start, start + width, stride)
                measured = _collect(ok, failed, dropped, seconds, width)
                if criterion.category is not None:
                    measured.errors[criterion.category] = sum(errors.get(second, 0) for second in seconds)
                yield Window(start, start + width, measured)

    def _cells(
        self, criterion: Criterion, transaction: str, step: str, phases: frozenset[str]
    ) -> tuple[dict[int, list[Counts]], dict[int, int]]:
        measure = "service" if step else criterion.measure
        ok: dict[int, list[Counts]] = {}
        failed: dict[int, int] = {}
        for key, cells in self._intervals.items():
            if (key.transaction, key.step, key.measure) != (transaction, step, measure) or key.phase not in phases:
                continue
            for second, counts in cells.items():
                if key.outcome == "ok":
                    ok.setdefault(second, []).append(counts)
                else:
                    failed[second] = failed.get(second, 0) + counts.n
        return ok, failed

    def _errors(self, criterion: Criterion, transaction: str, step: str, phase: str) -> dict[int, int]:
        """Return the failures of the criterion's category by interval; nothing for a criterion of another kind."""
        found: dict[int, int] = {}
        if criterion.category is None:
            return found
        for key, cells in self._failures.items():
            if (key.transaction, key.phase, key.category) != (transaction, phase, criterion.category):
                continue
            if not step or key.step == step:
                for second, n in cells.items():
                    found[second] = found.get(second, 0) + n
        return found


def _collect(
    ok: dict[int, list[Counts]], failed: dict[int, int], dropped: dict[int, int], seconds: range, width: int
) -> Measured:
    total = sum_counts(part for second in seconds for part in ok.get(second, ()))
    histogram = Histogram()
    if total is not None:
        histogram.add(total)
    return Measured(
        histogram,
        sum(failed.get(second, 0) for second in seconds),
        sum(dropped.get(second, 0) for second in seconds),
        {},
        float(width),
    )
