"""What a rule is about: transactions, tags, profiles and phases that exist, and a criterion that can be read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from loadproof._suite import Suite
from loadproof.config.positions import Path
from loadproof.config.problems import closest, listing
from loadproof.config.schema import RuleTable
from loadproof.config.shape import Source, validated
from loadproof.rules.model import BaselineLimit, Criterion, Rule, Waiver
from loadproof.rules.parser import RuleSyntaxError, format_criterion, parse_require

PhaseNames = Mapping[str, tuple[str, ...]]
"""Names of phases by profile."""


def read_rule(number: int, raw: Any, suite: Suite | None, phases: PhaseNames, source: Source) -> Rule | None:
    """Return one rule, or None after noting every mistake in it."""
    path: Path = ("rules", number)
    before = len(source.problems)
    table = validated(RuleTable, raw, path, source)
    if not isinstance(raw, dict):
        return None
    _check_subject(raw, path, suite, source)
    _check_profiles(raw, path, phases, source)
    criterion = _read_criterion(raw.get("require"), (*path, "require"), source)
    if table is None or criterion is None or len(source.problems) > before:
        return None
    waiver = None
    if table.waiver is not None:
        waiver = Waiver(table.waiver.reason, table.waiver.owner, table.waiver.until.isoformat())
        if table.waiver.until < dt.datetime.now(tz=dt.UTC).date():
            text = f'the waiver of {table.waiver.owner} for "{table.require.strip()}" on {_subject(table)} '
            source.warning((*path, "waiver"), f"{text}ended on {waiver.until}: the rule blocks again")
    return Rule(
        require=table.require.strip(),
        criterion=criterion,
        transaction=table.transaction,
        tag=table.tag,
        step=table.step,
        severity=table.severity,
        abort_after_ns=table.abort_after,
        profiles=None if table.profiles is None else tuple(table.profiles),
        phase=table.phase,
        waiver=waiver,
        line=source.positions.line(path),
    )


def _subject(table: RuleTable) -> str:
    parts = [table.transaction if table.transaction is not None else f"tag {table.tag}"]
    parts += [f"step {table.step}"] if table.step else []
    return ", ".join(parts + ([f"phase {table.phase}"] if table.phase else []))


def _check_subject(raw: dict[str, Any], path: Path, suite: Suite | None, source: Source) -> None:
    transaction, tag = raw.get("transaction"), raw.get("tag")
    if transaction is None and tag is None:
        source.problem(path, 'a rule needs "transaction" (a name or "*") or "tag"')
    if transaction is not None and tag is not None:
        source.problem((*path, "tag"), 'a rule has either "transaction" or "tag", not both')
    if suite is None:
        return
    if isinstance(transaction, str) and transaction != "*":
        _check_known("transaction", transaction, suite.transactions, (*path, "transaction"), source)
    if isinstance(tag, str):
        tags = sorted({tag for entry in suite.transactions.values() for tag in entry.tags})
        _check_known("tag", tag, tags, (*path, "tag"), source)


def _check_profiles(raw: dict[str, Any], path: Path, phases: PhaseNames, source: Source) -> None:
    profiles = raw.get("profiles")
    chosen = list(phases)
    if isinstance(profiles, list):
        chosen = []
        if not profiles:
            source.problem((*path, "profiles"), "the list of profiles is empty: the rule would never apply")
        for number, profile in enumerate(profiles):
            if isinstance(profile, str):
                _check_known("profile", profile, phases, (*path, "profiles", number), source)
                chosen.append(profile)
    phase = raw.get("phase")
    if isinstance(phase, str):
        known = [name for profile in chosen for name in phases.get(profile, ())]
        if known:
            _check_known("phase", phase, known, (*path, "phase"), source)


def _check_known(kind: str, name: str, known: Iterable[str], path: Path, source: Source) -> None:
    choices = list(dict.fromkeys(known))
    if name in choices:
        return
    suggestion = closest(name, choices)
    message = f'unknown {kind} "{name}"'
    source.problem(path, message if suggestion else f"{message}; there are: {listing(choices)}", suggestion)


def _read_criterion(text: Any, path: Path, source: Source) -> Criterion | None:
    if not isinstance(text, str):
        return None
    try:
        criterion = parse_require(text)
    except RuleSyntaxError as error:
        suggestion = f'"{error.suggestion}"' if error.suggestion else None
        source.problem(path, f'"{text}": {error}', suggestion)
        return None
    if isinstance(criterion.limit, BaselineLimit) and criterion.window_ns is not None:
        without = format_criterion(replace(criterion, window_ns=None))
        message = (
            f'"{text}": a limit from the baseline holds for the whole run, not for windows: it would never have data'
        )
        source.problem(path, message, f'"{without}"')
        return None
    return criterion
