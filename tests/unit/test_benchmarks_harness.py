"""The benchmark harness without a load: what contenders print, rounds with contenders that break, a busy machine."""

from __future__ import annotations

import contextlib
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks read /proc")

OHA = '{"summary": {}, "latencyPercentiles": {"p50": 0.00051, "p95": 0.001, "p99": 0.0012045, "p99.9": null}}'
GATLING = """
> response time 50th percentile (ms)                                                 |         2 |         2 |         -
> response time 95th percentile (ms)                                                 |       547 |       547 |         -
> response time 99th percentile (ms)                                                 |     1,570 |     1,570 |         -
"""
LOCUST = """
Type     Name                       # reqs      # fails |    Avg     Min     Max    Med |   req/s  failures/s
--------|-------------------------|-------|-------------|-------|-------|-------|-------|--------|-----------
         Aggregated                   4000     0(0.00%) |     21       5    2003       6 |  199.50        0.00

Response time percentiles (approximated)
Type     Name              50%    66%    75%    80%    90%    95%    98%    99%  99.9% 99.99%   100% # reqs
--------|-----------|--------|------|------|------|------|------|------|------|------|------|------|------
         Aggregated          6      7      7      7      8     10     12   1900   2000   2000   2000   4000
"""


@pytest.mark.parametrize(
    ("name", "said", "p50_us", "p95_us", "p99_us"),
    [
        (
            "wrk",
            "  Latency Distribution\n     50%  832.00us\n     75%    1.00ms\n     99%    1.67ms\n",
            832,
            None,
            1_670,
        ),
        ("wrk2", " 50.000%  832.00us\n 99.000%    1.67ms\n", 832, None, 1_670),
        ("k6", "http_req_duration..............: p(50)=118.2µs p(95)=1ms p(99)=1.22s\n", 118.2, 1_000, 1_220_000),
        (
            "vegeta",
            "Latencies  [min, mean, 50, 90, 95, 99, max]  71us, 144us, 131us, 180us, 220us, 475.6µs, 12ms\n",
            131,
            220,
            475.6,
        ),
        ("oha", f"some words\n{OHA}\n", 510, 1_000, 1_204.5),
        ("gatling", GATLING, 2_000, 547_000, 1_570_000),
        ("locust", LOCUST, 6_000, 10_000, 1_900_000),
    ],
)
def test_percentiles_are_read_from_what_a_contender_prints(name, said, p50_us, p95_us, p99_us) -> None:
    """The median, the 95th and the 99th percentile of each format, in microseconds, as far as they are there."""
    from benchmarks.reported import reported

    wanted = {50: p50_us, 95: p95_us, 99: p99_us}
    assert reported(name, said) == {percent: pytest.approx(us) for percent, us in wanted.items() if us is not None}


@pytest.mark.parametrize("name", ["wrk", "wrk2", "k6", "vegeta", "oha", "gatling", "locust", "goose"])
def test_a_contender_that_prints_no_percentile_has_none(name) -> None:
    """Nothing is made up from other words."""
    from benchmarks.reported import reported

    assert reported(name, "Latency 1ms {broken} 99 percent of nothing") == {}


def test_a_contender_that_breaks_does_not_stop_the_others() -> None:
    """One that always fails is missing with its reason, one that fails once says so, the others have all rounds."""
    from benchmarks.measuring import ContenderFailed
    from benchmarks.rounds import run

    turns = iter((True, False, True))

    def sound(row) -> None:
        row.add(10.0)

    def broken(row) -> None:
        raise ContenderFailed("it ended inside the window")

    def rough(row) -> None:
        if not next(turns):
            raise OSError("no connection")
        row.add(20.0)

    cases = {("one step", "broken"): broken, ("one step", "rough"): rough, ("one step", "sound"): sound}
    kept = []
    rows = run(cases, 3, lambda _, done: kept.append(done), lambda _: None)
    assert rows["one step", "sound"].values == [10.0] * 3
    assert rows["one step", "rough"].values == [20.0] * 2
    assert rows["one step", "rough"].remarks == ["1 readings refused: no connection"]
    assert rows["one step", "broken"].missing == "it ended inside the window"
    assert kept == [1, 2, 3, 3]


def test_an_interruption_keeps_what_was_measured() -> None:
    """Ctrl+C in the second round leaves the first round's values."""
    from benchmarks.rounds import run

    def measure(row) -> None:
        if row.values:
            raise KeyboardInterrupt
        row.add(10.0)

    told = []
    rows = run({("one step", "wrk"): measure}, 5, lambda *_: None, told.append)
    assert rows["one step", "wrk"].values == [10.0]
    assert told[-1] == "interrupted after 1 whole rounds"


def test_each_round_begins_a_case_with_another_contender() -> None:
    """Over as many rounds as a case has contenders each of them was first once; cases stay together."""
    from benchmarks.rounds import order

    keys = [("a", "x"), ("a", "y"), ("a", "z"), ("b", "x")]
    assert [order(keys, turn)[0] for turn in range(3)] == keys[:3]
    assert all(order(keys, turn)[3] == ("b", "x") for turn in range(3))


def test_a_whole_name_chooses_one_case_and_a_beginning_all_that_begin_so() -> None:
    """`one step` is not `one step + JSON`; `open` is every open case; contenders narrow it further."""
    from benchmarks.cases import chosen, names

    assert chosen(["one step"], ["loadproof", "wrk"]) == [("one step", "loadproof"), ("one step", "wrk")]
    assert {case for case, _ in chosen(["open"], [])} == {"open 1,000/s", "open 5,000/s", "open 10,000/s"}
    assert chosen([], []) == names()
    assert chosen(["no such"], []) == []


