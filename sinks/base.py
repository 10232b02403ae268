"""What a sink is: it takes items, tries once, and answers for each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict

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
    """A refused input with the time and place it came in (`position`: offset in the input journal or partition)."""

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

_BODIES: Final[dict[ItemKind, type[Any]]] = {
    ItemKind.ALERT: AlertChange,
    ItemKind.AUDIT: AuditEntry,
    ItemKind.EVENT: Event,
    ItemKind.ACCOUNT: Account,
    ItemKind.QUARANTINE: Quarantined,
    ItemKind.MEASUREMENTS: Measurements,
}


class Item(NamedTuple):
    """One thing to deliver.

    `id` is deterministic: the same fact has the same id however often it is produced, so a receiver can drop repeats. Items with the
    same non-empty `order_key` reach a sink in the order in which they were put.
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
    """Measurements; the id is a hash of the content."""
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


# -- bytes ----------------------------------------------------------------------------------------------------------------


class _Rows(msgspec.Struct, array_like=True):
    name: str
    subjects: tuple[str, ...]
    t_ns: bytes
    columns: tuple[str, ...]
    values: bytes


class _Wire(msgspec.Struct, array_like=True):
    kind: ItemKind
    id: str
    order_key: str
    body: msgspec.Raw


def encode(item: Item) -> bytes:
    """An item as bytes, for the spool."""
    body: Any = item.body
    if isinstance(body, Measurements):
        times, values = np.ascontiguousarray(body.t_ns, "<i8"), np.ascontiguousarray(body.values, "<f4")
        body = _Rows(body.name, body.subjects, times.tobytes(), body.columns, values.tobytes())
    raw = msgspec.Raw(msgspec.msgpack.encode(body))
    return msgspec.msgpack.encode(_Wire(item.kind, item.id, item.order_key, raw))


def decode(data: bytes) -> Item:
    """Inverse of `encode`; ValueError when the bytes are no item."""
    wire = msgspec.msgpack.decode(data, type=_Wire)
    if wire.kind is not ItemKind.MEASUREMENTS:
        return Item(wire.kind, wire.id, msgspec.msgpack.decode(wire.body, type=_BODIES[wire.kind]), wire.order_key)
    rows = msgspec.msgpack.decode(wire.body, type=_Rows)
    values = np.frombuffer(rows.values, "<f4").reshape(len(rows.subjects), len(rows.columns))
    body = Measurements(rows.name, rows.subjects, np.frombuffer(rows.t_ns, "<i8"), rows.columns, values)
    return Item(wire.kind, wire.id, body, wire.order_key)


def plain(item: Item) -> dict[str, Any]:
    """An item as JSON-ready builtins: `kind`, `id` and the body's fields; bytes become base64, missing values null."""
    body: Any = item.body
    if isinstance(body, Measurements):
        values = [[None if np.isnan(v) else float(str(v)) for v in row] for row in body.values]
        fields: Any = {
            "name": body.name,
            "subjects": list(body.subjects),
            "t_ns": body.t_ns.tolist(),
            "columns": list(body.columns),
            "values": values,
        }
    elif isinstance(body, Account):
        fields = body._asdict()
    else:
        fields = msgspec.to_builtins(body)
    return {"kind": item.kind.value, "id": item.id, "body": fields}


# -- answers --------------------------------------------------------------------------------------------------------------


class Accepted(NamedTuple):
    """The target has it, durably."""


class Rejected(NamedTuple):
    """The target will never take this item; `why` is one sentence."""

    why: str


class Retry(NamedTuple):
    """Not now: `why` is one sentence; `after_s` what the target asked to wait, None if it did not say.

    `scope` "target": nothing would have got through (unreachable, overloaded, misconfigured); "item": only this one failed;
    "untried": the target failed on an earlier item of the batch.
    """

    why: str
    after_s: float | None = None
    scope: Literal["target", "item", "untried"] = "target"


Outcome = Accepted | Rejected | Retry

ACCEPTED: Final = Accepted()
UNTRIED: Final = Retry("not tried: the target failed on an earlier item", scope="untried")


def all_retry(first: Retry, count: int) -> list[Outcome]:
    """The answer for `count` items when the target failed as a whole: `first`, and the rest untried."""
    return [first, *[UNTRIED] * (count - 1)]


class Sink(Protocol):
    """One attempt, item by item. Not thread-safe: one delivery owns it. It never retries, sleeps between tries, or logs secrets."""

    @property
    def name(self) -> str:
        """Name for folders, metrics and logs: the same for the same target across restarts."""

    @property
    def takes(self) -> frozenset[ItemKind]:
        """The kinds of item it stores or sends."""

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Try to deliver `items` in order; one Outcome each, same order. Repeating an accepted item must not double it."""

    def close(self) -> None:
        """Release files and connections; afterwards `deliver` is not called."""


class SinkConfig(BaseModel):
    """What every sink's configuration shares."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def refusal(item: Item, takes: frozenset[ItemKind]) -> Rejected | None:
    """Why `item` cannot be for a sink that takes `takes`; None when it can."""
    if item.kind not in takes:
        return Rejected(f"an item of kind {item.kind.value} came to a sink that takes {sorted(takes)}: route it elsewhere")
    wanted = _BODIES[item.kind]
    if not isinstance(item.body, wanted):
        return Rejected(f"the body of a {item.kind.value} item must be {wanted.__name__}, got {type(item.body).__name__}")
    if isinstance(item.body, Measurements):
        shape = (len(item.body.subjects), len(item.body.columns))
        if item.body.values.shape != shape or item.body.t_ns.shape != shape[:1]:
            return Rejected(
                f"measurements {item.body.name} need values {shape} and t_ns {shape[:1]}, got {item.body.values.shape} and {item.body.t_ns.shape}"
            )
        if np.isinf(item.body.values).any():
            return Rejected(f"measurements {item.body.name} hold infinity: only NaN may say missing")
    return None


def redacted(url: str) -> str:
    """`url` without what may be secret: user, password, path, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or '?'}{f':{parts.port}' if parts.port else ''}/…"
