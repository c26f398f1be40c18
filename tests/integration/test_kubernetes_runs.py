"""`loadproof run --on kubernetes` against clusters whose pods are real agent processes of this machine.

One is a strict stand-in, the other a real kube-apiserver with Kubernetes' own controllers, where
$LOADPROOF_KUBE_APISERVER names them, built by tests/support/kube_apiserver/build.sh.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kube_cluster import RealCluster, real_cluster
from kube_server import PLACES, Server, real_server
from kube_stand_in import StandIn, stand_in
from service_mode import Deployment, deployed, until
from shop_cli import COMMAND, Finished, assert_went_well, counted_suite, environment, loadproof, run_json
from shop_process import RunningShop, running_shop

pytest.importorskip("kubernetes")
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("load")]

Cluster = StandIn | RealCluster
PROFILES = """
[profiles.short]
arrivals = [{ rate = "20/s", for = "2s" }]

[profiles.long]
arrivals = [{ rate = "20/s", for = "300s" }]
graceful_stop = "2s"
"""
IMAGE = ["--on", "kubernetes", "--image", "loadproof:test"]


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningShop]:
    with running_shop() as running:
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("service"), {}) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with real_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def pretended(tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    """Make a stand-in for a cluster."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(stand_in(tmp_path / "cluster", **options))


@pytest.fixture(params=PLACES)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Make a cluster of either kind."""
    if request.param == "stand-in":
        yield request.getfixturevalue("pretended")
        return
    server = request.getfixturevalue("server")
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(real_cluster(server, tmp_path / "cluster", **options))


def world(place: Deployment, cluster: Cluster, shop: RunningShop) -> dict[str, str]:
    return {**place.operator, **cluster.kubeconfig(), "SHOP_URL": shop.url}


def run(place: Deployment, cluster: Cluster, shop: RunningShop, tmp_path: Path, *options: str) -> Finished:
    suite = counted_suite(tmp_path / "suite", PROFILES)
    return loadproof(
        "run", suite, "--out", "out", *IMAGE, *options, cwd=tmp_path, env=world(place, cluster, shop), timeout=180
    )


def tokens(place: Deployment) -> str:
    """Return what is told of the tokens that are good now."""
    return (place.data / "tokens.json").read_text(encoding="utf-8")


def nothing_left(place: Deployment, cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.left() == {}
    assert cluster.kubelet.alive() == 0
    assert "job loadproof-" not in tokens(place)


def test_a_run_makes_its_agents_and_removes_them(place, cluster, shop, tmp_path) -> None:
    """Two pods carry the run's whole plan to a verdict; Job, Secret, pods and join token are gone afterwards."""
    here = cluster()
    done = run(place, here, shop, tmp_path, "-p", "short", "--agents", "2", "--spread", "zone")
    assert_went_well(done, tmp_path / "out")
    report = run_json(tmp_path / "out")
    assert report["delivery"]["planned"] == 40
    assert report["delivery"]["lost"] == 0
    assert len(report["fleet"]) == 2
    assert {agent["labels"]["node"] for agent in report["fleet"]} == {"node-0", "node-1"}
    nothing_left(place, here, tmp_path)


def test_a_run_outlives_a_watch_that_expires(place, pretended, shop, tmp_path) -> None:
    """Told that the version it watches from is forgotten, a run lists its pods anew and goes on to its verdict."""
    here = pretended()
    here.watches_to_expire = 1
    done = run(place, here, shop, tmp_path, "-p", "short", "--agents", "2")
    assert_went_well(done, tmp_path / "out")
    assert run_json(tmp_path / "out")["delivery"]["planned"] == 40
    assert here.watches_expired == 1
    nothing_left(place, here, tmp_path)


