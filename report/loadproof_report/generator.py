"""What the load generator's own readings say about the run: CPU, loop lag, user code that held the loop, collections.

The limits are the constants below. What they rest on is measured by `benchmarks/generator_truth.py` and told in
`docs/explanation/evidence.md`.
"""

from __future__ import annotations

from collections import defaultdict

from loadproof.histogram import Histogram
from loadproof.metrics import Health
from loadproof.plan.model import NS_PER_S
from loadproof_report.result import Finding, FindingSeverity
from loadproof_report.rundata import RunData
from loadproof_report.scope import judged_spans
from loadproof_report.text import clean, count_text, duration_text, plural, share_text

CPU_BUSY_PERMILLE = 900
"""A worker above this share of its core cannot be told from a slow target."""
CPU_HIGH_PERMILLE = 800
"""From here on the 95th percentile is some milliseconds too high."""
MACHINE_FULL_PERMILLE = 950
"""A machine above this share of all its cores has nothing left; whether that hurt, late starts and lag say."""
BUSY_SHARE_MAX = 0.10
"""Share of the run's seconds in which the busiest worker may be that busy, or user code hold the loop that long."""
LAG_P99_UNSOUND_US = 100_000
LAG_P99_DEGRADED_US = 20_000
"""Event-loop lag adds itself to latencies."""
STRETCH_US_SHOWN = 10_000
STRETCH_US_DEGRADED = 20_000
"""User code that keeps the loop for so long in one go: each other user of the worker waits as long."""
STRETCHES_SHOWN = 3
PAUSE_US_SHOWN = 20_000
"""A garbage collection stops the worker as user code does."""

Readings = list[tuple[int, Health]]


def finding(code: str, severity: FindingSeverity, text: str, value: float, limit: float | None = None) -> Finding:
    """Return a finding with its value rounded to 6 digits."""
    return Finding(code=code, severity=severity, text=text, value=round(value, 6), threshold=limit)


def generator_findings(data: RunData) -> list[Finding]:
    """Return what the generator's readings in the judged part of the run say."""
    readings = [(from_ns, health) for from_ns, _, health in data.merged.health_seconds if _judged(data, from_ns)]
    return [*_cpu(readings), *_lag(readings), *_stretches(readings), *_pauses(readings)]


def _judged(data: RunData, from_ns: int) -> bool:
    spans = judged_spans(data.plan)
    if not spans:
        return True
    return any(span.start_ns <= from_ns and (span.end_ns is None or from_ns < span.end_ns) for span in spans)


def _cpu(readings: Readings) -> list[Finding]:
    out: list[Finding] = []
    worker: dict[int, int] = defaultdict(int)
    machine: dict[int, int] = defaultdict(int)
    for from_ns, health in readings:
        second = max(0, from_ns) // NS_PER_S
        worker[second] = max(worker[second], health.worker_cpu_permille)
        machine[second] = max(machine[second], health.machine_cpu_permille)
    if not worker:
        return out
    busy = sum(1 for cpu in worker.values() if cpu >= CPU_BUSY_PERMILLE)
    share = busy / len(worker)
    if busy:
        text = (
            f"In {plural(busy, 'second')} of {count_text(len(worker))} ({share_text(share)}) a worker of the load "
            f"generator used {CPU_BUSY_PERMILLE // 10} % of its core or more: latencies then include its own queue."
        )
        bad = share > BUSY_SHARE_MAX and busy >= 3
        out.append(finding("generator_cpu", "unsound" if bad else "info", text, share, BUSY_SHARE_MAX))
    high = sum(1 for cpu in worker.values() if cpu >= CPU_HIGH_PERMILLE)
    if high / len(worker) > BUSY_SHARE_MAX and not any(one.severity == "unsound" for one in out):
        text = (
            f"In {share_text(high / len(worker))} of the seconds a worker of the load generator used "
            f"{CPU_HIGH_PERMILLE // 10} % of its core or more: latencies are some milliseconds too high."
        )
        out = [finding("generator_cpu", "degraded", text, high / len(worker), BUSY_SHARE_MAX)]
    full = sum(1 for cpu in machine.values() if cpu >= MACHINE_FULL_PERMILLE)
    share = full / len(machine)
    if share > BUSY_SHARE_MAX:
        text = (
            f"In {share_text(share)} of the seconds a machine of the fleet was used to the full, by Loadproof or "
            "by others: give the load generator a machine of its own."
        )
        out.append(finding("machine_full", "degraded", text, share, BUSY_SHARE_MAX))
    return out


def _lag(readings: Readings) -> list[Finding]:
    lag = Histogram()
    for _, health in readings:
        if health.lag is not None:
            lag.add(health.lag)
    p99 = lag.quantile(0.99)
    if p99 is None or p99 <= LAG_P99_DEGRADED_US:
        return []
    worst = max(
        ((us, where) for _, health in readings for where, us in health.user_cpu_us.items()),
        default=(0, ("", "")),
    )
    blame = ""
    if worst[0] >= LAG_P99_DEGRADED_US:
        blame = f"; the suite's own code held it for {duration_text(worst[0])} in {_place(*worst[1])}"
    text = f"The load generator's event loop lagged {duration_text(p99)} at its 99th percentile{blame}."
    severity: FindingSeverity = "unsound" if p99 > LAG_P99_UNSOUND_US else "degraded"
    return [finding("loop_lag", severity, text, p99, LAG_P99_UNSOUND_US)]


def _stretches(readings: Readings) -> list[Finding]:
    """Name the steps whose code held the loop longest, longest first."""
    longest: dict[tuple[str, str], int] = defaultdict(int)
    seconds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for from_ns, health in readings:
        for where, us in health.user_cpu_us.items():
            longest[where] = max(longest[where], us)
            if us >= STRETCH_US_SHOWN:
                seconds[where].add(from_ns // NS_PER_S)
    whole = len({from_ns // NS_PER_S for from_ns, _ in readings})
    out: list[Finding] = []
    for where, us in sorted(longest.items(), key=lambda item: (-item[1], item[0]))[:STRETCHES_SHOWN]:
        if us < STRETCH_US_SHOWN:
            break
        often = len(seconds[where])
        text = (
            f"{_place(*where, first=True)} kept its worker for {duration_text(us)} in one go, in your own code "
            f"(computing, or a call that blocks), in {plural(often, 'second')} of {count_text(whole)}: "
            "all other users of that worker waited as long."
        )
        bad = us >= STRETCH_US_DEGRADED and often / max(1, whole) > BUSY_SHARE_MAX
        out.append(finding("user_code", "degraded" if bad else "info", text, us, STRETCH_US_DEGRADED))
    return out


def _place(transaction: str, step: str, *, first: bool = False) -> str:
    inside = f"{'Step' if first else 'step'} {clean(step)} of " if step else ""
    return f"{inside}{clean(transaction)}"


def _pauses(readings: Readings) -> list[Finding]:
    pause = max((health.gc_pause_us_max for _, health in readings), default=0)
    if pause < PAUSE_US_SHOWN:
        return []
    often = sum(1 for _, health in readings if health.gc_pause_us_max >= PAUSE_US_SHOWN)
    text = (
        f"Garbage collection stopped a worker for up to {duration_text(pause)} ({plural(often, 'interval')} with such "
        "a pause): keep fewer objects in user.state and in the suite's globals."
    )
    return [finding("gc_pause", "info", text, pause, PAUSE_US_SHOWN)]
