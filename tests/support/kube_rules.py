"""What the stand-in for an API server refuses: the published schemas, and the rules the server has beside them.

Statuses and reasons are those of Kubernetes 1.34 asked with `fieldValidation=Strict`.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import kubernetes_validate

VERSION = "1.34.0"
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
API_VERSIONS = {"Job": "batch/v1", "Secret": "v1", "Pod": "v1"}
SUFFIXES: dict[str, int | Decimal] = {"": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
            "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}  # fmt: skip
SPREADS = {"DoNotSchedule", "ScheduleAnyway"}


class Refusal(Exception):
    """An answer that is an error, as a Status object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status: dict[str, Any] = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": code,
        }  # fmt: skip


class _Invalid(Exception):
    """An object that can be read but breaks a rule."""


def strictly_valid(body: dict[str, Any], kind: str) -> None:
    """Raise 400 for what cannot be read as this kind, 422 for what breaks the server's own rules."""
    if (body.get("kind"), body.get("apiVersion")) != (kind, API_VERSIONS[kind]):
        raise Refusal(400, "BadRequest", f"{body.get('apiVersion')} {body.get('kind')} cannot be handled as a {kind}")
    try:
        kubernetes_validate.validate(body, VERSION, strict=True)
        for container in _pod(body, kind).get("containers", ()):
            _quantities(container)
    except (kubernetes_validate.ValidationError, InvalidOperation, KeyError) as error:
        raise Refusal(400, "BadRequest", f"{kind} in version {API_VERSIONS[kind]} cannot be read: {error}") from error
    name = body["metadata"].get("name")
    try:
        _metadata(body["metadata"])
        if kind == "Job":
            _job(name, body["spec"])
        for index, container in enumerate(_pod(body, kind).get("containers", ())):
            _container(f"containers[{index}]", container)
    except _Invalid as error:
        raise Refusal(422, "Invalid", f'{_resource(kind)} "{name}" is invalid: {error}') from error


def _resource(kind: str) -> str:
    group = API_VERSIONS[kind].rpartition("/")[0]
    return f"{kind}.{group}" if group else kind


def _pod(body: dict[str, Any], kind: str) -> dict[str, Any]:
    spec: dict[str, Any] = body.get("spec", {})
    if kind == "Job":
        found: dict[str, Any] = spec["template"]["spec"]
        return found
    return spec


def _metadata(metadata: dict[str, Any]) -> None:
    if not NAME.fullmatch(metadata.get("name", "")):
        raise _Invalid(f"metadata.name: Invalid value: {metadata.get('name')!r}")
    for value in metadata.get("labels", {}).values():
        if not LABEL.fullmatch(value):
            raise _Invalid(f"metadata.labels: Invalid value: {value!r}")


def _job(name: str, spec: dict[str, Any]) -> None:
    pod = spec["template"]["spec"]
    if spec.get("completions", 1) < 0:
        raise _Invalid("spec.completions: must be greater than or equal to 0")
    if len(f"{name}-{spec['completions'] - 1}") > 63:
        raise _Invalid("metadata.name: too long for the pods' host names")
    if spec["template"]["metadata"]["labels"].get("batch.kubernetes.io/job-name"):
        raise _Invalid("spec.template.labels: the server sets batch.kubernetes.io/job-name")
    if "podFailurePolicy" in spec and pod["restartPolicy"] != "Never":
        raise _Invalid("spec.template.spec.restartPolicy: must be Never with podFailurePolicy")
    names = {container.get("name") for container in pod["containers"]}
    for rule in spec.get("podFailurePolicy", {}).get("rules", ()):
        if rule.get("onExitCodes", {}).get("containerName", next(iter(names))) not in names:
            raise _Invalid("spec.podFailurePolicy.rules: onExitCodes.containerName: must be one of the containers")
    for constraint in pod.get("topologySpreadConstraints", ()):
        if constraint["whenUnsatisfiable"] not in SPREADS:
            raise _Invalid("topologySpreadConstraints.whenUnsatisfiable: Unsupported value")


def _container(where: str, container: dict[str, Any]) -> None:
    for needed in ("name", "image"):
        if not container.get(needed):
            raise _Invalid(f"{where}.{needed}: Required value")
    asked, allowed = _quantities(container)
    for resource, wanted in asked.items():
        if wanted > allowed.get(resource, wanted):
            raise _Invalid(f"{where}.resources.requests: must be less than or equal to {resource} limit")


def _quantities(container: dict[str, Any]) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Return requests and limits as numbers. Raises InvalidOperation or KeyError for what is no quantity."""
    resources = container.get("resources", {})
    asked, allowed = ({k: _quantity(v) for k, v in resources.get(part, {}).items()} for part in ("requests", "limits"))
    return asked, allowed


def _quantity(text: str) -> Decimal:
    number = text.rstrip("mkMGTi")
    return Decimal(number) * SUFFIXES[text[len(number) :]]