@pytest.mark.timeout(480)
def test_an_evicted_pod_is_an_agent_lost_and_its_replacement_takes_over(place, cluster, shop, tmp_path) -> None:
    """With `redeal` the replacement of an evicted pod joins the run that is on; the eviction is told; Ctrl+C drains.

    A replacement that a busy machine brings up only after the lease of the lost one stays in reserve, and those that
    work take over: then it must take over from the next that is evicted.
    """
    here = cluster()
    suite = counted_suite(tmp_path / "suite", PROFILES)
    err = tmp_path / "err.txt"
    options = ["-p", "long", "--agents", "2", "--on-agent-loss", "redeal", "--out", "out", *IMAGE]
    evicted: list[str] = []
    with err.open("wb") as stream:
        process = subprocess.Popen(
            [*COMMAND, "run", str(suite), *options], cwd=tmp_path, env=environment(world(place, here, shop)),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stream,
        )  # fmt: skip

        def said(words: str, times: int = 1) -> list[str]:
            """Wait until the command has said `words` so often, or has ended; return the lines that have them."""
            until(lambda: err.read_text().count(words) >= times or process.poll() is not None, err.read_text)
            return [line for line in err.read_text().splitlines() if words in line]

        try:
            assert said(" started"), err.read_text()
            first = here.running()
            for name in first:
                here.evict(name)
                evicted.append(name)
                here.wait_until(lambda c: len([n for n in c.running() if n not in first]) == len(evicted))
                assert said("is kept in reserve", len(evicted)), err.read_text()
                takers = " ".join(said(f"shards of agent {name} go to"))
                assert takers, err.read_text()
                newcomers = [n for n in here.running() if n not in first and n in takers]
                if newcomers:
                    break
            process.send_signal(signal.SIGINT)
            code = process.wait(120)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    text = err.read_text()
    report = run_json(tmp_path / "out")
    assert code in {3, 4}, text
    assert newcomers, text
    for name in evicted:
        assert f"pod {name} was taken away (EvictionByEvictionAPI)" in text
    assert sorted(agent["agent_id"] for agent in report["fleet"] if agent["lost"]) == evicted
    nothing_left(place, here, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_waiting_removes_everything(place, cluster, shop, tmp_path, number) -> None:
    """Interrupted before the agents are there, the command ends with 4 and leaves nothing."""
    here = cluster()
    suite = counted_suite(tmp_path / "suite", PROFILES)
    env = environment(world(place, here, shop))
    with (tmp_path / "err.txt").open("wb") as stream:
        process = subprocess.Popen(
            [*COMMAND, "run", str(suite), "-p", "short", "--agents", "2", *IMAGE, "--agents-dial", "127.0.0.1:1"],
            cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
        try:
            here.wait_until(lambda c: len(c.running()) == 2)
            process.send_signal(number)
            assert process.wait(90) == 4, (tmp_path / "err.txt").read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    nothing_left(place, here, tmp_path)


@pytest.mark.parametrize("denied", [("create", "jobs"), ("create", "secrets")])
def test_a_right_that_is_missing_is_named(place, cluster, shop, tmp_path, denied) -> None:
    """Object, verb and namespace are said before anything is made."""
    here = cluster(denied=frozenset({denied}))
    done = run(place, here, shop, tmp_path, "-p", "short")
    verb, resource = denied
    assert done.code == 5
    assert f"namespace {here.name}: this account may not {verb} {resource}" in done.err
    nothing_left(place, here, tmp_path)


@pytest.mark.parametrize("denied", [("create", "jobs"), ("create", "secrets")])
def test_a_refusal_the_review_did_not_tell_of_is_named(place, pretended, shop, tmp_path, denied) -> None:
    """Where the review of rights says yes and the request no, the refusal's own words name right and object."""
    here = pretended(denied=frozenset({denied}), reviews=False)
    done = run(place, here, shop, tmp_path, "-p", "short")
    verb, resource = denied
    assert done.code == 5
    assert f"namespace {here.name}" in done.err
    assert f'cannot {verb} resource "{resource}"' in done.err
    nothing_left(place, here, tmp_path)


def test_an_image_that_cannot_be_pulled_is_named(place, cluster, shop, tmp_path) -> None:
    """The message names pod, image and the cluster's reason; exit code 5; nothing is left."""
    here = cluster(images=frozenset())
    done = run(place, here, shop, tmp_path, "-p", "short")
    assert done.code == 5
    assert "the image loadproof:test cannot be pulled (ImagePullBackOff)" in done.err
    assert not (tmp_path / "out").exists()
    nothing_left(place, here, tmp_path)


def test_a_quota_for_half_the_agents_is_named(place, cluster, shop, tmp_path) -> None:
    """The message names the quota, how many agents it allows and what each asks for; nothing is left."""
    here = cluster(quota=1)
    done = run(place, here, shop, tmp_path, "-p", "short", "--agents", "2")
    assert done.code == 5
    assert "the quota small allows 1 of 2 agents" in done.err
    assert "limited: pods=1" in done.err
    nothing_left(place, here, tmp_path)


def test_agents_that_do_not_reach_the_controller_are_told_apart(place, cluster, shop, tmp_path) -> None:
    """Pods that run but never attach end the wait with a word on addresses and network policies."""
    here = cluster()
    done = run(place, here, shop, tmp_path, "-p", "short", "--agents-dial", "127.0.0.1:1", "--wait-for-agents", "1s")
    assert done.code == 5
    assert "0 of 1 agents attached in time" in done.err
    assert "--agents-dial" in done.err
    nothing_left(place, here, tmp_path)


def test_a_stranger_is_refused(place, cluster, shop, tmp_path) -> None:
    """A token the cluster does not know ends the command before anything is made."""
    here = cluster()
    config = Path(world(place, here, shop)["KUBECONFIG"])
    suite = counted_suite(tmp_path / "suite", PROFILES)
    config.write_text(config.read_text().replace(here.token, "nobody"))
    env = {**place.operator, "KUBECONFIG": str(config), "SHOP_URL": shop.url}
    done = loadproof("run", suite, "-p", "short", *IMAGE, cwd=tmp_path, env=env)
    assert done.code == 5
    assert "(401): Unauthorized" in done.err
    nothing_left(place, here, tmp_path)


def test_a_cluster_that_is_not_there_is_named(place, shop, tmp_path) -> None:
    """No API server at the kubeconfig's address: the address is in the message, and no token stays behind."""
    with stand_in(tmp_path / "gone") as gone:
        env = {**place.operator, **gone.kubeconfig(), "SHOP_URL": shop.url}
    suite = counted_suite(tmp_path / "suite", PROFILES)
    done = loadproof("run", suite, "-p", "short", *IMAGE, cwd=tmp_path, env=env)
    assert done.code == 5
    assert "API server http://127.0.0.1:" in done.err
    assert "job loadproof-" not in tokens(place)


def test_no_way_into_a_cluster_is_wrong_usage(place, shop, tmp_path) -> None:
    """Without a kubeconfig nothing is started, with code 2."""
    suite = counted_suite(tmp_path / "suite", PROFILES)
    env = {**place.operator, "SHOP_URL": shop.url, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
    done = loadproof("run", suite, "-p", "short", *IMAGE, cwd=tmp_path, env=env)
    assert done.code == 2
    assert "no way into a cluster" in done.err
