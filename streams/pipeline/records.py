"""What a partition takes, whatever log it comes from: a Kafka partition, the journal of `vigil run`, or a recording."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from streams.pipeline.handovers import DIRECT, Handover


class Kind(StrEnum):
    """What a record is."""

    TELEMETRY = "telemetry"
    COMMAND = "command"
    REGISTRY = "registry"
    """The whole registry of one ward, which replaces the one before (topic `registry`)."""
    REGISTRY_CHANGE = "registry_change"
    """One change of the only registry there is (console, HTTP API and registry.json of `vigil run`)."""
    TIME = "time"


class Input(NamedTuple):
    """A record of the log.

    `stamp_ns` is when the log took it (the broker's or the journal's clock), `arrival_ns` when it reached Vigil where that is known to
    be earlier (None: not given); both UTC ns. `key` is the idempotency key of telemetry, "" without. `message_key` and
    `registry_offset` belong to a registry record: its ward, and its offset in the registry topic. `delivery` belongs to telemetry.
    """

    offset: int
    kind: Kind
    key: str
    stamp_ns: int
    arrival_ns: int | None
    value: bytes
    message_key: str
    registry_offset: int
    handover: Handover = DIRECT


def telemetry(offset: int, arrival_ns: int, value: bytes, key: str = "", handover: Handover = DIRECT) -> Input:
    """A wire message whose arrival is known."""
    return Input(offset, Kind.TELEMETRY, key, arrival_ns, arrival_ns, value, "", 0, handover)
