"""Tokens, names, certificates and refusals of a controller in service mode, one at a time."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from loadproof.trust import Token, TrustError, parse_token, split_address
from loadproof_agent.capacity import STEP_PERMILLE, measured_capacity
from loadproof_cli.service_log import JsonLines, one_line
from loadproof_controller.errors import RunRefused, ServiceError
from loadproof_controller.operations.guard import Refusals
from loadproof_controller.run_store import RESTARTED, RunEntry, RunStore
from loadproof_controller.security import Authority, CertificateProblem, Member, TokenStore
from loadproof_controller.security.names import AgentNames
from loadproof_controller.submission import decode_submission

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
PIN = "p" * 43


def test_a_token_is_known_by_its_secret_until_it_expires(tmp_path: Path) -> None:
    """Roles, expiry and revoking survive reading the file again; the file holds no secret."""
    moment = [NOW]
    store = TokenStore(tmp_path / "tokens.json", PIN, now=lambda: moment[0])
    entry, token = store.create("viewer", "ci", ttl_s=60)
    assert parse_token(token.text) == token
    assert token.secret not in (tmp_path / "tokens.json").read_text(encoding="utf-8")
    again = TokenStore(tmp_path / "tokens.json", PIN, now=lambda: moment[0])
    caller = again.caller(token.secret)
    assert caller is not None
    assert (caller.role, caller.name, caller.token_id) == ("viewer", "ci", entry.token_id)
    moment[0] += dt.timedelta(seconds=60)
    assert again.caller(token.secret) is None
    assert again.entries() == []
    assert again.known(entry.token_id)
    assert again.revoke(entry.token_id)
    assert not again.known(entry.token_id)
    assert not again.revoke(entry.token_id)


def test_a_damaged_token_file_stops_the_controller(tmp_path: Path) -> None:
    """Better no controller than one that has forgotten whom it trusts."""
    (tmp_path / "tokens.json").write_text("[{]", encoding="utf-8")
    with pytest.raises(ServiceError, match=r"tokens\.json"):
        TokenStore(tmp_path / "tokens.json", PIN)


@given(st.text(max_size=120))
def test_what_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    """Whatever was pasted may be a secret of another kind."""
    with pytest.raises(TrustError) as error:
        parse_token("lp2." + text)
    assert len(text.strip()) < 8 or text.strip() not in error.value.text


def test_tokens_of_plaintext_controllers_have_no_pin() -> None:
    """The word stands in the hash's place, so that nobody takes one for the other."""
    token = Token("", "s" * 32)
    assert parse_token(token.text) == token
    assert "s" * 32 not in repr(token)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a.example:1", ("a.example", 1)), ("[::1]:7443", ("::1", 7443)), ("10.0.0.1:0", ("10.0.0.1", 0))],
)
def test_addresses_are_host_and_port(text: str, parts: tuple[str, int]) -> None:
    """Names, IPv4 and bracketed IPv6."""
    assert split_address(text) == parts


