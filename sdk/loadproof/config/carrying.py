"""What a profile can give a rule: whether its load and its length carry what the rule asks for.

A blocking rule without data makes a run NOT PROVEN, which is better known before the load than after it.
"""

from __future__ import annotations

from dataclasses import replace

from loadproof.config.build import rules_for
from loadproof.config.problems import ConfigProblem, closest
from loadproof.config.project import Project
from loadproof.config.stepnames import step_names
from loadproof.plan.arrivals import ArrivalSchedule
from loadproof.plan.curve import AREA_PER_ARRIVAL
from loadproof.plan.model import NS_PER_S, RATE_SCALE, ArrivalPhase, Phase, Plan, UserPhase
from loadproof.plan.units import format_duration
from loadproof.rules.model import Rule, samples_needed
from loadproof.rules.parser import PERCENTILES, format_criterion

FAR = 2
"""So many times the samples needed are enough without counting them."""
Finding = tuple[str, str | None]
"""Why a rule has no data, and what was probably meant."""


def rule_warnings(project: Project, plan: Plan) -> tuple[str, ...]:
    """Return a line for every rule that can have no data in a run of `plan`, with file, line and a suggestion.

    Only what is certain before the run: how many users of the closed model do how much is not.
    """
    rules = rules_for(project, plan)
    steps = None
    if project.requirements is None and any(rule.step for rule in rules):
        steps = step_names(project.folder)
    found = []
    for rule in rules:
        finding = _of_phases(rule, plan) or _of_step(rule, steps) or _of_samples(rule, plan)
        if finding is not None:
            text, suggestion = finding
            message = f"{text}: the rule has no data there"
            found.append(str(ConfigProblem(project.config_file.as_posix(), rule.line, message, suggestion)))
    return tuple(found)


def _runs(plan: Plan, targets: list[str], judged: list[Phase], needed: int) -> dict[str, float] | None:
    """Return how often each target is run in the judged phases; None where only the run tells.

    Exactly in the open model, unless all are far from `needed`: the gaps of many Poisson arrivals take seconds to add.
    """
    weights = sum(one.weight for one in plan.transactions)
    shares = {one.name: one.weight / weights for one in plan.transactions if one.name in targets}
    if plan.model == "closed":
        counts = [phase.iterations for phase in judged if isinstance(phase, UserPhase) and phase.iterations is not None]
        return {name: sum(counts) * share for name, share in shares.items()} if len(counts) == len(judged) else None
    area = sum((p.rate_from + p.rate_to) * p.duration_ns for p in judged if isinstance(p, ArrivalPhase))
    expected = {name: area / AREA_PER_ARRIVAL * share for name, share in shares.items()}
    if min(expected.values()) >= FAR * needed:
        return expected
    planned = ArrivalSchedule(plan).planned()
    return {name: sum(planned[name, phase.name] for phase in judged) for name in targets}


def _targets(rule: Rule, plan: Plan) -> list[str]:
    """Return what the rule judges of the profile's mix."""
    mix = [one for one in plan.transactions if one.weight > 0]
    if rule.tag is not None:
        return [one.name for one in mix if rule.tag in one.tags]
    return [one.name for one in mix if rule.transaction in (None, "*", one.name)]


def _judged(rule: Rule, plan: Plan) -> list[Phase]:
    if rule.phase is not None:
        return [phase for phase in plan.phases if phase.name == rule.phase]
    return [phase for phase in plan.phases if not phase.warmup]


def _of_phases(rule: Rule, plan: Plan) -> Finding | None:
    profile = f'profile "{plan.profile}"'
    if rule.tag is not None and not _targets(rule, plan):
        return f'{profile} runs no transaction with the tag "{rule.tag}"', None
    judged = _judged(rule, plan)
    if not judged:
        names = [phase.name for phase in plan.phases]
        if rule.phase is not None:
            return f'{profile} has no phase "{rule.phase}"', closest(rule.phase, names)
        return f"every phase of {profile} is a warm-up", None
    window_ns = rule.criterion.window_ns
    if window_ns is None:
        return None
    longest = max((length for _, length in _whole_seconds(judged, plan)), default=None)
    if longest is None or longest * NS_PER_S >= window_ns:
        return None
    shown = format_duration(longest * NS_PER_S)
    without = format_criterion(replace(rule.criterion, window_ns=None))
    return f"{profile} judges no phase as long as {format_duration(window_ns)}, the longest has {shown}", f'"{without}"'


