"""Reads a suite's folder: `loadproof.toml`, the Python, the data. Finds every mistake before anything is started."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadproof._dataset import DatasetError, Rows
from loadproof._interpolate import VariableError, fill, references
from loadproof._suite import Suite
from loadproof.config.awaiting import never_awaited
from loadproof.config.positions import index_positions
from loadproof.config.problems import ConfigErrors, ConfigProblem, closest, listing
from loadproof.config.profiles import ProfileConfig, read_profile
from loadproof.config.requirements import read_requirements
from loadproof.config.rulesets import read_rule
from loadproof.config.schema import TABLES, EnvironmentTable, SuiteTable
from loadproof.config.shape import Source, validated
from loadproof.http import InvalidRequest, TargetPolicy, TargetRefused, TlsOptions
from loadproof.http.hosts import ascii_host
from loadproof.lockfile import Lock
from loadproof.rules.model import Rule
from loadproof.suite_loader import SuiteImportError, import_suite

CONFIG_NAME = "loadproof.toml"

CONFIG_BYTES_MAX = 1_000_000
"""Longest `loadproof.toml` that is read."""

Install = Callable[[Lock], Path]
"""Installs a suite's packages and returns the folder they are in."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class EnvironmentConfig:
    """The `[environment]` table. `max_rate` in 1/1000 requests per second over the whole fleet."""

    name: str = ""
    build: str = "dev"
    targets: tuple[str, ...] | None = None
    max_rate: int | None = None
    max_rate_text: str | None = None
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """A checked suite: everything that a plan is built from.

    `variables` are the environment's values that the suite refers to; `rows` the data of every dataset by name;
    `warnings` what is allowed and worth knowing, a line each; `requirements` the packages it needs, None for none.
    """

    folder: Path
    suite: Suite
    module: str
    environment: EnvironmentConfig
    profiles: dict[str, ProfileConfig]
    rules: tuple[Rule, ...]
    variables: dict[str, str] = field(repr=False)
    rows: dict[str, Rows[Any]] = field(repr=False)
    warnings: tuple[str, ...] = ()
    requirements: Lock | None = None

    @property
    def config_file(self) -> Path:
        """Return the path of `loadproof.toml`."""
        return self.folder / CONFIG_NAME

    @property
    def required_files(self) -> tuple[str, ...]:
        """Return the files no agent can do without, relative to the folder: configuration, module, lock and data."""
        lock = () if self.requirements is None else (self.requirements.file,)
        data = (dataset.path for dataset in self.suite.datasets.values())
        return (CONFIG_NAME, self.module, *lock, *data, *tls_files(self.suite, self.variables))

    def shown(self, file: str) -> str:
        """Return a file of the suite as messages show it."""
        return shown_path(self.folder, file)


def load_project(folder: Path, *, environ: Mapping[str, str], install: Install | None = None) -> Project:
    """Read, import and check the suite in `folder`. Raises ConfigErrors with every mistake found.

    `install` is asked for the suite's packages, where it needs any, before it is imported; what it raises is passed
    on. Without it the suite is imported with the packages this Python has, and a warning says so.
    """
    raw, source = _read_toml(folder)
    for key in raw:
        if key not in TABLES:
            suggestion = closest(key, TABLES)
            message = f'unknown key "{key}"'
            source.problem((key,), message if suggestion else f"{message}; there are: {listing(TABLES)}", suggestion)
    secrets = _secret_names(raw)
    used = _variables_in(raw)
    raw = source.filled(raw, dict(environ), secrets)
    settings = validated(SuiteTable, raw.get("suite", {}), ("suite",), source)
    environment = _read_environment(raw.get("environment", {}), source)
    module = "suite.py" if settings is None else settings.module
    wanted = None if settings is None else settings.requirements
    lock = None if wanted is None else read_requirements(folder, wanted, source)
    packages = install(lock) if install is not None and lock is not None else None
    suite = _read_suite(folder, module, source, wanted, packages)
    profiles, phases = _read_profiles(raw.get("profiles", {}), suite, source)
    rules = _read_rules(raw.get("rules", []), suite, phases, source)
    rows: dict[str, Rows[Any]] = {}
    if suite is not None:
        used |= _check_suite(suite, folder, secrets, environ, source)
        rows = _read_data(suite, folder, source)
    if source.problems or suite is None or environment is None:
        raise ConfigErrors(source.problems)
    _warn_without_data(rules, profiles, source)
    for name, line, text in never_awaited(folder):
        source.warnings.append(f"{shown_path(folder, name)}:{line}: {text}")
    _warn_of_refusals(suite, environment, environ, secrets, source)
    if lock is not None and packages is None:
        text = f"{lock.file} is not installed here: the suite was imported with the packages this Python has"
        source.warning(("suite", "requirements"), text)
    return Project(
        folder=folder,
        suite=suite,
        module=module,
        environment=environment,
        profiles=profiles,
        rules=rules,
        variables={name: environ[name] for name in sorted(used - secrets) if name in environ},
        rows=rows,
        warnings=tuple(source.warnings),
        requirements=lock,
    )


