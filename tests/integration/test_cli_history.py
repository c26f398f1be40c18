"""`loadproof history`, `baseline` and `compare`, and what `run` does with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof_report import build_result, write_outputs
from loadproof_report.history import sqlite_url
from loadproof_report.history.database import Database
from loadproof_report.history.tables import schema_version
from shop_cli import assert_went_well, counted_suite, loadproof, loadproof_here, run_json
from shop_process import running_shop
from stored_runs import Flow, Story, rule


def store_run(folder: Path, run_id: str, *, seed: int = 1, median_us: int = 50_000, seconds: int = 120) -> Path:
    """Write a stored run below runs/ and return its folder."""
    phases = (ArrivalPhase("hold", 20_000, 20_000, seconds * NS_PER_S),)
    flow = Flow("Checkout", 1.0, median_us, 0.2, criticality="critical")
    story = Story(flows=(flow,), phases=phases, run_id=run_id, seed=seed, build=f"build of {run_id}")
    story.rules = (rule("Checkout", "success_rate >= 99%"),)
    data = story.build_run()
    out = folder / "runs" / run_id
    write_outputs(build_result(data, today="2026-11-23"), data, out, ["json", "hlog"])
    return out


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    store_run(folder, "before")
    store_run(folder, "equal", seed=2)
    store_run(folder, "slower", seed=3, median_us=70_000)
    store_run(folder, "other-plan", seed=4, seconds=100)
    store_run(folder, "short", seed=5, seconds=8)
    store_run(folder, "short-before", seed=6, seconds=8)
    return folder


@pytest.fixture
def here(stored: Path, tmp_path: Path) -> Path:
    """Give a folder with the stored runs and no history."""
    shutil.copytree(stored / "runs", tmp_path / "runs")
    return tmp_path


@pytest.mark.parametrize(
    ("run", "baseline", "code", "said"),
    [
        ("equal", "before", 0, "Nothing changed"),
        ("slower", "before", 1, "slower"),
        ("before", "slower", 0, "faster"),
        ("other-plan", "before", 3, "the plan differs"),
        ("before", "before", 3, "is this run itself"),
        ("short", "short-before", 3, "run for at least"),
    ],
)
def test_compare_says_what_changed_by_its_exit_code(here: Path, run: str, baseline: str, code: int, said: str) -> None:
    """0 nothing worse, 1 worse, 3 not comparable, and the reason in words."""
    done = loadproof_here("compare", run, baseline, cwd=here)
    assert (done.code, said in " ".join(done.out.split())) == (code, True), done.out + done.err
    assert loadproof_here("compare", run, baseline, "--fail-on", "none", cwd=here).code == 0


def test_compare_writes_a_report_with_the_comparison(here: Path) -> None:
    """`--out` renders the run again with its changes, and leaves the run's own files alone."""
    done = loadproof_here("compare", "slower", "before", "--out", "diff", cwd=here)
    assert done.code == 1
    assert run_json(here / "diff")["comparison"]["baseline_run_id"] == "before"
    assert run_json(here / "runs" / "slower")["comparison"] is None
    assert "before" in (here / "diff" / "report.md").read_text()


def test_compare_asks_for_a_baseline_when_none_is_set(here: Path) -> None:
    """Without one named or set it is a mistake of usage."""
    done = loadproof_here("compare", "equal", cwd=here)
    assert (done.code, "loadproof baseline set" in done.err) == (2, True)
    assert not (here / ".loadproof" / "history.db").exists()


def test_a_baseline_is_set_listed_shown_and_used(here: Path) -> None:
    """Set from a folder, it is recorded, and comparisons without a name use it also when the folder is gone."""
    assert loadproof_here("baseline", "list", cwd=here).out.strip() == "No baseline is set."
    done = loadproof_here("baseline", "set", "before", "equal", cwd=here)
    assert (done.code, "before, equal" in done.out) == (0, True), done.err
    shutil.rmtree(here / "runs" / "before")
    assert "build of before" in " ".join(loadproof_here("baseline", "list", cwd=here).out.split())
    shown = loadproof_here("baseline", "show", cwd=here)
    assert (shown.code, "Checkout" in shown.out) == (0, True)
    assert loadproof_here("compare", "slower", cwd=here).code == 1
    assert loadproof_here("compare", "slower", "before", cwd=here).code == 1
    assert loadproof_here("baseline", "unset", "--suite", "Shop", "-p", "release", cwd=here).code == 0
    assert loadproof_here("baseline", "show", cwd=here).code == 2


