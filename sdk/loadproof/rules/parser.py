"""Reads the `require` of a rule by the grammar in `rules.model`, and writes it back."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from loadproof._errors import LoadproofError
from loadproof.plan.units import DURATION_NS, RATE_SECONDS, UnitError, format_duration, parse_duration
from loadproof.rules.model import BaselineLimit, Comparison, Criterion, Unit

ERROR_CATEGORIES = ("check", "http_status", "timeout", "connect", "tls", "dns", "protocol", "exception", "cancelled")
"""Categories that `errors.<category>` may name."""

PERCENTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
"""The usual percentile metrics and their quantiles; any other below 100 may be asked for too."""

_LATENCIES = (*PERCENTILES, "mean", "max")
_UNITS: dict[str, Unit] = {
    **dict.fromkeys(_LATENCIES, "us"),
    "success_rate": "ratio",
    "error_rate": "ratio",
    **{f"errors.{category}": "number" for category in ERROR_CATEGORIES},
    "throughput": "per_s",
    "count": "number",
}
METRICS = tuple(_UNITS)
"""Every metric a rule may judge, of percentiles the usual ones."""

_EXAMPLES: dict[Unit, tuple[str, str]] = {
    "us": ("a duration", "800ms"),
    "ratio": ("a percentage", "99.5%"),
    "per_s": ("a rate", "50/s"),
    "number": ("a number", "10"),
}
_COMPARISONS = ("<=", ">=", "<", ">")
_MISWRITTEN = {"=<": "<=", "=>": ">=", "≤": "<=", "≥": ">="}
_UNDIRECTED = {"=", "==", "!="}
_AT_LEAST = {"success_rate", "throughput", "count"}
"""Metrics that are better the higher they are."""
_TOKEN = re.compile(r"[A-Za-z_][\w.]*|<=|>=|=<|=>|==|!=|[<>=≤≥+\-%/]|\d+(?:\.\d+)?|\.\d+|\S")


class RuleSyntaxError(LoadproofError, ValueError):
    """A `require` that follows no rule of the grammar. `column` counts characters from 1."""

    def __init__(self, message: str, column: int, suggestion: str | None = None) -> None:
        super().__init__(f"column {column}: {message}")
        self.message = message
        self.column = column
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    column: int


class _Reader:
    """The tokens of one `require` and where reading stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [_Token(match.group(), match.start() + 1) for match in _TOKEN.finditer(text)]
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position].text if self.position < len(self.tokens) else ""

    @property
    def column(self) -> int:
        return self.tokens[self.position].column if self.position < len(self.tokens) else len(self.text) + 1

    def take(self) -> _Token:
        token = _Token(self.peek(), self.column)
        self.position += 1
        return token

    def error(self, message: str, suggestion: str | None = None, *, token: _Token | None = None) -> RuleSyntaxError:
        """Return an error at `token`, or at the token that comes next."""
        column = self.column if token is None else token.column
        return RuleSyntaxError(message, column, suggestion)

    def replaced(self, token: _Token, new: str) -> str:
        """Return the whole text with one token replaced: what the user probably meant."""
        start = token.column - 1
        return self.text[:start] + new + self.text[start + len(token.text) :]


def parse_require(text: str) -> Criterion:
    """Return the criterion that `text` describes. Raises RuleSyntaxError with column and suggestion."""
    reader = _Reader(text)
    measure = _read_measure(reader)
    metric = _read_metric(reader)
    quantile = _quantile(metric.text)
    unit: Unit = "us" if quantile is not None else _UNITS[metric.text]
    if measure == "service" and unit != "us":
        raise reader.error(f'"service" goes with a latency ({", ".join(_LATENCIES)}), not {metric.text}', token=metric)
    comparison = _read_comparison(reader, metric.text)
    category = metric.text.partition(".")[2] if metric.text.startswith("errors.") else None
    if category and reader.text.partition("over")[0].rstrip().endswith("%") and "baseline" not in reader.text:
        unit = "ratio"
    limit = _read_limit(reader, metric.text, unit)
    window_ns = _read_window(reader)
    if reader.peek():
        raise reader.error(f'"{reader.text[reader.column - 1 :]}" was not expected here')
    return Criterion(
        metric=metric.text,
        measure="service" if measure == "service" else "response",
        quantile=quantile,
        category=category,
        comparison=comparison,
        limit=limit,
        unit=unit,
        window_ns=window_ns,
    )


def _read_measure(reader: _Reader) -> str:
    return reader.take().text if reader.peek() in {"service", "response"} else ""


def _read_metric(reader: _Reader) -> _Token:
    token = reader.take()
    if token.text in _UNITS or _quantile(token.text) is not None:
        return token
    if not token.text:
        raise reader.error("a metric such as p95 is missing", token=token)
    choices = difflib.get_close_matches(token.text, METRICS, n=1, cutoff=0.5)
    if re.fullmatch(r"p\d+(\.\d+)?", token.text):
        raise reader.error(
            f'"{token.text}" is not a percentile: they lie between p0 and p100, such as p99.9', token=token
        )
    if token.text.startswith("errors."):
        message = f'"{token.text}" is not a category of errors ({", ".join(ERROR_CATEGORIES)})'
    else:
        message = f'"{token.text}" is not a metric'
    raise reader.error(message, reader.replaced(token, choices[0]) if choices else None, token=token)


def _quantile(metric: str) -> float | None:
    """Return the quantile of a metric such as p99.9, or None if it is no percentile between 0 and 100."""
    if not re.fullmatch(r"p\d{1,2}(\.\d{1,3})?", metric):
        return None
    return float(Decimal(metric[1:]) / 100) or None


