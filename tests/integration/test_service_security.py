"""Who gets in and who does not: every method with every role, and every way to show the wrong thing to TLS."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from houses import attached, authority_of, channel, house_in, status_of, trusting
from loadproof.trust import CONTROLLER_NAME, Token, TrustError, fetch_authority, parse_token
from loadproof_agent import attached as attached_module
from loadproof_agent.config import AgentConfig
from loadproof_agent.enrolment import Enrolment
from loadproof_agent.errors import ConfigurationError, RefusedError, UplinkError
from loadproof_agent.supervisor import Supervisor, hello_of
from loadproof_controller.errors import ClientError, ServiceError
from loadproof_controller.fleet import AgentLink, Fleet
from loadproof_controller.house import HouseOptions, open_house
from loadproof_controller.operations.client import ControllerClient
from loadproof_controller.operations.guard import Refusals, TokenGuard
from loadproof_controller.operations.server import operations_server, server_credentials
from loadproof_controller.security import AGENTS_TABLE, OPERATIONS_TABLE, Authority, Member
from loadproof_controller.security import authority as authority_module
from loadproof_controller.security.files import private_folder
from loadproof_proto.v1 import agent_pb2
from loadproof_proto.v1.agent_pb2_grpc import AgentServiceStub

REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
ELSEWHERE = [*AGENTS_TABLE, "/loadproof.v1.RunService/Invented", "/grpc.reflection.v1.ServerReflection/Info"]


async def test_every_method_is_open_to_the_roles_the_table_lists_and_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods x {nobody, an empty token, nonsense, a wrong one, a revoked one, agent, relay, operator, viewer}."""
    monkeypatch.setattr(Refusals, "PAUSE_S", 0.0)
    async with house_in(tmp_path) as house:
        tokens = {role: house.service.create_token(role, role)[1] for role in ("agent", "relay", "operator", "viewer")}
        gone, gone_text = house.service.create_token("operator", "gone")
        house.service.revoke_token(gone.token_id)
        pin = parse_token(house.join_token).pin
        strangers = [None, "", "nonsense", Token(pin, "x" * 32).text, gone_text]
        async with channel(house.port, trusting(tmp_path)) as to:
            for method in [*OPERATIONS_TABLE, *ELSEWHERE]:
                for stranger in strangers:
                    assert await status_of(to, method, stranger) is grpc.StatusCode.UNAUTHENTICATED, (method, stranger)
                for role, token in tokens.items():
                    refused = await status_of(to, method, token) in REFUSED
                    assert refused is (role not in OPERATIONS_TABLE.get(method, ())), (method, role)


