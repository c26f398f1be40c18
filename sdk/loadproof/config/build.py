"""From a checked suite to what is run: the plan, the rules that judge it, what workers need beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loadproof.config.problems import ConfigErrors, ConfigProblem, closest, listing
from loadproof.config.profiles import DEFAULT_TIMEOUT_NS, ProfileConfig
from loadproof.config.project import Project
from loadproof.config.schema import SEED_MAX
from loadproof.plan.arrivals import ArrivalSchedule
from loadproof.plan.model import DatasetPlan, Plan, TransactionPlan
from loadproof.plan.spec import RunSpec
from loadproof.rules.model import Rule


def build_plan(project: Project, profile: str, *, seed: int | None = None) -> Plan:
    """Return the frozen plan of a profile; `seed` replaces the profile's own.

    Raises ConfigErrors for an unknown profile, an impossible seed, or a `unique` dataset with fewer rows than an open
    profile's arrivals draw.
    """
    config = project.profiles.get(profile)
    name = project.config_file.as_posix()
    if config is None:
        suggestion = closest(profile, project.profiles)
        message = f'unknown profile "{profile}"; there are: {listing(project.profiles)}'
        raise ConfigErrors([ConfigProblem(name, 0, message, suggestion)])
    if seed is not None and not 0 <= seed <= SEED_MAX:
        raise ConfigErrors([ConfigProblem(name, 0, f"a seed lies between 0 and {SEED_MAX}, not {seed}")])
    plan = _frozen(project, config, config.seed if seed is None else seed)
    problems = _short_datasets(project, plan, config) if plan.model == "open" else []
    if problems:
        raise ConfigErrors(problems)
    return plan


def build_plans(project: Project, profiles: Iterable[str]) -> dict[str, Plan]:
    """Return the plans of several profiles. Raises ConfigErrors with the mistakes of all of them."""
    plans: dict[str, Plan] = {}
    problems: list[ConfigProblem] = []
    for profile in profiles:
        try:
            plans[profile] = build_plan(project, profile)
        except ConfigErrors as error:
            problems += error.problems
    if problems:
        raise ConfigErrors(problems)
    return plans


def _frozen(project: Project, config: ProfileConfig, seed: int) -> Plan:
    suite = project.suite
    chosen = [suite.transactions[name] for name in config.weights]
    used = {entry.data.name for entry in chosen if entry.data is not None}
    timeout_ns = config.timeout_ns or suite.timeout_ns or DEFAULT_TIMEOUT_NS
    return Plan(
        suite=suite.name,
        profile=config.name,
        model=config.model,
        phases=config.phases,
        transactions=tuple(
            TransactionPlan(
                name=entry.name,
                weight=config.weights[entry.name],
                tags=entry.tags,
                criticality=entry.criticality,
                owner=entry.owner,
                dataset=None if entry.data is None else entry.data.name,
            )
            for entry in chosen
        ),
        datasets=tuple(
            DatasetPlan(
                name=dataset.name,
                sha256=project.rows[dataset.name].sha256,
                rows=len(project.rows[dataset.name]),
                order=dataset.order,
                on_exhausted=dataset.on_exhausted,
                different=project.rows[dataset.name].different,
                most_alike=project.rows[dataset.name].most_alike,
            )
            for dataset in suite.datasets.values()
            if dataset.name in used
        ),
        spacing=config.spacing,
        session=config.session,
        max_in_flight=config.max_in_flight,
        graceful_stop_ns=config.graceful_stop_ns,
        timeout_ns=timeout_ns,
        seed=seed,
        pace_ns=config.pace_ns,
    )


def _short_datasets(project: Project, plan: Plan, config: ProfileConfig) -> list[ConfigProblem]:
    unique = [dataset for dataset in plan.datasets if dataset.order == "unique"]
    if not unique:
        return []
    draws = ArrivalSchedule(plan).draws()
    problems = []
    for dataset in unique:
        needed = draws[dataset.name]
        if needed > dataset.rows:
            declared = project.suite.datasets[dataset.name]
            message = (
                f'dataset "{dataset.name}" is unique and too short: profile "{config.name}" draws {needed:,} rows, '
                f"{declared.path} has {dataset.rows:,}"
            )
            problems.append(ConfigProblem(project.shown(declared.file), declared.line, message))
    return problems


def rules_for(project: Project, plan: Plan) -> tuple[Rule, ...]:
    """Return the rules that judge a plan: without `profiles` all, unless their `phase` is of other profiles only."""
    phases = {phase.name for phase in plan.phases}
    return tuple(
        rule
        for rule in project.rules
        if (rule.profiles is None and (rule.phase is None or rule.phase in phases))
        or (rule.profiles is not None and plan.profile in rule.profiles)
    )


def run_spec(project: Project) -> RunSpec:
    """Return what workers need beside the plan. Holds names of secrets, never values."""
    environment = project.environment
    return RunSpec(
        module=project.module,
        variables=dict(project.variables),
        secret_names=environment.secrets,
        targets=environment.targets,
        max_rate=environment.max_rate,
        requirements=None if project.requirements is None else project.requirements.file,
    )


def secret_values(project: Project, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the secrets that `[environment]` names. Raises ConfigErrors for those not set."""
    name = project.config_file.as_posix()
    missing = [secret for secret in project.environment.secrets if not environ.get(secret)]
    if missing:
        raise ConfigErrors(
            ConfigProblem(name, 0, f"the secret {secret} is not set in the environment") for secret in missing
        )
    return {secret: environ[secret] for secret in project.environment.secrets}
