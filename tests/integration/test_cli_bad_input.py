"""What bad input gets: a message that names the place, the documented exit code, nothing in --out."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shop_cli import Finished, loadproof, loadproof_here, run_json, write_suite

pytestmark = pytest.mark.timeout(300)

GOOD_TOML = """
[suite]
module = "suite.py"

[profiles.smoke]
arrivals = [{ rate = "20/s", for = "1s" }]

[[rules]]
transaction = "*"
require = "success_rate >= 99%"
"""

GOOD_SUITE = """
from loadproof import Suite, VirtualUser

suite = Suite("Small", base_url="http://127.0.0.1:9")


@suite.transaction("Checkout")
async def check_out(user: VirtualUser) -> None:
    await user.http.get("/health")
"""

WITH_DATA = """
from dataclasses import dataclass
from loadproof import Suite, VirtualUser

suite = Suite("Small", base_url="http://127.0.0.1:9")


@dataclass(frozen=True)
class Row:
    name: str
    number: int


rows = suite.dataset("rows", "rows.csv", row=Row, order="unique")


@suite.transaction("Checkout", data=rows)
async def check_out(user: VirtualUser, row: Row) -> None:
    await user.http.get("/health")
"""


@dataclass(frozen=True)
class Case:
    """A mistake, and what of it must be said."""

    name: str
    said: tuple[str, ...]
    toml: str = GOOD_TOML
    suite: str = GOOD_SUITE
    files: dict[str, str] = field(default_factory=dict)


CASES = [
    Case("unknown key", (r"loadproof\.toml:\d+", "arivals", "did you mean .arrivals"),
         toml=GOOD_TOML.replace("arrivals", "arivals")),
    Case("not toml", (r"loadproof\.toml:\d+",), toml="[suite\nmodule = 3"),
    Case("unknown transaction in a rule", (r"loadproof\.toml:\d+", "Chekout", "did you mean .Checkout"),
         toml=GOOD_TOML.replace('"*"', '"Chekout"')),
    Case("unknown transaction in a mix", ("Chekout", "did you mean .Checkout"),
         toml=GOOD_TOML.replace("[[rules]]", 'mix = { "Chekout" = 1 }\n\n[[rules]]')),
    Case("unknown metric", (r"loadproof\.toml:\d+", "sucess_rate", "success_rate"),
         toml=GOOD_TOML.replace("success_rate", "sucess_rate")),
    Case("unknown unit", (r"loadproof\.toml:\d+", "20/d"), toml=GOOD_TOML.replace("20/s", "20/d")),
    Case("zero-length profile", (r"loadproof\.toml:6", "zero length"), toml=GOOD_TOML.replace('"1s"', '"0s"')),
    Case("profile without arrivals", (r"loadproof\.toml:6", "no load"),
         toml=GOOD_TOML.replace('"20/s"', '"0/s"')),
    Case("missing module", ("suite.py",), toml=GOOD_TOML.replace("suite.py", "other/suite.py")),
    Case("exception at import", (r"suite\.py:\d+", "ZeroDivisionError"), suite=GOOD_SUITE + "\n1 / 0\n"),
    Case("syntax error", (r"suite\.py:\d+",), suite=GOOD_SUITE + "\ndef broken(:\n"),
    Case("no suite in the module", ("suite.py", "Suite"), suite="value = 1\n"),
    Case("two transactions of one name", (r"suite\.py", "Checkout"),
         suite=GOOD_SUITE + GOOD_SUITE[GOOD_SUITE.index("@suite"):]),
    Case("a transaction that is not async", (r"suite\.py:\d+", "async"),
         suite=GOOD_SUITE.replace("async def", "def").replace("await ", "")),
    Case("no transaction", ("transaction",), suite=GOOD_SUITE[: GOOD_SUITE.index("@suite")]),
    Case("missing data file", (r"rows\.csv",), suite=WITH_DATA),
    Case("empty data", (r"rows\.csv",), suite=WITH_DATA, files={"rows.csv": "name,number\n"}),
    Case("a cell of the wrong type", (r"rows\.csv:3", "number"), suite=WITH_DATA,
         files={"rows.csv": "name,number\na,1\nb,two\n"}),
    Case("unique data too short", ("rows", "20", "2"), suite=WITH_DATA, files={"rows.csv": "name,number\na,1\nb,2\n"}),
    Case("unset variable", ("NOWHERE_SET",), suite=GOOD_SUITE.replace("http://127.0.0.1:9", "${NOWHERE_SET}")),
]  # fmt: skip


def run_it(folder: Path, case: Case, command: Callable[..., Finished] = loadproof_here) -> Finished:
    suite = write_suite(folder / "suite", toml=case.toml, suite=case.suite, files=case.files)
    return command("run", suite, "--out", folder / "out", cwd=folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_named_and_nothing_is_started(tmp_path: Path, case: Case) -> None:
    """A wrong suite ends the command with code 2, says what is wrong and where, and leaves no file."""
    done = run_it(tmp_path, case)
    assert done.code == 2, done.err
    for pattern in case.said:
        assert re.search(pattern, done.err), done.err
    assert "Traceback" not in done.out
    assert "internal error" not in done.err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs").exists()


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Three mistakes in one file are three lines, each with its place."""
    toml = GOOD_TOML.replace("success_rate", "sucess_rate").replace("20/s", "20/d") + "\n[profile.more]\n"
    done = run_it(tmp_path, Case("three", (), toml=toml))
    assert done.code == 2
    assert len(set(re.findall(r"loadproof\.toml:\d+", done.err))) >= 3, done.err


