"""What a profile means: phases that make sense, transactions that exist, weights as whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

from loadproof._suite import Suite
from loadproof.config.positions import Path
from loadproof.config.problems import closest, listing
from loadproof.config.schema import WEIGHT_MAX, ArrivalTable, ProfileTable, UserTable
from loadproof.config.shape import Source, validated
from loadproof.plan.mix import BLOCK_LENGTH_MAX, reduced_weights
from loadproof.plan.model import NS_PER_S, RATE_SCALE, ArrivalPhase, Model, Phase, Session, Spacing, UserPhase
from loadproof.plan.units import UnitError, format_rate, rate_fraction

ARRIVALS_MAX = 1_000_000_000
"""Most arrivals of one profile."""

DEFAULT_TIMEOUT_NS = 30 * NS_PER_S


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """A checked profile. `weights` has the transactions of the mix in the suite's order, none of them zero.

    `timeout_ns` None means that neither the profile nor the suite names one. `line` is where `loadproof.toml` has it.
    """

    name: str
    model: Model
    phases: tuple[Phase, ...]
    weights: dict[str, int]
    spacing: Spacing
    session: Session
    max_in_flight: int
    graceful_stop_ns: int
    timeout_ns: int | None
    seed: int
    pace_ns: int
    description: str = ""
    line: int = 0


def read_profile(name: str, raw: Any, suite: Suite | None, source: Source) -> ProfileConfig | None:
    """Return the profile, or None after noting every mistake in it. Without a suite its mix is not checked."""
    path: Path = ("profiles", name)
    before = len(source.problems)
    table = validated(ProfileTable, raw, path, source)
    tables = raw if isinstance(raw, dict) else {}
    phases: list[Phase] = []
    model: Model = "closed" if "users" in tables else "open"
    if "users" in tables and "arrivals" in tables:
        source.problem((*path, "users"), 'a profile has either "arrivals" or "users", not both')
    elif "users" in tables:
        phases = _read_users(tables["users"], (*path, "users"), source)
    elif "arrivals" in tables:
        phases = _read_arrivals(tables["arrivals"], (*path, "arrivals"), source)
    elif isinstance(raw, dict):
        source.problem(path, f'[profiles.{name}] needs "arrivals" or "users"')
    _check_names(phases, path, model, source)
    _check_model_keys(tables, model, path, source)
    if table is not None and table.timeout == 0:
        source.problem((*path, "timeout"), "a timeout of zero would fail every request")
    weights = _read_mix(tables.get("mix"), (*path, "mix"), suite, source)
    if table is None or len(source.problems) > before:
        return None
    return ProfileConfig(
        name=name,
        model=model,
        phases=tuple(phases),
        weights=weights,
        spacing=table.spacing,
        session=table.session,
        max_in_flight=table.max_in_flight,
        graceful_stop_ns=table.graceful_stop,
        timeout_ns=table.timeout,
        seed=table.seed,
        pace_ns=table.pace,
        description=table.description,
        line=source.positions.line(path),
    )


def _read_arrivals(raw: Any, path: Path, source: Source) -> list[Phase]:
    phases: list[Phase] = []
    if not isinstance(raw, list):
        return phases
    if not raw:
        source.problem(path, '"arrivals" has no phase: the profile has zero length')
    broken = False
    for number, item in enumerate(raw):
        place = (*path, number)
        table = validated(ArrivalTable, item, place, source) if isinstance(item, dict) else None
        if table is None:
            broken = True
            continue
        _warn_rounded(item, place, source)
        ends = _ends(table.rate, table.rate_from, table.rate_to, "rate", place, source)
        if table.duration <= 0:
            source.problem((*place, "for"), "a phase of zero length does nothing")
        elif ends is not None:
            name = table.name or f"phase {number + 1}"
            phases.append(ArrivalPhase(name, *ends, table.duration, table.warmup))
            continue
        broken = True
    if phases and not broken:
        area = sum((p.rate_from + p.rate_to) * p.duration_ns for p in phases if isinstance(p, ArrivalPhase))
        arrivals = area // (2 * RATE_SCALE * NS_PER_S)
        if area == 0:
            source.problem(path, "the profile offers no load: every rate is zero")
        elif arrivals > ARRIVALS_MAX:
            source.problem(path, f"the profile has {arrivals:,} arrivals; at most {ARRIVALS_MAX:,} are possible")
    return phases


def _read_users(raw: Any, path: Path, source: Source) -> list[Phase]:
    phases: list[Phase] = []
    if not isinstance(raw, list):
        return phases
    if not raw:
        source.problem(path, '"users" has no phase: the profile has zero length')
    broken = False
    for number, item in enumerate(raw):
        place = (*path, number)
        table = validated(UserTable, item, place, source) if isinstance(item, dict) else None
        phase = None if table is None else _user_phase(table, number, len(raw), place, source)
        if phase is None:
            broken = True
        else:
            phases.append(phase)
    if phases and not broken and not any(max(p.users_from, p.users_to) for p in phases if isinstance(p, UserPhase)):
        source.problem(path, "the profile offers no load: there are no users")
    return phases


def _user_phase(table: UserTable, number: int, count: int, place: Path, source: Source) -> UserPhase | None:
    ends = _ends(table.users, table.users_from, table.users_to, "users", place, source)
    if table.iterations is not None:
        if count > 1:
            source.problem((*place, "iterations"), '"iterations" needs a profile of this one phase')
            return None
        if ends is not None and ends[0] != ends[1]:
            source.problem((*place, "iterations"), '"iterations" goes with a fixed number of users')
            return None
    elif table.duration is None:
        source.problem(place, 'a phase needs "for" (or "iterations")')
        return None
    if table.duration is not None and table.duration <= 0:
        source.problem((*place, "for"), "a phase of zero length does nothing")
        return None
    if ends is None:
        return None
    return UserPhase(table.name or f"phase {number + 1}", *ends, table.duration, table.iterations, table.warmup)


def _ends(
    fixed: int | None, start: int | None, end: int | None, key: str, place: Path, source: Source
) -> tuple[int, int] | None:
    """Return both ends of a phase: either one fixed value, or a ramp."""
    if fixed is not None and start is None and end is None:
        return fixed, fixed
    if fixed is None and start is not None and end is not None:
        return start, end
    if fixed is not None:
        source.problem((*place, key), f'a phase has either "{key}", or "from" and "to", not both')
    elif start is None and end is None:
        source.problem(place, f'a phase needs "{key}", or "from" and "to"')
    else:
        source.problem(place, f'"{"from" if start is None else "to"}" is missing: a ramp has both ends')
    return None


def _warn_rounded(item: dict[str, Any], place: Path, source: Source) -> None:
    for key in ("rate", "from", "to"):
        text = item.get(key)
        if not isinstance(text, str):
            continue
        try:
            exact = rate_fraction(text) * RATE_SCALE
        except UnitError:
            continue
        if exact.denominator != 1:
            source.warning((*place, key), f'"{text}" is offered as {format_rate(round(exact))}')


def _check_names(phases: list[Phase], path: Path, model: Model, source: Source) -> None:
    names = [phase.name for phase in phases]
    for number, name in enumerate(names):
        if name in names[:number]:
            place = (*path, "users" if model == "closed" else "arrivals", number, "name")
            source.problem(place, f'two phases are called "{name}"')
        if not name.isprintable() or len(name) > 100:
            source.problem(path, "a phase's name has at most 100 printable characters")


def _check_model_keys(tables: dict[str, Any], model: Model, path: Path, source: Source) -> None:
    if model == "closed" and "spacing" in tables:
        source.problem((*path, "spacing"), '"spacing" is for arrivals; users follow their own pace')
    if model == "open" and "pace" in tables:
        source.problem((*path, "pace"), '"pace" is for users; arrivals have a rate')


def _read_mix(raw: Any, path: Path, suite: Suite | None, source: Source) -> dict[str, int]:
    """Return the weights, whole and positive, in the suite's order; the suite's own ones where there is no mix."""
    if suite is None or not suite.transactions:
        return {}
    if raw is None:
        weights: dict[str, int | float] = {name: entry.weight for name, entry in suite.transactions.items()}
    elif isinstance(raw, dict):
        for name in raw:
            if name not in suite.transactions:
                message = f'unknown transaction "{name}"'
                suggestion = closest(name, suite.transactions)
                if suggestion is None:
                    message += f"; the suite has {listing(suite.transactions)}"
                source.problem((*path, name), message, suggestion)
        weights = {
            name: raw[name]
            for name in suite.transactions
            if isinstance(raw.get(name), (int, float))
            and not isinstance(raw.get(name), bool)
            and 0 <= raw[name] <= WEIGHT_MAX
        }
        if set(weights) != set(raw):
            return {}
    else:
        return {}
    whole = _whole(weights)
    if not whole:
        source.problem(path, "the mix is empty: no transaction has a weight above zero")
    elif (length := sum(whole.values())) > BLOCK_LENGTH_MAX:
        text = f"the mix repeats only after {length:,} arrivals; use rounder weights (at most {BLOCK_LENGTH_MAX:,})"
        source.problem(path, text)
    return whole


def _whole(weights: dict[str, int | float]) -> dict[str, int]:
    """Return the least whole numbers in the same proportions, without zeros: 0.7 and 0.3, or 70 and 30, become 7 and
    3.
    """
    exact = {name: Fraction(str(weight)) for name, weight in weights.items() if weight > 0}
    if not exact:
        return {}
    scale = lcm(*(fraction.denominator for fraction in exact.values()))
    return dict(zip(exact, reduced_weights([int(fraction * scale) for fraction in exact.values()]), strict=True))
