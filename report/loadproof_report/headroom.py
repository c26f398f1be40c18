"""Where response time or failures begin to climb, and how far that is from the highest load that the plan asks for."""

from __future__ import annotations

from loadproof_report.degradation import FAILING_SHARE, failing_step, first_step_text
from loadproof_report.result import LoadBand, PlanInfo, RunResult, TransactionResult
from loadproof_report.text import rate_text, share_text


def expected_peak_per_s(plan: PlanInfo) -> float | None:
    """Return the highest load that the plan's judged phases ask for, arrivals per second; None in the closed model."""
    rates = [
        rate
        for phase in plan.phases
        if not phase.warmup
        for rate in (phase.rate_from, phase.rate_to)
        if rate is not None
    ]
    return max(rates, default=None)


def knee_sentence(result: RunResult, transaction: TransactionResult) -> str:
    """Return what load does to a transaction's answers; "" where the run had only one load, or users."""
    peak = expected_peak_per_s(result.plan)
    if peak is None or not transaction.load_bands:
        return ""
    knee, failing = transaction.knee_per_s, transaction.failing_per_s
    worst = max(transaction.load_bands, key=lambda band: band.failed_share)
    texts = []
    if failing is not None:
        step = failing_step(transaction)
        texts.append(
            f"Failures climb from {rate_text(failing)} on: from there at least {share_text(FAILING_SHARE)} fail, up to "
            f"{share_text(round(worst.failed_share, 3))} between {rate_text(worst.from_per_s)} and "
            f"{rate_text(worst.to_per_s)}{f', most at the step {step}' if step else ''}. {_headroom(failing, peak)}"
        )
    if knee is not None:
        step = first_step_text(transaction)
        texts.append(
            f"Response time climbs from {rate_text(knee)} on: from there the median stays over twice that of the "
            f"lowest load{f', first at the step {step}' if step else ''}. {_headroom(knee, peak)}"
        )
    if texts:
        return " ".join(texts)
    return (
        _fails(worst)
        if worst.failed_share >= FAILING_SHARE
        else _flat(transaction.load_bands[-1].to_per_s, worst, peak)
    )


def _headroom(begins: float, peak: float) -> str:
    expected = f"The expected peak is {rate_text(peak)}"
    if begins >= peak:
        return f"{expected}, so the headroom is {share_text(round(begins / peak - 1, 2))}."
    return f"{expected}: there is no headroom, it begins {share_text(round(1 - begins / peak, 2))} too early."


def _fails(worst: LoadBand) -> str:
    return (
        f"Up to {share_text(round(worst.failed_share, 3))} failed (between {rate_text(worst.from_per_s)} and "
        f"{rate_text(worst.to_per_s)}), and not only from some load on: what load does to the rest, this run does not "
        "say."
    )


def _flat(highest: float, worst: LoadBand, peak: float) -> str:
    reached = "the expected peak" if highest >= peak * 0.95 else f"short of the expected peak of {rate_text(peak)}"
    failed = f" Up to {share_text(round(worst.failed_share, 3))} of a band failed." if worst.failed_share else ""
    return (
        f"Response time did not climb up to {rate_text(highest)}, {reached}: the median of what succeeded stayed "
        f"within twice that of the lowest load.{failed} How much more it would take, this run does not say."
    )
