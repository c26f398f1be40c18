"""The worker's recorder: lists in, one delta a tick out, bounded whatever user code names its steps."""

from __future__ import annotations

import numpy as np
import pytest

from loadproof.histogram import counts_from_samples
from loadproof.metrics import OTHER, Delta, ErrorKey, Recorder, SeriesKey, clean_name, fold_message
from loadproof.metrics import recorder as recorder_module
from metrics_samples import sample


def take(recorder: Recorder, in_flight=None) -> Delta:
    return recorder.take(0, 10**9, in_flight or {})


def test_nanoseconds_become_microseconds_by_floor() -> None:
    """1,999 ns are 1 µs."""
    recorder = Recorder(1, "a")
    recorder.transaction("T", "p").response_ok.extend([1_999, 2_000, 999])
    counts = take(recorder).series[SeriesKey("T", "", "", "p", "ok", "response")]
    assert (counts.n, counts.minimum, counts.maximum, counts.total) == (3, 0, 2, 3)


def test_a_tick_takes_everything_and_leaves_an_empty_recorder() -> None:
    """Nothing is reported twice, nothing between two ticks is lost."""
    recorder = Recorder(1, "a")
    series = recorder.transaction("T", "p")
    append = series.response_ok.append
    append(5_000)
    series.started += 1
    first = take(recorder)
    assert first.delivery["T", "p"].started == 1
    assert take(recorder).series == {}
    append(6_000)  # a transaction in flight kept the list
    assert take(recorder).series[SeriesKey("T", "", "", "p", "ok", "response")].minimum == 6


def test_series_objects_are_cached() -> None:
    """The hot path may hold on to them."""
    recorder = Recorder(1, "a")
    series = recorder.transaction("T", "p")
    assert recorder.transaction("T", "p") is series
    assert series.step("S") is series.step("S")
    assert series.step("S").endpoint("GET /") is series.step("S").endpoint("GET /")
    assert recorder.transaction("T", "q") is not series


def test_steps_keep_their_lowest_ordinal() -> None:
    """The report lists steps in the order they run in."""
    recorder = Recorder(1, "a")
    series = recorder.transaction("T", "p")
    for name, ordinal in (("Open", 3), ("Search", 0), ("Open", 1)):
        series.step(name, ordinal).ok.append(1)
    assert take(recorder).step_order == {("T", "Open"): 1, ("T", "Search"): 0}


def test_in_flight_is_booked_on_the_second_that_ends() -> None:
    """Also where nothing else happened in that second."""
    recorder = Recorder(1, "a")
    delta = recorder.take(10**9, 2 * 10**9, {"T": 4, "idle": 0})
    assert delta.seconds[1, "T"].in_flight == 4
    assert (1, "idle") not in delta.seconds


def test_seconds_are_shared_by_the_phases_of_a_transaction() -> None:
    """The timeline is by second and transaction."""
    recorder = Recorder(1, "a")
    for phase in ("p", "q"):
        series = recorder.transaction("T", phase)
        series.turn(3)
        series.started += 1
    assert take(recorder).seconds[3, "T"].started == 2


def test_seconds_are_cut_where_they_turn() -> None:
    """Each second has its own starts and completions, ok and failed, also one that is turned to twice."""
    recorder = Recorder(1, "a")
    series = recorder.transaction("T", "p")
    for second, ok, failed in ((3, [1_000], []), (4, [2_000], [9_000]), (3, [3_000], [])):
        series.turn(second)
        series.started += 1
        series.response_ok += ok
        series.response_failed += failed
    delta = take(recorder)
    third, fourth = delta.seconds[3, "T"], delta.seconds[4, "T"]
    assert (third.started, third.completed, third.failed) == (2, 2, 0)
    assert (fourth.started, fourth.completed, fourth.failed) == (1, 2, 1)
    assert third.response == counts_from_samples(np.array([1, 3]))
    assert fourth.response == counts_from_samples(np.array([2, 9]))
    assert not take(recorder).seconds


def test_the_usual_status_is_what_is_left_when_the_others_are_counted() -> None:
    """Only answers other than 200 cost the hot path a count; none is left out."""
    recorder = Recorder(1, "a")
    endpoint = recorder.transaction("T", "p").step("S").endpoint("GET /")
    endpoint.ok += [1, 2, 3]
    endpoint.failed += [4, 5]
    endpoint.unusual[503] = 1
    endpoint.unusual[0] = 1
    assert {key.status: count for key, count in take(recorder).statuses.items()} == {200: 3, 503: 1, 0: 1}
    endpoint.failed.append(6)
    endpoint.unusual[404] = 1
    assert {key.status: count for key, count in take(recorder).statuses.items()} == {404: 1}


