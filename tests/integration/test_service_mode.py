"""A controller, two agents and people as processes on loopback, over TLS: the way through all of service mode."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from service_mode import Deployment, deployed, environ_of, until
from shop_cli import assert_went_well, counted_suite, loadproof, loadproof_here, run_json, write_suite
from shop_process import running_shop

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("load")]

CANARY = "canary-5f1c9b7e-do-not-print"
LEAKY_SUITE = """
import os
from loadproof import Suite, VirtualUser

suite = Suite("Leaky", base_url="${SHOP_URL}")


@suite.transaction("Tell")
async def tell(user: VirtualUser) -> None:
    key = os.environ["SHOP_API_KEY"]
    user.log("the key is " + key)
    print("printed " + key)
    headers = {"authorization": "Bearer " + key, "x-transaction": "Tell", "x-row": "0"}
    (await user.http.get("/health", params={"key": key}, headers=headers)).check(status=200)


@suite.transaction("Fail")
async def fail(user: VirtualUser) -> None:
    raise RuntimeError("failed with " + os.environ["SHOP_API_KEY"])
"""
PROFILES = """
[profiles.short]
arrivals = [{ rate = "20/s", for = "2s" }]

[profiles.long]
arrivals = [{ rate = "5/s", for = "600s" }]
graceful_stop = "5s"
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Any]:
    with running_shop() as running:
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("service")
    with deployed(folder, {"one": ["--label", "region=eu"], "two": ["--label", "region=us"]}) as deployment:
        yield deployment


def test_a_run_on_the_fleet_ends_like_a_local_one_and_leaks_no_secret(
    shop: Any, place: Deployment, tmp_path: Path
) -> None:
    """Same files, same exit code, same plan and counts; the secret is in no file, log or environment."""
    toml = f'[suite]\nmodule = "suite.py"\n[environment]\nsecrets = ["SHOP_API_KEY"]\n{PROFILES}'
    suite = write_suite(tmp_path / "suite", toml=toml, suite=LEAKY_SUITE)
    env = {"SHOP_URL": shop.url, "SHOP_API_KEY": CANARY}
    local = loadproof("run", suite, "-p", "short", "--out", tmp_path / "local", "--no-record", cwd=tmp_path, env=env)
    remote = loadproof(
        "run", suite, "-p", "short", "--agents", "2", "--out", tmp_path / "remote", "--no-record", cwd=tmp_path,
        env={**env, **place.operator},
    )  # fmt: skip
    assert_went_well(local, tmp_path / "local")
    assert_went_well(remote, tmp_path / "remote")
    here, there = run_json(tmp_path / "local"), run_json(tmp_path / "remote")
    assert {path.name for path in (tmp_path / "local").iterdir()} == {
        path.name for path in (tmp_path / "remote").iterdir()
    }
    assert here["plan"]["sha256"] == there["plan"]["sha256"]
    assert {agent["agent_id"] for agent in there["fleet"]} == {"one", "two"}
    counts = [(t["name"], t["count"], t["ok"], t["failed"]) for t in here["transactions"]]
    assert counts == [(t["name"], t["count"], t["ok"], t["failed"]) for t in there["transactions"]]

    searched = [path for root in (tmp_path / "remote", place.folder) for path in root.rglob("*") if path.is_file()]
    assert len(searched) > 20
    assert not [path for path in searched if CANARY.encode() in path.read_bytes()]
    assert CANARY not in remote.out + remote.err


