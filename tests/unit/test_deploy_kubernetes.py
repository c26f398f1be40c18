"""What goes into clusters: the chart as helm renders it, the Role, a run's objects, against published schemas."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml

from helm_chart import ALL_ON, CHART, EGRESS, INGRESS, RELAYS, STORE, VARIANTS, VERSIONS, helm, rendered
from loadproof_cli.errors import UsageProblem
from loadproof_cli.kubernetes.cluster import RIGHTS
from loadproof_cli.kubernetes.manifests import job_manifest, job_name, secret_manifest
from loadproof_cli.kubernetes.options import ClusterOptions, Spread, Where, cluster_options
from loadproof_cli.kubernetes.troubles import disruptions, hopeless, still_missing
from tree import ROOT

kubernetes_validate = pytest.importorskip("kubernetes_validate")

RUN_ID = "20261123-150405-release-3f9a"
OPTIONS = ClusterOptions(image="loadproof:1", dial="controller.load.svc:7443")


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in objects if "template" in each.get("spec", {})]


def assert_policy(pod: dict[str, Any]) -> None:
    """No privilege, no way to get some, nothing unbounded, nothing of the cluster's API."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert not any("hostPath" in volume for volume in pod["volumes"])
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["privileged"] is False
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert not container["image"].endswith(":latest")
        assert ":" in container["image"] or "@" in container["image"]


