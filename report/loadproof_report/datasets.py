"""What the test data does to the numbers: rows that ran out, rows used again and again, rows that are alike.

Only counts are looked at, never values. Data that is kind or unkind to caches is told and changes no decision: a
catalogue of 200 articles has no more of them in production either, and only people know that.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadproof.plan.model import DatasetPlan
from loadproof_report.generator import finding
from loadproof_report.result import Finding, FindingSeverity, Risk, TransactionResult
from loadproof_report.rundata import RunData
from loadproof_report.story import GRAVITY
from loadproof_report.text import clean, count_text, plural, share_text, some

REFUSED_SHARE_MAX = 0.01
"""Draws refused because a unique dataset had run out, of all draws."""
REUSE_MAX = 100
"""Beyond so many uses of each row, first uses are under 1 % of all: even p99 may hold no answer that wasn't cached."""
HOT_SHARE = 0.05
"""From this share of draws on, one row alone can be all of the slowest 5 % that p95 leaves out, or all it hides."""
HOT_TIMES = 2
"""A hot row comes at least so many times as often as the others do on average."""


_MITIGATION = {
    "data_reused": "Give the dataset as many different rows as real users ask for, or agree that there are no more.",
    "hot_row": "Agree that real users ask for it as often; else remove its copies.",
}


def data_findings(data: RunData) -> list[Finding]:
    """Return what there is to say about each dataset the run drew from."""
    out: list[Finding] = []
    for dataset in data.plan.datasets:
        refused = data.merged.exhausted.get(dataset.name, 0)
        out += _exhausted(dataset, _drawn(data, dataset), refused) if refused else _repeated(data, dataset)
    return out


def data_risks(data: RunData, transactions: Sequence[TransactionResult]) -> list[Risk]:
    """Return a note for each finding about repeated rows, tied to the gravest transaction that draws them."""
    out: list[Risk] = []
    for dataset in data.plan.datasets:
        planned = zip(data.plan.transactions, transactions, strict=True)
        users = [result for plan, result in planned if plan.dataset == dataset.name]
        users.sort(key=lambda user: -GRAVITY.get(user.criticality, 0))
        out += [
            Risk(
                code=found.code,
                severity="note",
                text=found.text,
                transaction=users[0].name,
                criticality=users[0].criticality,
                evidence=f"rows of {clean(dataset.name)} go to {some([user.name for user in users], 5)}",
                mitigation=_MITIGATION[found.code],
            )
            for found in (_repeated(data, dataset) if users else ())
        ]
    return out


def _drawn(data: RunData, dataset: DatasetPlan) -> int:
    return data.merged.draws.get(dataset.name, 0)


def _exhausted(dataset: DatasetPlan, drawn: int, refused: int) -> list[Finding]:
    share = refused / (drawn + refused)
    text = (
        f"The dataset {clean(dataset.name)} ran out after {plural(dataset.rows, 'row')}: {plural(refused, 'draw')} "
        f"({share_text(share)}) got none, so less was run than planned."
    )
    severity: FindingSeverity = "unsound" if share > REFUSED_SHARE_MAX else "degraded"
    return [finding("dataset_exhausted", severity, text, share, REFUSED_SHARE_MAX)]


def _repeated(data: RunData, dataset: DatasetPlan) -> list[Finding]:
    """Say which rows came so often that a cache of the target, or a lock, meets them more than real ones would."""
    out: list[Finding] = []
    drawn = _drawn(data, dataset)
    different = dataset.different or dataset.rows
    if drawn > different * REUSE_MAX:
        uses = drawn / different
        text = (
            f"{_rows_used(dataset, different)} used about {round(uses, -1 if uses >= 1_000 else 0):,.0f} times: a "
            "cache in the target will answer most of them, so it may look faster than with real users."
        )
        out.append(finding("data_reused", "info", text, uses, REUSE_MAX))
    share = dataset.most_alike / dataset.rows if dataset.rows else 0.0
    if drawn and different > 1 and share >= HOT_SHARE and dataset.most_alike >= HOT_TIMES * dataset.rows / different:
        text = (
            f"One row of {clean(dataset.name)} comes {plural(dataset.most_alike, 'time')} in "
            f"{count_text(dataset.rows)}, so {share_text(share)} of what draws from it meets at the same data in the "
            "target: a cache makes that faster, a lock slower, than where users spread."
        )
        out.append(finding("hot_row", "info", text, share, HOT_SHARE))
    return out


def _rows_used(dataset: DatasetPlan, different: int) -> str:
    name, rows = clean(dataset.name), count_text(dataset.rows)
    if dataset.rows == 1:
        return f"The only row of {name} was"
    if different == 1:
        return f"All {rows} rows of {name} are alike and were"
    if different < dataset.rows:
        return f"The {count_text(different)} different rows of {name} ({rows} in all) were each"
    return f"The {rows} rows of {name} were each"
