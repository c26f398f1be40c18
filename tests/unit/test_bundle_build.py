"""Packing a suite's folder: the same bytes everywhere, and nothing that should stay at home."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from loadproof.bundle import Bundle, BundleError, build, build_bundle, extract_bundle
from suite_folders import write_suite

GOLDEN = "15560afbe593436a49cc2151d22e7a7971995939196f8face04ef21583c37d07"
USUAL = ("data/products.csv", "loadproof.toml", "suite.py")


def git(folder: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment.update(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull, HOME=str(folder))
    names = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True, env=environment)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def refused(folder: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        build_bundle(folder)
    return caught.value


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    """Not the folder, the times, the modes, nor the order in which files were made decide."""
    one = write_suite(tmp_path / "one", lib__a_DOT_py="A = 1\n", lib__b_DOT_py="B = 1\n")
    two = tmp_path / "two"
    touch(two, "lib/b.py", "lib/a.py")
    write_suite(two, lib__b_DOT_py="B = 1\n", lib__a_DOT_py="A = 1\n")
    (two / "suite.py").chmod(0o777)
    os.utime(two / "suite.py", (0, time.time() - 1000))
    first, second = build_bundle(one), build_bundle(two)
    assert first.data == second.data
    assert first.sha256 == hashlib.sha256(first.data).hexdigest() == second.sha256
    (two / "suite.py").write_text("changed")
    assert build_bundle(two).sha256 != first.sha256


def test_a_bundle_s_bytes_do_not_depend_on_the_release(tmp_path: Path) -> None:
    """Golden hash: stored, not deflated, with fixed times, so that no zlib and no Python changes it."""
    touch(tmp_path, "suite.py", "data/a.csv")
    assert build_bundle(tmp_path).sha256 == GOLDEN


def test_secrets_litter_and_old_runs_stay_at_home(tmp_path: Path) -> None:
    """Environments, caches, keys, `.env` files, reports; links too, which may point anywhere."""
    folder = write_suite(tmp_path)
    touch(folder, ".env", ".env.local", "tls/server.pem", "tls/server.key", "id_rsa", "id_ed25519.pub", ".netrc")
    touch(folder, ".venv/lib/x.py", "lib/__pycache__/x.pyc", ".git/config", "runs/r1/run.json", "node_modules/a/b.js")
    touch(folder, "data/runs/kept.csv", "environment.py")
    (folder / "link.py").symlink_to("/etc/hostname")
    (folder / "linked").symlink_to("/etc")
    assert build_bundle(folder).files == tuple(sorted((*USUAL, "data/runs/kept.csv", "environment.py")))


def test_what_git_ignores_stays_out_unless_the_suite_needs_it(tmp_path: Path) -> None:
    """Untracked files go in, ignored ones do not; generated data is often ignored and named as required."""
    repository = tmp_path / "repository"
    folder = write_suite(repository / "load")
    touch(folder, "data/generated.csv", "notes.log", "new.py")
    (repository / ".gitignore").write_text("*.log\ngenerated.csv\n")
    git(repository, "init", "-q")
    git(repository, "add", "load/suite.py", "load/loadproof.toml")
    git(repository, "commit", "-qm", "x")
    bundle = build_bundle(folder)
    assert bundle.files == tuple(sorted((*USUAL, "new.py")))
    assert bundle.git_revision is not None
    assert len(bundle.git_revision) == 40
    assert bundle.git_dirty is True
    assert "data/generated.csv" in build_bundle(folder, required=["data/generated.csv", "suite.py"]).files
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "y")
    assert build_bundle(folder).git_dirty is False


def test_a_file_deleted_but_still_tracked_is_no_part(tmp_path: Path) -> None:
    """Git lists it; the disk decides."""
    folder = write_suite(tmp_path)
    touch(folder, "gone.py")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    (folder / "gone.py").unlink()
    assert build_bundle(folder).files == USUAL


def test_an_ignored_folder_is_packed_as_if_there_were_no_git(tmp_path: Path) -> None:
    """A suite in a scratch folder of another repository is still a suite."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("scratch/\n")
    assert build_bundle(write_suite(tmp_path / "scratch")).files == USUAL


def test_limits_are_told_with_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many files, too many bytes, none at all."""
    folder = write_suite(tmp_path / "a")
    monkeypatch.setattr(build, "FILES_MAX", 2)
    assert refused(folder).code == "too_many"
    monkeypatch.undo()
    monkeypatch.setattr(build, "BUNDLE_BYTES_MAX", 10)
    (folder / "big.bin").write_bytes(b"x" * 5_000_000)
    error = refused(folder)
    assert error.code == "too_large"
    assert "Largest: big.bin (5.0 MB)" in error.text
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").code == "empty"


def test_names_that_no_agent_would_unpack_are_refused_here(tmp_path: Path) -> None:
    """Told to who can rename them."""
    folder = write_suite(tmp_path / "a")
    touch(folder, "a:b.py")
    assert refused(folder).code == "bad_name"
    folder = write_suite(tmp_path / "b")
    touch(folder, "Case.py", "case.py")
    if {"Case.py", "case.py"} <= {path.name for path in folder.iterdir()}:  # a file system that tells them apart
        assert refused(folder).code == "duplicate"


def test_what_was_packed_unpacks_to_the_same_files(tmp_path: Path) -> None:
    """Round trip, also of empty files and names beyond ASCII."""
    folder = write_suite(tmp_path / "a")
    touch(folder, "daten/größe.csv")
    (folder / "empty.py").write_bytes(b"")
    bundle = build_bundle(folder)
    extract_bundle(bundle.data, bundle.sha256, tmp_path / "b")
    found = {path.relative_to(tmp_path / "b").as_posix(): path.read_bytes() for path in (tmp_path / "b").rglob("*.*")}
    assert found == {name: (folder / name).read_bytes() for name in bundle.files}


def test_a_bundle_does_not_print_its_bytes(tmp_path: Path) -> None:
    """Its repr is for logs."""
    bundle = build_bundle(write_suite(tmp_path))
    assert isinstance(bundle, Bundle)
    assert len(repr(bundle)) < 400
    assert zipfile.ZipFile(io.BytesIO(bundle.data)).testzip() is None
