"""How each contender is had. Versions are fixed here, so that results say which they are of."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks.install import Found, InstallError, built, cache, run

PEERS = Path(__file__).resolve().parent / "peers"
K6, VEGETA, LOCUST, OHA, GOOSE, GATLING = "v1.8.1", "v12.13.0", "2.47.0", "1.16.0", "0.19.0", "3.15.1"


def wrk() -> Found:
    """Of the machine (Debian: `apt install wrk`)."""
    program = _of_machine("wrk", "on Debian: apt install wrk")
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout
    return Found(program, said.split("[")[0].strip())


def wrk2() -> Found:
    """Of the machine only: it is source code without releases, and no package of it could be found."""
    why = "Debian, PyPI, npm and Rust's registry have no package of it; a `wrk2` on the PATH joins"
    return Found(_of_machine("wrk2", why), "wrk2")


def k6() -> Found:
    """With `go install`."""
    program = _go(f"k6-{K6}", f"go.k6.io/k6@{K6}", "several minutes") / "k6"
    return Found(str(program), run([str(program), "version"]).split("\n")[0][:60])


def vegeta() -> Found:
    """With `go install`."""
    folder = _go(f"vegeta-{VEGETA}", f"github.com/tsenart/vegeta/v12@{VEGETA}", "a minute or more")
    return Found(str(folder / "vegeta"), f"vegeta {VEGETA}")


def locust() -> Found:
    """From PyPI, in a virtual environment of its own."""

    def build(folder: Path) -> None:
        run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")])
        pip = str(folder / "venv" / "bin" / "pip")
        run([pip, "install", "--quiet", "--disable-pip-version-check", f"locust=={LOCUST}"])

    folder = built(f"locust-{LOCUST}", f"{LOCUST} {sys.version}", "about 1 minute", build)
    program = folder / "venv" / "bin" / "locust"
    return Found(str(program), run([str(program), "--version"]).split(" from ")[0].strip())


def oha() -> Found:
    """With `cargo install`."""

    def build(folder: Path) -> None:
        _cargo(["install", "--quiet", "--locked", "--root", str(folder), f"oha@{OHA}"], folder.name)

    program = built(f"oha-{OHA}", OHA, "five minutes or more", build) / "bin" / "oha"
    return Found(str(program), run([str(program), "--version"]).strip())


def goose() -> Found:
    """A program of ours over the crate, with `cargo build`."""

    def build(folder: Path) -> None:
        shutil.copytree(PEERS / "goose", folder, dirs_exist_ok=True)  # cargo writes a lock file beside the manifest
        _cargo(["build", "--quiet", "--release", "--manifest-path", str(folder / "Cargo.toml")], folder.name, folder)

    folder = built(f"goose-{GOOSE}", f"{GOOSE} {_digest(PEERS / 'goose')}", "five minutes or more", build)
    return Found(str(folder / "goose-bench"), f"goose {GOOSE}")


def gatling() -> Found:
    """Its jars with Maven, a simulation of ours with `javac`; run without a build plugin, by its main class."""

    def build(folder: Path) -> None:
        shutil.copytree(PEERS / "gatling", folder, dirs_exist_ok=True)
        jars = ["dependency:copy-dependencies", "-DoutputDirectory=jars", f"-Dgatling.version={GATLING}"]
        run(["mvn", "--batch-mode", "--quiet", *jars], cwd=folder)
        run(["javac", "-cp", f"{folder}/jars/*", "-d", str(folder / "classes"), str(folder / "Bench.java")])

    folder = built(f"gatling-{GATLING}", f"{GATLING} {_digest(PEERS / 'gatling')}", "about 2 minutes", build)
    java = run(["java", "-version"]).split("\n")[0].strip()
    return Found(str(folder), f"gatling {GATLING} ({java})")


def aiohttp_client() -> Found:
    """A dependency of ours."""
    import aiohttp

    return Found(sys.executable, f"aiohttp {aiohttp.__version__} on uvloop")


def bare_loop() -> Found:
    """A program of ours: the loop and the kernel, without a client."""
    return Found(sys.executable, f"uvloop {version('uvloop')}")


RECIPES: dict[str, Callable[[], Found]] = {
    "wrk": wrk, "wrk2": wrk2, "k6": k6, "locust": locust, "aiohttp": aiohttp_client, "vegeta": vegeta, "oha": oha,
    "goose": goose, "gatling": gatling, "bare loop": bare_loop,
}  # fmt: skip


def _of_machine(name: str, how: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise InstallError(f"{name} is not installed; {how}")
    return program


def _go(name: str, package: str, takes: str) -> Path:
    def build(folder: Path) -> None:
        run(["go", "install", "-p", "2", package], environ={"GOBIN": str(folder)})

    return built(name, package, takes, build)


def _cargo(arguments: list[str], name: str, keep_in: Path | None = None) -> None:
    """Run cargo; what it makes on the way lies in the cache until it is done, so that a second try goes on."""
    scratch = cache() / "build" / name
    run(["cargo", *arguments], environ={"CARGO_TARGET_DIR": str(scratch), "CARGO_BUILD_JOBS": "2"})
    if keep_in is not None:
        shutil.copy2(scratch / "release" / "goose-bench", keep_in / "goose-bench")
    shutil.rmtree(scratch)


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return whole.hexdigest()[:16]
