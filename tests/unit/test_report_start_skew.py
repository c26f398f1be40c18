"""How far apart agents began: said with how well it is known, and never further from the truth than that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadproof_report.evidence import start_skew_us
from loadproof_report.rundata import AgentInfo


def agent(name: str, start_offset_us: int | None, known_us: int | None = None) -> AgentInfo:
    return AgentInfo(name, 1, "host", 1, 1, "1", "3", start_offset_us=start_offset_us, start_uncertainty_us=known_us)


STARTS = st.lists(
    st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 10**5), st.floats(-1, 1)), min_size=2, max_size=8
)


@given(starts=STARTS)
def test_the_true_skew_is_within_what_is_said(starts: list[tuple[int, int, float]]) -> None:
    """Whichever agent's clock is known worst, in between too: it may have been the first or the last."""
    fleet = [agent(f"a{i}", at + round(known * off), known) for i, (at, known, off) in enumerate(starts)]
    found = start_skew_us(fleet)
    assert found is not None
    skew_us, known_us = found
    truly_us = max(at for at, _known, _off in starts) - min(at for at, _known, _off in starts)
    assert abs(truly_us - skew_us) <= known_us


def test_an_agent_between_the_others_may_have_been_the_last() -> None:
    """Ten milliseconds between two good clocks; one badly known between them makes it up to 59."""
    fleet = [agent("a1", 0, 1_000), agent("a2", 10_000, 1_000), agent("a3", 9_000, 50_000)]
    assert start_skew_us(fleet) == (10_000, 50_000)


def test_one_agent_has_no_skew() -> None:
    """Nor has a fleet of which only one began with the run."""
    assert start_skew_us([agent("a1", 5, 1)]) is None
    assert start_skew_us([agent("a1", 5, 1), agent("a2", None)]) is None
