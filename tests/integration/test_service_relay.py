"""A relay between a controller and its agents, all as processes on loopback over TLS."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service_mode import Deployment, deployed, free_ports, until
from shop_cli import counted_suite, loadproof, run_json
from shop_process import running_shop

pytestmark = [pytest.mark.timeout(420), pytest.mark.xdist_group("load")]

PROFILES = """
[profiles.steady]
arrivals = [{ rate = "30/s", for = "600s" }]
graceful_stop = "10s"
"""
RELAYS = ("relay-a", "relay-b")
BEHIND = ("one", "two")


@pytest.fixture(scope="module")
def shop() -> Iterator[Any]:
    with running_shop() as running:
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A controller, two relays, two agents that know both, and one of the controller's own."""
    with deployed(tmp_path_factory.mktemp("relays"), {}) as deployment:
        deployment.relay_ports = dict(zip(RELAYS, free_ports(), strict=True))
        try:
            for name, port in deployment.relay_ports.items():
                deployment.start_relay(name, port).wait_for("attached to")
            relays = [part for port in deployment.relay_ports.values() for part in ("--relay", f"127.0.0.1:{port}")]
            for name in BEHIND:
                deployment.start_agent(name, *relays)
            deployment.start_agent("direct")
            for name in (*BEHIND, "direct"):
                deployment.agents[name].wait_for("attached to")
            yield deployment
        finally:
            for service in deployment.agents.values():
                service.end()


def started(shop: Any) -> int:
    """Return how many transactions the shop has seen begin."""
    return sum(entry.endpoint in {"GET /search", "GET /health"} for entry in shop.received())


def kill_relay(place: Deployment, name: str) -> None:
    """Kill -9 a relay, and wait until the agents behind it are attached at the other."""
    other = place.relay_ports[next(relay for relay in RELAYS if relay != name)]
    words = f"attached to 127.0.0.1:{other} as"
    before = {agent: place.agents[agent].text().count(words) for agent in BEHIND}
    place.agents[name].process.kill()
    place.agents[name].end()
    for agent in BEHIND:
        place.agents[agent].wait_for(words, before[agent] + 1)


def test_a_run_through_relays_that_are_killed_counts_what_the_target_received(
    shop: Any, place: Deployment, tmp_path: Path
) -> None:
    """One relay dies by kill -9 in mid-run and comes back, then the other dies: nothing is lost or doubled."""
    shop.clear()
    suite = counted_suite(tmp_path / "counted", PROFILES)
    out = tmp_path / "out"
    done: list[Any] = []
    env = {"SHOP_URL": shop.url, **place.operator}
    command = ["run", suite, "-p", "steady", "--agents", "3", "--out", out, "--no-record"]
    run = threading.Thread(target=lambda: done.append(loadproof(*command, cwd=tmp_path, env=env, timeout=200)))
    run.start()

    def load(more: int) -> None:
        wanted = started(shop) + more
        until(lambda: started(shop) >= wanted or bool(done), place.controller.text)
        assert not done, done

    load(60)
    kill_relay(place, "relay-a")
    place.start_relay("relay-a", place.relay_ports["relay-a"]).wait_for("attached to", 2)
    load(30)
    kill_relay(place, "relay-b")
    load(60)
    runs = loadproof("runs", cwd=tmp_path, env=env).out.split()
    loadproof("stop", next(word for word in runs if "-steady-" in word), cwd=tmp_path, env=env)
    run.join()
    (finished,) = done
    assert finished.code == 4, finished
    report = run_json(out)
    received = Counter(entry.endpoint for entry in shop.received())
    reported: Counter[str] = Counter()
    for transaction in report["transactions"]:
        for step in transaction["steps"]:
            for endpoint in step["endpoints"]:
                reported[endpoint["name"]] += endpoint["count"]
    assert reported == received
    delivery = report["delivery"]
    assert delivery["planned"] == sum(delivery[part] for part in ("started", "dropped", "missed", "lost"))
    assert (delivery["started"], delivery["lost"]) == (started(shop), 0)
    assert {agent["agent_id"]: agent["lost"] for agent in report["fleet"]} == dict.fromkeys((*BEHIND, "direct"), False)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = Counter(event["kind"] for event in events)
    assert kinds["relay_changed"] >= 3, kinds
    assert sum("and with it that of 2 agents" in event["text"] for event in events) == 2
    assert kinds["agent_final"] == 3
    assert not kinds.keys() & {"final_mismatch", "data_refused", "internal_error"}, kinds


def test_a_relay_joins_with_a_token_of_its_own_role_only(place: Deployment, tmp_path: Path) -> None:
    """An agent's token does not make a relay, a relay's token no agent; each is told so and leaves with code 5."""
    relays = (place.folder / "relay-a.token").read_text(encoding="utf-8")
    agents = (place.data / "join.token").read_text(encoding="utf-8").strip()
    port, _ = free_ports()
    wrong = loadproof(
        "relay", place.address, "--name", "wrong", "--listen", f"127.0.0.1:{port}", cwd=tmp_path,
        env={"LOADPROOF_JOIN": agents},
    )  # fmt: skip
    assert wrong.code == 5
    assert "a token of the role agent" in wrong.err
    other = loadproof("agent", place.address, "--name", "other", cwd=tmp_path, env={"LOADPROOF_JOIN": relays})
    assert other.code == 5
    assert "a token of the role relay" in other.err
