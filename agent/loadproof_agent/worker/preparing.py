"""From a bundle's folder to functions and rows: imports the suite and holds it against the plan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadproof import Suite
from loadproof._dataset import DatasetError
from loadproof._errors import LoadproofError
from loadproof._suite import TransactionDefinition
from loadproof.http import TlsOptions
from loadproof.plan import Plan, RunSpec
from loadproof.suite_loader import SuiteImportError, import_suite
from loadproof_agent.pipe.messages import Problem


@dataclass(slots=True)
class Prepared:
    """A suite that fits the plan: `definitions` by the plan's order, `rows` by dataset, client settings resolved."""

    suite: Suite
    definitions: list[TransactionDefinition]
    rows: dict[str, list[Any]]
    base_url: str
    headers: dict[str, str]
    tls: TlsOptions


def prepare(
    folder: Path, plan: Plan, spec: RunSpec, secrets: Mapping[str, str], packages: Path | None = None
) -> Prepared | list[Problem]:
    """Import the suite in `folder` and return it ready to run, or all that is wrong with it.

    `packages` holds what was installed for it; it comes behind this Python's own.
    Variables and secrets become environment variables of this process, so that the suite's own code sees them.
    """
    os.environ.update({**spec.variables, **secrets})
    try:
        suite = import_suite(folder, spec.module, packages)
    except SuiteImportError as error:
        return [Problem("suite.import", str(error), getattr(error, "detail", ""))]
    problems: list[Problem] = []
    definitions = _definitions(suite, plan, problems)
    rows = _rows(suite, plan, folder, problems)
    base_url, headers, tls = "", {}, TlsOptions()
    try:
        base_url = suite.resolved_base_url(spec.variables, secrets)
        headers = suite.resolved_headers(spec.variables, secrets)
        tls = suite.resolved_tls(folder, spec.variables, secrets)
        tls.context()  # what is wrong with its files is found before any load
    except LoadproofError as error:
        problems.append(Problem("suite.variables", str(error)))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        problems.append(Problem("suite.tls", f"the suite's TLS files can't be used: {error}"))
    if problems:
        return problems
    return Prepared(suite, definitions, rows, base_url, headers, tls)


def _definitions(suite: Suite, plan: Plan, problems: list[Problem]) -> list[TransactionDefinition]:
    found: list[TransactionDefinition] = []
    for transaction in plan.transactions:
        definition = suite.transactions.get(transaction.name)
        if definition is None:
            problems.append(Problem("plan.transaction", f"the suite has no transaction {transaction.name!r}"))
            continue
        drawn = None if definition.data is None else definition.data.name
        if drawn != transaction.dataset:
            text = f"transaction {transaction.name!r} draws from {drawn!r}, in the plan from {transaction.dataset!r}"
            problems.append(Problem("plan.transaction", text))
        found.append(definition)
    return found


def _rows(suite: Suite, plan: Plan, folder: Path, problems: list[Problem]) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {}
    for planned in plan.datasets:
        dataset = suite.datasets.get(planned.name)
        if dataset is None:
            problems.append(Problem("plan.dataset", f"the suite has no dataset {planned.name!r}"))
            continue
        try:
            loaded = dataset.load(folder)
        except DatasetError as error:
            problems.append(Problem("dataset", str(error)))
            continue
        if loaded.sha256 != planned.sha256 or len(loaded.rows) != planned.rows:
            text = f"dataset {planned.name!r} is not the one of the plan: its file differs ({len(loaded.rows)} rows)"
            problems.append(Problem("plan.dataset", text))
            continue
        rows[planned.name] = loaded.rows
    return rows
