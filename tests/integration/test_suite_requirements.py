"""Suites with packages, from the command line: real pip, real agents, over a local socket and over TLS."""

from __future__ import annotations

import hashlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service_mode import Deployment, Service, deployed, until
from shop_cli import loadproof, loadproof_here, run_json, write_suite
from wheels import locked, make_wheel, only_from

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("load")]

SUITE = """
import json

import parcel
from loadproof import Suite

suite = Suite("Parcels")
assert parcel.CODE == "p1"
assert json.dumps({}) == "{}"


@suite.transaction("Pack")
async def pack(user) -> None:
    import loadproof.http  # ours, although the package brings one of that name

    async with user.step("Label"):
        user.check("the package's function", parcel.label(7) == "p1-7")
    await user.think(0)
"""
LATE = """
from loadproof import Suite

suite = Suite("Parcels")


@suite.transaction("Pack")
async def pack(user) -> None:
    import parcel

    user.check("the package's function", parcel.label(7) == "p1-7")
    await user.think(0)
"""
TOML = """
[suite]
requirements = "requirements.lock"

[profiles.smoke]
arrivals = [{ rate = "20/s", for = "1s" }]
"""
FILES = {
    "parcel/__init__.py": "CODE = 'p1'\n\n\ndef label(number):\n    return f'{CODE}-{number}'\n",
    "json/__init__.py": "raise RuntimeError('Python has a json')\n",
    "loadproof/__init__.py": "raise RuntimeError('Loadproof is not a package of a suite')\n",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("wheels"), "parcel", "1.0", FILES)


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A controller with one agent that may install packages and one that may not."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in only_from(wheel.parent).items():
            patch.setenv(name, value)
        agents = {"free": ["--label", "may=yes", "--allow-requirements"], "strict": ["--label", "may=no"]}
        with deployed(tmp_path_factory.mktemp("service"), agents) as deployment:
            yield deployment


def parcels(folder: Path, wheel: Path, *, suite: str = SUITE, wrong: bool = False) -> Path:
    lock = locked(wheel, wrong=wrong)
    return write_suite(folder / "suite", toml=TOML, suite=suite, files={"requirements.lock": lock})


def environment(wheel: Path, folder: Path) -> dict[str, str]:
    return {**only_from(wheel.parent), "XDG_CACHE_HOME": str(folder / "cache")}


def test_a_local_run_with_packages(wheel: Path, tmp_path: Path) -> None:
    """Two agents run it, nothing of ours is shadowed, and the lock is named in run.json and the report."""
    suite, env = parcels(tmp_path, wheel), environment(wheel, tmp_path)
    done = loadproof(
        "run", suite, "--agents", "2", "--workers", "1", "--out", "out", "--no-record", "--allow-requirements",
        cwd=tmp_path, env=env,
    )  # fmt: skip
    assert done.code in {0, 3}, done  # on a busy machine the evidence may be weak
    lock = hashlib.sha256((suite / "requirements.lock").read_bytes()).hexdigest()
    report = run_json(tmp_path / "out")
    assert report["bundle"]["requirements_sha256"] == lock
    assert report["delivery"]["completed"] > 0
    assert report["transactions"][0]["failed"] == 0
    for name in ("report.md", "report.html"):
        assert lock[:16] in (tmp_path / "out" / name).read_text(encoding="utf-8")
    (installed,) = (tmp_path / "cache/loadproof/packages").glob("*/site-packages/parcel")
    assert installed.is_dir()

    tried = loadproof("try", suite, "--allow-requirements", cwd=tmp_path, env=env)
    assert (tried.code, "holds  the package's function" in tried.out) == (0, True), tried
    checked = loadproof("check", suite, "--allow-requirements", cwd=tmp_path, env=env)
    assert (checked.code, "nothing wrong" in checked.out) == (0, True), checked


def test_nothing_is_installed_unasked(wheel: Path, tmp_path: Path) -> None:
    """A run here is refused; check and try use what this Python has, and say what would help."""
    env = environment(wheel, tmp_path)
    needed = parcels(tmp_path / "needed", wheel)
    for command in ("check", "try", "run"):
        done = loadproof_here(command, needed, cwd=tmp_path, env=env)
        assert done.code == 2, done
        assert "No module named 'parcel'" in done.err
        assert "--allow-requirements installs them" in done.err
    late = parcels(tmp_path / "late", wheel, suite=LATE)
    checked = loadproof_here("check", late, cwd=tmp_path, env=env)
    assert (checked.code, "is not installed here" in checked.err) == (0, True), checked
    refused = loadproof_here("run", late, cwd=tmp_path, env=env)
    assert refused.code == 2
    assert "local agents install none unasked; nothing was started" in refused.err
    assert not (tmp_path / "cache").exists()


def test_packages_that_cannot_be_installed_here_end_a_command(wheel: Path, tmp_path: Path) -> None:
    """With pip's last lines, exit code 5, and nothing left."""
    suite = parcels(tmp_path, wheel, wrong=True)
    for command in ("check", "run"):
        env = environment(wheel, tmp_path)
        done = loadproof_here(command, suite, "--allow-requirements", cwd=tmp_path, env=env)
        assert done.code == 5, done
        assert "Nothing was started" in done.err
        assert "Traceback" not in done.err
    assert not list((tmp_path / "cache").glob("loadproof/packages/*/site-packages"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_installation_can_be_interrupted(wheel: Path, tmp_path: Path, number: signal.Signals) -> None:
    """An index that says nothing is left at once; pip is gone, and nothing half installed is left."""
    suite = parcels(tmp_path, wheel)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {
            "PIP_INDEX_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/simple",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        command = Service(["check", str(suite), "--allow-requirements"], tmp_path / "check.log", env)
        here = psutil.Process(command.process.pid)
        until(lambda: any("pip" in child.cmdline() for child in here.children()), command.text)
        pips = here.children(recursive=True)
        assert command.end(number) == 4, command.text()
    assert "interrupted" in command.text()
    assert not [pip for pip in pips if pip.is_running()]
    assert [path.name for path in (tmp_path / "cache/loadproof/packages").iterdir()] == ["lock"]


def test_each_agent_s_operator_decides(place: Deployment, wheel: Path, tmp_path: Path) -> None:
    """The agent that may not install says so in prepare, by name; the one that may runs the suite."""
    suite = parcels(tmp_path, wheel, suite=LATE)
    run = ("run", suite, "--no-record", "--label")
    refused = loadproof(*run, "may=no", "--out", "no", cwd=tmp_path, env=place.operator)
    assert refused.code == 5, refused
    assert "agent strict cannot run the suite: requirements: the suite needs the packages of" in refused.err
    assert "start it with --allow-requirements" in refused.err
    done = loadproof(*run, "may=yes", "--out", "yes", cwd=tmp_path, env=place.operator)
    assert done.code in {0, 3}, done  # on a busy machine the evidence may be weak
    assert run_json(tmp_path / "yes")["transactions"][0]["failed"] == 0


def test_an_agent_that_cannot_install_names_pip_s_reason(place: Deployment, wheel: Path, tmp_path: Path) -> None:
    """The run has loaded nothing, and its submitter reads what pip said on the agent."""
    suite = parcels(tmp_path, wheel, suite=LATE, wrong=True)
    failed = loadproof("run", suite, "--no-record", "--label", "may=yes", cwd=tmp_path, env=place.operator)
    assert failed.code == 5, failed
    assert "agent free cannot run the suite: requirements: pip could not install requirements.lock" in failed.err
    assert "Got" in failed.err
