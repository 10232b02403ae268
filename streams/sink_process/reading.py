"""Decodes records of the output topics into items. An undecodable part becomes a dead letter; the rest of its record is delivered."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from sinks.codec import decode
from sinks.items import Item
from streams.kafka.records import FRAMED, SINGLE, items_in

KIND_OF: Final = {topic: kind for kind, topic in (FRAMED | SINGLE).items()}
"""The kind of item in each output topic."""
TOPIC_OF: Final = FRAMED | SINGLE
"""The output topic of each kind of item."""


class Undecodable(NamedTuple):
    """Bytes that cannot be decoded as an item, and why."""

    payload: bytes
    why: str


class Read(NamedTuple):
    """The items of a record, and its undecodable parts."""

    items: list[Item]
    undecodable: list[Undecodable]


def read(topic: str, value: bytes | None) -> Read:
    """Decode a record of an output topic (its name without prefix)."""
    kind = KIND_OF[topic]
    if not value:
        return Read([], [Undecodable(b"", "the record is empty")])
    try:
        pieces = msgspec.msgpack.decode(value, type=list[bytes]) if kind in FRAMED else [value]
    except (msgspec.DecodeError, RecursionError) as error:
        return Read([], [Undecodable(value, f"this is no frame of items: {error}")])
    found = Read([], [])
    for piece in pieces:
        try:
            item = decode(piece) if kind in FRAMED else items_in(topic, piece)[0]
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            found.undecodable.append(Undecodable(piece, f"this is no {kind.value} item: {error}"))
            continue
        if item.kind is kind:
            found.items.append(item)
        else:
            found.undecodable.append(Undecodable(piece, f"{item.kind.value} {item.id} does not belong into the topic {topic}"))
    return found
