"""Agents that lie, babble or break: they cost themselves their place and nobody else anything."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
import pytest

from controller_runs import listening, open_plan, request_for
from fake_agent import FakeAgent
from loadproof.metrics import Delivery, Delta, SecondStats
from loadproof_controller.errors import RunRefused, ServiceError
from loadproof_controller.service import MESSAGE_BYTES_MAX, ControllerService
from loadproof_proto.v1 import agent_pb2 as pb
from loadproof_proto.v1.agent_pb2_grpc import AgentServiceStub
from loadproof_report.rundata import RunData
from service_mode import free_ports, start_controller

BOMB = 100_000_000
"""Zeros, which gzip to a hundredth of a message's limit."""


class Silent(FakeAgent):
    """Begins and then reports nothing by itself."""

    async def on_start(self, message: pb.Start) -> None:
        pass


async def refusal_of(service: ControllerService, agent: FakeAgent) -> pb.Refusal:
    """Let `agent` attach and return the refusal that ends its stream."""
    async with asyncio.timeout(20):
        await agent.run()
    last = agent.received[-1]
    assert last.WhichOneof("message") == "refusal"
    return last.refusal


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"identity": "guess"}, "identity", "not expected here"),
        ({"identity": ""}, "identity", "not expected here"),
        ({"agent_id": "b"}, "identity", "not expected here"),
        ({"protocol_min": 2, "protocol_max": 3, "version": "9.0"}, "version", "version 9.0) speaks protocol 2 to 3"),
        ({"layout_id": "hdr-ms-2"}, "layout", "histogram layout hdr-ms-2"),
        ({"agent_id": "../../etc"}, "protocol", "agent ids are"),
        ({"labels": {str(i): "x" for i in range(100)}}, "protocol", "100 labels"),
    ],
)
async def test_who_may_not_attach_is_told_why(fields: dict[str, Any], code: str, words: str) -> None:
    """A refusal names its reason and what to do, and then the stream ends."""
    async with listening() as service:
        service.expect_local("secret", "a")
        agent = FakeAgent(service.address, "a", "secret")
        agent.hello_fields = fields
        refusal = await refusal_of(service, agent)
    assert refusal.code == code
    assert words in refusal.text


async def test_an_identity_serves_one_process() -> None:
    """A second process that learned the identity is kept out while and after the first is in."""
    async with listening() as service:
        service.expect_local("secret", "a")
        async with FakeAgent(service.address, "a", "secret").attached() as first:
            await first.seen("welcome").wait()
            refusal = await refusal_of(service, FakeAgent(service.address, "a", "secret"))
    assert refusal.code == "duplicate"


async def test_a_stream_that_does_not_begin_with_hello_is_refused() -> None:
    """Nothing is parsed further before an agent said who it is."""

    class Rude(FakeAgent):
        async def send(self, **message: Any) -> None:
            message.pop("hello", None)
            await super().send(**message or {"heartbeat": pb.Heartbeat()})

    async with listening() as service:
        refusal = await refusal_of(service, Rude(service.address, "a", "secret"))
    assert (refusal.code, refusal.text) == ("protocol", "the first message on a stream is Hello")


async def run_with(hostile: Callable[[str], FakeAgent], folder: Path) -> tuple[RunData, FakeAgent]:
    """Run a small plan on an honest agent "a" and a hostile one "b"."""
    async with listening() as service, AsyncExitStack() as stack:
        service.expect_local("secret-a", "a")
        service.expect_local("secret-b", "b")
        await stack.enter_async_context(FakeAgent(service.address, "a", "secret-a").attached())
        bad = await stack.enter_async_context(hostile(service.address).attached())
        async with asyncio.timeout(20):
            return await service.run(request_for(open_plan(), folder, agents_wanted=2)), bad


class Garbage(FakeAgent):
    async def on_start(self, message: pb.Start) -> None:
        where = pb.SnapshotRange(agent_id="b", epoch=self.epoch, from_seq=1, to_seq=1)
        await self.send(snapshot=pb.SnapshotBlock(run_id=self.run_id, ranges=[where], delta=b"\xc1garbage"))


class Impostor(FakeAgent):
    async def on_start(self, message: pb.Start) -> None:
        where = pb.SnapshotRange(agent_id="a", epoch=1, from_seq=1, to_seq=1)
        await self.send(snapshot=pb.SnapshotBlock(run_id=self.run_id, ranges=[where], delta=b""))


class StrangeNames(FakeAgent):
    async def on_start(self, message: pb.Start) -> None:
        await self.snapshot(Delta(delivery={("<script>", "load"): Delivery(1)}))


