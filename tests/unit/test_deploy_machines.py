"""systemd units, the cloud-init example and the list of hosts of the ssh launcher."""

from __future__ import annotations

import configparser
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tree import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
FLEET = runpy.run_path(str(ROOT / "deploy" / "ssh" / "fleet.py"), run_name="fleet_script")
EXPOSURE_MAX = 2.0


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: Any, tmp_path: Path) -> Path:
    """A unit whose program is there, as it would be where it is installed."""
    copy = tmp_path / str(request.param.name)
    copy.write_text(
        request.param.read_text().replace("/opt/loadproof/bin/loadproof", shutil.which("true") or "/bin/true")
    )
    return copy


def analyzed(*words: str) -> str:
    command = shutil.which("systemd-analyze")
    if command is None:
        pytest.skip("no systemd-analyze")
    done = subprocess.run([command, *words], capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr or "Unknown" in done.stderr:
        pytest.skip("this systemd-analyze is too old")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_takes_the_units_without_a_complaint(unit: Path) -> None:
    """`systemd-analyze verify` says nothing about them."""
    assert unit.name not in analyzed("verify", str(unit))


def test_the_units_are_hardened(unit: Path) -> None:
    """`systemd-analyze security` rates their exposure as OK: 2.0 or less of 10."""
    found = re.search(r"exposure level for \S+: ([\d.]+)", analyzed("security", "--offline=true", str(unit)))
    assert found
    assert float(found[1]) <= EXPOSURE_MAX


def test_the_units_name_options_there_are() -> None:
    """Each command line in a unit is one that `loadproof` understands, and wrong usage is not tried again."""
    for path in UNITS:
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string(path.read_text())
        name = path.stem.removeprefix("loadproof-")
        line = parser["Service"]["ExecStart"]
        assert line.startswith(f"/opt/loadproof/bin/loadproof {name} ")
        text = subprocess.run(
            [sys.executable, "-c", "from loadproof_cli.main import entry; entry()", name, "--help"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert all(option in text for option in re.findall(r"--[a-z-]+", line))
        assert parser["Service"]["RestartPreventExitStatus"] == "2"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_s_options_come_from_its_environment_file(path: Path) -> None:
    """Empty unless set there, and after those of the unit; the unit's example names options there are."""
    name = path.stem.removeprefix("loadproof-")
    variable = f"LOADPROOF_{name.upper()}_OPTIONS"
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(path.read_text())
    assert parser["Service"]["ExecStart"].endswith(f" ${variable}")
    assert f"{variable}=" in path.read_text().partition("Environment=")[2].partition("\n")[0].split()
    assert parser["Service"]["EnvironmentFile"].lstrip("-") == f"/etc/loadproof/{name}.env"
    example = re.search(rf"^#   {variable}=(.+)$", path.read_text(), re.MULTILINE)
    assert example
    text = subprocess.run(
        [sys.executable, "-c", "from loadproof_cli.main import entry; entry()", name, "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert all(option in text for option in re.findall(r"--[a-z-]+", example[1]))


def test_the_controller_s_unit_lets_uploaded_suites_be_confined() -> None:
    """The calls that shut the reader of an upload off from the controller's files are not among those refused."""
    text = (ROOT / "deploy" / "systemd" / "loadproof-controller.service").read_text()
    allowed = set(" ".join(re.findall(r"^SystemCallFilter=([^~].*)$", text, re.MULTILINE)).split())
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= allowed


def test_cloud_init_brings_the_unit_word_for_word() -> None:
    """The example is cloud-config, its unit is the one in deploy/systemd, and the token is readable by root alone."""
    text = (ROOT / "deploy/cloud-init/agent.yaml").read_text()
    assert text.startswith("#cloud-config\n")
    files = {each["path"]: each for each in yaml.safe_load(text)["write_files"]}
    unit = (ROOT / "deploy/systemd/loadproof-agent.service").read_text()
    assert files["/etc/systemd/system/loadproof-agent.service"]["content"].rstrip() == unit.rstrip()
    assert files["/etc/loadproof/join"]["permissions"] == "0600"


def test_a_list_of_hosts_is_read(tmp_path: Path) -> None:
    """Comments and empty lines are skipped; options follow the host and may be quoted."""
    path = tmp_path / "hosts.txt"
    path.write_text("# two\none\n\nuser@two --workers 4 --label 'pool=a b'\n")
    hosts = FLEET["read_hosts"](path)
    assert [(host.destination, host.options) for host in hosts] == [
        ("one", ()),
        ("user@two", ("--workers", "4", "--label", "pool=a b")),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 hosts"),
        ("--workers 2\n", "1: a line starts with a host"),
        ("a\na\n", "2: a is listed twice"),
        ("a 'b\n", "1:"),
    ],
)
def test_a_wrong_list_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    """Line and reason are said, the code is 2, and no host is asked."""
    path = tmp_path / "hosts.txt"
    path.write_text(text)
    assert FLEET["main"](["status", str(path)]) == 2
    assert words in capsys.readouterr().err


def test_start_needs_a_controller_and_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without them nothing is started, with code 2."""
    path = tmp_path / "hosts.txt"
    path.write_text("one\n")
    assert FLEET["main"](["start", str(path)]) == 2
    assert "--controller" in capsys.readouterr().err