def test_runs_wait_in_line_are_stopped_and_fetched(place: Deployment, shop: Any, tmp_path: Path) -> None:
    """One after another, on the agents with the label; workers were started without the join token."""
    before = sum(shop.counts().values())
    suite = counted_suite(tmp_path / "suite", PROFILES)
    env = {"SHOP_URL": shop.url, **place.operator}
    first = loadproof_here("run", suite, "-p", "long", "--label", "region=eu", "--detach", cwd=tmp_path, env=env)
    assert first.code == 0, first
    run_id = first.out.strip()
    agent = psutil.Process(place.agents["one"].process.pid)
    until(lambda: sum(shop.counts().values()) > before)
    secret = (place.data / "join.token").read_text().strip().rpartition(".")[2]
    for worker in agent.children(recursive=True):
        assert secret not in environ_of(worker.pid)

    second = loadproof_here("run", suite, "-p", "short", "--detach", cwd=tmp_path, env=env)
    assert states(place, tmp_path) == {run_id: "running", second.out.strip(): "queued"}
    assert place.agents["two"].process.poll() is None
    assert loadproof_here("stop", run_id, cwd=tmp_path, env=env).code == 0
    stopped = loadproof_here("runs", run_id, "--out", "first", cwd=tmp_path, env=env)
    assert stopped.code == 4, stopped
    assert run_json(tmp_path / "first")["fleet"][0]["labels"] == {"region": "eu"}
    followed = loadproof_here("runs", second.out.strip(), "--out", "second", cwd=tmp_path, env=env)
    assert_went_well(followed, tmp_path / "second")
    assert run_json(tmp_path / "second")["delivery"]["started"] == 40
    assert loadproof_here("stop", run_id, cwd=tmp_path, env=env).code == 2


def test_what_cannot_be_is_said_in_one_line(place: Deployment, shop: Any, tmp_path: Path) -> None:
    """Fleet too small, no such run, wrong token, no controller, wrong options."""
    suite = counted_suite(tmp_path / "suite", PROFILES)
    env = {"SHOP_URL": shop.url, **place.operator}
    pin = env["LOADPROOF_TOKEN"].split(".")[1]
    cases: list[tuple[list[str], dict[str, str], int, str]] = [
        (["run", str(suite), "-p", "short", "--agents", "3"], env, 5, "asks for 3 agents, the fleet has 2"),
        (["run", str(suite), "-p", "short", "--label", "region=mars"], env, 5, "1 agent with region=mars"),
        (["run", str(suite), "-p", "short", "--workers", "2"], env, 2, "--workers is for local agents"),
        (["run", str(suite), "-p", "short", "--label", "mars"], env, 2, "name=value"),
        (["runs", "nothing-like-this"], env, 2, "no such run"),
        (["fleet"], {**env, "LOADPROOF_TOKEN": f"lp1.{pin}.{'x' * 32}"}, 5, "wrong, expired or revoked"),
        (["fleet"], {**env, "LOADPROOF_TOKEN": "hunter2"}, 2, "this is not a token"),
        (["fleet"], {**env, "LOADPROOF_TOKEN": ""}, 2, "LOADPROOF_TOKEN"),
        (["fleet"], {**env, "LOADPROOF_CONTROLLER": "127.0.0.1:1"}, 5, "cannot be reached"),
        (["fleet"], {**env, "LOADPROOF_CONTROLLER": "127.0.0.1"}, 2, "HOST:PORT"),
        (["controller", "--insecure", "--listen", "0.0.0.0:7443"], {}, 2, "--insecure serves plaintext"),
        (["controller", "--listen", "127.0.0.1:65535"], {}, 2, "say where with --agents-port"),
        (["agent", "127.0.0.1:1", "--join", "hunter2"], {}, 2, "this is not a token"),
        (["agent", "127.0.0.1:1"], {}, 2, "an agent joins with a token"),
    ]  # fmt: skip
    for arguments, environ, code, words in cases:
        done = loadproof_here(*arguments, cwd=tmp_path, env=environ)
        assert (done.code, words in done.err) == (code, True), (arguments, done)
        assert "hunter2" not in done.err
        assert "nothing was started" in done.err or arguments[0] != "run" or code == 2
    _people, agents = place.ports
    for where, words in (
        ((f"127.0.0.1:{agents - 1}",), f"127.0.0.1:{agents}, where agents come in: the port is in use"),
        ((place.address, "--agents-port", "0"), f"{place.address}, where people and joining agents come in: the port"),
    ):
        same_port = loadproof("controller", "--listen", *where, "--data", tmp_path / "other", cwd=tmp_path)
        (line,) = [line for line in same_port.err.splitlines() if not line.startswith("{")]  # all else is the log
        assert same_port.code == 5
        assert f"cannot listen at {words}" in line
        assert "another controller?); choose another with --listen" in line
    wrong = loadproof("agent", place.address, cwd=tmp_path, env={"LOADPROOF_JOIN": f"lp1.{pin}.{'x' * 32}"})
    assert wrong.code == 5
    assert "wrong, expired or revoked" in wrong.err.splitlines()[-1]


