"""Numbers as people read them in a terminal."""

from __future__ import annotations

from loadproof.plan.model import NS_PER_S


def count(number: int) -> str:
    """Return an integer with thousands apart."""
    return f"{number:,}"


def sentence(*parts: str) -> str:
    """Return `parts` as one line that ends once: joined by semicolons, after a question as a new sentence."""
    line = parts[0].rstrip(".")
    for part in parts[1:]:
        line += f" {part[:1].upper()}{part[1:]}" if line.endswith("?") else f"; {part}"
        line = line.rstrip(".")
    return line if line.endswith("?") else f"{line}."


def latency(microseconds: float | None) -> str:
    """Return a latency of so many microseconds with three digits: 0.84 ms, 12.3 ms, 1.24 s; "-" for none."""
    if microseconds is None:
        return "-"
    milliseconds = microseconds / 1_000
    if milliseconds >= 999.5:
        seconds = milliseconds / 1_000
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    if milliseconds >= 99.95:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds:.1f} ms" if milliseconds >= 9.995 else f"{milliseconds:.2f} ms"


def duration(nanoseconds: int) -> str:
    """Return a length of time as it is written in loadproof.toml: 30s, 2m, 1h30m."""
    tenths = round(nanoseconds * 10 / NS_PER_S)
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    parts = [f"{hours}h"] if hours else []
    if minutes:
        parts.append(f"{minutes}m")
    if rest or not parts:
        parts.append(f"{rest / 10:g}s")
    return "".join(parts)


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as a percentage that never rounds up to 100 or down to 0."""
    if share is None:
        return "-"
    text = f"{share:.2%}"
    if share < 1 and text == "100.00%":
        return ">99.99%"
    if share > 0 and text == "0.00%":
        return "<0.01%"
    return text
