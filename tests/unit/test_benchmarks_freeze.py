"""Who tells the truth about a freeze: the true percentiles, the target's log, what is kept of a contender's words."""

from __future__ import annotations

import asyncio
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks read /proc")


def test_the_truth_of_a_freeze_follows_from_the_schedule() -> None:
    """Of 4,000 arrivals 400 meet the freeze, evenly: the median is the service time, what lies above is the freeze."""
    from benchmarks.freeze import true_percentiles

    truth = true_percentiles(5_000_000, rate=200, seconds=20)
    assert truth == {50: 5_000.0, 95: 1_005_000.0, 99: 1_805_000.0}


def test_arrivals_that_waited_for_the_freeze_are_not_on_time() -> None:
    """A contender that sends nothing during the freeze and catches up afterwards is late for most of that tenth."""
    from benchmarks.freeze import intended_ns, on_time_share

    exact = [intended_ns(number, 200) for number in range(4_000)]
    assert on_time_share(exact, 200, 20) == 1.0
    held = [7_000_000_000 if 5_000_000_000 <= at < 7_000_000_000 else at for at in exact]
    assert on_time_share(held, 200, 20) == pytest.approx(1 - 379 / 4_000, abs=0.001)
    assert on_time_share(exact[:2_000], 200, 20) == 0.5


def test_what_a_contender_says_stands_beside_the_log() -> None:
    """A closed loop that hides the freeze departs from the truth; one without percentiles is refused."""
    from benchmarks.freeze import RATE, SECONDS, Log, intended_ns, told, true_percentiles
    from benchmarks.measuring import ContenderFailed

    arrived = [intended_ns(number, RATE) for number in range(RATE * SECONDS)]
    log = Log(arrived, [at + 5_000_000 for at in arrived])
    truth = true_percentiles(5_000_000)
    assert truth[95] > 1_000_000
    honest = told({**truth, 99: truth[99] * 1.01}, log)
    assert (honest.per_s, honest.on_time, honest.off_percent) == (RATE, 1.0, pytest.approx(1.0))
    assert told({**truth, 95: 5_200.0}, log).off_percent > 99
    with pytest.raises(ContenderFailed, match="no percentiles"):
        told({50: 5_100.0}, log)


async def test_the_target_holds_what_comes_during_its_freeze(monkeypatch) -> None:
    """A request in the freeze is answered after its end, one before it after the service time; both are in the log."""
    from array import array

    from benchmarks import freeze_target
    from benchmarks.freeze_target import FreezingTarget

    monkeypatch.setattr(freeze_target, "FREEZE_AT_S", 0.0)
    monkeypatch.setattr(freeze_target, "FREEZE_S", 0.3)
    monkeypatch.setattr(FreezingTarget, "arrived_ns", array("q"))
    monkeypatch.setattr(FreezingTarget, "answered_ns", array("q"))
    server = await asyncio.get_running_loop().create_server(FreezingTarget, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(17)
            assert head.startswith(b"HTTP/1.1 200 OK")
        writer.close()
        await writer.wait_closed()
    took_ns = [done - at for at, done in zip(FreezingTarget.arrived_ns, FreezingTarget.answered_ns, strict=True)]
    assert took_ns[0] >= 300_000_000
    assert FreezingTarget.arrived_ns[1] >= FreezingTarget.answered_ns[0]
    assert took_ns[1] >= 4_000_000
