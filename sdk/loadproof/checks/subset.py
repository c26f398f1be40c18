"""`check(json=...)`: objects match recursively as a subset, lists exactly."""

from __future__ import annotations

from typing import Any

SHOWN_MAX = 60
"""Longest value shown in a message, in characters."""
_LISTS = (list, tuple)
_NOTHING = object()


def json_mismatch(expected: Any, found: Any, path: str = "$") -> str | None:
    """Return where and how `found` differs from `expected`, or None when it matches.

    Every key of an expected object must be in the found one and match; further keys are fine. Lists must have the same
    length and match item by item. `...` matches anything that is there. Numbers match by value, but true is not 1.
    """
    if matches(expected, found):
        return None
    if isinstance(expected, dict):
        return _object_mismatch(expected, found, path)
    if isinstance(expected, list | tuple):
        return _list_mismatch(list(expected), found, path)
    return f"{path}: expected {shown(expected)}, found {shown(found)}"


def matches(expected: Any, found: Any) -> bool:
    """Say whether `json_mismatch` finds nothing: no path is spelled out, because nearly all checks hold."""
    if type(expected) is str:  # the commonest value first
        return bool(expected == found)
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return False
        for key, value in expected.items():
            item = found.get(key, _NOTHING)
            if type(value) is str:  # as above, without a call
                if item != value:
                    return False
            elif item is _NOTHING or not matches(value, item):
                return False
        return True
    if expected is ...:
        return True
    if isinstance(expected, _LISTS):
        return isinstance(found, list) and len(expected) == len(found) and all(map(matches, expected, found))
    if type(expected) is bool or type(found) is bool:
        return expected is found
    return bool(expected == found)


def _object_mismatch(expected: dict[str, Any], found: Any, path: str) -> str | None:
    if not isinstance(found, dict):
        return f"{path}: expected an object, found {shown(found)}"
    for key, value in expected.items():
        if key not in found:
            return f"{path}.{key}: expected {shown(value)}, found no such key"
        mismatch = json_mismatch(value, found[key], f"{path}.{key}")
        if mismatch is not None:
            return mismatch
    return None


def _list_mismatch(expected: list[Any], found: Any, path: str) -> str | None:
    if not isinstance(found, list):
        return f"{path}: expected a list, found {shown(found)}"
    if len(expected) != len(found):
        return f"{path}: expected {len(expected)} items, found {len(found)}"
    for index, (value, item) in enumerate(zip(expected, found, strict=True)):
        mismatch = json_mismatch(value, item, f"{path}[{index}]")
        if mismatch is not None:
            return mismatch
    return None


def shown(value: Any) -> str:
    """Return `value` as a report shows it: JSON-like and cut at `SHOWN_MAX` characters."""
    if value is ...:
        return "anything"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"an object of {len(value)} keys" if value else "{}"
    if isinstance(value, list):
        return f"a list of {len(value)} items" if value else "[]"
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"
