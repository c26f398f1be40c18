"""An agent of a controller elsewhere: joins, attaches, renews its certificate, and comes back after every outage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from loadproof.trust import CONTROLLER_NAME, RELAY_NAME, Token
from loadproof_agent.capacity import measured_capacity
from loadproof_agent.config import AgentConfig
from loadproof_agent.enrolment import Enrolment, Membership
from loadproof_agent.errors import AgentError, RefusedError, UplinkError
from loadproof_agent.files import raise_open_files
from loadproof_agent.supervisor import Supervisor

LOGGER = logging.getLogger(__name__)
JOIN_PAUSE_S = (0.5, 10.0)
"""First and longest pause between two attempts to join."""
LOOK_EACH_S = 60.0


@dataclass(frozen=True, slots=True)
class AttachOptions:
    """Whom to join, as what. `cache_dir` None keeps bundles in a folder that lives as long as the process.

    `allow_requirements` lets suites have packages installed, below the same folder.
    `stay` False leaves a run at the first signal instead of seeing it through: whoever sends it kills soon after.
    """

    address: str
    token: Token = field(repr=False)
    name: str
    workers: int
    labels: dict[str, str] = field(default_factory=dict)
    cache_dir: Path | None = None
    allow_requirements: bool = False
    stay: bool = True
    relays: tuple[str, ...] = ()
    """Where to attach instead of at the controller: one of these, and the next in turn when a stream ends."""


async def run_attached(options: AttachOptions) -> None:
    """Be an agent until told to leave.

    Any outage is waited out. The first SIGTERM or SIGINT lets the run this agent takes part in end first, the second
    leaves at once. Raises `AgentError` when trying again can't help: a wrong token, another controller, a version.
    """
    stop = asyncio.Event()
    supervisors: list[Supervisor] = []

    def leave() -> None:
        stop.set()
        for supervisor in supervisors:
            if options.stay:
                supervisor.drain()
            else:
                supervisor.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    enrolment = Enrolment(options.address, options.token, options.name)
    raise_open_files()
    capacity = await asyncio.to_thread(measured_capacity)
    member = await join(enrolment, stop)
    if member is None:
        return
    with _cache(options.cache_dir) as cache_dir:
        config = AgentConfig(
            address=member.address,
            agent_id=member.agent_id,
            relays=options.relays,
            identity=member.identity,
            workers=options.workers,
            labels=options.labels,
            capacity_permille=capacity,
            cache_dir=cache_dir,
            packages_dir=cache_dir / "packages" if options.allow_requirements else None,
        )
        authority = RELAY_NAME if options.relays else CONTROLLER_NAME
        supervisor = Supervisor(config, credentials=member.credentials, authority=authority)
        supervisors.append(supervisor)
        if stop.is_set():
            return
        await supervise(supervisor, enrolment, member)


@contextlib.contextmanager
def _cache(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="loadproof-agent-") as folder:
        yield Path(folder)


async def join(enrolment: Enrolment, stop: asyncio.Event) -> Membership | None:
    """Try until it works; None when told to leave. Raises `AgentError` when trying again can't help."""
    pause_s, said = JOIN_PAUSE_S[0], ""
    while not stop.is_set():
        try:
            return await enrolment.join()
        except UplinkError as error:
            if not error.retry:
                raise
            if error.text != said:
                LOGGER.warning("not joined yet, trying again: %s", error.text)
            said = error.text
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stop.wait()
        pause_s = min(pause_s * 2, JOIN_PAUSE_S[1])
    return None


async def supervise(supervisor: Attached, enrolment: Enrolment, member: Membership) -> None:
    """Run a supervisor (or a relay) and keep its certificate renewed. Raises `AgentError` when it can't stay."""
    failed: AgentError | None = None
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(keep_renewed(enrolment, member, supervisor))
        try:
            await supervisor.run()
        except AgentError as error:
            failed = error
        renewing.cancel()
    if failed is None and not renewing.cancelled():
        failed = renewing.result()
    if failed is not None:
        raise failed


class Attached(Protocol):
    """What is attached to a controller: a supervisor, or a relay."""

    @property
    def attached(self) -> bool: ...  # noqa: D102
    async def run(self) -> None: ...  # noqa: D102
    def use(self, credentials: Any) -> None: ...  # noqa: D102
    def stop(self) -> None: ...  # noqa: D102


async def keep_renewed(enrolment: Enrolment, member: Membership, supervisor: Attached) -> AgentError | None:
    """Renew at half the certificate's life; one that expired meanwhile (a sleeping machine) is replaced by joining.

    Certificates count wall-clock time, so the clock is looked at each minute. Returns only when the agent cannot stay:
    the certificate is no good any more, the controller lets it join no more, and its stream is gone; the supervisor is
    then stopped, and what is returned says why.
    """
    told = False
    while member.credentials is not None:
        while (left_s := member.renew_at_s - enrolment.wall()) > 0:
            await asyncio.sleep(min(left_s, LOOK_EACH_S))
        expired = enrolment.wall() >= member.expires_at_s
        if expired and not told:
            LOGGER.warning("the certificate of %s has expired before it was renewed; it joins again", member.agent_id)
            told = True
        try:
            newer = await (enrolment.join() if expired else enrolment.renew(member))
        except AgentError as error:
            retry = isinstance(error, UplinkError) and error.retry
            if expired and not retry and not supervisor.attached:
                supervisor.stop()
                return RefusedError("identity", f"the certificate of {member.agent_id} has expired, and {error.text}")
            LOGGER.warning("the certificate of %s is not renewed yet: %s", member.agent_id, error.text)
            await asyncio.sleep(LOOK_EACH_S)
            continue
        if newer.agent_id != member.agent_id:
            LOGGER.warning("the name %s is in use; start this agent again", member.agent_id)
            await asyncio.sleep(LOOK_EACH_S)
            continue
        member, told = newer, False
        supervisor.use(member.credentials)
        LOGGER.info("the certificate of %s is renewed", member.agent_id)
    return None
