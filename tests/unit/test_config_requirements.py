"""`[suite] requirements`: its mistakes are the configuration's, its packages are there before the suite is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadproof.bundle import build_bundle
from loadproof.config import ConfigErrors, load_project, run_spec
from loadproof.lockfile import Lock
from loadproof.plan.spec import spec_from_dict
from suite_folders import SUITE, TOML, write_suite

HASH = "sha256:" + "ab" * 32
LOCK = f"parcelcodes==1.0 --hash={HASH}\n"
WITH_LOCK = TOML.replace('module = "suite.py"\n', 'module = "suite.py"\nrequirements = "requirements.lock"\n')
NEEDS_IT = SUITE.replace("from loadproof", "import parcelcodes_of_tests\nfrom loadproof", 1)


def told(folder: Path, **options: object) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load_project(folder, environ={}, **options)
    return str(caught.value).replace(f"{folder.as_posix()}/", "").splitlines()


def test_mistakes_of_the_lock_have_its_name_and_line(tmp_path: Path) -> None:
    """They stand beside those of the other files, each with what was probably meant."""
    folder = write_suite(
        tmp_path, toml=WITH_LOCK + "\nsped = 1\n", requirements_DOT_lock=f"parcelcodes>=1\n{LOCK}-e .\n"
    )
    assert told(folder) == [
        'loadproof.toml:9: unknown key "sped" in [profiles.smoke] (did you mean "seed"?)',
        'requirements.lock:1: "parcelcodes>=1" is not pinned to one version with == (did you mean "parcelcodes==1"?)',
        'requirements.lock:3: "-e": an editable install has no hash; keep such code in the suite\'s folder',
    ]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("requirement.lock", 'does not exist (did you mean "requirements.lock"?)'),
        ("../requirements.lock", "must be a file inside the suite's folder"),
        ("/etc/passwd", "must be a file inside the suite's folder"),
        ("", "must be a file inside the suite's folder"),
        ("out.lock", "leads out of the suite's folder"),
        ("data", "cannot be read"),
    ],
)
def test_the_lock_is_a_file_of_the_suite(tmp_path: Path, file: str, words: str) -> None:
    """Agents get it with the suite, so it must lie in its folder."""
    folder = write_suite(tmp_path / "suite", toml=WITH_LOCK.replace("requirements.lock", file))
    (folder / "requirements.lock").write_text(LOCK)
    (tmp_path / "outside.lock").write_text(LOCK)
    (folder / "out.lock").symlink_to(tmp_path / "outside.lock")
    (line,) = told(folder)
    assert line.startswith("loadproof.toml:4: ")
    assert words in line


def test_the_lock_travels_and_is_named_to_agents(tmp_path: Path) -> None:
    """In the bundle also where git ignores it, in the spec by name; a spec of an older version has none."""
    project = load_project(write_suite(tmp_path, toml=WITH_LOCK, requirements_DOT_lock=LOCK), environ={})
    assert "requirements.lock" in project.required_files
    assert "requirements.lock" in build_bundle(project.folder, project.required_files).files
    data = run_spec(project).to_dict()
    assert spec_from_dict(data).requirements == "requirements.lock"
    del data["requirements"]
    assert spec_from_dict(data).requirements is None


def test_without_an_installation_the_suite_is_imported_with_what_is_there(tmp_path: Path) -> None:
    """A warning says so; where a module is missing, the mistake says what would install it."""
    fine = write_suite(tmp_path / "fine", toml=WITH_LOCK, requirements_DOT_lock=LOCK)
    (warning,) = load_project(fine, environ={}).warnings
    assert "loadproof.toml:4: requirements.lock is not installed here" in warning
    suite = NEEDS_IT.replace("_of_tests", "_of_nobody")
    missing = write_suite(tmp_path / "missing", toml=WITH_LOCK, suite=suite, requirements_DOT_lock=LOCK)
    (line,) = told(missing)
    assert "No module named 'parcelcodes_of_nobody'" in line
    assert "--allow-requirements installs them" in line


def test_packages_are_installed_before_the_import_and_come_behind_everything_else(tmp_path: Path) -> None:
    """The suite gets its package and still the json of Python, its own modules last."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "parcelcodes_of_tests.py").write_text("WHERE = 'package'\n")
    (packages / "json.py").write_text("1 / 0\n")
    (packages / "loadproof.py").write_text("1 / 0\n")
    suite = NEEDS_IT + "\nimport json\nassert parcelcodes_of_tests.WHERE == 'package'\nassert json.dumps\n"
    folder = write_suite(tmp_path / "suite", toml=WITH_LOCK, suite=suite, requirements_DOT_lock=LOCK)
    (folder / "parcelcodes_of_tests.py").write_text("WHERE = 'suite'\n")
    asked: list[Lock] = []

    def install(lock: Lock) -> Path:
        asked.append(lock)
        return packages

    project = load_project(folder, environ={}, install=install)
    assert [entry.name for entry in asked[0].requirements] == ["parcelcodes"]
    assert project.requirements == asked[0]
    assert project.warnings == ()


def test_a_broken_lock_is_not_installed(tmp_path: Path) -> None:
    """Nobody is asked to install what is not fixed."""
    folder = write_suite(tmp_path, toml=WITH_LOCK, requirements_DOT_lock="parcelcodes\n")

    def install(lock: Lock) -> Path:
        raise AssertionError(lock)

    (line,) = told(folder, install=install)
    assert "is not pinned" in line
