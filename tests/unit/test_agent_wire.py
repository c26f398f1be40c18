"""Records and protobuf say the same, in both directions."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof_agent import _wire, records
from loadproof_agent.errors import UplinkError
from loadproof_proto.v1 import agent_pb2

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
SMALL = {"UINT32": 2**32 - 1}


def value_of(hint: Any, field: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is dict:
        return st.dictionaries(TEXT, TEXT, max_size=3)
    if origin is tuple and dataclasses.is_dataclass(arguments[0]):
        return st.lists(record_of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.lists(TEXT, max_size=3).map(tuple)
    if origin is types.UnionType:
        return st.none() | record_of(arguments[0])
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(0, 2**32 - 1 if field.type == field.TYPE_UINT32 else 2**64 - 1)
    return {str: TEXT, bytes: st.binary(max_size=50)}[hint]


def descriptor_of(record: type[Any]) -> Any:
    return agent_pb2.DESCRIPTOR.message_types_by_name[record.__name__]


def record_of(record: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(record)
    fields = descriptor_of(record).fields_by_name
    return st.builds(record, **{name: value_of(hint, fields[name]) for name, hint in hints.items()})


@settings(max_examples=200, deadline=None)
@given(record=st.one_of([record_of(record) for record in _wire.FROM_AGENT.values()]))
def test_what_an_agent_says_survives_the_wire(record: Any) -> None:
    """Encoding, serialising, parsing and decoding gives an equal record."""
    data = _wire.encode_from_agent(record).SerializeToString()
    assert _wire.decode_from_agent(agent_pb2.AttachRequest.FromString(data)) == record


@settings(max_examples=200, deadline=None)
@given(record=st.one_of([record_of(record) for record in _wire.FROM_CONTROLLER.values()]))
def test_what_a_controller_says_survives_the_wire(record: Any) -> None:
    """Encoding, serialising, parsing and decoding gives an equal record."""
    data = _wire.encode_from_controller(record).SerializeToString()
    assert _wire.decode_from_controller(agent_pb2.AttachResponse.FromString(data)) == record


@pytest.mark.parametrize(
    ("envelope", "known"),
    [(agent_pb2.AttachRequest, _wire.FROM_AGENT), (agent_pb2.AttachResponse, _wire.FROM_CONTROLLER)],
)
def test_every_message_has_a_record_with_the_same_fields(envelope: Any, known: dict[str, type[Any]]) -> None:
    """Nothing in the contract is left out by the agent, and nothing is added."""
    alternatives = envelope.DESCRIPTOR.oneofs_by_name["message"].fields
    assert {field.name: field.message_type.name for field in alternatives} == {
        name: record.__name__ for name, record in known.items()
    }
    for field in alternatives:
        names = {part.name for part in field.message_type.fields}
        assert names == {part.name for part in dataclasses.fields(known[field.name])}, field.name


def test_a_message_of_a_later_version_is_an_error_with_words() -> None:
    """An envelope with nothing known in it ends the stream instead of being ignored."""
    with pytest.raises(UplinkError, match="does not know") as caught:
        _wire.decode_from_controller(agent_pb2.AttachResponse())
    assert not caught.value.retry


def test_secrets_and_identities_stay_out_of_representations() -> None:
    """A record that ends up in a log line does not give them away."""
    prepare = records.Prepare("r", b"", b"", "", 0, 1, secrets={"TOKEN": "hunter2"})
    hello = records.Hello(1, 1, "layout", "a", 1, identity="once")
    assert "hunter2" not in repr(prepare)
    assert "once" not in repr(hello)
