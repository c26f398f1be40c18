"""Importing a suite's module apart from everything else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loadproof.suite_loader import SuiteImportError, import_suite

SUITE = 'from loadproof._suite import Suite\nsuite = Suite("{name}")\n'


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def failure(folder: Path, module: str = "suite.py") -> SuiteImportError:
    with pytest.raises(SuiteImportError) as caught:
        import_suite(folder, module)
    return caught.value


def test_a_suite_imports_its_own_modules(tmp_path: Path) -> None:
    """Its folder is on the path while it is the suite."""
    write(tmp_path, suite="from steps import NAME\n" + SUITE.format(name="x") + "assert NAME\n", steps="NAME = 'a'\n")
    assert import_suite(tmp_path, "suite.py").name == "x"


def test_suites_with_modules_of_one_name_do_not_meet(tmp_path: Path) -> None:
    """The second gets its own helper, not the first one's."""
    for name in ("one", "two"):
        text = "from steps import NAME\nfrom loadproof._suite import Suite\nsuite = Suite(NAME)\n"
        write(tmp_path / name, suite=text, steps=f"NAME = '{name}'\n")
    assert [import_suite(tmp_path / name, "suite.py").name for name in ("one", "two", "one")] == ["one", "two", "one"]


def test_a_suite_cannot_replace_an_installed_module(tmp_path: Path) -> None:
    """The folder comes last on the path, so `import json` stays what it is."""
    text = "import json\nassert hasattr(json, 'loads')\n" + SUITE.format(name="x")
    import_suite(write(tmp_path, suite=text, json="1 / 0\n"), "suite.py")
    assert str(tmp_path) == sys.path[-1]


def test_rows_of_a_module_s_own_dataclasses_can_be_resolved(tmp_path: Path) -> None:
    """Annotations kept as texts are looked up in the module, so it must be registered."""
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from loadproof._suite import Suite\nsuite = Suite('x')\n"
        "@dataclass\nclass Inner:\n    a: int\n@dataclass\nclass Row:\n    b: Inner | None = None\n    c: int = 0\n"
        "rows = suite.dataset('rows', 'rows.csv', row=Row)\n"
    )
    write(tmp_path, suite=text)
    (tmp_path / "rows.csv").write_text("c\n4\n")
    assert import_suite(tmp_path, "suite.py").datasets["rows"].load(tmp_path).rows[0].c == 4


def test_a_module_in_a_sub_folder_works(tmp_path: Path) -> None:
    """Both its own folder and the suite's are on the path."""
    write(tmp_path, top="A = 1\n")
    write(tmp_path / "tests", suite="import top, beside\n" + SUITE.format(name="x"), beside="")
    assert import_suite(tmp_path, "tests/suite.py").name == "x"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("x = 1\n\ndef f(:\n", 3, "SyntaxError"),
        ("import os\n\nraise RuntimeError('bang\\nmore')\n", 3, "RuntimeError: bang"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("import nosuchmodule\n", 1, "ModuleNotFoundError"),
        ("def f():\n    1 / 0\n\nf()\n", 2, "ZeroDivisionError"),
        ("x = 1\n", 0, "holds no suite"),
        ("from loadproof._suite import Suite\na = Suite('a')\nb = Suite('b')\n", 0, "several suites"),
        ("from loadproof._suite import Suite\nsuite = Suite('a')\n\nsuite.dataset('a', 3)\n", 4, "path must be a text"),
    ],
)
def test_what_fails_is_told_with_the_suite_s_own_line(tmp_path: Path, text: str, line: int, expected: str) -> None:
    """Not the line of the importer, and nothing a suite does ends the program."""
    error = failure(write(tmp_path, suite=text))
    assert (error.file, error.line) == ("suite.py", line)
    assert expected in error.message
    assert "\n" not in error.message


def test_a_failure_in_a_helper_names_the_helper(tmp_path: Path) -> None:
    """The innermost frame inside the folder, and a near name for a module that is not there."""
    error = failure(write(tmp_path, suite="import steps\n", steps="x = 1\nimport stps\n"))
    assert (error.file, error.line, error.suggestion) == ("steps.py", 2, "steps")


def test_only_files_of_the_folder_are_modules(tmp_path: Path) -> None:
    """Neither a missing file nor one elsewhere."""
    write(tmp_path / "in", suite="")
    write(tmp_path, other=SUITE)
    assert failure(tmp_path / "in", "suit.py").suggestion == "suite.py"
    assert "inside its folder" in failure(tmp_path / "in", "../other.py").message
    assert "inside its folder" in failure(tmp_path / "in", "suite").message


def test_two_transactions_of_one_name_are_a_failure_at_the_second(tmp_path: Path) -> None:
    """With both places."""
    text = SUITE.format(name="x") + (
        "@suite.transaction('A')\nasync def a(user): ...\n@suite.transaction('A')\nasync def b(user): ...\n"
    )
    error = failure(write(tmp_path, suite=text))
    assert error.line == 5
    assert "suite.py:3" in error.message


@pytest.fixture(autouse=True)
def _clean_modules():
    """Leave path and module cache as they were."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if "pytest-of" in origin:
            del sys.modules[name]