def shown_path(folder: Path, file: str) -> str:
    """Return `file`, relative to `folder` or inside it, as messages show it: the folder as the user wrote it."""
    path = Path(file)
    if path.is_absolute():
        resolved = folder.resolve()
        if not path.is_relative_to(resolved):
            return file
        path = path.relative_to(resolved)
    return (folder / path).as_posix()


def _read_toml(folder: Path) -> tuple[dict[str, Any], Source]:
    file = folder / CONFIG_NAME
    name = file.as_posix()
    try:
        if file.stat().st_size > CONFIG_BYTES_MAX:
            raise ConfigErrors([ConfigProblem(name, 0, f"is longer than {CONFIG_BYTES_MAX:,} bytes")])
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        message = "does not exist; a suite is a folder with this file (`loadproof init` makes one)"
        raise ConfigErrors([ConfigProblem(name, 0, message)]) from None
    except OSError as error:
        raise ConfigErrors([ConfigProblem(name, 0, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigErrors([ConfigProblem(name, 0, "is not UTF-8 text")]) from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = _toml_problem(str(error), text)
        raise ConfigErrors([ConfigProblem(name, line, f"is not TOML: {message}")]) from None
    return raw, Source(name, index_positions(text))


def _toml_problem(message: str, text: str) -> tuple[str, int]:
    """Return tomllib's message without its place, and the line: Python 3.11 tells it in words only."""
    match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if match is None:
        return message, 0
    return message[: match.start()], int(match.group(1)) if match.group(1) else text.count("\n") + 1


def _secret_names(raw: dict[str, Any]) -> set[str]:
    environment = raw.get("environment")
    secrets = environment.get("secrets") if isinstance(environment, dict) else None
    return {name for name in secrets if isinstance(name, str)} if isinstance(secrets, list) else set()


def _variables_in(value: Any) -> set[str]:
    """Return the names that texts anywhere in parsed TOML refer to; broken references are noted elsewhere."""
    if isinstance(value, dict):
        return set().union(*(_variables_in(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(_variables_in(item) for item in value))
    try:
        return set(references(value)) if isinstance(value, str) else set()
    except VariableError:
        return set()


def _read_environment(raw: Any, source: Source) -> EnvironmentConfig | None:
    table = validated(EnvironmentTable, raw, ("environment",), source)
    if not isinstance(raw, dict):
        return None
    secrets, targets = raw.get("secrets"), raw.get("targets")
    for number, name in enumerate(secrets if isinstance(secrets, list) else []):
        if isinstance(name, str) and not _VARIABLE.fullmatch(name):
            source.problem(("environment", "secrets", number), f'"{name}" is no name of an environment variable')
    for number, target in enumerate(targets if isinstance(targets, list) else []):
        if isinstance(target, str):
            _check_target(target, ("environment", "targets", number), source)
    if table is None:
        return None
    if table.max_rate == 0:
        source.problem(("environment", "max_rate"), "max_rate is zero: no request could ever be sent")
    return EnvironmentConfig(
        name=table.name,
        build=table.build,
        targets=None if table.targets is None else tuple(table.targets),
        max_rate=table.max_rate,
        max_rate_text=raw.get("max_rate"),
        secrets=tuple(table.secrets),
    )


def _check_target(target: str, path: tuple[str | int, ...], source: Source) -> None:
    if "://" in target:
        host = urlsplit(target).hostname or ""
        source.problem(path, f'"{target}" must be a host, not a URL', f'"{host}"' if host else None)
        return
    try:
        TargetPolicy((target,))
        named = bool(target.strip()) and "*" not in target.removeprefix("*.")
    except (ValueError, InvalidRequest):
        named = False
    if not named:
        source.problem(path, f'"{target}" is no host such as "shop.example.com", "*.example.com" or "10.0.0.0/8"')


def _read_suite(
    folder: Path, module: str, source: Source, requirements: str | None, packages: Path | None
) -> Suite | None:
    try:
        suite = import_suite(folder, module, packages)
    except SuiteImportError as error:
        if error.line == 0 and error.file == module and "exist" in error.message:
            suggestion = f'"{error.suggestion}"' if error.suggestion else None
            source.problem(("suite", "module"), f'the module "{module}" does not exist', suggestion)
        else:
            message = error.message
            if error.missing is not None and requirements is not None and packages is None:
                message += f"; where it is one of {requirements}'s packages, --allow-requirements installs them"
            file = shown_path(folder, error.file)
            source.problems.append(ConfigProblem(file, error.line, message, error.suggestion))
        return None
    if not suite.transactions:
        file = shown_path(folder, suite.file)
        source.problems.append(ConfigProblem(file, suite.line, "the suite declares no transaction"))
    return suite


def _read_profiles(
    raw: Any, suite: Suite | None, source: Source
) -> tuple[dict[str, ProfileConfig], dict[str, tuple[str, ...]]]:
    """Return the checked profiles, and the names of phases of every profile, broken ones too."""
    profiles: dict[str, ProfileConfig] = {}
    phases: dict[str, tuple[str, ...]] = {}
    if not isinstance(raw, dict) or not raw:
        source.problem(("profiles",), "there is no profile, such as [profiles.smoke] with arrivals")
        return profiles, phases
    for name, table in raw.items():
        profile = read_profile(name, table, suite, source)
        phases[name] = () if profile is None else tuple(phase.name for phase in profile.phases)
        if profile is not None:
            profiles[name] = profile
    return profiles, phases


def _read_rules(raw: Any, suite: Suite | None, phases: dict[str, tuple[str, ...]], source: Source) -> tuple[Rule, ...]:
    if not isinstance(raw, list):
        source.problem(("rules",), "rules are a list of tables: write [[rules]]", "[[rules]]")
        return ()
    rules = [read_rule(number, item, suite, phases, source) for number, item in enumerate(raw)]
    return tuple(rule for rule in rules if rule is not None)


def _warn_without_data(rules: tuple[Rule, ...], profiles: dict[str, ProfileConfig], source: Source) -> None:
    """A rule on a transaction that a profile does not run has no data there, and then nothing is proven."""
    for number, rule in enumerate(rules):
        if rule.transaction in {None, "*"}:
            continue
        for name in profiles if rule.profiles is None else rule.profiles:
            profile = profiles[name]
            phases = {phase.name for phase in profile.phases}
            if rule.transaction not in profile.weights and (rule.phase is None or rule.phase in phases):
                text = f'profile "{name}" does not run "{rule.transaction}": the rule has no data there'
                source.warning(("rules", number), text)


def _warn_of_refusals(
    suite: Suite, environment: EnvironmentConfig, environ: Mapping[str, str], secrets: set[str], source: Source
) -> None:
    """A base_url outside of the targets is allowed, as requests may name other hosts, but hardly ever meant."""
    if not suite.base_url or set(references(suite.base_url)) & secrets:
        return
    parts = urlsplit(suite.resolved_base_url(environ))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        TargetPolicy(environment.targets).check(ascii_host(parts.hostname or ""), port)
    except TargetRefused:
        text = f'the suite\'s base_url is at "{parts.hostname}", which is not among them: requests there are refused'
        source.warning(("environment", "targets"), text)


def _check_suite(suite: Suite, folder: Path, secrets: set[str], environ: Mapping[str, str], source: Source) -> set[str]:
    """Note what is wrong in the suite's own texts; return the variables they refer to."""
    file = shown_path(folder, suite.file)
    used: set[str] = set()
    for text in (suite.base_url, *suite.headers.values(), *suite.tls.texts):
        try:
            found = references(text)
        except VariableError as error:
            source.problems.append(ConfigProblem(file, suite.line, str(error)))
            continue
        used |= set(found)
        for name, optional in found.items():
            if not optional and name not in secrets and not environ.get(name):
                message = f"the environment variable {name} is not set"
                source.problems.append(ConfigProblem(file, suite.line, message, closest(name, secrets)))
    if suite.base_url and not set(references_or_none(suite.base_url)) & secrets:
        _check_base_url(suite, environ, file, source)
    _check_tls(suite, folder, {name: text for name, text in environ.items() if name not in secrets}, file, source)
    for entry in suite.transactions.values():
        if not entry.awaits:
            place = f"{shown_path(folder, entry.file)}:{entry.line}"
            text = f"transaction {entry.name!r} never awaits: what it does holds up every other user of its worker"
            source.warnings.append(f"{place}: {text}")
    return used


def tls_files(suite: Suite, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files that the suite's `tls` names, relative to its folder; absolute paths are each machine's own."""
    found: list[str] = []
    for text in suite.tls.paths:
        with contextlib.suppress(VariableError):  # a secret: it holds the text itself
            found += TlsOptions(ca_file=fill(text, variables)).paths
    return tuple(path for path in found if not Path(path).is_absolute())


def _check_tls(suite: Suite, folder: Path, environ: Mapping[str, str], file: str, source: Source) -> None:
    for path in tls_files(suite, environ):
        if ".." in Path(path).parts:
            message = (
                f"tls: {path} is outside the suite's folder, so agents do not get it; move it in, or pass a secret"
            )
            source.problems.append(ConfigProblem(file, suite.line, message))
        elif not (folder / path).is_file():
            message = f"tls: {folder / path} does not exist; paths are relative to the suite's folder"
            source.problems.append(ConfigProblem(file, suite.line, message))
    if not suite.tls.verify:
        text = "tls: verify=False takes any server for the one under test; a `ca_file` tells them apart"
        source.warnings.append(f"{file}:{suite.line}: {text}")


def references_or_none(text: str) -> dict[str, bool]:
    """Return `references(text)`, or nothing where one of them is broken."""
    try:
        return references(text)
    except VariableError:
        return {}


def _check_base_url(suite: Suite, environ: Mapping[str, str], file: str, source: Source) -> None:
    try:
        url = suite.resolved_base_url(environ)
        parts = urlsplit(url)
        _ = parts.port
        if parts.hostname:
            ascii_host(parts.hostname)
    except VariableError:
        return
    except ValueError as error:
        text = error.message if isinstance(error, InvalidRequest) else str(error)
        source.problems.append(ConfigProblem(file, suite.line, f"base_url {suite.base_url!r}: {text}"))
        return
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        suggestion = f'"http://{url}"' if "://" not in url else None
        message = f'base_url "{url}" must begin with http:// or https:// and name a host'
        source.problems.append(ConfigProblem(file, suite.line, message, suggestion))


def _read_data(suite: Suite, folder: Path, source: Source) -> dict[str, Rows[Any]]:
    rows: dict[str, Rows[Any]] = {}
    for name, dataset in suite.datasets.items():
        try:
            rows[name] = dataset.load(folder, count_alike=True)
        except DatasetError as error:
            for problem in (error, *error.others):
                if problem.line:
                    place = ConfigProblem(shown_path(folder, problem.file), problem.line, problem.message)
                else:
                    where = shown_path(folder, dataset.file)
                    place = ConfigProblem(where, dataset.line, f'dataset "{name}": {problem.file} {problem.message}')
                source.problems.append(place)
    return rows
