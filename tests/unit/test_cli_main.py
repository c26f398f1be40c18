"""The ways out of the command: each is a documented code with a line that says why."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import typer

import loadproof_cli.main as cli_main
from loadproof_cli.app import app
from loadproof_cli.commands.run import parse_fail_on
from loadproof_cli.console import Console
from loadproof_cli.errors import InfrastructureProblem, UsageProblem
from loadproof_cli.runs_folder import find_run, new_run_id, output_folder

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group has them


def console(*arguments: str, cwd: Path = Path("/"), platform: str = "linux") -> Console:
    return Console(arguments, {}, cwd, io.StringIO(), io.StringIO(), platform)


def said(world: Console) -> str:
    assert isinstance(world.stderr, io.StringIO)
    return world.stderr.getvalue()


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UsageProblem("no such thing", hint="try another"), 2, "no such thing\ntry another\n"),
        (InfrastructureProblem("no agents"), 5, "no agents\n"),
        (KeyboardInterrupt(), 4, "interrupted\n"),
        (EOFError(), 4, "interrupted\n"),
    ],
)
def test_an_error_is_told_and_coded(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
) -> None:
    """What goes wrong is one text on standard error and the exit code of its kind."""

    def fail(_world: Console) -> int:
        raise error

    monkeypatch.setattr(cli_main, "_dispatch", fail)
    world = console()
    assert cli_main.main(world) == code
    assert said(world) == text


def test_an_internal_error_is_one_line_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our own mistake ends with code 5, one line, and the traceback in a file that the line names."""

    def fail(_world: Console) -> int:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(cli_main, "_dispatch", fail)
    monkeypatch.setattr(cli_main.tempfile, "tempdir", str(tmp_path))
    world = console()
    assert cli_main.main(world) == 5
    (line,) = said(world).splitlines()
    assert line.startswith("internal error: ZeroDivisionError: a b (traceback in ")
    (file,) = tmp_path.iterdir()
    assert str(file) in line
    assert "Traceback (most recent call last)" in file.read_text(encoding="utf-8")


def test_windows_is_sent_to_wsl() -> None:
    """Where agents cannot run, one line names what to use instead."""
    world = console("run", platform="win32")
    assert cli_main.main(world) == 2
    assert "WSL" in said(world)


def test_a_misspelt_command_gets_a_suggestion() -> None:
    """In a line that ends once."""
    world = console("chekc")
    assert cli_main.main(world) == 2
    assert "Did you mean 'check'? See" in said(world)


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The bare command explains itself, and is a usage error."""
    world = console()
    assert cli_main.main(world) == 2
    assert "Commands" in capsys.readouterr().out
    assert not said(world)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """--help of each command ends in examples."""
    assert cli_main.main(console(command, "--help")) == 0
    out = capsys.readouterr().out
    assert "Examples" in out
    assert f"loadproof {command}" in out


def test_fail_on_takes_the_documented_words() -> None:
    """--fail-on takes verdicts with commas between, in any case, and refuses others."""
    assert parse_fail_on("NO-GO, not_proven") == {"no-go", "not-proven"}
    assert parse_fail_on("") == frozenset()
    with pytest.raises(UsageProblem, match="maybe"):
        parse_fail_on("maybe")


def test_run_ids_sort_by_time() -> None:
    """An id begins with the time and holds what can be typed of the profile's name."""
    world = console()
    run_id = new_run_id("Peak Löad!", world.now())
    assert run_id.startswith(f"{world.now():%Y%m%d}-")
    assert "-peak-l-ad-" in run_id


def test_a_run_is_found_by_id_folder_or_file(tmp_path: Path) -> None:
    """RUN may be a run.json, its folder, or an id below runs/; another one names the latest there is."""
    stored = tmp_path / "runs" / "one" / "run.json"
    stored.parent.mkdir(parents=True)
    stored.write_text("{}", encoding="utf-8")
    world = console(cwd=tmp_path)
    assert find_run(world, "one") == find_run(world, "runs/one") == find_run(world, str(stored)) == stored
    with pytest.raises(UsageProblem) as caught:
        find_run(world, "two")
    assert caught.value.hint == "the latest here is one."


def test_the_output_folder_is_not_made_ahead(tmp_path: Path) -> None:
    """Checking where files go creates nothing."""
    folder = output_folder(console(cwd=tmp_path), None, "some-id")
    assert folder == tmp_path / "runs" / "some-id"
    assert not list(tmp_path.iterdir())
