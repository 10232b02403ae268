"""What is delivered: an item of one of six kinds, under an id that is the same however often the same fact is produced."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from alerts.model import Alert, Transition
from engine.events import Event
from engine.outputs import Account, Measurements, Reject


class ItemKind(StrEnum):
    """The kinds of item, most dangerous to lose first; under pressure the last are shed first, the first two never."""

    ALERT = "alert"
    AUDIT = "audit"
    EVENT = "event"
    ACCOUNT = "account"
    QUARANTINE = "quarantine"
    MEASUREMENTS = "measurements"


NEVER_SHED: Final = frozenset({ItemKind.ALERT, ItemKind.AUDIT})


class AlertChange(msgspec.Struct, frozen=True):
    """A transition, and the alert as it stands after it."""

    transition: Transition
    alert: Alert


class Quarantined(msgspec.Struct, frozen=True):
    """A refused input with the time it came in (`arrival_ns`, nanoseconds since 1970 UTC) and its `position` (offset in the journal or partition)."""

    reason: str
    detail: str
    device: str
    kind: str
    readings: int
    payload: bytes
    arrival_ns: int
    position: int


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what to what: the record that privacy law and a care inspection ask for."""

    id: str
    at_ns: int
    by: str
    action: str
    target: str
    detail: str = ""


Body = AlertChange | Event | Measurements | Quarantined | AuditEntry | Account

BODIES: Final[dict[ItemKind, type[Any]]] = {
    ItemKind.ALERT: AlertChange,
    ItemKind.AUDIT: AuditEntry,
    ItemKind.EVENT: Event,
    ItemKind.ACCOUNT: Account,
    ItemKind.QUARANTINE: Quarantined,
    ItemKind.MEASUREMENTS: Measurements,
}
"""The class of an item's body, by kind."""


class Item(NamedTuple):
    """One thing to deliver.

    `id` is deterministic: the same fact has the same id however often it is produced, so a receiver can drop repeats. Items with the
    same non-empty `order_key` reach a sink in the order in which they were put.

    >>> from sinks.examples import item
    >>> item(ItemKind.EVENT).id == item(ItemKind.EVENT).id != item(ItemKind.EVENT, 1).id
    True
    """

    kind: ItemKind
    id: str
    body: Body
    order_key: str = ""


def alert_item(transition: Transition, alert: Alert) -> Item:
    """An alert's transition; ordered within its alert."""
    return Item(ItemKind.ALERT, transition.id, AlertChange(transition, alert), alert.id)


def event_item(event: Event) -> Item:
    """An event."""
    return Item(ItemKind.EVENT, event.id, event)


def measurements_item(rows: Measurements) -> Item:
    """Measurements: `values` (subjects, columns) float32 in the units of the column names, `t_ns` (subjects,) int64; the id is a hash of the content."""
    head = "\x1f".join((rows.name, *rows.columns, "", *rows.subjects)).encode()
    digest = hashlib.blake2b(head, digest_size=16)
    digest.update(rows.t_ns.tobytes())
    digest.update(rows.values.tobytes())
    return Item(ItemKind.MEASUREMENTS, digest.hexdigest(), rows)


def quarantine_item(reject: Reject, arrival_ns: int, position: int, index: int = 0) -> Item:
    """A refused chunk; `index` tells apart several of one record."""
    body = Quarantined(
        reject.reason.value, reject.detail, reject.device, reject.kind, reject.readings, reject.payload, arrival_ns, position
    )
    text = f"{arrival_ns}\x1f{position}\x1f{index}\x1f{body.reason}\x1f{body.device}".encode() + body.payload
    return Item(ItemKind.QUARANTINE, hashlib.blake2b(text, digest_size=16).hexdigest(), body)


def audit_item(entry: AuditEntry) -> Item:
    """An audit entry."""
    return Item(ItemKind.AUDIT, entry.id, entry)


def account_item(account: Account) -> Item:
    """Where the readings of a device, kind and hour went so far; later counts of the same hour replace earlier ones, in order."""
    key = f"{account.device}\x1f{account.kind}\x1f{account.hour_ns}"
    text = f"{key}\x1f{account.processed}\x1f{account.duplicate}\x1f{account.late}\x1f{account.quarantined}".encode()
    return Item(ItemKind.ACCOUNT, hashlib.blake2b(text, digest_size=16).hexdigest(), account, key)
