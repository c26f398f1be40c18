"""Submitting a run when the controller's answer does not arrive."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from controller_runs import open_plan, request_for
from houses import house_in
from loadproof.trust import Token, parse_token
from loadproof_cli import run_remotely
from loadproof_controller.errors import ClientError
from loadproof_controller.operations._wire import encode_run_entry
from loadproof_controller.operations.client import ControllerClient
from loadproof_controller.operations.guard import Refusals
from loadproof_controller.operations.server import RunServicer
from loadproof_controller.run_store import RunEntry
from loadproof_controller.submission import BUNDLE_BYTES_MAX, submission_of
from loadproof_report.rundata import BundleInfo
from shop_cli import Finished, counted_suite, loadproof, loadproof_here

PROFILES = '[profiles.short]\narrivals = [{ rate = "20/s", for = "2s" }]'
Method = Callable[..., Awaitable[Any]]
submit_whole: Method = RunServicer.Submit


async def take_and_hang_up(self: RunServicer, requests: AsyncIterator[Any], context: Any) -> None:
    """Take the run, and break the connection in place of an answer."""
    await submit_whole(self, requests, context)
    await hang_up(self, requests, context)


async def read_and_hang_up(self: RunServicer, requests: AsyncIterator[Any], context: Any) -> None:
    """Read all of it, and break the connection before the run is taken."""
    async for _ in requests:
        pass
    await hang_up(self, requests, context)


async def hang_up(_self: RunServicer, _requests: Any, context: Any) -> None:
    """Break the connection, as a client sees it."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


async def submitted(folder: Path, monkeypatch: pytest.MonkeyPatch, **methods: Method) -> tuple[Finished, list[str]]:
    """Submit a run with --detach to a controller with `methods` in place of its own; return the runs it has then."""
    monkeypatch.setattr(run_remotely, "RETRY_PAUSE_S", 0.01)
    for name, method in methods.items():
        monkeypatch.setattr(RunServicer, name, method)
    suite = counted_suite(folder / "suite", PROFILES)
    async with house_in(folder, insecure=True) as house:
        token = house.operator_token_file.read_text(encoding="utf-8").strip()
        env = {"LOADPROOF_TOKEN": token, "SHOP_URL": "http://127.0.0.1:9"}
        command = ["run", str(suite), "-p", "short", "--controller", f"127.0.0.1:{house.port}", "--detach"]
        done = await asyncio.to_thread(loadproof_here, *command, "--wait-for-agents", "60s", cwd=folder, env=env)
        runs = [entry.run_id for entry in house.service.runs()]
        for run_id in runs:
            house.service.stop(run_id, immediate=True)
    return done, runs


async def test_a_run_that_was_taken_is_followed_although_the_answer_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is looked up before anything is said of it."""
    done, runs = await submitted(tmp_path, monkeypatch, Submit=take_and_hang_up)
    assert (done.code, done.out.split()) == (0, runs), done
    assert "othing was started" not in done.err


async def test_nothing_was_started_is_said_of_a_run_the_controller_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it was sent, so only the list of runs can tell."""
    done, runs = await submitted(tmp_path, monkeypatch, Submit=read_and_hang_up)
    assert (done.code, runs) == (5, []), done
    assert done.err.endswith("is it up? Nothing was started.\n")


