"""One partition of the telemetry topic: its core, and how far in its log it stands. No Kafka, no clock, no files.

Everything a partition takes is in its log, in one order: telemetry, commands, registry changes, the passing of time. So
reading the log again from any snapshot gives the same outputs again, whoever reads it and whenever (docs/decisions/0100).
"""

from __future__ import annotations

from typing import Final

import msgspec
from pydantic import BaseModel

from alerts.model import Command
from alerts.policy import Policy, is_canary
from engine.outputs import Reason, Reject
from engine.registry import RegistryData
from sinks.base import AuditEntry, Item, audit_item
from streams.core import Core, Said
from streams.items import audit_of, items_of
from streams.worker.records import Input, Kind

STATE_VERSION: Final = 1
REGISTRY_ACTION: Final = "registry"


class _Saved(msgspec.Struct, array_like=True):
    version: int
    next_offset: int
    arrival_ns: int
    registry_next: int
    wards: dict[str, RegistryData]
    core: bytes


class Registries:
    """The registries of a partition's wards, and which records of the registry topic they come from."""

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
        """With the record at `offset` (empty: the ward is gone); ValueError when it is no registry."""
        wards = {name: data for name, data in self.wards.items() if name != ward}
        if value:
            wards[ward] = msgspec.json.decode(value, type=RegistryData)
        return Registries(wards, offset + 1)


class Partition:
    """A partition as its owner holds it. `live`: time is what Kafka's clock says; else what the records say (recordings)."""

    def __init__(
        self,
        number: int,
        *,
        parameters: BaseModel | None = None,
        policy: Policy | None = None,
        live: bool = True,
        registries: Registries | None = None,
        next_offset: int = 0,
    ) -> None:
        self.number = number
        self.next_offset = next_offset
        self.arrival_ns = 0
        self.registries = registries if registries is not None else Registries()
        self.core = Core(parameters, self.registries.merged(), policy)
        self._live = live

    def apply(self, record: Input) -> list[Item]:
        """Take the record at `next_offset` or later; what is to be said. An exception leaves the partition unusable."""
        at_ns = self._arrived(record)
        more: list[Item] = []
        if record.kind is Kind.TELEMETRY:
            said = self.core.telemetry(record.value, at_ns, record.key)
        elif record.kind is Kind.COMMAND:
            said, more = self._command(record, at_ns)
        elif record.kind is Kind.REGISTRY:
            said, more = self._registry(record, at_ns)
        else:
            said = self.core.advance(at_ns)
        self.next_offset = record.offset + 1
        return [*items_of(said, at_ns, record.offset), *more]

    def pass_over(self, record: Input, why: str) -> list[Item]:
        """Quarantine the record unread: the process died on it before."""
        said = self._refused(record, self._arrived(record), Reason.INTERNAL, why)
        self.next_offset = record.offset + 1
        return items_of(said, self.arrival_ns, record.offset)

    def _arrived(self, record: Input) -> int:
        """Never before an earlier record. Live, no clock but the broker's may run ahead: an ingest's is believed only backwards."""
        if self._live:
            stamp_ns = record.stamp_ns if record.arrival_ns is None else min(record.arrival_ns, record.stamp_ns)
        else:
            stamp_ns = record.arrival_ns or 0
        self.arrival_ns = max(self.arrival_ns, stamp_ns)
        return self.arrival_ns

    def _command(self, record: Input, at_ns: int) -> tuple[Said, list[Item]]:
        try:
            command = msgspec.structs.replace(msgspec.json.decode(record.value, type=Command), at_ns=at_ns)
        except msgspec.DecodeError as error:
            return self._refused(record, at_ns, Reason.MALFORMED, f"this is no command: {error}"), []
        said = self.core.command(command)
        alert = self.core.book.alert(command.alert_id)
        if alert is not None and is_canary(alert.subject):
            return said, []  # the canary closes its own fall: nobody did anything to anybody
        return said, [audit_of(command, said.refusals[0] if said.refusals else None)]

    def _registry(self, record: Input, at_ns: int) -> tuple[Said, list[Item]]:
        if record.registry_offset < self.registries.next_offset:  # handed on twice
            return self.core.advance(at_ns), []
        try:
            changed = self.registries.changed(record.message_key, record.value, record.registry_offset)
            said = self.core.set_registry(changed.merged(), at_ns)
        except ValueError as error:
            changed = Registries(self.registries.wards, record.registry_offset + 1)
            said, detail = self._refused(record, at_ns, Reason.MALFORMED, str(error)), f"refused: {error}"
        else:
            detail = f"{len(changed.wards.get(record.message_key, RegistryData()).bindings)} bindings"
        self.registries = changed
        entry = AuditEntry(f"registry-{self.number}-{record.registry_offset}", at_ns, "", REGISTRY_ACTION, record.message_key, detail)
        return said, [audit_item(entry)]

    def _refused(self, record: Input, at_ns: int, reason: Reason, why: str) -> Said:
        said = self.core.advance(at_ns)
        said.outputs.rejects.append(Reject(reason, why, "", record.kind.value, 0, record.value))
        return said

    # -- state ------------------------------------------------------------------------------------------------------------

    def freeze(self) -> bytes:
        """Everything, as bytes."""
        saved = _Saved(
            STATE_VERSION, self.next_offset, self.arrival_ns, self.registries.next_offset, self.registries.wards, self.core.snapshot()
        )
        return msgspec.msgpack.encode(saved)

    def thaw(self, state: bytes) -> None:
        """Go on from `freeze`; ValueError when it does not fit this version."""
        saved = msgspec.msgpack.decode(state, type=_Saved)
        if saved.version != STATE_VERSION:
            raise ValueError(f"partition snapshot v{saved.version} does not fit this version v{STATE_VERSION}: start cold and replay")
        self.core.restore(saved.core)
        self.next_offset, self.arrival_ns = saved.next_offset, saved.arrival_ns
        self.registries = Registries(saved.wards, saved.registry_next)


def usable(registries: Registries, parameters: BaseModel | None, policy: Policy | None) -> str | None:
    """Why the merged registry cannot be in force; None when it can."""
    try:
        Core(parameters, policy=policy).set_registry(registries.merged(), 0)
    except ValueError as error:
        return str(error)
    return None
