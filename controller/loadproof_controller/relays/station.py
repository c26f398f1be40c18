"""What relays say, brought to the fleet: their agents become links like any other. No I/O, no wire."""

from __future__ import annotations

from collections.abc import Callable

from loadproof_controller.errors import HostileData
from loadproof_controller.fleet import AgentLink, Fleet
from loadproof_controller.messages import Hello, Refusal
from loadproof_controller.relays.links import INTRODUCED_MAX, RelayedLink, RelayLink
from loadproof_controller.relays.messages import (
    ChildClosed,
    ChildGone,
    ChildSaid,
    ChildTold,
    FromRelay,
    RelayBeats,
    RelayBlock,
    RelayHello,
)


class RelayStation:
    """Takes what relays say. `greet` says the first words to an agent that came.

    `token_known` says whether the token in an agent's certificate, which its relay has seen, is still good. None: there
    are no certificates, and an agent proves itself by its one-time identity.
    """

    def __init__(
        self, fleet: Fleet, *, greet: Callable[[AgentLink], None], token_known: Callable[[str], bool] | None
    ) -> None:
        self._fleet = fleet
        self._greet = greet
        self._token_known = token_known

    def heard(self, relay: RelayLink, message: FromRelay, now_ns: int) -> None:
        """Take a message of an attached relay. Raises `HostileData` on what costs it its stream."""
        match message:
            case ChildSaid(agent_id, epoch, Hello() as hello, token_id):
                if (hello.agent_id, hello.epoch) != (agent_id, epoch):
                    raise HostileData("a relay introduces an agent under another name")
                self._came(relay, hello, token_id)
            case ChildSaid(agent_id, epoch, said):
                link = relay.children.get((agent_id, epoch))
                if link is not None:
                    self._fleet.heard(link, said, now_ns)
            case ChildGone(agent_id, epoch):
                link = relay.children.pop((agent_id, epoch), None)
                if link is not None:
                    self._fleet.detach(link)
            case RelayBeats(beats):
                self._fleet.heard_beats(relay, beats)
            case RelayBlock():
                if not {(where.agent_id, where.epoch) for where in message.ranges} <= relay.introduced:
                    raise HostileData("a relay's block names an agent that never came by it")
                self._fleet.heard_block(relay, message)
            case RelayHello():
                raise HostileData("a second Hello on one stream")
        relay.flush()

    def _came(self, relay: RelayLink, hello: Hello, token_id: str) -> None:
        key = (hello.agent_id, hello.epoch)
        if len(relay.introduced) >= INTRODUCED_MAX:
            raise HostileData(f"a relay has named {INTRODUCED_MAX} agents on one stream")
        refusal = self._judge(hello, token_id)
        if refusal is not None:
            relay.send(ChildTold(*key, refusal))
            relay.send(ChildClosed(*key))
            return
        if not self._fleet.may_come_by(relay, hello):
            relay.send(ChildClosed(*key))
            return
        older = relay.children.get(key)
        if older is not None:
            older.replaced()
        link = RelayedLink(hello, relay)
        link.token_id = token_id
        self._fleet.attach(hello, link)
        relay.children[key] = link
        relay.introduced.add(key)
        self._greet(link)

    def _judge(self, hello: Hello, token_id: str) -> Refusal | None:
        if self._token_known is None:
            return self._fleet.judge(hello, relayed=True)
        if not self._token_known(token_id):
            return Refusal("identity", f"the token that agent {hello.agent_id} joined with was revoked")
        return self._fleet.judge(hello, hello.agent_id, token_id, relayed=True)