def test_a_sample_is_made_only_when_it_will_be_kept() -> None:
    """Rendering a request is costly: five of lowest rank a kind, over all ticks, and no more."""
    recorder = Recorder(1, "a")
    series = recorder.transaction("T", "p")
    made = []

    def fail(rank):
        series.error("S", "GET /", "check", "wrong", 10, lambda: made.append(rank) or sample(rank), rank=rank)

    for rank in (50, 40, 30, 20, 10, 60, 70):
        fail(rank)
    stats = take(recorder).errors[ErrorKey("T", "S", "GET /", "check", "wrong", "p")]
    assert made == [50, 40, 30, 20, 10]
    assert [s.rank for s in stats.samples] == [10, 20, 30, 40, 50]
    assert stats.count == 7
    fail(55)
    fail(5)
    stats = take(recorder).errors[ErrorKey("T", "S", "GET /", "check", "wrong", "p")]
    assert made[5:] == [5]
    assert stats.count == 2


def test_kinds_of_error_are_bounded(monkeypatch) -> None:
    """A message with a random part can't grow a worker."""
    monkeypatch.setattr(recorder_module, "ERRORS_MAX", 5)
    recorder = Recorder(1, "a")
    series = recorder.transaction("T", "p")
    words = ["alpha", "beta", "gamma", "delta", "eps", "zeta", "eta"]
    for word in words:
        series.error("S", "", "exception", word, 1)
    delta = take(recorder)
    assert len(delta.errors) == 6
    assert delta.errors[ErrorKey("T", "", "", "exception", OTHER, "p")].count == 2
    assert delta.counters == {"errors.folded": 2}


def test_endpoints_with_ids_in_their_names_are_bounded(monkeypatch) -> None:
    """Forgetting `name=` on a thousand URLs costs resolution, not memory."""
    monkeypatch.setattr(recorder_module, "NAMES_MAX", 10)
    recorder = Recorder(1, "a")
    step = recorder.transaction("T", "p").step("S")
    for number in range(1_000):
        step.endpoint(f"GET /products/{number}").ok.append(1_000)
    delta = take(recorder)
    assert len(delta.series) == 10
    assert delta.series[SeriesKey("T", "S", OTHER, "p", "ok", "service")].n == 991
    assert delta.counters["series.folded"] == 991
    assert len(step.endpoints()) == 10


def test_counters_draws_and_health_are_taken_once() -> None:
    """Named counts are reset at each tick like everything else."""
    recorder = Recorder(1, "a")
    recorder.count("http.retried", 2)
    recorder.draw("users")
    recorder.exhausted("users")
    recorder.health.open_files = 9
    delta = take(recorder)
    assert (delta.counters, delta.draws, delta.exhausted) == ({"http.retried": 2}, {"users": 1}, {"users": 1})
    assert delta.health.open_files == 9
    assert take(recorder) == Delta(0, 10**9)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("order 4711 not found", "order <n> not found"),
        ("timeout after 30.5 s", "timeout after <n> s"),
        ("no user 7b2e1f6a-9a1c-4d5e-8f00-112233445566 here", "no user <id> here"),
        ("object at 0x7f3a9c", "object at <hex>"),
        ("session deadbeef00112233aa expired", "session <id> expired"),
        ("expected status 200, got status 503", "expected status 200, got status 503"),
        ("HTTP 404 for /orders/99", "HTTP 404 for /orders/<n>"),
        ("line one\nline\ttwo\x1b[31m", "line one line two [<n>m"),
        ("price \u202egnorw", "price gnorw"),
        ("", "(no message)"),
        ("x" * 500, "x" * 200),
    ],
)
def test_messages_are_folded_to_their_kind(text: str, folded: str) -> None:
    """Ids and numbers do not make a new kind of error; control and bidi characters never pass."""
    assert fold_message(text) == folded


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [("Search", "Search"), ("", ""), ("Über ß", "Über ß"), ("a\x00b", "a b"), ("\u202e", "?"), ("x" * 300, "x" * 200)],
)
def test_names_are_cleaned(name: str, cleaned: str) -> None:
    """Letters of any script stay, control and bidi characters go, length is bounded."""
    assert clean_name(name) == cleaned
