"""Names in messages, read once: agents of a fleet say the same ones again and again.

Short lists are remembered, and equal bytes then give the very same object, so that whoever uses them may remember what
it found out about them, too. Bounded: what hostile agents can make us keep is some tens of megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from loadproof.metrics.columns import unpack_rows
from loadproof.metrics.delta import Measure, Outcome, SeriesKey, StatusKey
from loadproof.metrics.errors import CodecError
from loadproof.metrics.text import clean_name

OUTCOMES: Final[tuple[Outcome, ...]] = ("ok", "failed")
MEASURES: Final[tuple[Measure, ...]] = ("response", "service", "lateness")
SHORT_BYTES, SHORT_KEPT = 2_048, 512
LONG_BYTES, LONG_KEPT = 16_384, 64

P = ParamSpec("P")
T = TypeVar("T")


class Names:
    """The strings of one message, cleaned. `kept`: the same strings give this object again."""

    __slots__ = ("kept", "texts")

    def __init__(self, texts: tuple[str, ...], *, kept: bool) -> None:
        self.texts = texts
        self.kept = kept


def read_names(raw: list[Any], chars_max: int) -> Names:
    """Return the names in `raw`. Raises `CodecError` for what is no text or longer than `chars_max` characters."""
    chars = sum(len(text) if isinstance(text, str) else LONG_BYTES for text in raw)
    if chars > LONG_BYTES:
        return _names(tuple(raw), chars_max, kept=False)
    return (_few_names if chars <= SHORT_BYTES else _many_names)(tuple(raw), chars_max)


def _names(raw: tuple[Any, ...], chars_max: int, *, kept: bool = True) -> Names:
    if not all(isinstance(text, str) and len(text) <= chars_max for text in raw):
        raise CodecError(f"a name is no text or longer than {chars_max} characters")
    return Names(tuple(map(clean_name, raw)), kept=kept)


_few_names = lru_cache(maxsize=SHORT_KEPT)(_names)
_many_names = lru_cache(maxsize=LONG_KEPT)(_names)


def _remembering(
    read: Callable[Concatenate[Names, object, P], T],
) -> Callable[Concatenate[Names, object, P], T]:
    """Return `read` with a memory for short values under names that are kept. What it returns must not be changed."""
    short, long = lru_cache(maxsize=SHORT_KEPT)(read), lru_cache(maxsize=LONG_KEPT)(read)

    def remembered(names: Names, value: object, /, *bounds: P.args, **_: P.kwargs) -> T:
        size = len(value) if names.kept and isinstance(value, bytes) else LONG_BYTES + 1
        reader = short if size <= SHORT_BYTES else long if size <= LONG_BYTES else read
        return cast("Callable[..., T]", reader)(names, value, *bounds)

    return remembered


@_remembering
def series_keys(names: Names, value: object, series_max: int, rows_max: int) -> tuple[SeriesKey, ...]:
    """Return the names of the series in a message."""
    texts = names.texts
    rows = unpack_rows(value, 5, rows_max)
    if len(rows) > series_max:
        raise CodecError(f"more than {series_max} series")
    keys = []
    for transaction, step, endpoint, phase, code in rows:
        outcome, measure = divmod(code, 4)
        keys.append(
            SeriesKey(
                texts[transaction], texts[step], texts[endpoint], texts[phase], OUTCOMES[outcome], MEASURES[measure]
            )
        )
    return tuple(keys)


@_remembering
def status_keys(names: Names, value: object, rows_max: int) -> tuple[StatusKey, ...]:
    """Return what is counted by HTTP status in a message."""
    texts = names.texts
    keys = []
    for transaction, step, endpoint, phase, status in unpack_rows(value, 5, rows_max):
        if status > 999:
            raise CodecError("an HTTP status above 999")
        keys.append(StatusKey(texts[transaction], texts[step], texts[endpoint], texts[phase], status))
    return tuple(keys)


@_remembering
def step_order(names: Names, value: object, rows_max: int) -> dict[tuple[str, str], int]:
    """Return the order of steps in a message: (transaction, step) -> lowest ordinal seen."""
    order: dict[tuple[str, str], int] = {}
    for transaction, step, ordinal in unpack_rows(value, 3, rows_max):
        if ordinal > rows_max:
            raise CodecError("a number is missing, negative or out of range")
        name = (names.texts[transaction], names.texts[step])
        order[name] = min(ordinal, order.get(name, ordinal))
    return order