def test_a_run_that_failed_is_no_baseline_unless_forced(here: Path) -> None:
    """The last *stable* run: NO-GO and NOT PROVEN are refused."""
    file = here / "runs" / "before" / "run.json"
    file.write_text(file.read_text().replace('"decision":"GO"', '"decision":"NO_GO"'))
    done = loadproof_here("baseline", "set", "before", cwd=here)
    assert (done.code, "no stable run" in done.err) == (2, True)
    assert loadproof_here("baseline", "set", "before", "--force", cwd=here).code == 0


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(file.read_bytes()[:-9]), Path.unlink])
def test_a_run_that_nothing_can_be_compared_with_is_no_baseline_unless_forced(
    here: Path, damage: Callable[[Path], object]
) -> None:
    """Interval histograms that are damaged or gone would make every later comparison say "not comparable"."""
    damage(here / "runs" / "before" / "intervals.bin")
    done = loadproof_here("baseline", "set", "before", cwd=here)
    said = " ".join(done.err.split())
    assert (done.code, "the interval histograms of before" in said, "--force" in said) == (2, True, True), done.err
    assert loadproof_here("baseline", "list", cwd=here).out.strip() == "No baseline is set."
    assert loadproof_here("history", cwd=here).out.count("before") == 0
    forced = loadproof_here("baseline", "set", "before", "--force", cwd=here)
    assert (forced.code, "nothing can be compared with it" in forced.err) == (0, True)


def test_history_lists_runs_and_trends(here: Path) -> None:
    """The newest first; one transaction over builds, oldest first, with changes only within one plan."""
    assert "No run is stored" in loadproof_here("history", cwd=here).out
    done = loadproof_here("history", "import", *(f"runs/{name}" for name in ("before", "slower", "short")), cwd=here)
    assert done.out.count("stored") == 3, done.err
    assert "was there already" in loadproof_here("history", "import", "runs/before", cwd=here).out
    listed = loadproof_here("history", cwd=here, env={"COLUMNS": "200"})
    assert all(name in listed.out for name in ("before", "slower", "short")), listed.out
    trend = loadproof_here("history", "-t", "Checkout", "-p", "release", cwd=here, env={"COLUMNS": "200"})
    assert (trend.code, "other plan" in trend.out, "█" in trend.out) == (0, True, True), trend.out
    wrong = loadproof_here("history", "-t", "Checkuot", cwd=here)
    assert (wrong.code, "there are: Checkout" in wrong.err) == (2, True)


