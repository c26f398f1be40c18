"""A suite's packages, installed by the real pip from a folder of tiny wheels: once, whole, bounded, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent_scene import plan_of, scene
from loadproof.lockfile import Lock, parse_lock
from loadproof_agent import records as r
from loadproof_agent.config import PackageLimits
from loadproof_agent.errors import RunError
from loadproof_agent.packages import PackageStore, store
from loadproof_agent.packages.pip import pip_environment
from wheels import locked, make_wheel, only_from

PARCEL = {"parcel/__init__.py": "CODE = 'p1'\n"}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    for name, value in only_from(folder).items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def silent_index(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An index that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://ci:hunter2@127.0.0.1:{server.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        yield


def lock_of(text: str) -> Lock:
    return parse_lock(text.encode(), "requirements.lock")


async def refusal(folder: Path, lock: Lock, limits: PackageLimits | None = None, **options: object) -> RunError:
    with pytest.raises(RunError) as caught:
        await PackageStore(folder, limits).provide(lock, **options)
    assert caught.value.code == "requirements"
    return caught.value


def kept(folder: Path) -> list[str]:
    """Return what is in a store beside its lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


async def test_a_lock_is_installed_once_for_all_who_ask_at_the_same_time(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two agents and a later run get the same folder from one pip, which the last of them finds without an index."""
    needed = make_wheel(wheels, "label", "2.0", {"label.py": "NAME = 'l'\n"})
    lock = lock_of(locked(make_wheel(wheels, "parcel", "1.0", PARCEL, ("label",)), needed))
    calls: list[str] = []
    real = store.pip_install

    async def counted(lock: Lock, *rest: object) -> None:
        calls.append(lock.sha256)
        await real(lock, *rest)

    monkeypatch.setattr(store, "pip_install", counted)
    folder = tmp_path / "store"
    one, two = await asyncio.gather(*(PackageStore(folder).provide(lock) for _ in range(2)))
    shutil.rmtree(wheels)
    three = await PackageStore(folder).provide(lock)
    assert one.path == two.path == three.path
    assert calls == [lock.sha256]
    assert (one.path / "parcel/__init__.py").read_text() == "CODE = 'p1'\n"
    assert (one.path / "label.py").is_file()
    for provided in (one, two, three):
        provided.close()


async def test_what_is_not_what_was_locked_is_not_installed(wheels: Path, tmp_path: Path) -> None:
    """Another file, none at all, a dependency the lock forgot, a source distribution: pip's words, and no trace."""
    parcel = make_wheel(wheels, "parcel", "1.0", PARCEL, ("label>=1",))
    make_wheel(wheels, "label", "2.0", {"label.py": ""})
    source = wheels / "sourced-1.0.tar.gz"
    source.write_bytes(b"not even looked into")
    sourced = f"sourced==1.0 --hash=sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}\n"
    folder = tmp_path / "store"
    cases = [
        (locked(parcel, wrong=True), "DO NOT MATCH THE HASHES"),
        (locked(parcel), "label"),
        (locked(parcel).replace("1.0", "1.1"), "No matching distribution found"),
        (sourced, "No matching distribution found"),
    ]
    for text, words in cases:
        error = await refusal(folder, lock_of(text))
        assert "pip could not install requirements.lock (exit code 1); it last said: " in error.text
        assert words in error.detail, error.detail
        assert kept(folder) == []


async def test_an_index_that_says_nothing_is_given_up(silent_index: None, tmp_path: Path) -> None:
    """After the limit, or as soon as nobody wants the packages any more; pip is gone and left nothing."""
    lock, folder = lock_of("parcel==1.0 --hash=sha256:" + "0" * 64), tmp_path / "store"
    error = await refusal(folder, lock, PackageLimits(limit_s=1.0))
    assert "was not installed within 1 s" in error.text
    assert "hunter2" not in error.text + error.detail
    error = await refusal(folder, lock, wanted=lambda: False)
    assert "no longer wanted" in error.text
    assert kept(folder) == []


async def test_a_run_that_ends_meanwhile_ends_its_installation(silent_index: None, tmp_path: Path) -> None:
    """The agent is free at once and can leave at once: pip holds up neither."""
    suite, folder = tmp_path / "suite", tmp_path / "store"
    suite.mkdir()
    (suite / "suite.py").write_text("", encoding="utf-8")
    (suite / "requirements.lock").write_text("parcel==1.0 --hash=sha256:" + "0" * 64, encoding="utf-8")
    tries = psutil.Process()
    async with scene(suite, packages_dir=folder) as s:
        s.prepare(plan_of(1), requirements="requirements.lock")
        while not (pips := [child for child in tries.children() if "pip" in child.cmdline()]):
            await s.stream.next(r.Heartbeat)
        s.stream.say(r.End("run-1"))
        await s.stream.next(r.Heartbeat, where=lambda beat: not beat.run_id)
        while any(pip.is_running() for pip in pips) or kept(folder):
            await s.stream.next(r.Heartbeat)


async def test_a_suite_whose_packages_are_not_allowed_is_refused_in_prepare(tmp_path: Path) -> None:
    """No worker is started, and the answer says what would allow it; so for a lock that is missing or broken."""
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "suite.py").write_text("", encoding="utf-8")
    (suite / "requirements.lock").write_text("parcel==1.0 --hash=sha256:" + "0" * 64, encoding="utf-8")
    (suite / "loose.lock").write_text("parcel", encoding="utf-8")
    cases = {
        "requirements.lock": "start it with --allow-requirements",
        "loose.lock": "is not pinned to one version",
        "no.lock": "is not in the suite's bundle",
        "../../etc/passwd": "lies outside of its suite",
    }
    for file, words in cases.items():
        async with scene(suite) as s:
            s.prepare(plan_of(1), requirements=file)
            (problem,) = (await s.stream.next(r.PrepareResult)).problems
            assert (problem.code, words in problem.text) == ("requirements", True), problem