def _read_comparison(reader: _Reader, metric: str) -> Comparison:
    token = reader.take()
    if token.text in _COMPARISONS:
        return cast("Comparison", token.text)
    known = _MISWRITTEN.get(token.text)
    if token.text in _UNDIRECTED:
        known = ">=" if metric in _AT_LEAST else "<="
    shown = f'"{token.text}" is not one of' if token.text else "missing: one of"
    raise reader.error(
        f"operator {shown} <=, <, >=, >", reader.replaced(token, known) if known is not None else None, token=token
    )


def _read_limit(reader: _Reader, metric: str, unit: Unit) -> float | BaselineLimit:
    if reader.peek() == "baseline":
        reader.take()
        return _read_baseline(reader, metric, unit)
    token = reader.take()
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", token.text):
        if token.text and (close := difflib.get_close_matches(token.text, ["baseline"], n=1)):
            raise reader.error(f'"{token.text}" is not a limit', reader.replaced(token, close[0]), token=token)
        kind, example = _EXAMPLES[unit]
        raise reader.error(f"{metric} needs {kind} such as {example}", token=token)
    return _with_unit(reader, token, metric, unit)


def _read_baseline(reader: _Reader, metric: str, unit: Unit) -> BaselineLimit:
    if reader.peek() not in {"+", "-"}:
        return BaselineLimit()
    sign = -1 if reader.take().text == "-" else 1
    token = reader.take()
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", token.text):
        raise reader.error('after "baseline +" comes a percentage such as 10% or an amount such as 50ms', token=token)
    if reader.peek() == "%":
        reader.take()
        return BaselineLimit(relative=sign * float(Decimal(token.text) / 100))
    return BaselineLimit(absolute=sign * _with_unit(reader, token, metric, unit))


def _with_unit(reader: _Reader, number: _Token, metric: str, unit: Unit) -> float:
    """Return the number with the unit that follows it, in the metric's own unit."""
    kind, example = _EXAMPLES[unit]
    value = Decimal(number.text)
    following = reader.peek()
    if unit == "us":
        if following in DURATION_NS:
            reader.take()
            return float(value * DURATION_NS[following] / 1000)
        if following and following not in {"over", "%", "/"}:
            token = reader.take()
            raise reader.error(f'"{token.text}" is not a unit of time', _closest_duration(reader, token), token=token)
        raise reader.error(
            f"{metric} needs {kind} such as {example}", f"{reader.text.rstrip()}ms" if not following else None
        )
    if unit == "ratio":
        if following == "%":
            reader.take()
            if value > 100:
                raise reader.error(f"{value}% is more than all of them", token=number)
            return float(value / 100)
        percent = f"{_number(value * 100 if value <= 1 else value)}%"
        meant = reader.replaced(number, percent) if not following else None
        raise reader.error(f"{metric} needs {kind} such as {example}", meant)
    if unit == "per_s":
        if following == "/":
            reader.take()
            token = reader.take()
            if token.text in RATE_SECONDS:
                return float(value / RATE_SECONDS[token.text])
            near = _closest_duration(reader, token)
            raise reader.error(f'"{token.text}" is not a unit of time after "/" (s, m, h)', near, token=token)
        raise reader.error(
            f"{metric} needs {kind} such as {example}", f"{reader.text.rstrip()}/s" if not following else None
        )
    if following and following != "over":
        raise reader.error(f"{metric} is a plain number, without {following}")
    return float(value)


def _closest_duration(reader: _Reader, token: _Token) -> str | None:
    try:
        parse_duration(f"1{token.text}")
    except UnitError as error:
        if error.suggestion is not None:
            return reader.replaced(token, error.suggestion[1:])
    return None


def _read_window(reader: _Reader) -> int | None:
    if reader.peek() != "over":
        return None
    reader.take()
    start = reader.column - 1
    text = reader.text[start:].strip()
    if not text:
        raise reader.error('after "over" comes a duration such as 30s')
    try:
        window_ns = parse_duration(text)
    except UnitError as error:
        suggestion = None if error.suggestion is None else reader.text[:start] + error.suggestion
        raise RuleSyntaxError(error.message, start + 1, suggestion) from None
    if window_ns < DURATION_NS["s"] or window_ns % DURATION_NS["s"]:
        raise reader.error("a window is a whole number of seconds, at least 1s")
    reader.position = len(reader.tokens)
    return window_ns


def format_criterion(criterion: Criterion) -> str:
    """Return `criterion` in the grammar's own words; `parse_require` of it is equal to `criterion`."""
    measure = "service " if criterion.measure == "service" else ""
    limit = criterion.limit
    if isinstance(limit, BaselineLimit):
        text = "baseline"
        if limit.relative:
            text += f" {'-' if limit.relative < 0 else '+'} {_number(abs(Decimal(repr(limit.relative)) * 100))}%"
        elif limit.absolute:
            text += f" {'-' if limit.absolute < 0 else '+'} {format_value(abs(limit.absolute), criterion.unit)}"
    else:
        text = format_value(limit, criterion.unit)
    window = "" if criterion.window_ns is None else f" over {format_duration(criterion.window_ns)}"
    return f"{measure}{criterion.metric} {criterion.comparison} {text}{window}"


def format_value(value: float, unit: Unit) -> str:
    """Return a metric's value with its unit as a rule writes it: 800ms, 99.5%, 50/s, 10."""
    exact = Decimal(repr(float(value)))
    if unit == "ratio":
        return f"{_number(exact * 100)}%"
    if unit == "per_s":
        return f"{_number(exact)}/s"
    if unit == "number":
        return _number(exact)
    for name in ("s", "ms"):
        in_unit = exact * 1000 / DURATION_NS[name]
        if in_unit >= 1:
            return f"{_number(in_unit)}{name}"
    return f"{_number(exact)}us"


def _number(value: Decimal) -> str:
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