def test_a_run_goes_to_another_machine_as_one_file(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Exported, imported elsewhere, compared with there; also without importing."""
    assert loadproof_here("history", "export", "before", "stable.lprun", cwd=here).code == 0
    there = tmp_path_factory.mktemp("there")
    shutil.copy(here / "stable.lprun", there)
    shutil.copytree(here / "runs" / "slower", there / "runs" / "slower")
    assert loadproof_here("compare", "slower", "stable.lprun", cwd=there).code == 1
    assert loadproof_here("history", "import", "stable.lprun", cwd=there).code == 0
    assert loadproof_here("baseline", "set", "before", cwd=there).code == 0
    assert loadproof_here("compare", "slower", cwd=there).code == 1


def test_a_report_is_made_of_a_run_wherever_it_is_kept(here: Path) -> None:
    """An exported file, whatever it is called, and an id that only the history knows are rendered like a folder."""
    assert loadproof_here("history", "export", "before", "before.lprun", cwd=here).code == 0
    assert loadproof_here("history", "export", "equal", "equal.bin", cwd=here).code == 0
    assert loadproof_here("history", "import", "runs/slower", cwd=here).code == 0
    shutil.rmtree(here / "runs")
    for run, run_id in (("before.lprun", "before"), ("equal.bin", "equal"), ("slower", "slower")):
        done = loadproof_here("report", run, "-f", "html,json,hlog", "--out", f"of {run}", cwd=here)
        assert done.code == 0, done.err
        assert run_json(here / f"of {run}")["run_id"] == run_id
        assert (here / f"of {run}" / "intervals.bin").stat().st_size
        assert "histograms.hlog is not kept with this run" in done.err
    assert loadproof_here("report", "slower", cwd=here).code == 0
    assert loadproof_here("report", "before.lprun", cwd=here).code == 0
    assert [path.name for path in sorted((here / "runs").glob("*/*"))] == ["report.html"] * 2
    assert {path.name for path in (here / "runs").iterdir()} == {"before", "slower"}


def test_a_report_of_a_folder_asks_no_history(here: Path) -> None:
    """A history that cannot be reached is no reason not to render what lies here."""
    env = {"LOADPROOF_STORE": "postgresql://nobody@127.0.0.1:1/none"}
    assert loadproof_here("report", "before", cwd=here, env=env).code == 0
    assert loadproof_here("report", "elsewhere", cwd=here, env=env).code == 5


@pytest.mark.parametrize("command", [("report", "before"), ("compare", "slower", "before")])
@pytest.mark.parametrize("out", ["runs/before/run.json", "runs/before/run.json/x", "/proc/foo"])
def test_a_folder_that_cannot_be_written_to_is_a_usage_error(here: Path, command: tuple[str, ...], out: str) -> None:
    """A file, a place below one and a folder the system does not let be made are told in one line, before any work."""
    done = loadproof_here(*command, "--out", out, cwd=here)
    assert done.code == 2, done.err
    assert f"--out {out}: " in done.err
    assert len(done.err.strip().splitlines()) <= 2
    assert "internal error" not in done.err


@pytest.mark.parametrize("command", [("report",), ("baseline", "set"), ("compare",)])
def test_a_run_that_cannot_be_read_is_named_once(here: Path, command: tuple[str, ...]) -> None:
    """The file as it would be typed here, what is wrong with it, and what to do."""
    (here / "runs" / "equal" / "run.json").write_text('{"schema": "other/1"}', encoding="utf-8")
    done = loadproof_here(*command, "equal", cwd=here)
    said = " ".join(done.err.split())
    assert (done.code, said.count("run.json")) == (2, 1), done.err
    assert "runs/equal/run.json: its schema is 'other/1', not loadproof.run/1." in said


def test_a_hostile_file_is_refused_in_one_line(here: Path) -> None:
    """Junk, a missing file, a run.json of another schema, a cut one: exit code 2, no traceback, nothing stored."""
    (here / "junk.lprun").write_bytes(b"PK\x03\x04junk")
    cut = here / "runs" / "equal" / "run.json"
    cut.write_bytes(cut.read_bytes()[:5_000])
    other = here / "runs" / "slower" / "run.json"
    other.write_text(other.read_text().replace("loadproof.run/1", "loadproof.run/9", 1))
    for place in ("junk.lprun", "none.lprun", "runs/equal", "runs/slower"):
        done = loadproof_here("history", "import", place, cwd=here)
        assert (done.code, "Traceback" in done.err, len(done.err) > 10) == (2, False, True), done.err
    assert "No run is stored" in loadproof_here("history", cwd=here).out


def test_a_store_that_cannot_be_used_ends_every_command_with_its_reason(here: Path) -> None:
    """Down is infrastructure, another version is usage; the password is not shown; no load is started."""
    down = {"LOADPROOF_STORE": "postgresql://me:hunter2@127.0.0.1:1/none"}
    for arguments in (("history",), ("baseline", "list"), ("compare", "equal", "before")):
        done = loadproof_here(*arguments, cwd=here, env=down)
        assert (done.code, "Is the database up" in done.err, "hunter2" in done.err) == (5, True, False), done.err
    assert loadproof_here("history", "import", "runs/before", cwd=here).code == 0
    database = Database(sqlite_url(here / ".loadproof" / "history.db"))
    database.open()
    with database.transaction(write=True) as connection:
        connection.execute(schema_version.update().values(version=99))
    database.close()
    done = loadproof_here("history", cwd=here)
    assert (done.code, "newer Loadproof" in done.err) == (2, True)
    suite = counted_suite(here / "suite", '[profiles.smoke]\narrivals = [{ rate = "5/s", for = "2s" }]')
    done = loadproof_here("run", suite, cwd=here, env={"SHOP_URL": "http://127.0.0.1:1"})
    assert (done.code, "newer Loadproof" in done.err) == (2, True)


def test_runs_are_recorded_and_compared_with_the_baseline_set(tmp_path: Path) -> None:
    """The whole way: run, set, run again; the second is compared, annotated, and too short to be judged by it."""
    suite = counted_suite(tmp_path / "suite", '[profiles.smoke]\narrivals = [{ rate = "10/s", for = "3s" }]')
    with running_shop() as shop:
        env = {"SHOP_URL": shop.url}
        first = loadproof("run", suite, "--out", "first", "--build", "1.0", cwd=tmp_path, env=env)
        assert_went_well(first, tmp_path / "first")
        assert loadproof_here("baseline", "set", "first", "--force", cwd=tmp_path).code == 0
        summary = tmp_path / "step-summary.md"
        github = {**env, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
        second = loadproof("run", suite, "--out", "second", "--build", "1.1", cwd=tmp_path, env=github)
    decision = assert_went_well(second, tmp_path / "second")
    assert "compared with the baseline stable" in second.err
    result = run_json(tmp_path / "second")
    assert result["comparison"]["comparable"] is False
    assert any("run for at least" in obstacle for obstacle in result["comparison"]["obstacles"])
    assert result["comparison"]["baseline_run_id"] == run_json(tmp_path / "first")["run_id"]
    assert f"::{'notice' if decision == 'GO' else 'error'} title={decision}" in second.out
    assert decision in summary.read_text()
    listed = loadproof_here("history", cwd=tmp_path, env={"COLUMNS": "200"}).out
    assert listed.count("Counted") == 2
    assert "stable" in listed
