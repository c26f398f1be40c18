"""A plan as people read it: phases with their load, the mix with its counts, data, rules."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadproof.plan import ArrivalSchedule
from loadproof.plan.model import NS_PER_S, RATE_SCALE, ArrivalPhase, Plan, UserPhase
from loadproof.rules.model import Rule
from loadproof_cli.words import count, duration
from loadproof_report.text import plural


def plan_view(plan: Plan, rules: Sequence[Rule], *, heading: str, today: str) -> RenderableType:
    """Return everything `loadproof check` prints of one profile. `today` (ISO date) says which waivers have ended."""
    parts: list[RenderableType] = [Text(heading, style="bold"), Padding(_facts(plan), (0, 0, 0, 2), expand=False)]
    planned = _planned(plan)
    parts.append(Padding(_phases(plan, planned), (0, 0, 0, 2), expand=False))
    parts.append(Padding(_mix(plan, planned), (0, 0, 0, 2), expand=False))
    if plan.datasets:
        parts.append(Padding(_data(plan, planned), (0, 0, 0, 2), expand=False))
    parts.append(Padding(_rules(rules, today), (0, 0, 1, 2), expand=False))
    return Group(*parts)


def rate(per_1000_s: int) -> str:
    """Return a rate as it is written in loadproof.toml."""
    return f"{per_1000_s / RATE_SCALE:g}/s"


def _planned(plan: Plan) -> dict[tuple[str, str], int]:
    """Return arrivals by (transaction, phase); empty in the closed model, which plans users instead."""
    return ArrivalSchedule(plan).planned() if plan.model == "open" else {}


def _facts(plan: Plan) -> Text:
    length = duration(plan.duration_ns) if plan.duration_ns is not None else "until the iterations are done"
    facts = [f"plan {plan.sha256[:12]}", length, f"seed {plan.seed}", f"session {plan.session}"]
    if plan.model == "open":
        facts += [f"{plan.spacing} spacing", f"at most {plan.max_in_flight:,} in flight"]
    if plan.pace_ns:
        facts.append(f"pace {duration(plan.pace_ns)}")
    return Text(", ".join(facts), style="dim")


def _table(*columns: tuple[str, bool]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, right in columns:
        table.add_column(name, justify="right" if right else "left", no_wrap=right)
    return table


def _phases(plan: Plan, planned: dict[tuple[str, str], int]) -> Table:
    table = _table(("phase", False), ("load", False), ("for", True), ("arrivals", True))
    for phase in plan.phases:
        arrivals = sum(n for (_, name), n in planned.items() if name == phase.name)
        name = f"{phase.name} (warm-up, not judged)" if phase.warmup else phase.name
        length = duration(phase.duration_ns) if phase.duration_ns is not None else "-"
        table.add_row(name, _load(phase), length, count(arrivals) if plan.model == "open" else "-")
    return table


def _load(phase: ArrivalPhase | UserPhase) -> str:
    if isinstance(phase, ArrivalPhase):
        if phase.rate_from == phase.rate_to:
            return rate(phase.rate_from)
        return f"{rate(phase.rate_from)} to {rate(phase.rate_to)}"
    if phase.iterations is not None:
        return f"{plural(phase.users_to, 'user')}, {plural(phase.iterations, 'iteration')}"
    if phase.users_from == phase.users_to:
        return plural(phase.users_to, "user")
    return f"{phase.users_from:,} to {plural(phase.users_to, 'user')}"


def _mix(plan: Plan, planned: dict[tuple[str, str], int]) -> Table:
    weights = sum(transaction.weight for transaction in plan.transactions)
    table = _table(("transaction", False), ("share", True), ("arrivals", True), ("criticality", False), ("data", False))
    for transaction in plan.transactions:
        arrivals = sum(n for (name, _), n in planned.items() if name == transaction.name)
        table.add_row(
            transaction.name,
            f"{transaction.weight / weights:.1%}" if weights else "-",
            count(arrivals) if plan.model == "open" else "-",
            transaction.criticality,
            transaction.dataset or "-",
        )
    return table


def _data(plan: Plan, planned: dict[tuple[str, str], int]) -> Table:
    table = _table(("data", False), ("rows", True), ("drawn", True), ("order", False))
    for dataset in plan.datasets:
        users = {transaction.name for transaction in plan.transactions if transaction.dataset == dataset.name}
        drawn = sum(n for (name, _), n in planned.items() if name in users)
        rows = count(dataset.rows)
        if 0 < dataset.different < dataset.rows:
            rows += f", {count(dataset.different)} different"
        table.add_row(dataset.name, rows, count(drawn) if plan.model == "open" else "-", dataset.order)
    return table


def _rules(rules: Sequence[Rule], today: str) -> RenderableType:
    if not rules:
        return Text("no rules: a run can end in GO WITH RISK at best", style="yellow")
    table = _table(("rule", False), ("requires", False), ("severity", False), ("", False))
    for rule in rules:
        scope = rule.transaction if rule.transaction is not None else f"tag {rule.tag}"
        if rule.step:
            scope = f"{scope}, step {rule.step}"
        if rule.phase:
            scope = f"{scope}, phase {rule.phase}"
        extras = []
        if rule.abort_after_ns is not None:
            extras.append(f"aborts after {rule.abort_after_ns / NS_PER_S:g}s")
        if rule.waiver is not None:
            in_use = today <= rule.waiver.until
            extras.append(f"waived until {rule.waiver.until}" if in_use else f"waiver ended on {rule.waiver.until}")
        table.add_row(scope, rule.require, rule.severity, ", ".join(extras))
    return table
