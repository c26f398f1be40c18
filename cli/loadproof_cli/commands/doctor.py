"""`loadproof doctor`: what on this machine would spoil a run, and how to mend it; and what the machine can do."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.text import Text

from loadproof_cli.console import Console, console_of
from loadproof_cli.doctor.advice import Advice, advice_on
from loadproof_cli.doctor.calibrate import Capacity
from loadproof_cli.doctor.readings import MachineReadings
from loadproof_cli.errors import InfrastructureProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.words import count

EXAMPLES = """[bold]Examples[/]

loadproof doctor                      what to mend before a run

loadproof doctor --calibrate          how much load this machine can generate

loadproof doctor --json               for scripts

[bold]Exit codes[/]

0 nothing would spoil a run (warnings may be left), 5 something would
"""

_STYLES = {"problem": ("✕", "bold red"), "warning": ("!", "yellow"), "note": ("·", "dim")}


def doctor(
    context: typer.Context,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this machine's capacity as well; about 8 s.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Look for what would spoil a run on this machine: open files, ports, processors, clock, memory. Mends nothing."""
    console = console_of(context)
    machine = console.machine()
    found = advice_on(machine)
    capacity, weight = _calibrated() if calibrate else (None, 0)
    if as_json:
        console.line(_json(machine, found, capacity, weight))
    else:
        _print(console, machine, found)
        if capacity is not None:
            _print_capacity(console, capacity, weight)
    return ExitCode.INFRASTRUCTURE if any(one.severity == "problem" for one in found) else ExitCode.OK


def _calibrated() -> tuple[Capacity, int]:
    """Return the capacity, and the weight that leases of an agent with all cores would have."""
    from loadproof_agent.capacity import measured_capacity
    from loadproof_cli.doctor.calibrate import calibrate, cores

    try:
        return calibrate(cores()), cores() * measured_capacity()
    except OSError as error:
        raise InfrastructureProblem(f"the capacity could not be measured: {error}.") from error


def _json(machine: MachineReadings, found: tuple[Advice, ...], capacity: Capacity | None, weight: int) -> str:
    value: dict[str, object] = {
        "machine": dataclasses.asdict(machine),
        "advice": [dataclasses.asdict(one) for one in found],
    }
    if capacity is not None:
        value["capacity"] = {**dataclasses.asdict(capacity), "lease_weight": weight}
    return json.dumps(value, indent=2)


def _print(console: Console, machine: MachineReadings, found: tuple[Advice, ...]) -> None:
    memory = f", {machine.memory_available / (1 << 30):.1f} GB free" if machine.memory_available is not None else ""
    console.line(f"{machine.system}, {machine.processors_allowed:g} of {machine.processors} processors{memory}")
    for one in found:
        mark, style = _STYLES[one.severity]
        console.result(Text(f"{mark} {one.severity}: {one.text}", style=style))
        console.line(f"    {one.command}")
    problems, warnings = (sum(one.severity == kind for one in found) for kind in ("problem", "warning"))
    if problems or warnings:
        console.line(f"{_plural(problems, 'problem')}, {_plural(warnings, 'warning')}.")
    else:
        console.line("Nothing on this machine would spoil a run.")


def _print_capacity(console: Console, capacity: Capacity, weight: int) -> None:
    console.line(
        f"Capacity: {capacity.cpu_us:.1f} µs of processor time for a simple transaction, so up to "
        f"{count(capacity.per_worker_per_s)} a second and worker, {count(capacity.per_s)} with "
        f"{_plural(capacity.workers, 'worker')}; lease weight {count(weight)}."
    )


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
