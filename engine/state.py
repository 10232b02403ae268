"""Detector state as bytes: NamedTuples of numpy arrays, axis 0 = slot, without pickle."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

S = TypeVar("S", bound=tuple[Any, ...])


class _Column(msgspec.Struct, array_like=True):
    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def pack(state: NamedTuple | tuple[Any, ...]) -> bytes:
    """Serialise a NamedTuple of arrays; restored exactly, bit for bit, by `unpack`."""
    fields: tuple[str, ...] = state._fields  # type: ignore[union-attr]
    return msgspec.msgpack.encode(
        [_Column(name, array.dtype.str, array.shape, array.tobytes()) for name, array in zip(fields, state, strict=True)]
    )


def unpack(template: S, data: bytes) -> S:
    """Inverse of `pack`; the field names and dtypes must be those of `template` (ValueError otherwise)."""
    columns = msgspec.msgpack.decode(data, type=list[_Column])
    fields: tuple[str, ...] = template._fields  # type: ignore[attr-defined]
    if [column.name for column in columns] != list(fields):
        raise ValueError(
            f"state has fields {[column.name for column in columns]}, this version wants {list(fields)}: raise the state version and start cold"
        )
    arrays = []
    for column, own in zip(columns, template, strict=True):
        if np.dtype(column.dtype) != own.dtype or column.shape[1:] != own.shape[1:]:
            raise ValueError(
                f"state field {column.name} is {column.dtype}{column.shape[1:]}, this version wants {own.dtype.str}{own.shape[1:]}: raise the state version and start cold"
            )
        arrays.append(np.frombuffer(column.data, column.dtype).reshape(column.shape).copy())
    return template._make(arrays)  # type: ignore[attr-defined,no-any-return]


def grown(state: S, fresh: S) -> S:
    """`fresh` (a larger initial state) with the rows of `state` copied to its front."""
    for old, new in zip(state, fresh, strict=True):
        new[: old.shape[0]] = old
    return fresh
