"""The rooms' import directions, the wire's generated code and the versions it needs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tree


def project() -> dict[str, object]:
    return tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirement_floors(requirements: list[str]) -> dict[str, str]:
    found = (re.match(r"([\w.-]+)(?:\[\w+\])?\s*(?:>=|==)\s*([\d.]+)", text) for text in requirements)
    return {match[1].lower(): match[2] for match in found if match}


def generator_versions() -> tuple[str, str]:
    generated = tree.ROOT / "proto/python/loadproof_proto/v1"
    grpc = re.search(
        r"GRPC_GENERATED_VERSION = '([\d.]+)'", (generated / "agent_pb2_grpc.py").read_text(encoding="utf-8")
    )
    proto = re.search(r"# Protobuf Python Version: ([\d.]+)", (generated / "agent_pb2.py").read_text(encoding="utf-8"))
    assert grpc
    assert proto
    return grpc[1], proto[1]


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.mark.timeout(400)
def test_imports_point_one_way() -> None:
    """The import contracts of pyproject.toml hold."""
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=tree.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_wire_modules_know_the_generated_messages() -> None:
    """In agent and controller one module each, `_wire.py`, imports the generated code."""
    for name, path in tree.product_modules().items():
        if name.startswith("loadproof_proto") or path.name == "_wire.py":
            continue
        used = [found for found in tree.imported_names(path, name) if found.split(".")[0] == "loadproof_proto"]
        assert not used, path


GRPC_MODULES = {
    "loadproof_agent.uplink": "the agent's stream",
    "loadproof_agent.enrolment": "how an agent gets its certificate",
    "loadproof_agent.relay.uplink": "a relay's stream to its controller",
    "loadproof_agent.relay.server": "the port where a relay's agents attach",
    "loadproof_controller.service": "the agents' port",
    "loadproof_controller.relays.server": "relays' end of the agents' port",
    "loadproof_controller.operations.server": "the port for people",
    "loadproof_controller.operations.guard": "who may call what, on both",
    "loadproof_controller.operations.client": "the other end of the port for people",
}
"""Module -> the one side of the wire it is. Each maps gRPC's statuses to our errors."""


def test_only_the_ends_of_the_wire_import_grpc() -> None:
    """gRPC's names stay in the modules that are ends of the wire."""
    users = {
        name
        for name, path in tree.product_modules().items()
        if not name.startswith("loadproof_proto")
        and "grpc" in {imported.split(".")[0] for imported in tree.imported_names(path, name)}
    }
    assert users == set(GRPC_MODULES)


def test_generated_code_is_current(tmp_path: Path) -> None:
    """Generating the wire's code anew changes nothing."""
    command = [sys.executable, "proto/generate.py", str(tmp_path)]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run(command, cwd=tree.ROOT, check=True, env=environment, capture_output=True)
    fresh = tmp_path / "loadproof_proto" / "v1"
    stored = tree.ROOT / "proto/python/loadproof_proto/v1"
    assert {path.name for path in fresh.iterdir()} == {path.name for path in stored.iterdir() if path.is_file()}
    for path in fresh.iterdir():
        assert path.read_text(encoding="utf-8") == (stored / path.name).read_text(encoding="utf-8"), (
            f"{path.name}: run `make proto`"
        )


def test_floors_are_the_generators_versions() -> None:
    """Generated code refuses older runtimes, so the dependency floors are the generator's versions."""
    floors = requirement_floors(project()["project"]["dependencies"])  # type: ignore[index]
    grpc, protobuf = generator_versions()
    assert number(floors["grpcio"]) == number(grpc)
    assert number(floors["protobuf"]) == number(protobuf)


def test_constraints_cover_every_requirement_with_versions_only() -> None:
    """constraints.txt pins every direct requirement, holds no address, and lies within pyproject's floors."""
    text = (tree.ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    pins = {match[1].lower(): match[2] for match in re.finditer(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)}
    data = project()
    wanted = [*data["project"]["dependencies"], *data["dependency-groups"]["dev"]]  # type: ignore[index]
    for extra in data["project"]["optional-dependencies"].values():  # type: ignore[index]
        wanted += extra
    for name, floor in requirement_floors(wanted).items():
        assert name in pins, f"{name}: run `make constraints`"
        release = tuple(int(part) for part in re.findall(r"\d+", pins[name]))
        assert release >= number(floor), name


def test_the_protocol_passes_buf_lint() -> None:
    """buf's STANDARD and COMMENTS rules hold."""
    buf = shutil.which("buf", path=str(Path(sys.executable).parent))
    assert buf, "buf-bin is part of the dev group"
    done = subprocess.run([buf, "lint"], cwd=tree.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


WALL_CLOCK = {
    "loadproof.trust.pin": "whether a certificate is good now, to say so in words",
    "loadproof.config.rulesets": "whether a waiver has run out: a date",
    "loadproof.http.clock": "cookies, which expire at a date; read once",
    "loadproof_agent.enrolment": "when its certificate was made",
    "loadproof_controller.runner": "the run's start, as a label",
    "loadproof_controller.run_store": "when a run was taken, as a label",
    "loadproof_controller.security.authority": "certificates",
    "loadproof_controller.security.tokens": "when tokens expire",
    "loadproof_controller.web.access": "when a browser session expires",
    "loadproof_controller.web.otlp": "the timestamps its protocol asks for",
    "loadproof_controller.web.uploads": "the name of an uploaded run",
    "loadproof_cli.console": "the date in a folder's name",
    "loadproof_report.history.store": "when a run was stored, as a label",
    "loadproof_report.rules": "whether a waiver has run out: a date",
}


WALL_NAMES = {"time", "time_ns", "localtime", "gmtime", "clock_gettime"}


def reads_wall_clock(path: Path) -> bool:
    """Whether a module names what reads the wall clock: `time.time`, `datetime.now`, or `time` imported from `time`."""
    for node in ast.walk(tree.tree(path)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if (owner, node.attr) in {("time", "time"), ("time", "time_ns"), ("time", "clock_gettime")}:
                return True
            if owner in {"datetime", "date"} and node.attr in {"now", "utcnow", "today"}:
                return True
        elif isinstance(node, ast.ImportFrom) and node.module == "time" and {a.name for a in node.names} & WALL_NAMES:
            return True
    return False


def test_a_jump_of_the_wall_clock_can_change_no_number() -> None:
    """The wall clock is read for labels, dates and certificates only, in these modules; all else is monotonic."""
    readers = {name for name, path in tree.product_modules().items() if reads_wall_clock(path)}
    assert readers == set(WALL_CLOCK)
