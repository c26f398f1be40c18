"""Numbers and names in words: one place decides how a latency, a share, a count or a hostile name is written."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

NAME_CHARS_MAX = 200
TEXT_CHARS_MAX = 4_000
SECONDS_MAX = 1e12
"""Longest time that is written out; only a hostile run.json has a longer one."""


def duration_text(us: float | None) -> str:
    """Return microseconds as people read them: `850 µs`, `12.3 ms`, `1.24 s`, `2 min 5 s`; `–` for None."""
    if us is None:
        return "–"
    if us < 1_000:
        return f"{us:.0f} µs"
    if us < 1_000_000:
        return f"{_three_digits(us / 1_000)} ms"
    if us < 120_000_000:
        return f"{_three_digits(us / 1_000_000)} s"
    minutes, seconds = divmod(round(min(us / 1_000_000, SECONDS_MAX)), 60)
    if minutes < 120:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def seconds_text(seconds: float | None) -> str:
    """Return seconds as `duration_text` does."""
    return "–" if seconds is None else duration_text(seconds * 1_000_000)


def clock_text(seconds: float) -> str:
    """Return an offset in the run as `m:ss` or `h:mm:ss`, with a minus before the start."""
    if seconds <= -1:
        return f"−{clock_text(-seconds)}"
    whole = max(0, int(min(seconds, SECONDS_MAX)))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


def share_text(share: float | None) -> str:
    """Return a share in percent. Never rounds up to 100 % or down to 0 %: `99.998 %`, `0.002 %`."""
    if share is None:
        return "–"
    percent = share * 100
    if percent in (0.0, 100.0) or percent > 1000:
        return f"{percent:.0f} %"
    for digits in (1, 2, 3, 4):
        text = f"{percent:.{digits}f}"
        if float(text) > 0 and float(text) != 100:
            short = text.rstrip("0").rstrip(".")
            return f"{short} %"
    return "under 0.0001 %" if percent < 50 else "over 99.9999 %"


def rate_text(per_s: float | None) -> str:
    """Return a rate per second: `0.5/s`, `12.3/s`, `1,240/s`."""
    if per_s is None:
        return "–"
    if per_s >= 1000:
        return f"{per_s:,.0f}/s"
    return f"{_three_digits(per_s)}/s"


def count_text(number: float | None) -> str:
    """Return a count with thousands separators; a fraction keeps three digits."""
    if number is None:
        return "–"
    if float(number).is_integer():
        return f"{int(number):,}"
    return _three_digits(number)


def value_text(value: float | None, unit: str) -> str:
    """Return a rule's value in its unit (us, ratio, per_s, number)."""
    if value is None:
        return "–"
    if unit == "us":
        return duration_text(value)
    if unit == "ratio":
        return share_text(value)
    if unit == "per_s":
        return rate_text(value)
    return count_text(value)


_SCALES = {"ratio": (100.0, " %"), "per_s": (1.0, "/s"), "number": (1.0, "")}


def value_beside(value: float | None, other: float | None, unit: str) -> str:
    """Return a value as `value_text` does, with as many digits as it takes to tell it from `other`."""
    text = value_text(value, unit)
    if value is None or other is None or value == other or text != value_text(other, unit):
        return text
    if unit == "us":
        scale, suffix = (1.0, " µs") if value < 1_000 else (1e-3, " ms") if value < 1_000_000 else (1e-6, " s")
    else:
        scale, suffix = _SCALES[unit]
    for digits in range(1, 10):
        mine, theirs = f"{value * scale:,.{digits}f}", f"{other * scale:,.{digits}f}"
        if mine != theirs:
            return mine + suffix
    return text


def bytes_text(size: float) -> str:
    """Return a size in bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{_three_digits(size)} {unit}"
        size /= 1024
    raise AssertionError


_UNIT_AFTER = re.compile(r"(?<=\d) (?=(?:%|(?:µs|ms|s|min|h|KiB|MiB|GiB)\b))")


def unbroken(text: str) -> str:
    """Return text in which no line ends between a number and its unit."""
    return _UNIT_AFTER.sub("\u00a0", text)


def times_text(count: int) -> str:
    """Return `once`, `twice` or `n times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return the count with its noun: `1 rule`, `3 rules`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def some(names: Sequence[str], shown: int) -> str:
    """Return the first `shown` names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")


def were(count: int) -> str:
    """Return `was` for one, `were` for any other number."""
    return "was" if count == 1 else "were"


def clean(text: str, limit: int = NAME_CHARS_MAX, *, keep_lines: bool = False) -> str:
    """Return hostile text as one harmless line (or lines): no control or direction-changing characters, bounded."""
    joined = harmless(text[: limit * 2], keep_lines=keep_lines)
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def harmless(text: str, *, keep_lines: bool = True) -> str:
    """Return text without control, direction-changing and unassigned characters, as long as it was."""
    if text.isprintable():
        return text
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if keep_lines and char in "\n\t":
            kept.append(char)
        elif category in ("Cc", "Zl", "Zp"):
            kept.append(" ")
        elif category in ("Cf", "Cs", "Co", "Cn"):
            kept.append("�")
        else:
            kept.append(char)
    return "".join(kept)


_XML_BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def xml_clean(text: str) -> str:
    """Return the text without characters that XML 1.0 forbids or discourages."""
    return _XML_BAD.sub("�", text)


def formula_safe(text: str) -> str:
    """Return a CSV cell no spreadsheet takes for a formula: a leading `=`, `+`, `-`, `@` gets an apostrophe."""
    cleaned = clean(text)
    return f"'{cleaned}" if cleaned.lstrip()[:1] in ("=", "+", "-", "@", "＝", "＋", "－", "＠") else cleaned


def _three_digits(value: float) -> str:
    """Return three significant digits without trailing zeros and without an exponent."""
    if value == 0 or not math.isfinite(value):
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