@pytest.mark.parametrize("text", ["", "a", "a:", ":1", "a:b", "::1:7443x", "a:70000", "a:-1", "a:١", "x:y:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """With an example of what is one."""
    with pytest.raises(TrustError, match=r"HOST:PORT|brackets"):
        split_address(text)


def test_certificates_name_agent_and_token_and_expire(tmp_path: Path) -> None:
    """What was signed is read back; another authority's, a server's, nonsense and an expired one are not."""
    moment = [NOW]
    authority = Authority.load(tmp_path, now=lambda: moment[0])
    assert Authority.load(tmp_path, now=lambda: moment[0]).pin == authority.pin
    csr = signing_request()
    pem = authority.sign_member(csr, Member("a", "t1"))
    assert authority.member_of(pem) == Member("a", "t1")
    (tmp_path / "other").mkdir()
    other = Authority.load(tmp_path / "other", now=lambda: moment[0])
    for wrong in (
        other.sign_member(csr, Member("a", "t1")),
        authority.server_pair(tmp_path)[1],
        b"",
        b"x",
        authority.pem,
    ):
        with pytest.raises(CertificateProblem):
            authority.member_of(wrong)
    moment[0] += dt.timedelta(hours=24)
    with pytest.raises(CertificateProblem, match="expired"):
        authority.member_of(pem)


def test_hostile_signing_requests_are_refused(tmp_path: Path) -> None:
    """Nonsense, something large, a key of another kind, a request that was changed after signing."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding

    authority = Authority.load(tmp_path)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    key = rsa.generate_private_key(65537, 2048)
    foreign = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    changed = bytearray(signing_request())
    changed[-1] ^= 1
    for hostile in (b"", b"\x30\x80", b"x" * 10_000, foreign.public_bytes(Encoding.DER), bytes(changed)):
        with pytest.raises(CertificateProblem):
            authority.sign_member(hostile, Member("a", "t"))


def test_the_server_certificate_is_made_anew_before_it_expires(tmp_path: Path) -> None:
    """With 60 days left a start makes another; before that it stays."""
    moment = [NOW]
    authority = Authority.load(tmp_path, now=lambda: moment[0])
    first = authority.server_pair(tmp_path)
    assert authority.server_pair(tmp_path) == first
    moment[0] += dt.timedelta(days=340)
    assert authority.server_pair(tmp_path) != first


def test_browsers_know_the_server_by_its_advertised_names(tmp_path: Path) -> None:
    """They stand beside the name that agents check; a new one makes a new certificate, an old one none."""
    authority = Authority.load(tmp_path)
    first = authority.server_pair(tmp_path)
    pair = authority.server_pair(tmp_path, ["Load.example.com", "192.0.2.7", "no name", "*.example.com"])
    assert pair != first
    names = x509.load_pem_x509_certificate(pair[1]).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["controller.loadproof.internal", "load.example.com"]
    assert [str(ip) for ip in names.value.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert authority.server_pair(tmp_path, ["load.example.com"]) == pair


def test_names_stay_with_their_token(tmp_path: Path) -> None:
    """Also after a restart; what is no name becomes one."""
    names = AgentNames(tmp_path / "names.json")
    assert names.claim("web 1", "t1", lambda _name: False) == "web-1"
    names = AgentNames(tmp_path / "names.json")
    assert names.claim("web 1", "t1", lambda _name: False) == "web-1"
    assert names.claim("web 1", "t2", lambda _name: False).startswith("web-1-")
    assert names.claim("web 1", "t1", lambda name: name == "web-1").startswith("web-1-")
    assert names.claim("../..", "t1", lambda _name: False) == "agent"
    assert len(names.claim("x" * 500, "t1", lambda _name: False)) == 50


def test_refusals_are_logged_once_in_a_while_and_then_slowed(caplog: pytest.LogCaptureFixture) -> None:
    """One line a host and 10 s, that says how many it stands for; from the 21st in a minute each waits."""
    now = [0.0]
    refusals = Refusals(clock=lambda: now[0])
    with caplog.at_level(logging.WARNING):
        pauses = [refusals.count("ipv4:10.0.0.9:5000", "no token") for _ in range(25)]
        assert len(caplog.records) == 1
        now[0] = 10.0
        assert refusals.count("ipv4:10.0.0.9:5001", "no token") == Refusals.PAUSE_S
        assert "24 more" in caplog.records[-1].getMessage()
        assert refusals.count("ipv4:10.0.0.8:5001", "no token") == 0
    assert pauses == [0.0] * 20 + [Refusals.PAUSE_S] * 5
    now[0] = 100.0
    assert refusals.count("ipv4:10.0.0.9:5001", "no token") == 0


def test_log_lines_are_one_line_of_json_without_control_characters() -> None:
    """Whatever a peer manages to get into a text or a traceback."""
    import json

    text = "a\nb\x1b[31m\u202ec\u2028d\x00e\x7f"
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s", (text,), None)
    line = JsonLines().format(record)
    assert line.isprintable()
    assert json.loads(line)["text"] == "a | b?[31m?c?d?e?"
    assert len(one_line("ü" * 10_000)) == 4_000


def test_an_unfinished_run_is_ended_by_the_next_start(tmp_path: Path) -> None:
    """It is listed as failed and says why; a finished one stays as it is."""
    store = RunStore(tmp_path / "runs")
    store.create(RunEntry("a", submitted_at="1"), b"zip", [{"run.json": b"{}"}])
    store.create(RunEntry("b", submitted_at="2"), b"zip", [])
    store.put(RunEntry("b", state="finished", decision="GO", submitted_at="2"))
    with pytest.raises(RunRefused, match="already"):
        store.create(RunEntry("a"), b"", [])
    entries = list(RunStore(tmp_path / "runs"))
    assert [(entry.run_id, entry.state, entry.reason) for entry in entries] == [
        ("b", "finished", ""), ("a", "failed", RESTARTED),
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"run_id": "x", "secrets": {"K": "canary"}}'])
def test_a_submission_that_cannot_be_read_is_refused_without_its_values(data: bytes) -> None:
    """What is wrong is named, what was sent is not repeated."""
    with pytest.raises(RunRefused) as error:
        decode_submission(data)
    assert "canary" not in str(error.value)


async def test_capacity_is_a_positive_number_of_tenths() -> None:
    """It takes a moment of one core and is rounded, so that equal machines are equal."""
    capacity = await asyncio.to_thread(measured_capacity)
    assert capacity >= STEP_PERMILLE
    assert capacity % STEP_PERMILLE == 0


def signing_request() -> bytes:
    """Return a signing request (DER) for a new key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    return request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