class Future(FakeAgent):
    async def on_start(self, message: pb.Start) -> None:
        await self.snapshot(Delta(seconds={(1_000_000, "Search"): SecondStats(started=1)}))


class BadTotals(FakeAgent):
    async def on_start(self, message: pb.Start) -> None:
        await self.send(final=pb.Final(run_id=self.run_id, epoch=self.epoch, totals=b"nothing"))


class HelloAgain(FakeAgent):
    async def on_start(self, message: pb.Start) -> None:
        await self.send(hello=self.hello())


@pytest.mark.parametrize("hostile", [Garbage, Impostor, StrangeNames, Future, BadTotals, HelloAgain])
async def test_a_hostile_agent_is_put_out_and_the_run_goes_on(hostile: type[FakeAgent], tmp_path: Path) -> None:
    """The honest agent's numbers are whole, the hostile one is named and has none in the result."""
    data, bad = await run_with(lambda address: hostile(address, "b", "secret-b"), tmp_path)
    assert data.status == "finished"
    assert [(info.agent_id, info.final, info.lost) for info in data.fleet] == [("a", True, False), ("b", False, True)]
    started = sum(delivery.started for delivery in data.merged.delivery.values())
    assert 0 < started < sum(data.planned.values())
    assert bad.received[-1].WhichOneof("message") == "refusal"
    assert any(event.agent_id == "b" and event.kind in {"agent_refused", "agent_lost"} for event in data.events)


async def test_totals_that_do_not_match_are_evidence_not_an_end(tmp_path: Path) -> None:
    """An agent whose Final tells other sums than what was merged from it is named, with the series."""

    class Forgetful(FakeAgent):
        async def final(self) -> None:
            self.totals = {key: totals._replace(n=totals.n + 1) for key, totals in self.totals.items()}
            await super().final()

    data, _bad = await run_with(lambda address: Forgetful(address, "b", "secret-b"), tmp_path)
    assert data.status == "finished"
    (event,) = [event for event in data.events if event.kind == "final_mismatch"]
    assert event.agent_id == "b"
    assert "Search (load, ok, response)" in " ".join(event.data["series"])


async def test_a_snapshot_sent_again_counts_once(tmp_path: Path) -> None:
    """Repetitions after a lost ack change nothing."""

    class Repeating(FakeAgent):
        async def on_start(self, message: pb.Start) -> None:
            delta = self.delta_of(self.arrivals())
            for seqs in (None, (1, 1), (1, 1)):
                await self.snapshot(delta, seqs=seqs)
            await self.final()

    data, _bad = await run_with(lambda address: Repeating(address, "b", "secret-b"), tmp_path)
    assert {key: d.started for key, d in data.merged.delivery.items()} == data.planned
    assert data.merged.deltas == 2


async def test_a_gap_is_acked_with_what_was_applied_and_filled_later(tmp_path: Path) -> None:
    """Number 2 before number 1 waits: the ack says 0, then the numbers come in order."""

    class Gapped(FakeAgent):
        async def on_start(self, message: pb.Start) -> None:
            arrivals = self.arrivals()
            first, second = self.delta_of(arrivals[:10]), self.delta_of(arrivals[10:])
            await self.snapshot(second, seqs=(2, 2))
            await self.snapshot(first)
            await self.snapshot(second)
            await self.final()

    data, gapped = await run_with(lambda address: Gapped(address, "b", "secret-b"), tmp_path)
    acks = [message.ack.seq for message in gapped.received if message.WhichOneof("message") == "ack"]
    assert acks[:3] == [0, 1, 2]
    assert {key: d.started for key, d in data.merged.delivery.items()} == data.planned


async def test_an_agent_that_reconnects_goes_on_where_it_was(tmp_path: Path) -> None:
    """Stream gone in the middle of a run: the same process attaches again, resends and finishes."""

    class Flaky(FakeAgent):
        streams = 0

        async def run(self) -> None:
            while self.streams < 2:
                self.streams += 1
                await super().run()

        async def on_start(self, message: pb.Start) -> None:
            if self.streams == 1:
                await self.snapshot(self.delta_of(self.arrivals()[:10]))
            else:
                await self.snapshot(self.delta_of(self.arrivals()[10:]))
                await self.final()

        async def on_ack(self, message: pb.SnapshotAck) -> None:
            if self.streams == 1 and message.seq == 1:
                self.hang_up()

    data, _flaky = await run_with(lambda address: Flaky(address, "b", "secret-b"), tmp_path)
    assert data.status == "finished"
    assert {key: d.started for key, d in data.merged.delivery.items()} == data.planned
    assert [info.lost for info in data.fleet] == [False, False]
    assert "agent_back" in {event.kind for event in data.events}


