"""The registries of a partition's wards, merged into the one that its engine uses."""

from __future__ import annotations

from typing import Final

import msgspec
from pydantic import BaseModel

from alerts.policy import Policy
from engine.registry import RegistryData
from schemas.wire import MESSAGE_BYTES_MAX, TEXT_BYTES_MAX
from streams.pipeline.core import Core

NESTED: Final = "it is nested too deeply"


class Registries:
    """`wards`: the registry of each ward by its name. `next_offset`: the registry topic has been read up to there."""

    def __init__(self, wards: dict[str, RegistryData] | None = None, next_offset: int = 0) -> None:
        self.wards = wards if wards is not None else {}
        self.next_offset = next_offset

    def merged(self) -> RegistryData:
        """One registry for the engine; the order of wards is fixed."""
        parts = [self.wards[ward] for ward in sorted(self.wards)]
        return RegistryData(
            bindings=tuple(b for part in parts for b in part.bindings),
            assignments=tuple(a for part in parts for a in part.assignments),
            places=tuple(p for part in parts for p in part.places),
            care=tuple(c for part in parts for c in part.care),
        )

    def changed(self, ward: str, value: bytes, offset: int) -> Registries:
        """With the record at `offset` (empty: the ward is gone); ValueError when it is not a registry."""
        if len(ward.encode()) > TEXT_BYTES_MAX or len(value) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a ward's name has at most {TEXT_BYTES_MAX} bytes, its registry {MESSAGE_BYTES_MAX}: divide the ward")
        wards = {name: data for name, data in self.wards.items() if name != ward}
        if value:
            try:
                wards[ward] = msgspec.json.decode(value, type=RegistryData)
            except RecursionError as error:
                raise ValueError(NESTED) from error
        return Registries(wards, offset + 1)


def usable(registries: Registries, parameters: BaseModel | None, policy: Policy | None) -> str | None:
    """Why the merged registry cannot be in force; None when it can."""
    try:
        Core(parameters, policy=policy).set_registry(registries.merged(), 0)
    except ValueError as error:
        return str(error)
    return None
