"""Prometheus's text exposition format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loadproof_controller.web.telemetry import BOUNDS_S, Distribution, Family, Labels

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(families: Iterable[Family]) -> str:
    """Return the families as text; label values are escaped, so that no name can make a line of its own."""
    return "".join(line + "\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.about}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, value in family.points:
        if isinstance(value, Distribution):
            for bound, count in zip(BOUNDS_S, value.at_or_below, strict=True):
                yield f"{family.name}_bucket{_shown((*labels, ('le', _number(bound))))} {count}"
            yield f"{family.name}_bucket{_shown((*labels, ('le', '+Inf')))} {value.count}"
            yield f"{family.name}_sum{_shown(labels)} {_number(value.sum_s)}"
            yield f"{family.name}_count{_shown(labels)} {value.count}"
        else:
            yield f"{family.name}{_shown(labels)} {_number(value)}"


def _shown(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
