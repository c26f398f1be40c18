"""How a relay talks to its controller: the agents' uplink, with the relay's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from loadproof_agent.relay._wire import decode_from_head, encode_from_relay, relay_stub
from loadproof_agent.uplink import Speech

if TYPE_CHECKING:
    import grpc.aio

    from loadproof_agent.uplink import Call


def _open(channel: grpc.aio.Channel) -> Call:
    return cast("Call", relay_stub(channel).Relay())


RELAY_SPEECH = Speech(_open, encode_from_relay, decode_from_head)
