"""Changes of the registry as they are journaled: a whole new one, or one device bound or unbound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from engine.registry import Binding, RegistryData


class RegistryChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """`replace`: the whole registry (from the file). `bind`: this binding from now on, ending the device's present one.
    `unbind`: end the device's present binding. `id` makes a repeated change harmless; `by` is who asked."""

    id: str
    action: Literal["replace", "bind", "unbind"]
    by: str = ""
    registry: RegistryData | None = None
    binding: Binding | None = None
    device: str = ""

    def summary(self) -> str:
        """For the audit log."""
        if self.binding is not None:
            return f"bind {self.binding.device} to {self.binding.subject}"
        return f"unbind {self.device}" if self.action == "unbind" else "replace"


def changed(data: RegistryData, change: RegistryChange, at_ns: int) -> RegistryData:
    """`data` after `change` at `at_ns`; ValueError when the change lacks what it needs."""
    if change.action == "replace":
        if change.registry is None:
            raise ValueError("a replacing change needs the registry")
        return change.registry
    device = change.binding.device if change.binding is not None else change.device
    if not device:
        raise ValueError("a change of one binding needs its device")
    kept = tuple(msgspec.structs.replace(b, to_ns=min(b.to_ns, at_ns)) if b.device == device else b for b in data.bindings)
    kept = tuple(b for b in kept if b.from_ns < b.to_ns)
    if change.action == "bind":
        if change.binding is None:
            raise ValueError("a binding change needs the binding")
        ward = change.binding.ward or next((b.ward for b in data.bindings if b.subject == change.binding.subject), "")
        kept = (*kept, msgspec.structs.replace(change.binding, from_ns=max(change.binding.from_ns, at_ns), ward=ward))
    return msgspec.structs.replace(data, bindings=kept)


def sent_registry(raw: bytes) -> RegistryData:
    """A whole registry as somebody sent it; ValueError when it is none, is empty, or has a field that would be ignored in silence."""
    try:
        data = msgspec.json.decode(raw, type=RegistryData, strict=True)
    except msgspec.DecodeError as error:
        raise ValueError(f"this is no registry: {error}") from error
    if unknown := list(_unknown(msgspec.json.decode(raw))):
        raise ValueError(f"the registry has no field {', '.join(sorted(set(unknown)))}: correct or leave it out")
    if not data.bindings:
        raise ValueError("this registry binds no device, nobody would be watched: send the whole registry, not a part of it")
    return data


def _unknown(raw: dict[str, list[dict[str, object]]]) -> Iterator[str]:
    tables = {field.name: get_args(field.type) for field in msgspec.structs.fields(RegistryData)}
    for name, value in raw.items():
        if name not in tables:
            yield name
        elif tables[name]:  # tuple[Row, ...]
            fields = {field.name for field in msgspec.structs.fields(tables[name][0])}
            yield from (f"{name}.{key}" for row in value for key in row if key not in fields)
