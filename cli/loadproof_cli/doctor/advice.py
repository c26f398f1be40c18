"""Decides what is wrong with a machine that is to generate load. Pure: readings in, advice out.

A `problem` spoils a run, a `warning` may, a `note` matters to few. Each advice has the command that mends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from loadproof.plan import ArrivalPhase, Plan, UserSchedule
from loadproof_cli.doctor.readings import MachineReadings

Severity = Literal["problem", "warning", "note"]

FILES_FEW = 1_024
FILES_ENOUGH = 20_000
"""Each connection is an open file; the agent raises the soft limit to the hard one by itself."""
FILES_SPARE = 200
"""Files a worker has open beside its connections, generously."""
PORTS_FEW = 4_000
PORTS_ENOUGH = 28_000
"""Connections to one address at a time, and those closed in the last minute."""
TIME_WAIT_S = 60
BUSY_WARNING = 0.25
BUSY_PROBLEM = 0.75
"""Share of the processors that others use: latencies are measured with what is left."""
STOLEN_WARNING = 0.02
CLOCK_READ_NS_WARNING = 250
MEMORY_WARNING = 1 << 30
MEMORY_PROBLEM = 256 << 20
DISK_WARNING = 1 << 30
BACKLOG_ENOUGH = 1_024
GOOD_CLOCKS = frozenset({"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen"})


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to mend: what it is about, what was found and what it does, and the command that mends it."""

    code: str
    severity: Severity
    text: str
    command: str


@dataclass(frozen=True, slots=True)
class Need:
    """What a run may need of a machine: connections at once, over `processes`; new ones a second (0: they are kept)."""

    connections: int = 0
    processes: int = 1
    connections_per_s: float = 0.0


def need_of(plan: Plan, processes: int) -> Need:
    """Return what `plan` may need when all of it runs here in so many worker processes."""
    if plan.model != "open":
        return Need(UserSchedule(plan).peak, processes)
    rates = [max(phase.rate_from, phase.rate_to) for phase in plan.phases if isinstance(phase, ArrivalPhase)]
    peak = max(rates, default=0) / 1_000
    return Need(plan.max_in_flight, processes, peak if plan.session == "new" else 0.0)


def advice_on(machine: MachineReadings, need: Need | None = None) -> tuple[Advice, ...]:
    """Return what should be mended before a run, worst first; with `need`, for this run."""
    found = [
        *_open_files(machine, need),
        *_ports(machine, need),
        *_time_wait(machine, need),
        *_busy(machine),
        *_stolen(machine),
        *_allowed(machine),
        *_governor(machine),
        *_clock(machine),
        *_memory(machine),
        *_disk(machine),
        *_uvloop(machine),
        *_backlog(machine),
    ]
    order = {"problem": 0, "warning": 1, "note": 2}
    return tuple(sorted(found, key=lambda advice: order[advice.severity]))


def warnings_before(machine: MachineReadings, need: Need | None = None) -> tuple[str, ...]:
    """Return one line for each advice but the notes, as told at a run's start and in its report."""
    found = (one for one in advice_on(machine, need) if one.severity != "note")
    return tuple(f"{one.text}. Mend: {one.command}" for one in found)


