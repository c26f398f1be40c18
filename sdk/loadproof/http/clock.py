"""The time of day for cookies, which expire at dates: read once, then moved on by the monotonic clock.

So a jump of the wall clock in mid-run logs nobody out.
"""

from time import monotonic, time

_MONOTONIC_ZERO_S = time() - monotonic()


def now_s() -> float:
    """Return the seconds since 1970 as this process's wall clock would count them had it not been set since."""
    return _MONOTONIC_ZERO_S + monotonic()
