"""The store of runs, in a SQLite file and in a real PostgreSQL."""

from __future__ import annotations

import functools
import io
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import sqlalchemy

from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof_report import ResultError, build_result, compare_stored, write_outputs
from loadproof_report.history import (
    ArchiveError,
    HistoryStore,
    RunFiles,
    StoreError,
    StoreUnavailable,
    StoreVersionError,
    UnknownRun,
    read_archive,
    sqlite_url,
    tables,
    write_archive,
)
from loadproof_report.history.database import Database
from postgres_server import running_postgres
from stored_runs import Flow, Story, rule

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty store."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "history.db")
    address: str = request.getfixturevalue("postgres")
    engine = sqlalchemy.create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP SCHEMA public CASCADE"))
        connection.execute(sqlalchemy.text("CREATE SCHEMA public"))
    engine.dispose()
    return address


@functools.cache
def files_of(run_id: str, seed: int = 7, build: str = "1.0") -> RunFiles:
    """Return a stored run of 45 seconds as bytes."""
    flow = Flow("Checkout", 1.0, 50_000)
    phases = (ArrivalPhase("hold", 12_000, 12_000, 45 * NS_PER_S),)
    story = Story(flows=(flow,), phases=phases, run_id=run_id, seed=seed, build=build)
    story.rules = (rule("Checkout", "success_rate >= 99%"),)
    data = story.build_run()
    with tempfile.TemporaryDirectory() as folder:
        write_outputs(build_result(data, today="2026-11-23"), data, Path(folder), ["json", "hlog"])
        return RunFiles.from_place(Path(folder))


def test_a_run_comes_back_as_it_was(url: str) -> None:
    """Result and interval histograms survive; recording the same run again changes nothing."""
    files = files_of("run-a")
    with HistoryStore(url) as store:
        assert store.record(files)
        assert not store.record(files)
        back = store.files("run-a")
        assert (back.result, back.intervals) == (files.result, files.intervals)
        assert store.load("run-a") == files.parse()
        assert [entry.run_id for entry in store.runs()] == ["run-a"]
    with HistoryStore(url) as store:
        assert store.entry("run-a").decision == "GO"
        with pytest.raises(UnknownRun):
            store.entry("run-z")
        with pytest.raises(UnknownRun):
            store.files("run-z")


def test_another_run_of_the_same_id_is_refused(url: str) -> None:
    """Nothing is overwritten in silence."""
    with HistoryStore(url) as store:
        store.record(files_of("run-a"))
        with pytest.raises(StoreError, match="another run with the id run-a"):
            store.record(files_of("run-a", seed=8))


def test_trends_go_over_builds(url: str) -> None:
    """Each transaction of each run, in the order asked for."""
    with HistoryStore(url) as store:
        for number, build in enumerate(("1.0", "1.1")):
            store.record(files_of(f"run-{number}", seed=number, build=build))
        points = [point for point in store.trend(["run-0", "run-1"]) if point.name == "Checkout"]
        assert [(point.run.build, point.completed > 0, point.p95_us is not None) for point in points] == [
            ("1.0", True, True),
            ("1.1", True, True),
        ]
        assert [run.run_id for run in store.runs(profile="release", limit=1)] == ["run-1"]
        assert store.runs(profile="smoke") == []


def test_a_baseline_is_named_replaced_and_forgotten(url: str) -> None:
    """One name holds several runs of one suite and profile; setting it again replaces them."""
    with HistoryStore(url) as store:
        for number in range(3):
            store.record(files_of(f"run-{number}", seed=number))
        assert store.baseline("Shop", "release") is None
        store.set_baseline(["run-0"])
        store.set_baseline(["run-2", "run-1"])
        store.set_baseline(["run-0"], "first")
        found = store.baseline("Shop", "release")
        assert found is not None
        assert found.run_ids == ("run-2", "run-1")
        assert [baseline.name for baseline in store.baselines()] == ["first", "stable"]
        with pytest.raises(UnknownRun):
            store.set_baseline(["run-9"])
        assert store.unset_baseline("Shop", "release")
        assert not store.unset_baseline("Shop", "release")
        assert store.baseline("Shop", "release") is None


def test_stored_runs_can_be_compared(url: str) -> None:
    """What the store keeps is enough for a comparison."""
    with HistoryStore(url) as store:
        store.record(files_of("run-a"))
        store.record(files_of("run-b", seed=8))
        found = compare_stored(store.load("run-b"), [store.load("run-a")])
        assert found.comparable, found.obstacles
        assert found.minimum_detectable_change is not None


def test_many_at_once_make_one_store(url: str) -> None:
    """Commands that start together neither collide over the tables nor lose a run."""
    files = [files_of(f"run-{number}", seed=number) for number in range(4)]
    problems: list[Exception] = []
    ready = threading.Barrier(len(files))

    def record(one: RunFiles) -> None:
        try:
            ready.wait(30)
            with HistoryStore(url) as store:
                store.record(one)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=record, args=(one,)) for one in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    with HistoryStore(url) as store:
        assert len(store.runs()) == 4


