"""Why agents stay away: what pods and events say, in one line. Pure: objects in, words out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from loadproof_cli.kubernetes.manifests import CONTAINER

NO_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
NO_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
QUOTA = re.compile(r"exceeded quota: (?P<quota>[^,]+), requested: (?P<requested>.*?), used: (?P<used>.*?), limited: (?P<limited>.*)")  # fmt: skip # noqa: E501
TEXT_CHARACTERS_MAX = 600

Plain = Mapping[str, Any]


def hopeless(pods: Iterable[Plain], events: Iterable[Plain], *, namespace: str, agents: int) -> str | None:
    """Return why waiting can't help, None when it still can."""
    pods = list(pods)
    for event in events:
        if event.get("reason") == "FailedCreate":
            return _not_created(event, namespace, len(pods), agents)
    for pod in pods:
        waiting = _status(pod).get("state", {}).get("waiting", {})
        reason, name = waiting.get("reason", ""), pod["metadata"]["name"]
        if reason in NO_IMAGE:
            image = _image(pod)
            return f"pod {name}: the image {image} cannot be pulled ({reason}): {_text(waiting.get('message'))}"
        if reason in NO_CONTAINER:
            return f"pod {name}: the container cannot be started ({reason}): {_text(waiting.get('message'))}"
    for pod in pods:
        ended = _status(pod).get("state", {}).get("terminated", {})
        if ended.get("exitCode") == 2:
            said = _text(ended.get("message")) or f"kubectl -n {namespace} logs {pod['metadata']['name']} tells"
            return f"pod {pod['metadata']['name']}: the agent ended with code 2 (wrong usage): {said}"
    return None


def still_missing(pods: Iterable[Plain], attached: int, agents: int) -> str:
    """Return what keeps the agents that are not there at the end of patience."""
    reasons: dict[str, int] = {}
    for pod in pods:
        reasons[_hindrance(pod)] = reasons.get(_hindrance(pod), 0) + 1
    listed = "; ".join(f"{number} {reason}" for reason, number in sorted(reasons.items(), key=lambda item: -item[1]))
    return f"{attached} of {agents} agents attached in time. Pods: {listed or 'none were created'}"


def disruptions(pods: Iterable[Plain]) -> list[str]:
    """Return a line for each pod that the cluster took away."""
    lines = []
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions") or ():
            if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
                why = _text(condition.get("message")) or condition.get("reason", "")
                lines.append(f"pod {pod['metadata']['name']} was taken away ({condition.get('reason', '')}): {why}")
    return lines


def _not_created(event: Plain, namespace: str, created: int, agents: int) -> str:
    message = _text(event.get("message"))
    quota = QUOTA.search(message)
    if quota is None:
        return f"namespace {namespace}: the pods cannot be created: {message}"
    return (
        f"namespace {namespace}: the quota {quota['quota']} allows {created} of {agents} agents"
        f" (limited: {quota['limited'].strip()}; used: {quota['used']}; each agent asks for {quota['requested']});"
        f" ask for fewer with --agents, or raise the quota"
    )


def _hindrance(pod: Plain) -> str:
    status = pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"cannot be scheduled ({_text(condition.get('message'))})"
    state = _status(pod).get("state", {})
    if "running" in state:
        return "running; those not attached may not reach the controller (--agents-dial, network policies)"
    waiting = state.get("waiting", {})
    if waiting:
        return f"waiting ({waiting.get('reason', '')}: {_text(waiting.get('message'))})"
    if "terminated" in state:
        return f"ended with code {state['terminated'].get('exitCode')}"
    return str(status.get("phase", "unknown")).lower()


def _status(pod: Plain) -> Plain:
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if status.get("name") == CONTAINER:
            found: Plain = status
            return found
    return {}


def _image(pod: Plain) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def _text(text: Any) -> str:
    return " ".join(str(text or "").split())[:TEXT_CHARACTERS_MAX].rstrip(".")
