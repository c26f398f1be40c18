"""What `loadproof run --on kubernetes` can be told, checked before anything is created."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from loadproof_cli.errors import UsageProblem
from loadproof_cli.remote import checked_address

IMAGE_VARIABLE = "LOADPROOF_IMAGE"
WAIT_S = 300.0
MEMORY = re.compile(r"[1-9][0-9]{0,11}(Ki|Mi|Gi|Ti|k|M|G|T)?")
LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
PANEL = "With --on kubernetes"


class Where(StrEnum):
    """Where `--on` can put agents."""

    KUBERNETES = "kubernetes"


class Spread(StrEnum):
    """Over what pods must be spread evenly."""

    NODE = "node"
    ZONE = "zone"


OnOption = Annotated[
    Where | None, typer.Option("--on", help="Start the agents as pods for this run. With --controller.")
]
NamespaceOption = Annotated[
    str | None, typer.Option(help="For the pods.", show_default="that of the context", rich_help_panel=PANEL)
]
ImageOption = Annotated[
    str | None,
    typer.Option(help="The image of the agents.", show_default=f"${IMAGE_VARIABLE}", rich_help_panel=PANEL),
]
ContextOption = Annotated[
    str | None, typer.Option(help="Of the kubeconfig.", show_default="the current one", rich_help_panel=PANEL)
]
NodeSelectorOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Only nodes with this label; may be repeated.", rich_help_panel=PANEL),
]
SpreadOption = Annotated[
    Spread | None, typer.Option(help="Insist on an even spread over nodes or zones.", rich_help_panel=PANEL)
]
AgentMemoryOption = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Of each pod.", show_default="512Mi and as much a worker", rich_help_panel=PANEL),
]
AgentsDialOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The controller's address inside the cluster.",
        show_default="that of --controller",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Pods to make. `namespace` and `context` empty: the kubeconfig's. `memory` is a Kubernetes quantity."""

    image: str
    dial: str
    namespace: str = ""
    context: str = ""
    node_selector: tuple[tuple[str, str], ...] = ()
    spread: Spread | None = None
    workers: int = 1
    memory: str = ""
    wait_s: float = WAIT_S
    allow_requirements: bool = False

    @property
    def memory_request(self) -> str:
        """The memory of a pod."""
        return self.memory or f"{512 * (1 + self.workers)}Mi"

    @property
    def cpu_request(self) -> str:
        """A core for each worker and a quarter for the process that keeps them."""
        return f"{1_000 * self.workers + 250}m"


def cluster_options(
    on: Where | None,
    *,
    controller: str | None,
    namespace: str | None,
    image: str | None,
    kube_context: str | None,
    node_selector: list[str] | None,
    spread: Spread | None,
    agent_memory: str | None,
    agents_dial: str | None,
    workers: int | None,
    wait_s: float | None,
    detach: bool,
    allow_requirements: bool = False,
) -> ClusterOptions | None:
    """Return the pods asked for, None when it is none. Raises UsageProblem for what makes no sense."""
    if on is None:
        given = {
            "--namespace": namespace,
            "--kube-context": kube_context,
            "--node-selector": node_selector,
            "--spread": spread,
            "--agent-memory": agent_memory,
            "--agents-dial": agents_dial,
        }
        for option, value in given.items():
            if value:
                raise UsageProblem(f"{option} is for pods; say --on kubernetes, too.")
        return None
    if controller is None:
        raise UsageProblem(
            "--on kubernetes needs a controller that the pods can reach: --controller HOST:PORT.",
            hint="the Helm chart in deploy/helm/loadproof brings one up in the cluster.",
        )
    if detach:
        raise UsageProblem(
            "--detach leaves before the end, and nobody would remove the pods: not with --on kubernetes."
        )
    if not image:
        raise UsageProblem(f"--on kubernetes needs the agents' image: --image, or {IMAGE_VARIABLE}.")
    if any(character.isspace() for character in image):
        raise UsageProblem(f"--image {image!r}: an image's name has no spaces.")
    if namespace is not None and not NAMESPACE.fullmatch(namespace):
        raise UsageProblem(f"--namespace {namespace}: a namespace is lower-case letters, digits and hyphens.")
    if agent_memory is not None and not MEMORY.fullmatch(agent_memory):
        raise UsageProblem(f"--agent-memory {agent_memory}: it takes a size such as 1Gi or 800Mi.")
    return ClusterOptions(
        image=image,
        dial=checked_address(agents_dial or controller),
        namespace=namespace or "",
        context=kube_context or "",
        node_selector=_selector(node_selector),
        spread=spread,
        workers=workers or 1,
        memory=agent_memory or "",
        wait_s=WAIT_S if wait_s is None else wait_s,
        allow_requirements=allow_requirements,
    )


def _selector(texts: list[str] | None) -> tuple[tuple[str, str], ...]:
    pairs = []
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not LABEL_NAME.fullmatch(name) or not LABEL_VALUE.fullmatch(value):
            raise UsageProblem(f"--node-selector {text}: it takes a node's label, for example pool=load.")
        pairs.append((name, value))
    return tuple(pairs)
