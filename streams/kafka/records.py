"""Kafka records as the worker reads and writes them.

Telemetry records hold a wire payload. The telemetry topic also carries the other inputs that a partition applies in one order:
commands, registry changes and the passing of time, distinguished by the header `vigil-kind`. Outputs are JSON where people and other
programs read them one by one, and frames (MessagePack arrays of encoded items) where there are many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from alerts import policy
from engine.events import Event
from engine.frame import NS_PER_S
from sinks.codec import decode
from sinks.items import AlertChange, AuditEntry, Item, ItemKind, alert_item, audit_item, event_item
from streams.kafka import topics
from streams.pipeline.handovers import Handover
from streams.pipeline.records import Input, Kind

NS_PER_MS: Final = NS_PER_S // 1_000

KIND_HEADER: Final = "vigil-kind"
ARRIVAL_HEADER: Final = "arrival_ns"
"""When the record reached Vigil (UTC ns, ASCII decimal), written by ingest; without it Kafka's timestamp counts."""
KEY_HEADER: Final = "key"
"""Idempotency key of a telemetry record, ASCII."""
OFFSET_HEADER: Final = "vigil-registry-offset"
RETAINED_HEADER: Final = "vigil-retained"
"""On telemetry that an MQTT broker had kept: when it was sent is unknown."""

CANARY_PREFIX: Final = policy.CANARY_PREFIX
"""Subjects of simulated wearers (`vigil canary`): sinks that call people, boards and statistics leave their items out."""
CANARY: Final = "vigil/canary"
"""Subject of the canary's own alarm; commands with this key are for the canary, not for a partition."""

Headers = Sequence[tuple[str, bytes]]


def headers(
    arrival_ns: int | None = None, key: str = "", kind: Kind = Kind.TELEMETRY, *, retained: bool = False
) -> list[tuple[str, bytes]]:
    """Headers of a record for the telemetry, commands or registry topic."""
    found = [] if arrival_ns is None else [(ARRIVAL_HEADER, b"%d" % arrival_ns)]
    if key:
        found.append((KEY_HEADER, key.encode()))
    if kind is not Kind.TELEMETRY:
        found.append((KIND_HEADER, kind.encode()))
    if retained:
        found.append((RETAINED_HEADER, b"1"))
    return found


_KINDS: Final = {kind.encode(): kind for kind in Kind if kind is not Kind.REGISTRY_CHANGE}
"""On Kafka a registry comes whole, ward by ward: a change of one binding would be lost with the next registry of its ward."""


def parse(offset: int, stamp_ns: int, message_key: bytes | None, value: bytes | None, given: Headers) -> Input:
    """A record as Kafka delivered it. A record of an unknown kind is telemetry: the codec refuses it with a reason."""
    found = dict(given)
    kind = _KINDS.get(found.get(KIND_HEADER, b""), Kind.TELEMETRY)
    return Input(
        offset,
        kind,
        found.get(KEY_HEADER, b"").decode("ascii", "replace"),
        stamp_ns,
        _number(found.get(ARRIVAL_HEADER)),
        value or b"",
        (message_key or b"").decode("utf-8", "replace"),
        _number(found.get(OFFSET_HEADER)) or 0,
        Handover(retained=RETAINED_HEADER in found),
    )


def _number(text: bytes | None) -> int | None:
    return int(text) if text is not None and text.isdigit() and len(text) < 20 else None


# -- outputs --------------------------------------------------------------------------------------------------------------

FRAMED: Final = {
    ItemKind.MEASUREMENTS: topics.MEASUREMENTS,
    ItemKind.QUARANTINE: topics.QUARANTINE,
    ItemKind.ACCOUNT: topics.ACCOUNTS,
}
"""Topics of items that travel in frames."""
SINGLE: Final = {ItemKind.ALERT: topics.ALERTS, ItemKind.EVENT: topics.EVENTS, ItemKind.AUDIT: topics.AUDIT}
"""Topics of items that travel alone, as JSON."""


def single(item: Item) -> tuple[bytes, bytes]:
    """(key, value) of an item that travels alone."""
    body = item.body
    if isinstance(body, AlertChange):
        return body.alert.id.encode(), msgspec.json.encode(body)
    if isinstance(body, Event):
        return body.subject.encode(), msgspec.json.encode(body)
    if isinstance(body, AuditEntry):
        return body.target.encode(), msgspec.json.encode(body)
    raise TypeError(f"{item.kind} travels in frames")


def frame(items: Iterable[bytes]) -> bytes:
    """A frame of items that `sinks.codec.encode` made."""
    return msgspec.msgpack.encode(list(items))


def items_in(topic: str, value: bytes) -> list[Item]:
    """The items in a record of an output topic (its name without prefix); ValueError when it holds none."""
    if topic == topics.ALERTS:
        change = msgspec.json.decode(value, type=AlertChange)
        return [alert_item(change.transition, change.alert)]
    if topic == topics.EVENTS:
        return [event_item(msgspec.json.decode(value, type=Event))]
    if topic == topics.AUDIT:
        return [audit_item(msgspec.json.decode(value, type=AuditEntry))]
    if topic not in FRAMED.values():
        raise ValueError(f"{topic} is no output topic")
    return [decode(data) for data in msgspec.msgpack.decode(value, type=list[bytes])]
