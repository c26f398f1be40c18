"""What doctor finds on a machine, without one: readings in, advice out."""

from __future__ import annotations

import io
import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from loadproof.plan import NS_PER_S, ArrivalPhase, Plan, TransactionPlan
from loadproof_agent.files import raise_open_files
from loadproof_cli.console import Console
from loadproof_cli.doctor.advice import Need, advice_on, need_of, warnings_before
from loadproof_cli.doctor.calibrate import calibrate, capacity_of
from loadproof_cli.doctor.readings import MachineReadings, read_machine
from loadproof_cli.main import main

FIT = MachineReadings(
    system="linux", processors=8, processors_allowed=8.0, busy_share=0.02, stolen_share=0.0, load_1m=0.1,
    open_files_soft=1_024, open_files_hard=1_048_576, ports=(1_024, 65_535), tw_reuse=1, somaxconn=4_096,
    governors={"performance": 8}, clock_source="tsc", clock_sources=("tsc", "hpet"), clock_read_ns=40.0,
    memory_available=16 << 30, memory_total=32 << 30, disk_free=100 << 30, disk_path="/tmp", uvloop=True,
)  # fmt: skip


def test_a_fit_machine_gets_no_advice() -> None:
    """Nor does one of which nothing can be read."""
    assert advice_on(FIT) == ()
    assert [one.code for one in advice_on(MachineReadings())] == []


@pytest.mark.parametrize(
    ("changes", "code", "severity", "command"),
    [
        ({"open_files_hard": 4_096}, "open_files", "warning", "sudo prlimit --pid $$ --nofile=65536:65536"),
        ({"open_files_hard": 256, "system": "macos"}, "open_files", "problem", "sudo launchctl limit maxfiles"),
        ({"ports": (32_768, 40_000)}, "local_ports", "warning", "net.ipv4.ip_local_port_range"),
        ({"ports": (60_000, 60_999)}, "local_ports", "problem", "net.ipv4.ip_local_port_range"),
        ({"tw_reuse": 0}, "time_wait", "note", "net.ipv4.tcp_tw_reuse=1"),
        ({"busy_share": 0.4}, "busy", "warning", "ps -eo"),
        ({"busy_share": 0.9}, "busy", "problem", "ps -eo"),
        ({"stolen_share": 0.05}, "stolen", "warning", "machine type"),
        ({"processors_allowed": 1.5}, "processors", "warning", "--workers 1"),
        ({"processors_allowed": 2.0}, "processors", "note", "--workers 2"),
        ({"governors": {"powersave": 8}}, "governor", "warning", "cpupower frequency-set -g performance"),
        ({"clock_source": "hpet", "clock_read_ns": 900.0}, "clock", "warning", "echo tsc | sudo tee"),
        ({"clock_source": "acpi_pm", "clock_sources": ("acpi_pm",)}, "clock", "note", "machine type"),
        ({"memory_available": 700 << 20}, "memory", "warning", "rss"),
        ({"memory_available": 100 << 20}, "memory", "problem", "rss"),
        ({"disk_free": 1 << 20}, "disk", "warning", "TMPDIR"),
        ({"uvloop": False}, "uvloop", "warning", "pip install uvloop"),
        ({"somaxconn": 128}, "backlog", "note", "net.core.somaxconn=4096"),
    ],
)
def test_what_is_wrong_is_told_with_the_command_that_mends_it(
    changes: dict[str, object], code: str, severity: str, command: str
) -> None:
    """One weakness, one advice."""
    [found] = advice_on(replace(FIT, **changes))  # type: ignore[arg-type]  # a field each
    assert (found.code, found.severity) == (code, severity)
    assert command in found.command


def test_a_run_is_warned_of_what_it_needs_and_not_of_more() -> None:
    """The same machine does for one run and not for the other; notes are not told."""
    small = replace(FIT, open_files_hard=4_096, ports=(32_768, 60_999), tw_reuse=0, somaxconn=128)
    assert warnings_before(small, Need(500, 2)) == ()
    [files] = warnings_before(small, Need(20_000, 2))
    assert files.startswith(
        "a process may open 4,096 files at most; this run may need 10,200 in one process. Mend: sudo"
    )
    [ports] = warnings_before(small, Need(100, 2, connections_per_s=1_000))
    assert "1,000 new connections a second" in ports


def test_the_need_follows_from_the_plan() -> None:
    """New sessions open connections at the highest rate; kept ones do not."""
    ramp = ArrivalPhase("ramp", 0, 300_000, 10 * NS_PER_S)
    plan = Plan("S", "p", "open", (ramp,), (TransactionPlan("A", 1),), max_in_flight=900, session="new")
    assert need_of(plan, 3) == Need(900, 3, 300.0)
    assert need_of(replace(plan, session="keep"), 3) == Need(900, 3, 0.0)


def test_the_command_prints_advice_and_says_by_its_code_whether_to_run() -> None:
    """Warnings leave 0, a problem makes 5; `--json` has readings and advice."""
    for changes, code in (({}, 0), ({"busy_share": 0.3}, 0), ({"busy_share": 0.9}, 5)):
        machine = replace(FIT, **changes)  # type: ignore[arg-type]  # a field each
        for options in ((), ("--json",)):
            world = Console(("doctor", *options), {}, Path("/"), io.StringIO(), io.StringIO())
            world.machine = lambda machine=machine: machine  # type: ignore[misc]
            assert main(world) == code
            assert isinstance(world.stdout, io.StringIO)
            text = world.stdout.getvalue()
            if options:
                assert len(json.loads(text)["advice"]) == len(advice_on(machine))
            else:
                assert ("Nothing on this machine would spoil a run." in text) == (not changes)


def test_this_machine_can_be_read() -> None:
    """Everything that every system has is there."""
    machine = read_machine(sample_s=0.01)
    assert machine.processors >= machine.processors_allowed > 0
    assert machine.busy_share is not None
    assert 0 <= machine.busy_share <= 1
    assert machine.memory_available
    assert machine.clock_read_ns
    assert machine.uvloop


def test_a_containers_quota_and_governors_are_read_from_files(tmp_path: Path) -> None:
    """What is missing there is None."""
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n")
    governor = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    governor.parent.mkdir(parents=True)
    governor.write_text("powersave\n")
    machine = read_machine(sample_s=0.01, root=tmp_path)
    assert (machine.processors_allowed, machine.governors) == (0.5, {"powersave": 1})
    assert (machine.clock_source, machine.tw_reuse) == (None, None)


def test_a_calibration_gives_a_cost_and_what_follows_from_it() -> None:
    """Real transactions against a target of its own; workers share."""
    measured = calibrate(2, measure_s=0.05)
    assert 1 < measured.cpu_us < 100_000
    assert capacity_of(20.0, 1).per_s == capacity_of(20.0, 4).per_worker_per_s == 35_000
    assert capacity_of(20.0, 4).per_s == 126_000


def test_an_agent_takes_all_open_files_it_may_have() -> None:
    """The soft limit goes up to the hard one, or to a million."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        raised = raise_open_files()
        assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