def test_tokens_are_made_listed_and_revoked(place: Deployment, tmp_path: Path) -> None:
    """A viewer looks and does nothing else; its text is shown once; revoked it is nobody's."""
    env = place.operator
    text = loadproof_here("token", "create", "--role", "viewer", "--name", "ci", "--ttl", "1h", cwd=tmp_path, env=env)
    viewer = {**env, "LOADPROOF_TOKEN": text.out.strip()}
    listed = loadproof_here("token", "list", cwd=tmp_path, env=env).out
    assert text.out.strip().rpartition(".")[2] not in listed
    (row,) = [line.split() for line in listed.splitlines() if " ci " in line]
    assert loadproof_here("fleet", cwd=tmp_path, env=viewer).code == 0
    assert loadproof_here("token", "list", cwd=tmp_path, env=viewer).code == 5
    assert loadproof_here("token", "revoke", row[0], cwd=tmp_path, env=env).code == 0
    assert loadproof_here("fleet", cwd=tmp_path, env=viewer).code == 5


def test_agents_and_runs_outlive_a_restart_of_the_controller(place: Deployment, shop: Any, tmp_path: Path) -> None:
    """Agents come back by themselves under their names; earlier runs are still listed; every log line is JSON,
    whatever a stranger says to either port."""
    for port in place.ports:
        be_rude_to(port)
    suite = counted_suite(tmp_path / "suite", PROFILES)
    env = {"SHOP_URL": shop.url, **place.operator}
    assert loadproof_here("run", suite, "-p", "short", "--no-record", cwd=tmp_path, env=env).code in {0, 3}
    before = states(place, tmp_path)
    assert "finished" in before.values()
    assert place.controller.end(signal.SIGTERM) == 0
    place.restart_controller()
    until(lambda: fleet(place, tmp_path) == {"one", "two"})
    assert states(place, tmp_path) == before
    for line in place.log_lines():
        assert set(line) >= {"at", "level", "where", "text"}
        assert line["level"] in {"info", "warning", "error"}


def be_rude_to(port: int) -> None:
    """Speak plaintext, and TLS without a certificate, until the controller hangs up or has nothing to say."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
        with contextlib.suppress(OSError):
            while plain.recv(65_536):
                pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=10) as bare,
        context.wrap_socket(bare) as secure,
    ):
        secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 64)
        while secure.recv(65_536):
            pass


def states(place: Deployment, cwd: Path) -> dict[str, str]:
    """Return the runs the controller lists that are its own of today, with their states."""
    out = loadproof_here("runs", cwd=cwd, env=place.operator).out
    rows = [line.split() for line in out.splitlines()[1:]]
    return {row[0]: row[1] for row in rows if row[1] in {"running", "queued"}} or {row[0]: row[1] for row in rows}


def fleet(place: Deployment, cwd: Path) -> set[str]:
    """Return the names of the attached agents."""
    out = loadproof_here("fleet", cwd=cwd, env=place.operator).out
    return {line.split()[0] for line in out.splitlines()[1:]} if "host" in out else set()


def test_the_printed_address_of_the_pages_is_one_to_open(tmp_path: Path) -> None:
    """Served at every address, they are told by the host that is advertised, not as `0.0.0.0`."""
    with deployed(tmp_path, {}, "--web", "0.0.0.0:0", "--advertise", "load.example.com") as place:
        place.controller.wait_for("pages:")
        (line,) = [line for line in place.controller.text().splitlines() if line.startswith("pages:")]
    assert re.fullmatch(r"pages: +https://load\.example\.com:\d+/", line), line