def test_one_run_recorded_twice_at_once_is_there_once(url: str) -> None:
    """A controller and the command that followed the run record it at the same moment: one does, nobody fails."""
    files = files_of("run-a")
    recorded: list[bool] = []
    ready = threading.Barrier(6)

    def record() -> None:
        with HistoryStore(url) as store:
            ready.wait(30)
            recorded.append(store.record(files))

    threads = [threading.Thread(target=record) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(recorded) == [False] * 5 + [True]


@pytest.mark.parametrize(("version", "said"), [(99, "Use a newer Loadproof"), (0, "none that this Loadproof")])
def test_tables_of_another_version_are_left_alone(url: str, version: int, said: str) -> None:
    """Newer or unknown tables end in an error before anything is read or written."""
    with HistoryStore(url) as store:
        store.record(files_of("run-a"))
    _set_version(url, version)
    with pytest.raises(StoreVersionError, match=said):
        HistoryStore(url).__enter__()
    with pytest.raises(StoreVersionError):
        HistoryStore(url).upgrade()


def test_older_tables_are_upgraded_in_a_file_and_asked_for_on_a_server(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is one person's; a server is shared with those who still have the older version."""
    with HistoryStore(url) as store:
        store.record(files_of("run-a"))
    monkeypatch.setattr(tables, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(tables, "UPGRADES", {1: ("ALTER TABLE loadproof_runs ADD COLUMN note TEXT",)})
    if url.startswith("postgresql"):
        with pytest.raises(StoreVersionError, match="loadproof history upgrade"):
            HistoryStore(url).__enter__()
        HistoryStore(url).upgrade()
    with HistoryStore(url) as store:
        assert store.load("run-a").result.run_id == "run-a"
    monkeypatch.undo()
    with pytest.raises(StoreVersionError, match="newer"):
        HistoryStore(url).__enter__()


def test_a_failed_upgrade_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps or none: the older version still works afterwards."""
    with HistoryStore(url) as store:
        store.record(files_of("run-a"))
    steps = {1: ("ALTER TABLE loadproof_runs ADD COLUMN note TEXT", "ALTER TABLE nowhere ADD COLUMN note TEXT")}
    monkeypatch.setattr(tables, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(tables, "UPGRADES", steps)
    with pytest.raises(StoreUnavailable):
        HistoryStore(url).upgrade()
    monkeypatch.undo()
    with HistoryStore(url) as store:
        assert store.load("run-a").result.run_id == "run-a"


def _set_version(url: str, version: int) -> None:
    database = Database(url)
    database.open()
    with database.transaction(write=True) as connection:
        connection.execute(tables.schema_version.update().values(version=version))
    database.close()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://me:hunter2@127.0.0.1:1/none", "Is the database up"),
        ("postgresql://127.0.0.1:1/none?user=me&password=hunter2&sslpassword=hunter2", "Is the database up"),
        ("mysql://me:hunter2@localhost/x", "no kind of database"),
        ("nonsense", "not the address of a database"),
        ("sqlite://", "no kind of database"),
    ],
)
def test_a_wrong_or_silent_address_is_said_without_its_password(address: str, said: str) -> None:
    """A database that is down, of another kind or misspelt: a remedy, and no secret on the screen."""
    with pytest.raises(StoreError, match=said) as caught:
        HistoryStore(address).__enter__()
    assert "hunter2" not in str(caught.value)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    """Random bytes, a cut file and somebody else's database are no history."""
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"\x00\x01junk" * 400)
    with pytest.raises(StoreUnavailable, match="damaged or no run history"):
        HistoryStore(sqlite_url(junk)).__enter__()
    whole = tmp_path / "whole.db"
    with HistoryStore(sqlite_url(whole)) as store:
        store.record(files_of("run-a"))
    (tmp_path / "cut.db").write_bytes(whole.read_bytes()[:9_000])
    with pytest.raises(StoreError), HistoryStore(sqlite_url(tmp_path / "cut.db")) as store:
        store.load("run-a")


def test_a_run_with_an_id_of_its_own_making_is_refused(tmp_path: Path) -> None:
    """An id that is a path, or counts no database can hold, never reach a file name or crash."""
    fields = orjson.loads(files_of("run-a").result)
    with HistoryStore(sqlite_url(tmp_path / "history.db")) as store:
        for run_id in ("../../etc/passwd", "", "a b", ".hidden", "x" * 300):
            with pytest.raises(ResultError, match="its id"):
                store.record(RunFiles(orjson.dumps({**fields, "run_id": run_id})))
        fields["delivery"]["completed"] = (1 << 64) - 1
        store.record(RunFiles(orjson.dumps({**fields, "run_id": "huge"})))
        assert store.entry("huge").completed == (1 << 63) - 1


def test_a_run_travels_as_one_file(tmp_path: Path) -> None:
    """Exported, it is the same bytes each time and comes back whole."""
    files = files_of("run-a")
    write_archive(files, tmp_path / "one.lprun")
    write_archive(files, tmp_path / "two.lprun")
    assert (tmp_path / "one.lprun").read_bytes() == (tmp_path / "two.lprun").read_bytes()
    assert read_archive(tmp_path / "one.lprun").parse() == files.parse()


def _zip(*entries: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No zip, cut, doubled, oversized or empty: an `ArchiveError`, and names in it are never paths."""
    good = _zip(("run.json", files_of("run-a").result))
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 0xFF
    bad = {
        "no zip": b"junk" * 100,
        "cut": good[:-200],
        "flipped": bytes(flipped),
        "doubled": _zip(("run.json", b"{}"), ("run.json", b"{}")),
        "without": _zip(("../run.json", b"{}")),
        "many": _zip(*((f"file{number}", b"") for number in range(50))),
        "empty": b"",
    }
    for name, content in bad.items():
        (tmp_path / "bad.lprun").write_bytes(content)
        with pytest.raises(ArchiveError):
            print(name, read_archive(tmp_path / "bad.lprun"))
    with pytest.raises(ArchiveError, match="no such file"):
        read_archive(tmp_path / "none.lprun")
    monkeypatch.setattr("loadproof_report.history.archive.BYTES_MAX", 10_000)
    (tmp_path / "bomb.lprun").write_bytes(_zip(("run.json", b"0" * 10_000_000)))
    with pytest.raises(ArchiveError, match="bytes"):
        read_archive(tmp_path / "bomb.lprun")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.lprun", "bomb.lprun"]