def test_every_method_of_the_contract_is_in_exactly_one_table() -> None:
    """A method that is added to the protocol stays closed until somebody decides who may call it."""
    from loadproof_proto.v1 import enroll_pb2, relay_pb2, run_pb2

    methods = {
        f"/{service.full_name}/{method.name}"
        for module in (agent_pb2, enroll_pb2, relay_pb2, run_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods == {*OPERATIONS_TABLE, *AGENTS_TABLE}
    assert not set(OPERATIONS_TABLE) & set(AGENTS_TABLE)


async def test_the_agents_port_wants_a_certificate_of_this_controller(tmp_path: Path) -> None:
    """None, a foreign one, an expired one, the server's own, and plaintext are refused; a token does not help."""
    async with house_in(tmp_path) as house:
        authority = authority_of(tmp_path)
        (tmp_path / "other").mkdir()
        other = Authority.load(tmp_path / "other")
        key, csr = signing_request()
        member = Member("a", parse_token(house.join_token).secret[:8])
        shown = {
            "none": trusting(tmp_path),
            "foreign": credentials(authority, key, other.sign_member(csr, member)),
            "expired": credentials(authority, key, authority.sign_member(csr, member, dt.timedelta(seconds=-30))),
            "plaintext": None,
        }
        for name, what in shown.items():
            async with channel(house.agents_port, what) as to:
                for method in AGENTS_TABLE:
                    code = await status_of(to, method, house.join_token)
                    assert code is grpc.StatusCode.UNAVAILABLE, (name, method)
        server_key, server = authority.server_pair(tmp_path / "data" / "pki")
        async with channel(house.agents_port, credentials(authority, server_key, server)) as to:
            for method in AGENTS_TABLE:
                assert await status_of(to, method) in {*REFUSED, grpc.StatusCode.UNAVAILABLE}
        unknown = credentials(authority, key, authority.sign_member(csr, Member("a", "00000000")))
        async with channel(house.agents_port, unknown) as to:  # signed by us, for a token that is no more
            for method in AGENTS_TABLE:
                assert await status_of(to, method) is grpc.StatusCode.UNAUTHENTICATED
            for method in OPERATIONS_TABLE:
                assert await status_of(to, method, house.join_token) in REFUSED


async def test_plaintext_at_the_port_for_people_is_refused(tmp_path: Path) -> None:
    """A client without TLS gets nothing, whatever token it has."""
    async with house_in(tmp_path) as house, channel(house.port, None) as to:
        token = house.operator_token_file.read_text(encoding="utf-8").strip()
        assert await status_of(to, "/loadproof.v1.RunService/ListRuns", token) is grpc.StatusCode.UNAVAILABLE


async def test_an_agent_joins_renews_and_speaks_for_itself_only(tmp_path: Path) -> None:
    """With its certificate an agent attaches under its own name; under another's it is refused."""
    async with house_in(tmp_path) as house:
        enrolment = Enrolment(f"127.0.0.1:{house.port}", parse_token(house.join_token), "builder 7/eu")
        first = await enrolment.join()
        assert first.agent_id == "builder-7-eu"
        member = await enrolment.renew(first)
        assert (member.agent_id, member.address) == (first.agent_id, first.address)
        async with channel(house.agents_port, member.credentials) as to:
            assert (await attach(to, "somebody-else")).refusal.code == "identity"
            assert (await attach(to, member.agent_id)).welcome.agent_id == member.agent_id


async def test_a_name_goes_to_who_joined_with_the_same_token_only(tmp_path: Path) -> None:
    """A restarted agent gets its name back; with another token, or while it is attached, the name is another."""
    async with house_in(tmp_path) as house:
        address = f"127.0.0.1:{house.port}"
        token = parse_token(house.join_token)
        assert (await Enrolment(address, token, "a").join()).agent_id == "a"
        member = await Enrolment(address, token, "a").join()
        assert member.agent_id == "a"
        other = parse_token(house.service.create_token("agent", "other")[1])
        assert (await Enrolment(address, other, "a").join()).agent_id.startswith("a-")
        async with channel(house.agents_port, member.credentials) as to:
            call = AgentServiceStub(to).Attach()
            await call.write(hello("a"))
            assert (await call.read()).HasField("welcome")
            assert (await Enrolment(address, token, "a").join()).agent_id.startswith("a-")
            call.cancel()


@pytest.mark.parametrize("insecure", [False, True])
async def test_a_join_token_lets_in_as_many_agents_as_it_was_made_for(tmp_path: Path, insecure: bool) -> None:
    """The next one is refused in words, when joining and when attaching; it gets in once another leaves."""
    async with house_in(tmp_path, insecure=insecure) as house:
        entry, text = house.service.create_token("agent", "two", agents_max=2)
        why = f"token {entry.token_id} lets in 2 agents at a time, and 2 are attached"
        enrol = [Enrolment(f"127.0.0.1:{house.port}", parse_token(text), name) for name in "abc"]
        members = [await one.join() for one in enrol]
        async with AsyncExitStack() as stack:
            ways = [await stack.enter_async_context(channel(house.agents_port, m.credentials)) for m in members]
            calls = []
            for way, member in zip(ways, members[:2], strict=False):
                calls.append(AgentServiceStub(way).Attach())
                await calls[-1].write(hello(member.agent_id, member.identity))
                assert (await calls[-1].read()).HasField("welcome")
            refusal = (await attach(ways[2], "c", members[2].identity)).refusal
            assert (refusal.code, refusal.text.startswith(why)) == ("full", True)
            with pytest.raises(UplinkError, match=why) as problem:
                await Enrolment(f"127.0.0.1:{house.port}", parse_token(text), "d").join()
            assert problem.value.retry
            if not insecure:  # the same agent again is no other one
                calls[0] = AgentServiceStub(ways[0]).Attach()
                await calls[0].write(hello("a"))
                assert (await calls[0].read()).HasField("welcome")
                await enrol[0].renew(members[0])
            other = parse_token(house.service.create_token("agent", "other")[1])
            await Enrolment(f"127.0.0.1:{house.port}", other, "e").join()
            await until_gone(house.service._controller.fleet, "b", calls[1].cancel)
            assert (await attach(ways[2], "c", members[2].identity)).HasField("welcome")
            calls[0].cancel()


async def test_an_agent_renews_its_certificate_and_stays_the_same_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day passes on both clocks: the old certificate opens nothing, the agent comes back with the new one."""
    monkeypatch.setattr(attached_module, "LOOK_EACH_S", 0.01)
    monkeypatch.setattr(authority_module, "CLOCK_SLACK", dt.timedelta(hours=100))  # TLS itself looks at the real clock
    passed, load = [dt.timedelta(0)], Authority.load
    monkeypatch.setattr(Authority, "load", lambda folder: load(folder, now=lambda: dt.datetime.now(dt.UTC) + passed[0]))
    async with house_in(tmp_path) as house, asyncio.TaskGroup() as group:
        fleet = house.service._controller.fleet
        enrolment = Enrolment(
            f"127.0.0.1:{house.port}", parse_token(house.join_token), "a",
            wall=lambda: time.time() + passed[0].total_seconds(),
        )  # fmt: skip
        member = await enrolment.join()
        supervisor = Supervisor(
            AgentConfig(member.address, member.agent_id, "", workers=1),
            credentials=member.credentials, authority=CONTROLLER_NAME,
        )  # fmt: skip
        renewed, use = asyncio.Event(), supervisor.use
        monkeypatch.setattr(supervisor, "use", lambda credentials: (use(credentials), renewed.set()))
        group.create_task(supervisor.run())
        renewing = group.create_task(attached_module.keep_renewed(enrolment, member, supervisor))
        await attached(house)
        epoch = fleet.get("a").epoch
        passed[0] = dt.timedelta(hours=13)
        async with asyncio.timeout(30):
            await renewed.wait()
        renewing.cancel()
        passed[0] = dt.timedelta(hours=25)
        async with channel(house.agents_port, member.credentials) as to:
            call = AgentServiceStub(to).Attach()
            with pytest.raises(grpc.aio.AioRpcError, match="the agent's certificate has expired; it has to join again"):
                await call.read()
        await until_gone(fleet, "a", supervisor._uplink.drop)
        await attached(house)
        assert fleet.get("a").epoch == epoch
        supervisor.stop()


async def test_an_agent_whose_certificate_is_over_joins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS does not let it in any more; it says so, joins with its token and attaches under its name."""
    monkeypatch.setattr(attached_module, "LOOK_EACH_S", 0.01)
    sign, passed = Authority.sign_member, [0.0]
    monkeypatch.setattr(
        Authority, "sign_member", lambda self, csr, member, **_: sign(self, csr, member, dt.timedelta(seconds=-30))
    )
    async with house_in(tmp_path) as house, asyncio.TaskGroup() as group:
        enrolment = Enrolment(
            f"127.0.0.1:{house.port}", parse_token(house.join_token), "a", wall=lambda: time.time() + passed[0]
        )
        member = await enrolment.join()
        supervisor = Supervisor(
            AgentConfig(member.address, member.agent_id, "", workers=1),
            credentials=member.credentials, authority=CONTROLLER_NAME,
        )  # fmt: skip
        group.create_task(supervisor.run())
        renewing = group.create_task(attached_module.keep_renewed(enrolment, member, supervisor))
        monkeypatch.setattr(Authority, "sign_member", sign)
        passed[0] = 25 * 3_600
        await attached(house)
        assert house.service._controller.fleet.get("a") is not None
        renewing.cancel()
        supervisor.stop()


async def until_gone(fleet: Fleet, agent_id: str, leave: Callable[[], object]) -> None:
    """Let an agent leave and wait until the controller has noticed."""
    left, detach = asyncio.Event(), fleet.detach

    def noticed(link: AgentLink) -> None:
        detach(link)
        if link.agent_id == agent_id:
            left.set()

    fleet.detach = noticed
    leave()
    async with asyncio.timeout(20):
        await left.wait()


async def test_revoking_a_join_token_puts_its_agents_out(tmp_path: Path) -> None:
    """The stream ends with the reason, and the certificate opens nothing any more."""
    async with house_in(tmp_path) as house:
        entry, text = house.service.create_token("agent", "short")
        member = await Enrolment(f"127.0.0.1:{house.port}", parse_token(text), "a").join()
        async with channel(house.agents_port, member.credentials) as to:
            call = AgentServiceStub(to).Attach()
            await call.write(hello("a"))
            assert (await call.read()).HasField("welcome")
            assert house.service.revoke_token(entry.token_id)
            while not (message := await call.read()).HasField("refusal"):
                pass
            assert "revoked" in message.refusal.text
            for method in AGENTS_TABLE:
                assert await status_of(to, method) is grpc.StatusCode.UNAUTHENTICATED


async def test_wrong_tokens_addresses_and_controllers_get_one_line_each(tmp_path: Path) -> None:
    """For agents and for people: what is wrong, and whether waiting can help."""
    (tmp_path / "b").mkdir()
    async with house_in(tmp_path) as house, house_in(tmp_path / "b") as other:
        address = f"127.0.0.1:{house.port}"
        right = parse_token(house.join_token)
        with pytest.raises(UplinkError, match=r"token create --role agent`$") as wrong:
            await Enrolment(address, Token(right.pin, "x" * 32), "a").join()
        assert not wrong.value.retry
        assert "refused: not authorised: the token is missing" in wrong.value.text
        operator = parse_token(house.operator_token_file.read_text(encoding="utf-8"))
        with pytest.raises(UplinkError, match=r"role operator may not do this; .* token create --role agent`$"):
            await Enrolment(address, operator, "a").join()
        with pytest.raises(RefusedError, match="not the controller this token was made by"):
            await Enrolment(f"127.0.0.1:{other.port}", right, "a").join()
        with pytest.raises(ClientError, match="not the controller this token was made by"):
            async with ControllerClient(f"127.0.0.1:{other.port}", operator):
                pass
        with pytest.raises(ConfigurationError, match="HOST:PORT"):
            Enrolment("nowhere", right, "a")
        async with ControllerClient(address, right) as client:
            with pytest.raises(ClientError, match=r"role agent may not do this; .* --role operator`$") as refused:
                await client.runs(1)
            assert refused.value.code == "permission_denied"
    with pytest.raises(UplinkError, match="cannot be reached") as unreachable:
        await Enrolment(address, right, "a").join()
    assert unreachable.value.retry


def clock_off(by: dt.timedelta) -> Callable[[], dt.datetime]:
    """Return the clock of a machine that is `by` ahead."""
    return lambda: dt.datetime.now(dt.UTC) + by


@pytest.mark.parametrize("hours", [-1, 1, 23])
async def test_clocks_that_differ_by_hours_keep_nobody_out(tmp_path: Path, hours: int) -> None:
    """Neither when the controller's was off as it made its certificates, nor when it is set back or forth later."""
    pki = private_folder(private_folder(tmp_path / "data") / "pki")
    authority = Authority.load(pki, now=clock_off(dt.timedelta(hours=hours)))
    authority.server_pair(pki)
    async with house_in(tmp_path) as house:
        address, token = f"127.0.0.1:{house.port}", parse_token(house.join_token)
        operator = parse_token(house.operator_token_file.read_text(encoding="utf-8"))
        async with ControllerClient(address, operator) as client:
            assert await client.fleet() == []
        member = await Enrolment(address, token, "a").join()
        async with channel(house.agents_port, member.credentials) as to:
            assert (await attach(to, "a")).HasField("welcome")
        (entry,) = [entry for entry in house.service.tokens() if entry.role == "agent"]
        key, csr = signing_request()
        earlier = authority.sign_member(csr, Member("b", entry.token_id))
        async with channel(house.agents_port, credentials(authority, key, earlier)) as to:
            assert (await attach(to, "b")).HasField("welcome")


@pytest.mark.parametrize(
    ("days", "words"),
    [(5, r"differ by at least 4 days; set one of them$"), (-500, r"ended 103 days ago: set the clock if it is wrong")],
)
async def test_clocks_that_differ_by_days_are_said_to(tmp_path: Path, days: int, words: str) -> None:
    """To agents, which go on trying, and to people; in words instead of TLS's own."""
    pki = private_folder(private_folder(tmp_path / "data") / "pki")
    authority = Authority.load(pki, now=clock_off(dt.timedelta(days=days)))
    pair = authority.server_pair(pki)
    server, port = operations_server(
        (), TokenGuard(lambda _: None, Refusals()), "127.0.0.1:0", server_credentials(*pair, None)
    )
    await server.start()
    token = Token(authority.pin, "x" * 32)
    try:
        with pytest.raises(UplinkError, match=words) as agent:
            await Enrolment(f"127.0.0.1:{port}", token, "a").join()
        assert agent.value.retry
        with pytest.raises(ClientError, match=words) as person:
            async with ControllerClient(f"127.0.0.1:{port}", token):
                pass
        assert person.value.code == "clock"
    finally:
        await server.stop(0)


@pytest.mark.parametrize("insecure", [False, True])
async def test_who_dials_the_agents_port_by_mistake_is_told(tmp_path: Path, insecure: bool) -> None:
    """Agents that join, and people: instead of TLS's or gRPC's words."""
    words = "their port: join and submit at the other one" if insecure else "is this the agents' port"
    async with house_in(tmp_path, insecure=insecure) as house:
        address = f"127.0.0.1:{house.agents_port}"
        with pytest.raises(UplinkError, match=words):
            await Enrolment(address, parse_token(house.join_token), "a").join()
        with pytest.raises(ClientError, match=words):
            async with ControllerClient(address, parse_token(house.operator_token_file.read_text())) as client:
                await client.runs(1)


async def test_no_run_is_stopped_by_an_empty_name(tmp_path: Path) -> None:
    """While nothing runs the name of the run that is on is empty, too."""
    async with house_in(tmp_path) as house:
        assert not house.service.stop("")


def test_a_port_without_tls_is_named() -> None:
    """Something that does not speak TLS is no controller."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def answer() -> None:
            taken, _ = server.accept()
            with taken:
                taken.recv(1_000)
                taken.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(TrustError) as error:
            fetch_authority("127.0.0.1", server.getsockname()[1], "x" * 43)
        thread.join()
    assert error.value.code == "plaintext"


async def test_one_folder_and_one_port_belong_to_one_controller(tmp_path: Path) -> None:
    """A second controller says which of the two it cannot have."""
    async with house_in(tmp_path) as house:
        with pytest.raises(ServiceError, match="another controller uses"):
            async with house_in(tmp_path):
                pass
        with pytest.raises(ServiceError, match="port is in use"):
            async with open_house(HouseOptions("127.0.0.1", house.port, tmp_path / "second", agents_port=0)):
                pass


async def test_plaintext_is_served_on_loopback_only_and_still_asks_for_tokens(tmp_path: Path) -> None:
    """Without TLS nothing but loopback is listened at; identity comes with joining."""
    with pytest.raises(ServiceError, match="plaintext"):
        async with open_house(HouseOptions("0.0.0.0", 0, tmp_path / "data", insecure=True)):
            pass
    async with house_in(tmp_path, insecure=True) as house:
        async with channel(house.port, None) as to:
            assert await status_of(to, "/loadproof.v1.RunService/ListRuns") is grpc.StatusCode.UNAUTHENTICATED
        member = await Enrolment(f"127.0.0.1:{house.port}", parse_token(house.join_token), "a").join()
        assert member.credentials is None
        async with channel(house.agents_port, None) as to:
            assert (await attach(to, member.agent_id)).refusal.code == "identity"
            assert (await attach(to, member.agent_id, member.identity)).HasField("welcome")
        with pytest.raises(ConfigurationError, match="without TLS"):
            Enrolment("10.0.0.1:7443", parse_token(house.join_token), "a")


async def test_everything_a_controller_keeps_is_private(tmp_path: Path) -> None:
    """Folders are 0700, keys and tokens 0600, and secrets of tokens are in their own two files only."""
    async with house_in(tmp_path) as house:
        text = house.service.create_token("operator", "x")[1]
        data = tmp_path / "data"
        assert data.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o077 == 0 for path in data.rglob("*"))
        secrets = [parse_token(text).secret, parse_token(house.join_token).secret]
        kept = {path.name for path in data.rglob("*") if path.is_file() and any(s in path.read_text() for s in secrets)}
        assert kept == {"join.token"}
    data.chmod(0o755)
    with pytest.raises(ServiceError, match="can be entered by others"):
        async with house_in(tmp_path):
            pass


async def test_tokens_and_certificates_outlive_a_restart(tmp_path: Path) -> None:
    """The same folder has the same authority, and gives the same tokens."""
    async with house_in(tmp_path) as house:
        before = house.join_token
    async with house_in(tmp_path) as house:
        assert house.join_token == before


async def test_an_agent_process_attaches_over_tls(tmp_path: Path) -> None:
    """A supervisor with a membership is in the fleet, with its labels; draining without a run ends it."""
    import asyncio

    async with house_in(tmp_path) as house:
        member = await Enrolment(f"127.0.0.1:{house.port}", parse_token(house.join_token), "a").join()
        config = AgentConfig(member.address, member.agent_id, labels={"region": "eu"})
        supervisor = Supervisor(config, credentials=member.credentials, authority="controller.loadproof.internal")
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(supervisor.run())
            await attached(house)
            (entry,) = house.service.fleet()
            assert (entry.agent_id, entry.labels, entry.run_id) == ("a", {"region": "eu"}, "")
            supervisor.drain()


def hello(agent_id: str, identity: str = "") -> agent_pb2.AttachRequest:
    """Return the first message of an agent of this version."""
    said = hello_of(AgentConfig("unused:1", agent_id, identity))
    message = agent_pb2.Hello(**{name: getattr(said, name) for name in said.__slots__ if name != "labels"})
    return agent_pb2.AttachRequest(hello=message)


async def attach(to: grpc.aio.Channel, agent_id: str, identity: str = "") -> agent_pb2.AttachResponse:
    """Say hello and return the first answer."""
    call = AgentServiceStub(to).Attach()
    await call.write(hello(agent_id, identity))
    answer = await call.read()
    call.cancel()
    assert isinstance(answer, agent_pb2.AttachResponse)
    return answer


def signing_request() -> tuple[bytes, bytes]:
    """Return a new key (PEM) and a signing request for it (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, request.public_bytes(Encoding.DER)


def credentials(authority: Authority, key: bytes, certificate: bytes) -> grpc.ChannelCredentials:
    """Return what a client with that certificate shows."""
    return grpc.ssl_channel_credentials(authority.pem, key, certificate)