async def test_the_bundle_is_given_in_chunks_and_only_for_the_run_that_is_on(tmp_path: Path) -> None:
    """Chunks of at most 1 MiB make up the bundle; another hash or run is not found."""
    async with listening() as service:
        service.expect_local("secret", "a")
        async with Silent(service.address, "a", "secret").attached() as agent, asyncio.TaskGroup() as tasks:
            request = request_for(open_plan(), tmp_path)
            run = tasks.create_task(service.run(request))
            await agent.seen("start").wait()
            async with grpc.aio.insecure_channel(service.address) as channel:
                stub: Any = AgentServiceStub(channel)
                asked = pb.FetchBundleRequest(run_id="run-1", sha256=request.bundle_info.sha256)
                chunks = [response.chunk async for response in stub.FetchBundle(asked)]
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await stub.FetchBundle(pb.FetchBundleRequest(run_id="run-1", sha256="0" * 64)).read()
            service.stop("run-1", immediate=True)
            await run
    assert b"".join(chunks) == request.bundle
    assert max(map(len, chunks)) == 1024 * 1024
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_runs_follow_one_another_but_never_overlap(tmp_path: Path) -> None:
    """A second run while one is on is refused; after it the same agents run again."""
    async with listening() as service:
        service.expect_local("secret", "a")
        async with FakeAgent(service.address, "a", "secret").attached():
            async with asyncio.timeout(20):
                for name in ("one", "two"):
                    (tmp_path / name).mkdir()
                    request = request_for(open_plan(), tmp_path / name, run_id=name)
                    async with asyncio.TaskGroup() as tasks:
                        run = tasks.create_task(service.run(request))
                        await asyncio.sleep(0)
                        with pytest.raises(RunRefused, match="another run is on"):
                            await service.run(request)
                    assert run.result().status == "finished"
                    assert sum(run.result().planned.values()) == 40


async def test_a_network_address_needs_credentials_and_a_socket_path_is_short() -> None:
    """What cannot work or is not safe is refused before anything listens."""
    with pytest.raises(ServiceError, match="credentials"):
        async with ControllerService("0.0.0.0:0"):
            pass
    with pytest.raises(ServiceError, match="103 bytes"):
        async with ControllerService("unix:/" + "x" * 120):
            pass


async def test_a_loopback_port_serves_as_a_socket_does() -> None:
    """Port 0 takes a free one, and `address` says which."""
    async with ControllerService("127.0.0.1:0") as service:
        service.expect_local("secret", "a")
        async with FakeAgent(service.address, "a", "secret").attached() as agent:
            await agent.seen("welcome").wait()
        assert not service.address.endswith(":0")


async def test_messages_that_are_too_large_or_unpack_to_it_are_refused_at_both_ports(tmp_path: Path) -> None:
    """The call ends; the controller is up, and has unpacked no more than a message may have."""
    controller = start_controller(tmp_path, free_ports(), ("--insecure",))
    try:
        people, agents = (
            int(port) for port in re.findall(r"127.0.0.1:(\d+) .plaintext., .* port (\d+)", controller.text())[0]
        )
        token = (tmp_path / "data" / "operator.token").read_text(encoding="utf-8").strip()
        methods = ((people, "/loadproof.v1.RunService/Submit"), (agents, "/loadproof.v1.AgentService/Attach"))
        for port, method in methods:
            await status_of_sending(port, method, token, b"", grpc.Compression.NoCompression)
        before = psutil.Process(controller.process.pid).memory_info().rss
        for port, method in methods:
            for size, packing in (
                (MESSAGE_BYTES_MAX + 1, grpc.Compression.NoCompression),
                (BOMB, grpc.Compression.Gzip),
            ):
                code = await status_of_sending(port, method, token, bytes(size), packing)
                assert code is grpc.StatusCode.RESOURCE_EXHAUSTED, (method, packing)
        assert psutil.Process(controller.process.pid).memory_info().rss - before < BOMB / 2
        assert controller.end() == 0
    finally:
        controller.end()


async def status_of_sending(
    port: int, method: str, token: str, message: bytes, packing: grpc.Compression
) -> grpc.StatusCode:
    """Send one message and return how the call ended."""
    metadata = (("authorization", f"Bearer {token}"),)
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options, compression=packing) as channel:
        call: Any = channel.stream_stream(method)(metadata=metadata, timeout=60)
        with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            await call.write(message)
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
        code: grpc.StatusCode = await call.code()
    return code
