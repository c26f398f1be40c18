"""What a worker needs beside the plan to run it: where the suite's module is, which hosts may be reached, how fast."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Travels from the submitter to every worker as JSON. Never holds a secret's value, only names.

    `variables` are the environment values that `${VAR}` in the suite refers to, resolved on the submitter's machine, so
    that every agent sees the same. `targets` None means any host; `max_rate` is a ceiling in 1/1000 requests per second
    over the whole fleet, None means none. `requirements` is the suite's lock file, None where it needs no packages.
    """

    module: str
    variables: dict[str, str] = field(default_factory=dict)
    secret_names: tuple[str, ...] = ()
    targets: tuple[str, ...] | None = None
    max_rate: int | None = None
    requirements: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return dataclasses.asdict(self)


def spec_from_dict(data: dict[str, Any]) -> RunSpec:
    """Build a spec from `RunSpec.to_dict` data. Raises KeyError or TypeError on anything else."""
    targets = data["targets"]
    return RunSpec(
        module=data["module"],
        variables=dict(data["variables"]),
        secret_names=tuple(data["secret_names"]),
        targets=None if targets is None else tuple(targets),
        max_rate=data["max_rate"],
        requirements=data.get("requirements"),
    )