def test_the_chart_passes_helms_own_linter() -> None:
    """`helm lint --strict` has nothing to say but that there is no icon."""
    done = subprocess.run([helm(), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_the_chart_is_valid_for_three_versions_of_kubernetes(version: str) -> None:
    """Every object, options on, off or as they come, keeps to the published schema without an unknown field."""
    for sets in VARIANTS:
        for each in rendered(*sets, version=version):
            kubernetes_validate.validate(each, version, strict=True)


def test_the_chart_holds_what_it_promises() -> None:
    """Controller with a volume, Secret, network policies, disruption budgets, agents spread over nodes and zones."""
    objects = rendered(*ALL_ON)
    kinds = [each["kind"] for each in objects]
    for kind in ("StatefulSet", "Deployment", "Secret", "Service", "ServiceAccount", "Role", "RoleBinding"):
        assert kinds.count(kind) == 1
    assert kinds.count("NetworkPolicy") == kinds.count("PodDisruptionBudget") == 2
    controller = next(each for each in objects if each["kind"] == "StatefulSet")["spec"]
    assert controller["replicas"] == 1
    assert [claim["metadata"]["name"] for claim in controller["volumeClaimTemplates"]] == ["data"]
    agents = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    keys = {each["topologyKey"] for each in agents["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    token = next(volume for volume in agents["volumes"] if "secret" in volume)
    assert (
        token["secret"]["secretName"] == next(each for each in objects if each["kind"] == "Secret")["metadata"]["name"]
    )
    for pod in pods(objects):
        assert_policy(pod)


def test_the_pages_are_served_and_probed() -> None:
    """The controller serves pages at the port that Service, probe and network policy name; https all the way."""
    objects = rendered("web.port=9443")
    container = pods(objects)[0]["containers"][0]
    assert container["args"][container["args"].index("--web") + 1] == "0.0.0.0:9443"
    assert {"name": "web", "containerPort": 9443} in container["ports"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "web", "scheme": "HTTPS"}
    ports = next(each for each in objects if each["kind"] == "Service")["spec"]["ports"]
    assert {"name": "web", "port": 9443, "targetPort": "web", "appProtocol": "https"} in ports
    assert doors(objects) == [["people", "agents"], ["people", "web"]]
    assert not [each for each in objects if each["kind"] == "Ingress"]


def doors(objects: list[dict[str, Any]]) -> list[list[str]]:
    """Return the ports of the controller that each group of peers may reach."""
    policy = next(e for e in objects if e["kind"] == "NetworkPolicy" and e["metadata"]["name"].endswith("controller"))
    return [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["ingress"]]


def test_an_ingress_leads_readers_to_the_pages_alone() -> None:
    """Its backend is the Service's port for pages, its host has TLS, and its pods reach no other port."""
    objects = rendered(*INGRESS, "web.ingress.tlsSecret=load-tls")
    spec = next(each for each in objects if each["kind"] == "Ingress")["spec"]
    service = next(each for each in objects if each["kind"] == "Service")
    (path,) = spec["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "web"}}
    assert spec["rules"][0]["host"] == "load.example.com"
    assert spec["tls"] == [{"hosts": ["load.example.com"], "secretName": "load-tls"}]
    assert spec["ingressClassName"] == "nginx"
    assert doors(objects)[2] == ["web"]


def test_without_pages_nothing_of_them_is_left() -> None:
    """No argument, port or door for pages; the probe asks the port for people instead."""
    objects = rendered("web.enabled=false")
    assert "--web" not in json.dumps(objects)
    assert '"web"' not in json.dumps(objects)
    assert pods(objects)[0]["containers"][0]["readinessProbe"]["tcpSocket"] == {"port": "people"}


def test_the_run_history_s_address_comes_from_a_secret() -> None:
    """The controller is told it in its environment, beside what else is put there, and never on its command line."""
    more = ("controller.extraEnv[0].name=A", "controller.extraEnv[0].value=b")
    container = pods(rendered(*STORE, *more))[0]["containers"][0]
    secret = {"valueFrom": {"secretKeyRef": {"name": "history", "key": "address"}}}
    assert container["env"] == [{"name": "LOADPROOF_STORE", **secret}, {"name": "A", "value": "b"}]
    assert "history" not in json.dumps(container["args"])
    assert "env" not in pods(rendered())[0]["containers"][0]


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        (STORE[:2], "controller.store"),
        (("controller.extraArgs={--otlp,http://collector:4318/v1/metrics}",), "--otlp"),
        (("controller.extraArgs={--metrics,--otlp=http://collector:4318/v1/metrics}",), "--otlp"),
        (("controller.extraEnv[0].name=LOADPROOF_STORE", "controller.extraEnv[0].value=x"), "LOADPROOF_STORE"),
    ],
)
def test_what_the_network_policy_would_block_is_refused(sets: tuple[str, ...], named: str) -> None:
    """Where the controller is to call somebody, helm stops until a rule lets it; then that rule is in the policy."""
    said = refused(*sets)
    assert "networkPolicy.controllerEgress" in said
    assert named in said
    objects = rendered(*sets, *EGRESS)
    policy = next(e for e in objects if e["kind"] == "NetworkPolicy" and e["metadata"]["name"].endswith("controller"))
    names, out = policy["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert out == {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"port": 5432}]}
    rendered(*sets, "networkPolicy.enabled=false")


def named(objects: list[dict[str, Any]], kind: str, end: str) -> dict[str, Any]:
    """Return the object of a kind whose name ends so."""
    return next(each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(end))


def test_relays_are_between_agents_and_controller() -> None:
    """Agents dial the relays' Service, relays the controller; spread, limits, a Secret of their own, no privilege."""
    objects = rendered(*ALL_ON, *RELAYS, "relays.port=9445", "relays.resources.limits.memory=3Gi")
    deployment = named(objects, "Deployment", "-relay")["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    service = named(objects, "Service", "-relay")
    assert deployment["replicas"] == 3
    assert container["args"][:2] == ["relay", "lp-loadproof-controller.load.svc:7443"]
    assert container["args"][-2:] == ["--listen", "0.0.0.0:9445"]
    assert container["resources"]["limits"]["memory"] == "3Gi"
    assert container["ports"] == [{"name": "relay", "containerPort": 9445}]
    assert service["spec"]["ports"] == [{"name": "relay", "port": 9445, "targetPort": "relay"}]
    assert service["spec"]["selector"].items() <= deployment["template"]["metadata"]["labels"].items()
    agent = named(objects, "Deployment", "-agent")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert agent[1] == container["args"][1]
    assert agent[agent.index("--relay") + 1] == f"{service['metadata']['name']}.load.svc:9445"
    keys = {each["topologyKey"] for each in pod["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    token = next(volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume)
    assert named(objects, "Secret", token)["stringData"] == {"join": "lp1.x.z"}
    assert "lp1.x.z" not in json.dumps(container)
    for each in pods(objects):
        assert_policy(each)


def test_relays_have_doors_of_their_own() -> None:
    """Agents reach relays at one port, relays the controller at the first two and nobody else; off, nothing is left."""
    objects = rendered(*ALL_ON, *RELAYS, "networkPolicy.agentEgress[0].to[0].ipBlock.cidr=192.0.2.0/24")
    labels = named(objects, "Deployment", "-relay")["spec"]["template"]["metadata"]["labels"].items()
    relay = named(objects, "NetworkPolicy", "-relay")["spec"]
    assert relay["podSelector"]["matchLabels"].items() <= labels
    ((came,), ports) = relay["ingress"][0]["from"], relay["ingress"][0]["ports"]
    agents = named(objects, "Deployment", "-agent")["spec"]["template"]["metadata"]["labels"].items()
    assert came["podSelector"]["matchLabels"].items() <= agents
    assert ports == [{"port": "relay"}]
    assert relay["egress"][1]["ports"] == [{"port": "people"}, {"port": "agents"}]
    assert len(relay["egress"]) == 2
    into = named(objects, "NetworkPolicy", "-controller")["spec"]["ingress"][0]["from"]
    out = named(objects, "NetworkPolicy", "-agent")["spec"]["egress"][1]["to"]
    for peers in (into, out):
        assert any(peer["podSelector"]["matchLabels"].items() <= labels for peer in peers)
    assert "relay" not in json.dumps(rendered(*ALL_ON))


@pytest.mark.parametrize(
    ("sets", "value"),
    [
        ((*ALL_ON, *RELAYS, "agents.replicas=3001"), "relays.count"),
        ((*ALL_ON, "agents.replicas=1025"), "relays.enabled=true"),
    ],
)
def test_agents_that_would_find_no_place_are_refused(sets: tuple[str, ...], value: str) -> None:
    """A relay takes 1,000 agents, a controller 1,024 directly: helm stops and names the value to change."""
    assert value in refused(*sets)


def test_selectors_find_their_pods() -> None:
    """Service, budgets and policies select what the workloads are labelled with, and the Job's agents get in, too."""
    objects = rendered(*ALL_ON, *RELAYS)
    labels = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]["metadata"]["labels"]
        for each in objects
        if each["kind"] in {"StatefulSet", "Deployment"}
    }
    for each in objects:
        selector = each["spec"].get("selector") if each["kind"] in {"Service", "PodDisruptionBudget"} else None
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= found.items() for found in labels.values()), each["metadata"]["name"]
    policy = next(e for e in objects if e["kind"] == "NetworkPolicy" and e["metadata"]["name"].endswith("controller"))
    allowed = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    job = job_manifest(job_name(RUN_ID), RUN_ID, 2, OPTIONS, 60)
    assert allowed.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert allowed.items() <= labels["agent"].items()


@pytest.mark.parametrize(
    "wrong",
    [
        "image.tag=latest", "agents.replicas=0", "controller.port=0", "agents.resources.limits=null", "agents.typo=1",
        "web.port=70000", "web.ingress.host=a b", "networkPolicy.readers=all", "relays.count=0",
        "relays.resources.limits=null",
    ],
)  # fmt: skip
def test_wrong_values_are_refused(wrong: str) -> None:
    """values.schema.json refuses what would not work, unknown keys too."""
    assert wrong.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1] in refused(wrong)


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        (("web.ingress.enabled=true",), "host"),
        ((*INGRESS[:2],), "networkPolicy.readers"),
        ((*INGRESS, "web.enabled=false"), "web.enabled=true"),
    ],
)
def test_an_ingress_that_would_lead_nowhere_is_refused(sets: tuple[str, ...], named: str) -> None:
    """Without host, pages or a door in the network policy helm stops and names the value."""
    assert named in refused(*sets)


def refused(*sets: str) -> str:
    """Return why helm renders nothing."""
    words = [word for each in sets for word in ("--set", each)]
    command = [helm(), "template", "lp", str(CHART), "--kube-version", VERSIONS[0], *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def test_the_values_keep_to_their_schema() -> None:
    """The schema is one, and the chart's own values pass it, also where there is no helm."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), schema)


def test_roles_grant_just_what_a_run_does() -> None:
    """The Role by hand and the chart's have the rights that are asked for before a run, no more."""
    by_hand = yaml.safe_load((ROOT / "deploy/kubernetes/runner-role.yaml").read_text())
    for version in VERSIONS:
        kubernetes_validate.validate(by_hand, version, strict=True)
    granted = {
        (group, resource, verb)
        for rule in by_hand["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == set(RIGHTS)
    text = (CHART / "templates" / "runner.yaml").read_text()
    assert yaml.safe_load(text[text.index("rules:") : text.index("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding")])["rules"] == by_hand["rules"]  # fmt: skip # noqa: E501


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("spread", [None, Spread.NODE, Spread.ZONE])
def test_a_runs_objects_are_valid_and_without_privilege(version: str, spread: Spread | None) -> None:
    """Job and Secret of a run keep to the schema of three versions; the pods keep to the policy."""
    options = ClusterOptions("loadproof:1", "c:1", node_selector=(("pool", "load"),), spread=spread, workers=3)
    name = job_name(RUN_ID)
    job = job_manifest(name, RUN_ID, 50, options, 4_000)
    kubernetes_validate.validate(job, version, strict=True)
    kubernetes_validate.validate(secret_manifest(name, RUN_ID, "t", "uid"), version, strict=True)
    pod = job["spec"]["template"]["spec"]
    assert_policy(pod)
    assert pod["topologySpreadConstraints"][0]["whenUnsatisfiable"] == ("DoNotSchedule" if spread else "ScheduleAnyway")
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "3250m", "memory": "2048Mi"}


@pytest.mark.parametrize("allowed", [False, True])
def test_pods_install_a_suite_s_packages_where_the_run_allows_it(allowed: bool) -> None:
    """Agents made for a run do what its submitter said; a pod of a Job has no other operator."""
    options = ClusterOptions("loadproof:1", "c:1", allow_requirements=allowed)
    (container,) = job_manifest(job_name(RUN_ID), RUN_ID, 1, options, 60)["spec"]["template"]["spec"]["containers"]
    assert ("--allow-requirements" in container["args"]) == allowed


def test_names_of_pods_can_be_names_of_agents() -> None:
    """A pod's name (job, index, five characters) stays within the 50 characters of an agent's name."""
    longest = job_name("20261123-150405-" + "x" * 24 + "-3f9a")
    assert len(f"{longest}-9999-abcde") <= 50


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"controller": None}, "--controller"),
        ({"image": None}, "--image"),
        ({"namespace": "No"}, "--namespace No"),
        ({"agent_memory": "lots"}, "--agent-memory lots"),
        ({"node_selector": ["pool"]}, "--node-selector pool"),
        ({"node_selector": ["po ol=x"]}, "--node-selector"),
        ({"agents_dial": "nowhere"}, "nowhere"),
        ({"detach": True}, "--detach"),
        ({"on": None, "spread": Spread.ZONE}, "--spread"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    """Before anything is created, and with the option's name."""
    given: dict[str, Any] = {
        "on": Where.KUBERNETES, "controller": "c:7443", "namespace": None, "image": "i:1", "kube_context": None,
        "node_selector": None, "spread": None, "agent_memory": None, "agents_dial": None, "workers": None,
        "wait_s": None, "detach": False,
    }  # fmt: skip
    on = options.pop("on", given.pop("on"))
    with pytest.raises(UsageProblem, match=text):
        cluster_options(on, **{**given, **options})


def pod(name: str = "p", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "agent", "image": "i:1"}]}, "status": status}


