"""Records of the output topics as items. What cannot be read is set aside with its reason; it takes nothing good with it."""

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


class Bad(NamedTuple):
    """Bytes that are no item, and why."""

    payload: bytes
    why: str


class Read(NamedTuple):
    """What was in a record."""

    items: list[Item]
    bad: list[Bad]


def read(topic: str, value: bytes | None) -> Read:
    """The items in a record of an output topic (its name without prefix), and those parts of it that are none."""
    kind = KIND_OF[topic]
    if not value:
        return Read([], [Bad(b"", "the record is empty")])
    try:
        pieces = msgspec.msgpack.decode(value, type=list[bytes]) if kind in FRAMED else [value]
    except (msgspec.DecodeError, RecursionError) as error:
        return Read([], [Bad(value, f"this is no frame of items: {error}")])
    found = Read([], [])
    for piece in pieces:
        try:
            item = decode(piece) if kind in FRAMED else items_in(topic, piece)[0]
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            found.bad.append(Bad(piece, f"this is no {kind.value} item: {error}"))
            continue
        if item.kind is kind:
            found.items.append(item)
        else:
            found.bad.append(Bad(piece, f"{item.kind.value} {item.id} does not belong into the topic {topic}"))
    return found
