"""A suite says how servers are verified and who it is: `check`, `try` and real runs do as it says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from http_certificates import Authority
from http_hostile import Hostile, reply, scripted
from shop_cli import Finished, assert_went_well, loadproof, loadproof_here, run_json, write_suite

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("load")]

SUITE = """
from loadproof import Suite
from loadproof.http import TlsOptions

suite = Suite("Private", base_url="https://shop.test:${{PORT}}", tls=TlsOptions({tls}))


@suite.transaction("Look")
async def look(user) -> None:
    (await user.http.get("/")).check(status=200)
"""
NAMED = SUITE.replace("https://shop.test:", "https://127.0.0.1:")
TOML = """
[suite]
module = "suite.py"

[environment]
secrets = ["CLIENT_KEY"]

[profiles.smoke]
arrivals = [{ rate = "5/s", for = "1s" }]

[[rules]]
transaction = "*"
require = "success_rate >= 100%"
"""
MUTUAL = 'ca_file="tls/ca.pem", cert_file="tls/client.pem", key_file="${CLIENT_KEY}", server_name="shop.test"'


def suite_in(folder: Path, authority: Authority, tls: str) -> tuple[Path, str]:
    """Write the suite with its certificates; return its folder and the client's key, which no file of it holds."""
    certificate, key = (Path(file).read_text(encoding="ascii") for file in authority.issue("client"))
    files = {"tls/ca.pem": Path(authority.ca_file).read_text(encoding="ascii"), "tls/client.pem": certificate}
    return write_suite(folder, toml=TOML, suite=NAMED.format(tls=tls), files=files), key


async def against_server(authority: Authority, *arguments: str | Path, cwd: Path, key: str) -> tuple[Finished, int]:
    """Run the command beside a server that asks for a client's certificate; return its end and the requests seen."""
    server = Hostile(scripted(reply(b"private")))
    async with server.running(ssl=authority.server("shop.test", clients=True)):
        env = {"PORT": str(server.port), "CLIENT_KEY": key}
        done = await asyncio.to_thread(loadproof, *arguments, cwd=cwd, env=env)
        return done, len(server.requests)


@pytest.mark.parametrize("command", ["run", "try"])
async def test_a_suite_brings_its_authority_and_its_certificate(tmp_path: Path, command: str) -> None:
    """A private CA, a client certificate from the bundle and its key from a secret reach the processes that send."""
    authority = Authority(tmp_path)
    suite, key = suite_in(tmp_path / "suite", authority, MUTUAL)
    options = ("--profile", "smoke", "--workers", "1", "--no-record", "--out", tmp_path / "out")
    done, seen = await against_server(
        authority, command, suite, *(options if command == "run" else ()), cwd=tmp_path, key=key
    )
    if command == "run":
        assert_went_well(done, tmp_path / "out")
    else:
        assert done.code == 0, done.out + done.err
    assert seen == (5 if command == "run" else 1)
    if command == "run":
        secret = key.splitlines()[1]
        assert run_json(tmp_path / "out")["transactions"][0]["ok"] == 5
        for path in (tmp_path / "out").rglob("*"):
            assert path.is_dir() or secret not in path.read_text(encoding="utf-8", errors="replace")


async def test_without_them_each_request_is_a_tls_error(tmp_path: Path) -> None:
    """System roots do not know the private CA: nothing is sent, and the report says why."""
    authority = Authority(tmp_path)
    suite, key = suite_in(tmp_path / "suite", authority, 'server_name="shop.test"')
    options = ("--profile", "smoke", "--workers", "1", "--no-record", "--out", tmp_path / "out")
    done, seen = await against_server(authority, "run", suite, *options, cwd=tmp_path, key=key)
    assert done.code == 1, done.out + done.err
    assert seen == 0
    errors = run_json(tmp_path / "out")["transactions"][0]["errors"]
    assert [(error["category"], error["count"]) for error in errors] == [("tls", 5)]


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ('ca_file="tls/none.pem"', "tls/none.pem does not exist"),
        ('ca_file="../ca.pem"', "../ca.pem is outside the suite's folder"),
        ('key_file="${NO_KEY}"', "the environment variable NO_KEY is not set"),
    ],
)
def test_files_that_are_not_there_are_said_by_check(tmp_path: Path, tls: str, said: str) -> None:
    """With the suite's file and line, before anything is started."""
    suite, key = suite_in(tmp_path / "suite", Authority(tmp_path), tls)
    done = loadproof_here("check", suite, cwd=tmp_path, env={"PORT": "1", "CLIENT_KEY": key})
    assert done.code == 2
    assert said in done.out + done.err
    assert "suite.py:5" in done.out + done.err


def test_not_verifying_is_possible_by_the_word_and_said(tmp_path: Path) -> None:
    """`verify=False` is allowed, and `check` warns of it."""
    suite, key = suite_in(tmp_path / "suite", Authority(tmp_path), "verify=False")
    done = loadproof_here("check", suite, cwd=tmp_path, env={"PORT": "1", "CLIENT_KEY": key})
    assert done.code == 0
    assert "verify=False takes any server" in done.out + done.err