def state(**of: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "agent", "state": of}]}


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (state(waiting={"reason": "ImagePullBackOff", "message": "denied"}), "image i:1 cannot be pulled"),
        (state(waiting={"reason": "CreateContainerConfigError", "message": "user"}), "cannot be started"),
        (state(terminated={"exitCode": 2}), "kubectl -n load logs p"),
        (state(waiting={"reason": "ContainerCreating"}), None),
        (state(waiting={"reason": "ErrImagePull", "message": "once"}), None),
        (state(terminated={"exitCode": 137}), None),
        ({"phase": "Pending"}, None),
    ],
)
def test_waiting_ends_only_where_it_cannot_help(status: dict[str, Any], text: str | None) -> None:
    """What the cluster tries again by itself is waited for; the rest is named."""
    reason = hopeless([pod(**status)], [], namespace="load", agents=1)
    assert (reason is None) if text is None else (text in str(reason))


def test_a_refused_pod_that_is_no_quota_is_told_as_it_is() -> None:
    """A limit range's or an admission controller's words come through."""
    event = {"reason": "FailedCreate", "message": 'pods "x" is forbidden: violates PodSecurity "restricted"'}
    assert "violates PodSecurity" in str(hopeless([], [event], namespace="load", agents=2))


def test_pods_that_cannot_be_scheduled_are_counted() -> None:
    """At the end of patience the scheduler's reason is given with how many it concerns."""
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: insufficient cpu"}
    waiting = [pod(str(n), phase="Pending", conditions=[condition]) for n in range(3)]
    text = still_missing([*waiting, pod("r", **state(running={}))], 1, 4)
    assert "1 of 4 agents" in text
    assert "3 cannot be scheduled (0/3 nodes: insufficient cpu)" in text


def test_disruptions_are_named() -> None:
    """An eviction's reason and message come through."""
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "higher"}
    assert disruptions([pod("p", conditions=[gone]), pod("q")]) == [
        "pod p was taken away (PreemptionByScheduler): higher"
    ]