def test_a_reading_beside_other_work_is_flagged() -> None:
    """What the machine did beyond the measurement counts as others; stolen time counts by itself."""
    from benchmarks.noise import Clocks, noise_between

    before = Clocks(at_s=100.0, busy_s=50.0, idle_s=150.0, steal_s=1.0, own_s=20.0)
    quiet = noise_between(before, Clocks(102.0, 52.1, 151.9, 1.0, 22.0), 0.5)
    assert (quiet.others, quiet.steal, quiet.busy) == (0.05, 0.0, False)
    beside = noise_between(before, Clocks(102.0, 53.0, 151.0, 1.0, 22.0), 0.5)
    assert (beside.others, beside.busy) == (0.5, True)
    stolen = noise_between(before, Clocks(102.0, 52.0, 151.8, 1.2, 22.0), 0.5)
    assert (stolen.steal, stolen.busy) == (0.05, True)


def test_a_flagged_reading_is_said_in_the_table() -> None:
    """The table counts readings of a busy machine, by row and in all."""
    from benchmarks.noise import Noise
    from benchmarks.results import Row, table

    row = Row("one step", "wrk")
    row.add(5.0, Noise(load=3.0, others=0.9, steal=0.0))
    row.add(5.1, Noise(load=0.1, others=0.0, steal=0.0))
    machine = {"processor": "P", "cores": 2, "kernel": "6", "python": "3", "load_before": 0.1}
    text = table({("one step", "wrk"): row}, machine, {}, {"rounds": 2, "seconds": 1.0})
    assert "1 of 2 on a busy machine" in text
    assert "1 of 2 readings were taken while something else used the machine" in text
    assert "10,000 connected idle users" not in text


def test_an_installation_that_takes_too_long_is_ended_with_all_it_started(tmp_path, monkeypatch) -> None:
    """After its bound the build is over, its children too, and the contender is missing with the way on."""
    import psutil
    from benchmarks import install
    from benchmarks.install import Missing, built, run

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("BENCH_BUILD_S", "1")

    def recipe():
        built("slow-1", "1", "for ever", lambda folder: run(["sh", "-c", f"sleep 60 & echo $! > {folder}/pid; wait"]))

    told = install.install("slow", recipe)
    assert isinstance(told, Missing)
    assert "was not done after 1 s" in told.reason
    with contextlib.suppress(psutil.NoSuchProcess):  # or it is about to be
        psutil.Process(int((tmp_path / "slow-1" / "pid").read_text())).wait(30)


def test_what_is_built_is_built_once_for_each_stamp(tmp_path, monkeypatch) -> None:
    """The same stamp builds nothing, another one builds anew, a failed build leaves no stamp."""
    from benchmarks.install import InstallError, built

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    made = []

    def build(folder) -> None:
        made.append(folder.name)

    def fail(_folder) -> None:
        raise InstallError("no network")

    with pytest.raises(InstallError):
        built("tool-1", "a", "a minute", fail)
    for stamp in ("a", "a", "b"):
        assert built("tool-1", stamp, "a minute", build) == tmp_path / "tool-1"
    assert made == ["tool-1", "tool-1"]


def test_a_setting_differs_only_when_the_interval_says_so() -> None:
    """The order statistics of 9 and 15 values that hold the median with 95 %; few readings say nothing."""
    from benchmarks.settings import compare, median_interval

    assert median_interval([float(n) for n in range(1, 10)]) == (2.0, 8.0)
    assert median_interval([float(n) for n in range(1, 16)]) == (4.0, 12.0)
    dearer = compare("load", "slow", [(10.0, 12.0 + n / 10) for n in range(9)])
    assert (dearer.ratio, dearer.verdict) == (pytest.approx(1.24), "dearer")
    assert compare("load", "same", [(10.0, 9.6 + n / 10) for n in range(9)]).verdict == "no difference found"
    beside = compare("load", "slow", [(10.0, 12.0 + n / 10) for n in range(9)], floor=(0.9, 1.3))
    assert beside.verdict == "no difference found"
    assert compare("load", "few", [(10.0, 20.0)] * 5).verdict == "too few readings (5)"


def test_the_page_shows_what_is_missing_and_what_a_contender_said_beside_the_truth() -> None:
    """Rows of the JSON become rows of the page's tables."""
    from dataclasses import asdict

    from benchmarks.noise import Noise
    from benchmarks.page import closed, frozen
    from benchmarks.results import Row

    wrk, gone, told = Row("one step", "wrk"), Row("one step", "k6"), Row("2 s freeze", "oha", unit="ms, own p99")
    wrk.add(5.0, Noise(load=3.0, others=0.9, steal=0.0))
    gone.missing = "left out on request"
    told.add(1_810.0, p50_ms=5.2, p95_ms=1_004.0, true_p50_ms=5.1, true_p95_ms=1_005.0, true_p99_ms=1_805.0, per_s=200)
    entries = [{**asdict(row), "median": row.median} for row in (wrk, gone, told)]
    assert "| one step | wrk | 5.0 | 5.0..5.0 | 1.0 | 1/1 |" in closed(entries)
    assert "| one step | k6 | missing | left out on request |  |  |" in closed(entries)
    assert "| oha | 200 |  | 5.2 (5.1) | 1,004.0 (1,005.0) | 1,810.0 (1,805.0) |" in frozen(entries)
