"""The agents attached to a controller: who may attach, and one link for each that has."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from loadproof.histogram import LAYOUT_ID
from loadproof_controller.clock import ClockEstimate
from loadproof_controller.messages import PROTOCOL_MAX, PROTOCOL_MIN, FromAgent, Hello, Ping, Pong, Refusal, ToAgent
from loadproof_controller.relays.messages import unwanted

if TYPE_CHECKING:
    from loadproof_controller.relays.links import RelayedLink, RelayLink
    from loadproof_controller.relays.messages import ChildBeat, RelayBlock, RelayHello

OUTBOX_MAX = 4_096
"""Messages waiting for one agent; one that does not read them is put out."""
EXPECTED_MAX = 10_000
AGENTS_MAX = 1_024
ORPHAN_GRACE_S = 30.0
"""So long an agent goes on without a word from the controller."""
RELAYED_MAX = 20_000
"""Agents behind relays, all together."""
RELAYED_A_STREAM = 10
EXCHANGES_BEFORE_READY = 4
PINGS_OUTSTANDING_MAX = 16


class AgentLink:
    """One attached agent: what it said of itself, its clock, and the messages waiting for it."""

    def __init__(self, hello: Hello, *, local: bool) -> None:
        self.hello = hello
        self.local = local
        self.token_id = ""
        self.clock = ClockEstimate()
        self.ready = False
        self._outbox: asyncio.Queue[ToAgent | None] = asyncio.Queue()
        self._closed = False
        self._pings: dict[int, int] = {}
        self._ping_id = 0

    @property
    def agent_id(self) -> str:
        """Return the agent's name."""
        return self.hello.agent_id

    @property
    def epoch(self) -> int:
        """Return its process's random number."""
        return self.hello.epoch

    def send(self, message: ToAgent) -> None:
        """Queue `message`. An agent that lets over 4,096 of them pile up is put out."""
        if self._closed:
            return
        if self._outbox.qsize() >= OUTBOX_MAX:
            self.close(Refusal("full", "this agent does not read what the controller sends it"))
            return
        self._outbox.put_nowait(message)

    def flush(self) -> None:
        """Send what waits to go out with words for others. On a stream of its own nothing does."""

    def close(self, last: Refusal | None = None) -> None:
        """Queue `last` and the end of the stream; nothing can be sent after."""
        if not self._closed:
            self._closed = True
            if last is not None:
                self._outbox.put_nowait(last)
            self._outbox.put_nowait(None)

    async def next(self) -> ToAgent | None:
        """Return the next message to write, None at the end."""
        return await self._outbox.get()

    def ping(self) -> None:
        """Queue one clock exchange."""
        self._ping_id += 1
        self.send(Ping(self._ping_id))

    def stamp(self, ping: Ping, now_ns: int) -> Ping:
        """Return `ping` with the moment it is written."""
        while len(self._pings) >= PINGS_OUTSTANDING_MAX:
            del self._pings[next(iter(self._pings))]
        self._pings[ping.id] = now_ns
        return Ping(ping.id, now_ns)

    def pong(self, pong: Pong, now_ns: int) -> None:
        """Take the answer to a ping; answers to none are ignored."""
        sent_ns = self._pings.pop(pong.id, None)
        if sent_ns is not None and pong.sent_ns == sent_ns:
            self.clock.add(sent_ns, pong.received_ns, pong.answered_ns, now_ns)


class FleetListener(Protocol):
    """Whoever wants to know what agents do: the run that is on."""

    def attached(self, link: AgentLink) -> None:
        """`link` is attached and its clock known."""

    def detached(self, link: AgentLink) -> None:
        """`link`'s stream ended."""

    def heard(self, link: AgentLink, message: FromAgent) -> None:
        """`link` said something."""

    def heard_block(self, relay: RelayLink, block: RelayBlock) -> None:
        """`relay` sent what it has merged."""

    def heard_beats(self, relay: RelayLink, beats: Sequence[ChildBeat]) -> None:
        """`relay` brought heartbeats of agents attached through it."""

    def relay_changed(self, relay: RelayLink, text: str) -> None:
        """`relay` came or went; `text` says so."""


def matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Say whether an agent with `labels` is one of those with `wanted`; nothing wanted is everyone."""
    return all(labels.get(name) == value for name, value in wanted.items())


@dataclass(slots=True)
class _Expected:
    identity: bytes
    epoch: int | None = None
    local: bool = True
    relay: bool = False
    token_id: str = ""


class Fleet:
    """Admits agents and keeps one link for each id."""

    def __init__(self, *, agents_max: int = AGENTS_MAX, orphan_grace_s: float = ORPHAN_GRACE_S) -> None:
        self.orphan_grace_s = orphan_grace_s
        self.listener: FleetListener | None = None
        self.token_limit: Callable[[str], int] | None = None
        """How many agents the token of an id lets in at a time."""
        self._agents_max = agents_max
        self._links: dict[str, AgentLink] = {}
        self._expected: dict[str, _Expected] = {}
        self._relays: dict[str, RelayLink] = {}

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[AgentLink]:
        return iter(list(self._links.values()))

    def get(self, agent_id: str) -> AgentLink | None:
        """Return the link of that agent while it is attached."""
        return self._links.get(agent_id)

    def has(self, name: str) -> bool:
        """Say whether an agent or a relay of that name is attached."""
        return name in self._links or name in self._relays

    def relay(self, relay_id: str) -> RelayLink | None:
        """Return the link of that relay while it is attached."""
        return self._relays.get(relay_id)

    @property
    def relays(self) -> list[RelayLink]:
        """Return the attached relays."""
        return list(self._relays.values())

    @property
    def streams(self) -> int:
        """Return how many streams bring snapshots: those of agents with one of their own, and of relays."""
        return len(self._links) - self._relayed + len(self._relays)

    @property
    def load(self) -> int:
        """Return what hearing the fleet costs, in streams: an agent behind a relay counts as a tenth of one."""
        return self.streams + self._relayed // RELAYED_A_STREAM

    @property
    def _relayed(self) -> int:
        return sum(len(relay.children) for relay in self._relays.values())

    def expect(
        self, identity: str, agent_id: str, *, local: bool = True, relay: bool = False, token_id: str = ""
    ) -> None:
        """Let the process that knows `identity` attach as `agent_id`: once, and again only as the same process.

        `local`: it is a child of this process's command, so that its stream's end is its end. `relay`: it is one.
        `token_id`: it joined with that token.
        """
        if len(self._expected) >= EXPECTED_MAX:
            self._expected.pop(next(iter(self._expected)))
        self._expected[agent_id] = _Expected(identity.encode(), local=local, relay=relay, token_id=token_id)

    def token_full(self, token_id: str, agent_id: str = "") -> str:
        """Return why no agent but `agent_id` may come with that token now, empty when one may."""
        if self.token_limit is None or not token_id:
            return ""
        limit = self.token_limit(token_id)
        if len(self._links) < limit:
            return ""
        attached = sum(link.token_id == token_id and link.agent_id != agent_id for link in self._links.values())
        if attached < limit:
            return ""
        agents = "1 agent" if limit == 1 else f"{limit} agents"
        here = "1 is" if attached == 1 else f"{attached} are"
        return f"token {token_id} lets in {agents} at a time, and {here} attached: make one with more --agents-max"

    def judge(
        self, hello: Hello, certified: str | None = None, token_id: str = "", *, relayed: bool = False
    ) -> Refusal | None:
        """Return why an agent may not attach, None when it may. Its identity is used up.

        `certified` is the name in its certificate, None where there are no certificates; `token_id` the token it names.
        One that is `relayed` takes no stream of its own, and so no place.
        """
        if certified is not None:
            if hello.agent_id != certified:
                text = f"a certificate of agent {certified} says nothing for {hello.agent_id}; join again"
                return Refusal("identity", text)
            return (
                self._judge_versions(hello)
                or self._judge_room(hello, relayed=relayed)
                or self._judge_token(hello, token_id)
            )
        expected = self._expected.get(hello.agent_id)
        known = expected.identity if expected is not None else b""
        if not hmac.compare_digest(known, hello.identity.encode("utf-8", "replace")) or expected is None or not known:
            return Refusal("identity", f"agent {hello.agent_id} is not expected here; start agents through Loadproof")
        if expected.epoch is not None and expected.epoch != hello.epoch:
            return Refusal("duplicate", f"agent {hello.agent_id} is already attached as another process")
        refusal = (
            self._judge_versions(hello)
            or self._judge_room(hello, relayed=relayed)
            or self._judge_token(hello, expected.token_id)
        )
        if refusal is None:
            expected.epoch = hello.epoch
        return refusal

    def _judge_token(self, hello: Hello, token_id: str) -> Refusal | None:
        full = self.token_full(token_id, hello.agent_id)
        return Refusal("full", full) if full else None

    def _judge_versions(self, hello: Hello) -> Refusal | None:
        if hello.protocol_max < PROTOCOL_MIN or hello.protocol_min > PROTOCOL_MAX:
            return Refusal(
                "version",
                f"agent {hello.agent_id} (version {hello.version}) speaks protocol {hello.protocol_min} to"
                f" {hello.protocol_max}, this controller {PROTOCOL_MIN} to {PROTOCOL_MAX}: install the same version of"
                " Loadproof on both",
            )
        if hello.layout_id != LAYOUT_ID:
            return Refusal(
                "layout",
                f"agent {hello.agent_id} counts in histogram layout {hello.layout_id}, this controller in {LAYOUT_ID};"
                " they can't be merged: install the same version of Loadproof on both",
            )
        return None

    def _judge_room(self, hello: Hello, *, relayed: bool) -> Refusal | None:
        if not relayed and hello.agent_id not in self._links and self.streams >= self._agents_max:
            return Refusal("full", f"{self._agents_max} agents are attached, which is this controller's limit")
        return None

    def judge_relay(self, hello: RelayHello, certified: str | None = None) -> Refusal | None:
        """Return why a relay may not attach, None when it may. `certified` is the name in its certificate."""
        expected = self._expected.get(hello.relay_id)
        if certified is None and expected is not None and not expected.relay:
            return Refusal(
                "identity", f"{hello.relay_id} joined as an agent; a relay needs a token with the role relay"
            )
        who = Hello(
            hello.protocol_min, hello.protocol_max, hello.layout_id, hello.relay_id, hello.epoch, hello.version,
            identity=hello.identity,
        )  # fmt: skip
        return self.judge(who, certified, relayed=True)

    def may_come_by(self, relay: RelayLink, hello: Hello) -> bool:
        """Say whether an agent that a relay names may attach through it.

        A relay can't take over the name of an agent that is attached elsewhere, unless it knows that process's random
        number: only the process itself and who it talked to do.
        """
        known = self._links.get(hello.agent_id)
        if known is None:
            return self._relayed < RELAYED_MAX
        return known.epoch == hello.epoch or known in relay.children.values()

    def attach_relay(self, relay: RelayLink) -> None:
        """Keep the link of an admitted relay; an older stream of the same name is closed with all its agents."""
        old = self._relays.get(relay.relay_id)
        if old is not None:
            self.detach_relay(old)
            old.close()
        self._relays[relay.relay_id] = relay
        if self.listener is not None:
            self.listener.relay_changed(relay, f"relay {relay.relay_id} is attached")

    def detach_relay(self, relay: RelayLink) -> None:
        """Forget a relay whose stream ended, and its agents with it."""
        if self._relays.get(relay.relay_id) is not relay:
            return
        del self._relays[relay.relay_id]
        if self.listener is not None:
            text = f"the connection to relay {relay.relay_id} ended, and with it that of {len(relay.children)} agents"
            self.listener.relay_changed(relay, text)
        for link in relay.children.values():
            self.detach(link)
        relay.children.clear()

    def heard_block(self, relay: RelayLink, block: RelayBlock) -> None:
        """Take a block of an attached relay; without a run nobody wants it."""
        if self._relays.get(relay.relay_id) is not relay:
            return
        if self.listener is None:
            relay.send(unwanted(block))
        else:
            self.listener.heard_block(relay, block)

    def heard_beats(self, relay: RelayLink, beats: Sequence[ChildBeat]) -> None:
        """Take the heartbeats that a relay brought; of agents that are not attached by it now nothing is taken."""
        if self.listener is None:
            return
        links, children = self._links, relay.children
        here = [
            beat
            for beat in beats
            if (link := links.get(beat.agent_id)) is not None and children.get((beat.agent_id, beat.epoch)) is link
        ]
        self.listener.heard_beats(relay, here)

    def attach(self, hello: Hello, relayed: RelayedLink | None = None) -> AgentLink:
        """Make the link of an admitted agent, or keep `relayed`; an older stream of the same process is closed."""
        old = self._links.get(hello.agent_id)
        if old is not None:
            self.detach(old)
            old.close()
        expected = self._expected.get(hello.agent_id)
        link = relayed or AgentLink(hello, local=expected is not None and expected.local)
        link.token_id = link.token_id or (expected.token_id if expected is not None else "")
        self._links[hello.agent_id] = link
        return link

    def detach(self, link: AgentLink) -> None:
        """Forget a link whose stream ended."""
        if self._links.get(link.agent_id) is link:
            del self._links[link.agent_id]
            if link.ready and self.listener is not None:
                self.listener.detached(link)

    def heard(self, link: AgentLink, message: FromAgent, now_ns: int) -> None:
        """Take a message of an attached agent."""
        if self._links.get(link.agent_id) is not link:
            return
        if isinstance(message, Pong):
            link.pong(message, now_ns)
            if not link.ready and link.clock.exchanges >= EXCHANGES_BEFORE_READY:
                link.ready = True
                if self.listener is not None:
                    self.listener.attached(link)
        elif self.listener is not None:
            self.listener.heard(link, message)

    def close(self) -> None:
        """End every stream, after what is queued."""
        for link in self:
            link.close()
        for relay in self.relays:
            relay.close()