def _open_files(machine: MachineReadings, need: Need | None) -> Iterator[Advice]:
    hard = machine.open_files_hard
    if hard is None:
        return
    wanted = FILES_ENOUGH if need is None else -(-need.connections // need.processes) + FILES_SPARE
    if hard >= wanted:
        return
    why = "each connection of a virtual user is one" if need is None else f"this run may need {wanted:,} in one process"
    severity: Severity = "problem" if hard < min(FILES_FEW, wanted) else "warning"
    raised = max(65_536, 1 << (wanted - 1).bit_length())
    command = (
        f"sudo prlimit --pid $$ --nofile={raised}:{raised}"
        if machine.system == "linux"
        else f"sudo launchctl limit maxfiles {raised} {raised}"
    )
    yield Advice("open_files", severity, f"a process may open {hard:,} files at most; {why}", command)


def _ports(machine: MachineReadings, need: Need | None) -> Iterator[Advice]:
    if machine.ports is None:
        return
    low, high = machine.ports
    count = high - low + 1
    wanted = PORTS_ENOUGH if need is None else need.connections
    if count >= wanted:
        return
    severity: Severity = "problem" if count < min(PORTS_FEW, wanted) else "warning"
    text = f"{count:,} local ports ({low} to {high}): no more connections to one address at a time, {wanted:,} wanted"
    if machine.system == "linux":
        command = 'sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"'
    else:
        command = "sudo sysctl -w net.inet.ip.portrange.first=1024 net.inet.ip.portrange.hifirst=1024"
    yield Advice("local_ports", severity, text, command)


def _time_wait(machine: MachineReadings, need: Need | None) -> Iterator[Advice]:
    if machine.tw_reuse in {None, 1} or machine.ports is None:
        return
    command = "sudo sysctl -w net.ipv4.tcp_tw_reuse=1"
    count = machine.ports[1] - machine.ports[0] + 1
    if need is not None and need.connections_per_s * TIME_WAIT_S > count:
        text = (
            f"{need.connections_per_s:,.0f} new connections a second, and a closed one keeps its port for "
            f"{TIME_WAIT_S} s: {count:,} ports do not last"
        )
        yield Advice("time_wait", "warning", text, command)
    elif need is None:
        where = "only on loopback" if machine.tw_reuse == 2 else "not at all"
        text = f"ports of closed connections are used again {where} within a minute; matters with session = new"
        yield Advice("time_wait", "note", text, command)


def _busy(machine: MachineReadings) -> Iterator[Advice]:
    share = machine.busy_share
    if share is None or share < BUSY_WARNING:
        return
    severity: Severity = "problem" if share >= BUSY_PROBLEM else "warning"
    load = f", load {machine.load_1m:.1f}" if machine.load_1m is not None else ""
    text = f"others use {share:.0%} of the {machine.processors} processors now{load}: latencies will include that"
    command = (
        "ps -eo pid,pcpu,comm --sort=-pcpu | head" if machine.system == "linux" else "ps -Aro pid,pcpu,comm | head"
    )
    yield Advice("busy", severity, text, f"{command}   (then stop what need not run)")


def _stolen(machine: MachineReadings) -> Iterator[Advice]:
    if (machine.stolen_share or 0.0) >= STOLEN_WARNING:
        text = f"the host gives {machine.stolen_share:.1%} of this machine's time to others (steal)"
        yield Advice("stolen", "warning", text, "use a machine type with processors of its own")


def _allowed(machine: MachineReadings) -> Iterator[Advice]:
    allowed = machine.processors_allowed
    if allowed + 0.01 < machine.processors:
        text = f"only {allowed:g} of {machine.processors} processors may be used here (container quota or affinity)"
        severity: Severity = "warning" if allowed != int(allowed) else "note"
        yield Advice("processors", severity, text, f"loadproof run --workers {max(1, int(allowed))}")


def _governor(machine: MachineReadings) -> Iterator[Advice]:
    slow = {name: n for name, n in machine.governors.items() if name not in {"performance", "schedutil"}}
    if slow:
        names = ", ".join(f"{name} on {n}" for name, n in sorted(slow.items()))
        text = f"processors save power (governor {names}): short requests look slower than they are"
        yield Advice("governor", "warning", text, "sudo cpupower frequency-set -g performance")


def _clock(machine: MachineReadings) -> Iterator[Advice]:
    source, cost = machine.clock_source, machine.clock_read_ns
    slow = cost is not None and cost > CLOCK_READ_NS_WARNING
    if not slow and (source is None or source in GOOD_CLOCKS):
        return
    takes = f", reading it takes {cost:.0f} ns" if cost is not None else ""
    better = next((name for name in machine.clock_sources if name in GOOD_CLOCKS and name != source), None)
    command = (
        f"echo {better} | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource"
        if better
        else "use another machine type: the host offers no better clock"
    )
    yield Advice("clock", "warning" if slow else "note", f"the clock is {source or 'slow'}{takes}", command)


def _memory(machine: MachineReadings) -> Iterator[Advice]:
    free = machine.memory_available
    if free is None or free >= MEMORY_WARNING:
        return
    severity: Severity = "problem" if free < MEMORY_PROBLEM else "warning"
    text = f"{free / (1 << 20):,.0f} MB of memory are free; a worker takes 60 MB and some 30 kB for each virtual user"
    yield Advice("memory", severity, text, "ps -eo pid,rss,comm --sort=-rss | head")


def _disk(machine: MachineReadings) -> Iterator[Advice]:
    if machine.disk_free is not None and machine.disk_free < DISK_WARNING:
        text = f"{machine.disk_free / (1 << 20):,.0f} MB are free in {machine.disk_path}, where a run's log is written"
        yield Advice("disk", "warning", text, "TMPDIR=/path/with/room loadproof run")


def _uvloop(machine: MachineReadings) -> Iterator[Advice]:
    if not machine.uvloop:
        text = "uvloop is not installed: a worker does about half the work with the same CPU"
        yield Advice("uvloop", "warning", text, "python -m pip install uvloop")


def _backlog(machine: MachineReadings) -> Iterator[Advice]:
    if machine.somaxconn is not None and machine.somaxconn < BACKLOG_ENOUGH:
        name = "net.core.somaxconn" if machine.system == "linux" else "kern.ipc.somaxconn"
        text = f"a server on this machine queues {machine.somaxconn} connections at most ({name})"
        yield Advice("backlog", "note", text, f"sudo sysctl -w {name}=4096")
