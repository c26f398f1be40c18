"""Numbers as the command prints them."""

from __future__ import annotations

import pytest

from loadproof_cli.words import count, duration, latency, percent, sentence


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (None, "-"), (0, "0.00 ms"), (840, "0.84 ms"), (9_994, "9.99 ms"), (9_996, "10.0 ms"), (12_345, "12.3 ms"),
        (99_960, "100 ms"), (999_400, "999 ms"), (999_600, "1.00 s"), (12_340_000, "12.3 s"),
    ],
)  # fmt: skip
def test_latencies_have_three_digits(microseconds: int | None, text: str) -> None:
    """A latency is shown with three significant digits in the unit that suits it."""
    assert latency(microseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.5, "0.5s"), (30, "30s"), (90, "1m30s"), (3_600, "1h"), (5_400, "1h30m")]
)
def test_durations_read_as_in_the_configuration(seconds: float, text: str) -> None:
    """A length of time is spelled as in loadproof.toml."""
    assert duration(int(seconds * 1_000_000_000)) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "-"), (0.0, "0.00%"), (1.0, "100.00%"), (0.99999, ">99.99%"), (0.00001, "<0.01%"), (0.995, "99.50%")],
)
def test_shares_never_round_to_all_or_nothing(share: float | None, text: str) -> None:
    """99.999 % is not shown as 100 %, nor a few failures as none."""
    assert percent(share) == text


def test_counts_have_their_thousands_apart() -> None:
    """An integer is shown with commas."""
    assert count(1234567) == "1,234,567"


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (("it broke",), "it broke."),
        (("it broke.",), "it broke."),
        (("is it up?",), "is it up?"),
        (("it broke.", "nothing was started"), "it broke; nothing was started."),
        (("no answer; is it up?", "nothing was started"), "no answer; is it up? Nothing was started."),
    ],
)
def test_a_line_ends_once(parts: tuple[str, ...], line: str) -> None:
    """Whether what is told ends in a full stop, a question mark or neither."""
    assert sentence(*parts) == line
