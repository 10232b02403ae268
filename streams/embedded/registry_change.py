"""Changes of the registry as they are journaled: a whole new one, or one device bound or unbound."""

from __future__ import annotations

from typing import Literal

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
