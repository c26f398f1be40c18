"""The reference of `loadproof.toml` is the schema's: every key is explained and every example is accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadproof.config import build_plan, load_project
from loadproof.config.schema import (
    ArrivalTable,
    EnvironmentTable,
    ProfileTable,
    RuleTable,
    SuiteTable,
    Table,
    UserTable,
    WaiverTable,
)
from loadproof.config.shape import keys_of
from loadproof.rules import parse_require
from suite_folders import SUITE, TOML, write_suite

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [SuiteTable, EnvironmentTable, ProfileTable, ArrivalTable, UserTable, RuleTable])
def test_every_key_is_explained(table: type[Table]) -> None:
    """A row of a table of the page names it."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|")]
    documented = set(re.findall(r"`([a-z_]+)`", "".join(rows)))
    assert set(keys_of(table)) <= documented


def test_the_waiver_s_keys_are_explained() -> None:
    """They stand in one row."""
    assert all(f"{key} =" in PAGE for key in keys_of(WaiverTable))


def test_every_example_is_accepted(tmp_path: Path) -> None:
    """All TOML of the page in one file, beside a suite with the transactions it names."""
    toml = TOML + "\n".join(re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL))
    suite = SUITE.replace('"Search"', '"Search and open product details"')
    project = load_project(write_suite(tmp_path, toml=toml, suite=suite), environ={})
    assert build_plan(project, "release").phases
    assert len(project.rules) == 4


def test_every_requirement_on_the_page_parses() -> None:
    """Also those in running text and tables."""
    found = re.findall(r'`"([a-z][a-z0-9_. ]* (?:<=|>=|<|>) [^"]+)"`', PAGE)
    assert len(found) >= 6
    for text in found:
        parse_require(text)
