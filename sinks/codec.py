"""Items as bytes, for the spool and for Kafka, and as JSON-ready builtins, for files that people read.

The bytes are msgpack arrays `[kind, id, order_key, body]`. They lie in spools and topics of earlier versions: their form does not change.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from engine.outputs import Account, Measurements
from sinks.items import BODIES, Item, ItemKind


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
    """An item as bytes, for the spool and for Kafka; TypeError, ValueError or OverflowError when its body cannot be written.

    >>> from sinks.examples import item
    >>> decode(encode(item(ItemKind.EVENT))) == item(ItemKind.EVENT)
    True
    """
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
        return Item(wire.kind, wire.id, msgspec.msgpack.decode(wire.body, type=BODIES[wire.kind]), wire.order_key)
    rows = msgspec.msgpack.decode(wire.body, type=_Rows)
    values = np.frombuffer(rows.values, "<f4").reshape(len(rows.subjects), len(rows.columns))
    body = Measurements(rows.name, rows.subjects, np.frombuffer(rows.t_ns, "<i8"), rows.columns, values)
    return Item(wire.kind, wire.id, body, wire.order_key)


def plain(item: Item) -> dict[str, Any]:
    """An item as JSON-ready builtins: `kind`, `id` and the body's fields; bytes become base64, missing values null.

    >>> from sinks.examples import item
    >>> plain(item(ItemKind.MEASUREMENTS))["body"]["values"]
    [[71.5, None], [None, 36.6]]
    """
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