async def test_packages_beyond_the_size_are_given_up(wheels: Path, tmp_path: Path) -> None:
    """What a small wheel unpacks to counts, too."""
    wheel = make_wheel(wheels, "parcel", "1.0", {"parcel.bin": bytes(3 << 20)})
    error = await refusal(tmp_path / "store", lock_of(locked(wheel)), PackageLimits(bytes_max=1 << 20))
    assert "take more than 1 MiB" in error.text
    assert kept(tmp_path / "store") == []


async def test_a_package_of_this_python_in_another_version_is_a_conflict(wheels: Path, tmp_path: Path) -> None:
    """Its own would be imported, so the lock would not be what was run with."""
    wheel = make_wheel(wheels, "orjson", "0.0.1", {"orjson.py": "1 / 0\n"})
    error = await refusal(tmp_path / "store", lock_of(locked(wheel)))
    assert "is in conflict with the Python of this machine" in error.text
    assert "(the lock has 0.0.1)" in error.text


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The operator's mistake is told as one, not as pip's."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    error = await refusal(blocked / "store", lock_of("parcel==1.0 --hash=sha256:" + "0" * 64))
    assert str(blocked) in error.text


async def test_the_oldest_are_forgotten_unless_they_are_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are kept of five; one of the oldest is still used; what a killed process left is cleared away."""

    async def installed(lock: Lock, into: Path, *_rest: object) -> None:
        await asyncio.to_thread(into.mkdir)

    monkeypatch.setattr(store, "pip_install", installed)
    folder = tmp_path / "store"
    (folder / "new-leftover").mkdir(parents=True)
    keeping = PackageStore(folder, PackageLimits(kept_max=2))
    locks = [lock_of(f"parcel=={number} --hash=sha256:" + "0" * 64) for number in range(5)]
    used = await keeping.provide(locks[0])
    for lock in locks[1:]:
        (await keeping.provide(lock)).close()
    assert kept(folder) == sorted(store.key_of(lock) for lock in (locks[0], *locks[3:]))
    assert used.path.is_dir()
    used.close()


def test_pip_sees_where_packages_come_from_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of pip's variables those that name sources; no token, no key, nothing that redirects the installation."""
    for name in ("PIP_INDEX_URL", "HTTPS_PROXY", "LOADPROOF_JOIN", "SHOP_API_KEY", "PIP_TARGET", "PIP_NO_BINARY"):
        monkeypatch.setenv(name, "x")
    environment = pip_environment(tmp_path)
    assert {"PIP_INDEX_URL", "HTTPS_PROXY", "PATH", "TMPDIR"} <= set(environment)
    assert not {"LOADPROOF_JOIN", "SHOP_API_KEY", "PIP_TARGET", "PIP_NO_BINARY"} & set(environment)