def _whole_seconds(judged: list[Phase], plan: Plan) -> list[tuple[Phase, int]]:
    """Return the whole seconds within each judged phase; nothing when one of them ends by iterations."""
    out: list[tuple[Phase, int]] = []
    at = 0
    for phase in plan.phases:
        if phase.duration_ns is None or getattr(phase, "iterations", None) is not None:
            return []
        if phase in judged:
            first = -(-at // NS_PER_S)
            out.append((phase, max(0, (at + phase.duration_ns) // NS_PER_S - first)))
        at += phase.duration_ns
    return out


def _of_step(rule: Rule, steps: frozenset[str] | None) -> Finding | None:
    if rule.step is None or steps is None or rule.step in steps:
        return None
    return f'no Python file of the suite opens a step "{rule.step}"', closest(rule.step, steps)


def _of_samples(rule: Rule, plan: Plan) -> Finding | None:
    """A step may run many times in a transaction, so only the transaction's own percentiles are looked at."""
    q = rule.criterion.quantile
    targets = _targets(rule, plan)
    if q is None or rule.step is not None or not targets:
        return None
    judged, needed = _judged(rule, plan), samples_needed(q)
    totals = _runs(plan, targets, judged, needed)
    if totals is None:
        return None
    rarest = min(targets, key=lambda name: totals[name])
    metric, profile = rule.criterion.metric, f'profile "{plan.profile}"'
    if totals[rarest] < needed:
        text = f'{profile} runs "{rarest}" {_times(totals[rarest])}, and {metric} needs {needed:,}'
        return text, _lower_percentile(rule, totals[rarest])
    window_ns = rule.criterion.window_ns
    if window_ns is None or plan.model != "open":
        return None
    weights = sum(one.weight for one in plan.transactions)
    share = next(one.weight for one in plan.transactions if one.name == rarest) / weights
    lengths = _whole_seconds(judged, plan)
    most = share * max(_most_in(phase, window_ns) for phase, length in lengths if length * NS_PER_S >= window_ns)
    if most >= needed:
        return None
    text = f'{profile} runs "{rarest}" {_times(most)} in {format_duration(window_ns)}, and {metric} needs {needed:,}'
    return text, _longer_window(rule, [phase for phase, _ in lengths], share, needed)


def _times(count: float) -> str:
    text = f"{count:,.0f}"
    return f"{text} time" if text == "1" else f"{text} times"


def _most_in(phase: Phase, window_ns: int) -> float:
    """Return the arrivals, of all transactions, in the busiest window of a phase."""
    assert isinstance(phase, ArrivalPhase)
    slope = abs(phase.rate_to - phase.rate_from) / phase.duration_ns
    mean = max(phase.rate_from, phase.rate_to) - slope * window_ns / 2
    return mean / RATE_SCALE * window_ns / NS_PER_S


def _lower_percentile(rule: Rule, samples: float) -> str | None:
    """Return the rule with the highest usual percentile that so many samples carry."""
    carried = [name for name, q in PERCENTILES.items() if samples_needed(q) <= samples]
    if not carried:
        return None
    criterion = replace(rule.criterion, metric=carried[-1], quantile=PERCENTILES[carried[-1]])
    return f'"{format_criterion(criterion)}"'


def _longer_window(rule: Rule, judged: list[Phase], share: float, needed: int) -> str:
    """Return the rule with the shortest window that holds enough, or without one where no phase is long enough."""
    fitting: list[int] = []
    for phase in judged:
        longest = (phase.duration_ns or 0) // NS_PER_S
        enough = (s for s in range(1, longest + 1) if share * _most_in(phase, s * NS_PER_S) >= needed)
        fitting += [second for second in [next(enough, 0)] if second]
    window_ns = min(fitting) * NS_PER_S if fitting else None
    return f'"{format_criterion(replace(rule.criterion, window_ns=window_ns))}"'