def test_a_folder_without_a_suite_is_a_usage_error(tmp_path: Path) -> None:
    """A folder without loadproof.toml, no folder, or a file is said to be that."""
    done = loadproof_here("run", cwd=tmp_path)
    assert done.code == 2
    assert "loadproof.toml" in done.err
    done = loadproof_here("check", "nowhere", cwd=tmp_path)
    assert done.code == 2
    assert "nowhere" in done.err
    (tmp_path / "suite.py").touch()
    done = loadproof_here("check", "suite.py", cwd=tmp_path)
    assert (done.code, done.err) == (2, "suite.py is a file; SUITE is the folder with loadproof.toml.\n")


def test_a_new_folder_with_a_space_is_quoted_in_what_to_type_next(tmp_path: Path) -> None:
    """The lines that `init` shows can be copied."""
    done = loadproof_here("init", "my suite", cwd=tmp_path)
    assert done.code == 0
    assert "  loadproof run 'my suite' " in done.out


def test_an_unknown_profile_is_a_usage_error(tmp_path: Path) -> None:
    """A misspelt profile gets a suggestion."""
    suite = write_suite(tmp_path / "suite", toml=GOOD_TOML, suite=GOOD_SUITE)
    done = loadproof_here("run", suite, "-p", "smoek", "--out", tmp_path / "out", cwd=tmp_path)
    assert done.code == 2
    assert 'did you mean "smoke"' in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [["run", "--agents", "0"], ["run", "--nope"], ["fly"], ["run", "--fail-on", "maybe"], ["report", "nothing-here"]],
    ids=" ".join,
)
def test_wrong_arguments_are_usage_errors(tmp_path: Path, arguments: list[str]) -> None:
    """What cannot be asked for ends with code 2 and a line on standard error."""
    write_suite(tmp_path, toml=GOOD_TOML, suite=GOOD_SUITE)
    done = loadproof_here(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert done.err.strip()
    assert not done.out.strip()


def test_an_output_folder_that_is_a_file_is_refused_before_any_load(tmp_path: Path) -> None:
    """--out naming a file is a usage error."""
    suite = write_suite(tmp_path / "suite", toml=GOOD_TOML, suite=GOOD_SUITE)
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    done = loadproof_here("run", suite, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.code == 2
    assert "is a file" in done.err
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("what", ["/proc", "long", "link", "read-only"])
def test_an_output_folder_that_cannot_be_made_is_refused_before_any_load(tmp_path: Path, what: str) -> None:
    """Where no folder can be, a name nobody can have, a link to nothing, no right: one line, code 2, nothing begun."""
    suite = write_suite(tmp_path / "suite", toml=GOOD_TOML, suite=GOOD_SUITE)
    place = tmp_path / "place"
    place.mkdir()
    (place / "link").symlink_to("nothing")
    out = {"/proc": Path("/proc/out"), "long": place / ("x" * 300), "link": place / "link"}.get(what, place / "out")
    if what == "read-only":
        place.chmod(0o500)
        if os.access(place, os.W_OK):
            pytest.skip("root may write everywhere")
    done = loadproof_here("run", suite, "--out", out, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert done.err.startswith(f"--out {out}: ")
    assert done.err.endswith("; nothing was started.\n")
    assert [path.name for path in place.iterdir()] == ["link"]


@contextmanager
def closed_port() -> Iterator[int]:
    """Give a port of loopback on which nothing listens, and nothing can while the context lasts: it is bound."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def test_a_target_that_is_down_is_a_no_go(tmp_path: Path) -> None:
    """Every arrival fails to connect: the rule breaks, the code is 1 and the report names the category."""
    with closed_port() as port:
        suite = GOOD_SUITE.replace("127.0.0.1:9", f"127.0.0.1:{port}")
        done = run_it(tmp_path, Case("down", (), suite=suite), loadproof)
    assert done.code == 1, done.out + done.err
    assert "NO-GO" in done.out
    report = run_json(tmp_path / "out")
    assert report["verdict"]["decision"] == "NO_GO"
    (transaction,) = report["transactions"]
    assert transaction["failed"] == transaction["count"] == 20
    assert {error["category"] for error in transaction["errors"]} == {"connect"}


def test_a_transaction_that_never_awaits_is_reported(tmp_path: Path) -> None:
    """An async function that does nothing runs, counts, and does not hang the worker."""
    suite = GOOD_SUITE.replace("    await user.http.get", "    user.http.get if False else None  #")
    done = run_it(tmp_path, Case("never", (), suite=suite), loadproof)
    assert done.code in {0, 3}, done.out + done.err
    assert run_json(tmp_path / "out")["delivery"]["completed"] == 20


def test_an_agent_that_dies_in_prepare_is_named(tmp_path: Path) -> None:
    """A suite that kills its process when imported on an agent ends the run with code 5, the agent's name, no files."""
    deadly = f"import os\nif os.getppid() != {os.getpid()}:\n    os._exit(7)  # not the command, which is our child\n"
    done = run_it(tmp_path, Case("deadly", (), suite=deadly + GOOD_SUITE), loadproof)
    assert done.code == 5, done.out + done.err
    assert "local-1" in done.err
    assert not (tmp_path / "out").exists()


def test_setup_that_fails_is_infrastructure(tmp_path: Path) -> None:
    """An exception in the set-up hook ends the run before any load with code 5 and its text."""
    hook = '\n@suite.setup\nasync def prepare(run):\n    raise RuntimeError("no tenant left")\n'
    done = run_it(tmp_path, Case("setup", (), suite=GOOD_SUITE + hook), loadproof)
    assert done.code == 5, done.out + done.err
    assert "no tenant left" in done.err + done.out