async def test_a_run_that_nobody_can_look_up_may_have_been_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line names the command that tells, and does not say that nothing was started."""
    done, (run_id,) = await submitted(tmp_path, monkeypatch, Submit=take_and_hang_up, ListRuns=hang_up)
    assert done.code == 5, done
    assert "othing was started" not in done.err
    assert (
        f"is it up? The run may have been taken: loadproof runs {run_id} --controller 127" in done.err.splitlines()[-1]
    )


async def test_a_run_waits_for_agents_as_long_as_it_was_told_and_no_longer(tmp_path: Path) -> None:
    """Below the time that runs wait by default, too; the end says how to get more of them."""
    suite = counted_suite(tmp_path / "suite", PROFILES)
    async with house_in(tmp_path, insecure=True) as house:
        token = house.operator_token_file.read_text(encoding="utf-8").strip()
        env = {"LOADPROOF_TOKEN": token, "SHOP_URL": "http://127.0.0.1:9"}
        command = ["run", str(suite), "-p", "short", "--controller", f"127.0.0.1:{house.port}"]
        done = await asyncio.to_thread(loadproof, *command, "--wait-for-agents", "500ms", cwd=tmp_path, env=env)
    assert done.code == 5, done
    assert "0 of 1 agents attached within 0.5 s (none)" in done.err
    assert done.err.splitlines()[-1].endswith("or wait longer for them with --wait-for-agents")


async def test_a_run_that_is_none_is_not_said_to_be_on(tmp_path: Path) -> None:
    """Following it again would not help."""
    async with house_in(tmp_path, insecure=True) as house:
        env = {"LOADPROOF_TOKEN": house.operator_token_file.read_text(encoding="utf-8").strip()}
        command = ["runs", "nope", "--controller", f"127.0.0.1:{house.port}"]
        done = await asyncio.to_thread(loadproof, *command, cwd=tmp_path, env=env)
    assert (done.code, "no such run.\n") == (2, done.err[-13:]), done


@pytest.mark.parametrize(
    ("changes", "bundle", "words"),
    [
        ({"bundle_bytes": 3}, b"whole", "larger than announced"),
        ({"bundle_bytes": 6}, b"whole", "did not arrive whole; submit again"),
        ({}, b"other", "not the one the request names; submit again"),
        ({"bundle_bytes": 0}, b"", "has 0 bytes"),
        ({"bundle_bytes": BUNDLE_BYTES_MAX + 1}, b"whole", f"at most {BUNDLE_BYTES_MAX} are taken"),
        ({"baselines": 2}, b"whole", "a baseline did not arrive whole"),
        ({"baselines": 0}, b"whole", "a part it did not announce"),
    ],
)
async def test_a_bundle_that_is_not_what_was_announced_is_refused(
    tmp_path: Path, changes: dict[str, Any], bundle: bytes, words: str
) -> None:
    """Larger, smaller, another, none, or over the limit; no run is left of it."""
    info = BundleInfo(hashlib.sha256(b"whole").hexdigest())
    whole = submission_of(request_for(open_plan(), tmp_path), 1)
    asked = {"bundle": info, "bundle_bytes": 5, "wait_for_agents_s": 60.0, **changes}
    async with house_in(tmp_path, insecure=True) as house:
        token = parse_token(house.operator_token_file.read_text(encoding="utf-8"))
        async with ControllerClient(f"127.0.0.1:{house.port}", token) as client:
            with pytest.raises(ClientError, match=words) as refused:
                await client.submit(dataclasses.replace(whole, **asked), bundle, [{"run.json": b"{}"}])
        assert house.service.runs() == []
    assert (refused.value.code, refused.value.in_doubt) == ("failed_precondition", False)


async def test_a_refusal_is_in_words_however_large_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the bundle is on its way, and gRPC then tells of an error of its own in its place."""
    monkeypatch.setattr(Refusals, "PAUSE_S", 0.0)
    bundle = bytes(3 * 1024 * 1024)
    info = BundleInfo(hashlib.sha256(bundle).hexdigest())
    submission = dataclasses.replace(
        submission_of(request_for(open_plan(), tmp_path), 0), bundle=info, bundle_bytes=len(bundle)
    )
    async with house_in(tmp_path) as house:
        good = parse_token(house.operator_token_file.read_text(encoding="utf-8"))
        viewer = parse_token(house.service.create_token("viewer", "v")[1])
        said = {
            Token(good.pin, "x" * 32): ("unauthenticated", "the token is missing, wrong, expired or revoked"),
            viewer: ("permission_denied", "a token with the role viewer may not do this"),
            good: ("failed_precondition", "the run asks for 1 agent, the fleet has 0"),
        }
        for token, (code, words) in said.items():
            async with ControllerClient(f"127.0.0.1:{house.port}", token) as client:
                for _ in range(5):
                    with pytest.raises(ClientError, match=words) as refused:
                        await client.submit(submission, bundle)
                    assert (refused.value.code, refused.value.in_doubt) == (code, False)
        assert house.service.runs() == []


@pytest.mark.parametrize(
    ("parts", "code", "in_doubt"),
    [
        (0, grpc.StatusCode.UNAVAILABLE, False),
        (2, grpc.StatusCode.DEADLINE_EXCEEDED, False),
        (3, grpc.StatusCode.DEADLINE_EXCEEDED, True),
        (3, grpc.StatusCode.UNAVAILABLE, True),
        (3, grpc.StatusCode.FAILED_PRECONDITION, False),
        (3, grpc.StatusCode.INTERNAL, True),
    ],
)
async def test_a_submission_is_in_doubt_only_when_all_of_it_was_sent_and_no_answer_came(
    tmp_path: Path, parts: int, code: grpc.StatusCode, in_doubt: bool
) -> None:
    """Without its last part no controller takes a run; a refusal is an answer, gRPC's own failure after it is none."""
    submission = submission_of(request_for(open_plan(), tmp_path), 1)

    class Stub:
        async def ListRuns(self, _request: Any, **_: Any) -> Any:
            return SimpleNamespace(runs=[encode_run_entry(RunEntry(submission.run_id))])

        async def Submit(self, requests: AsyncIterator[Any], **_: Any) -> None:
            for _part in range(parts):
                await anext(requests)
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())

    client = ControllerClient("127.0.0.1:9", Token("", "x" * 32))
    client._stub = Stub()
    with pytest.raises(ClientError) as caught:
        await client.submit(submission, b"bundle", [{"run.json": b"{}"}])
    assert caught.value.in_doubt is in_doubt
