"""What the report says of test data that caches like or locks dislike, and that it changes no decision."""

from __future__ import annotations

import pytest

from loadproof.plan.model import DatasetPlan
from loadproof_report import RunResult, build_result
from loadproof_report.datasets import HOT_SHARE, REUSE_MAX
from stored_runs import STARTED_AT, Story, standard_rules

SEARCH = "Search and open product details"


def judged(drawn: int, rows: int, different: int = 0, most_alike: int = 0) -> RunResult:
    dataset = DatasetPlan("products", "ab" * 32, rows, "shuffle", different=different, most_alike=most_alike)
    story = Story(rules=standard_rules(), datasets=(dataset,), draws={"products": drawn}, data_of={SEARCH: "products"})
    return build_result(story.build_run(), today=STARTED_AT[:10])


def found(result: RunResult) -> list[tuple[str, str, str]]:
    codes = ("data_reused", "hot_row")
    return [(f.code, f.severity, f.text) for f in result.evidence.findings if f.code in codes]


def test_rows_used_again_and_again_are_told_with_their_number() -> None:
    """12 rows for 42,000 draws: a sentence says how often each was used and what that does."""
    ((code, severity, text),) = found(judged(42_000, 12, 12, 1))
    assert (code, severity) == ("data_reused", "info")
    assert text.startswith(
        "The 12 rows of products were each used about 3,500 times: a cache in the target will answer"
    )


def test_reuse_counts_rows_that_differ() -> None:
    """10,000 rows that are 40 different ones are no more than 40."""
    (first, *_) = found(judged(42_000, 10_000, 40, 300))
    assert first[0] == "data_reused"
    assert "The 40 different rows of products (10,000 in all) were each used about 1,050 times" in first[2]


@pytest.mark.parametrize(
    ("rows", "text"), [(1, "The only row of products was used"), (9, "All 9 rows of products are alike")]
)
def test_one_row_is_named_as_one(rows: int, text: str) -> None:
    """The sentence stays true for a single row and for copies of a single one."""
    assert found(judged(42_000, rows, 1, rows))[0][2].startswith(text)


def test_a_row_that_comes_far_more_often_than_others_is_hot() -> None:
    """Its share of the draws is told, and that caches and locks feel it."""
    ((code, severity, text),) = found(judged(3_300, 1_000, 901, 100))
    assert (code, severity) == ("hot_row", "info")
    assert "One row of products comes 100 times in 1,000, so 10 % of what draws from it" in text


@pytest.mark.parametrize(
    ("drawn", "rows", "different", "most_alike"),
    [
        (REUSE_MAX * 12, 12, 12, 1),
        (3_300, 1_000, 1_000, 1),
        (3_300, 1_000, 1_000 - round(HOT_SHARE * 1_000) + 2, round(HOT_SHARE * 1_000) - 1),
        (100, 10, 5, 2),
        (0, 1_000, 2, 999),
        (3_300, 5_000, 0, 0),
    ],
    ids=["used 100 times", "all different", "not quite hot", "all copied alike", "never drawn", "not known"],
)
def test_ordinary_data_is_not_worth_a_sentence(drawn: int, rows: int, different: int, most_alike: int) -> None:
    """Up to the limits, for rows nobody drew and where repeats were not counted, nothing is said."""
    assert found(judged(drawn, rows, different, most_alike)) == []


def test_data_that_caches_like_is_a_note_and_no_decision() -> None:
    """The meeting hears of it, tied to the transaction that draws the rows; the verdict stays."""
    result = judged(42_000, 12, 12, 1)
    risk = next(risk for risk in result.verdict.risks if risk.code == "data_reused")
    assert (risk.severity, risk.transaction) == ("note", SEARCH)
    assert risk.evidence == f"rows of products go to {SEARCH}"
    assert (result.verdict.decision, result.evidence.sound) == ("GO", True)


def test_rows_nobody_draws_are_no_risk_of_anybody() -> None:
    """A dataset that no transaction of the profile draws from gives no note."""
    dataset = DatasetPlan("products", "ab" * 32, 12)
    result = build_result(Story(rules=standard_rules(), datasets=(dataset,), draws={"products": 42_000}).build_run())
    assert [risk.code for risk in result.verdict.risks] == []


def test_the_result_says_how_many_rows_differ() -> None:
    """`datasets` has both counts, and null for runs of versions that did not count."""
    assert [(d.different, d.most_alike) for d in judged(10, 12, 11, 2).datasets] == [(11, 2)]
    assert [(d.different, d.most_alike) for d in judged(10, 12).datasets] == [(None, None)]
