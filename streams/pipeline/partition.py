"""One partition of the telemetry topic: its core, and how far in its log it stands. No Kafka, no clock, no files.

Everything a partition takes is in its log, in one order: telemetry, commands, registry changes, the passing of time. So
reading the log again from any snapshot gives the same outputs again, whoever reads it and whenever (docs/decisions/0100).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from pydantic import BaseModel

from alerts.model import Command
from alerts.policy import Policy, is_canary
from engine.engine import JUMP_NS
from engine.frame import NS_PER_S
from engine.outputs import Reason, Reject
from engine.registry import RegistryData
from schemas.wire import MESSAGE_BYTES_MAX, TEXT_BYTES_MAX
from sinks.items import AuditEntry, Item, audit_item
from streams.kafka.records import Input, Kind
from streams.pipeline.core import Core, Said
from streams.pipeline.items import audit_of, items_of

STATE_VERSION: Final = 1
SLICE_NS: Final = 60 * NS_PER_S
"""Silence that is lived through in one piece: some ten milliseconds."""
REGISTRY_ACTION: Final = "registry"
COMMAND_BYTES_MAX: Final = 2**20
"""A note of the policy's greatest length fits several times. An alert repeats what a command says, and must fit into a record."""
AUTHOR_MAX: Final = 256
"""Characters of who commands and of a command's id: an alert's history has them once for each step."""
WHY_MAX: Final = 500
"""Characters of a reason: some repeat what was received, and that may be megabytes."""
NESTED: Final = "it is nested too deeply"
BYTES_MAX: Final = {Kind.COMMAND: COMMAND_BYTES_MAX, Kind.REGISTRY: MESSAGE_BYTES_MAX}
"""How long a record of the doors may be. Of a longer one the first bytes are handed on, one too many: then it is refused and kept."""


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
        if len(ward.encode()) > TEXT_BYTES_MAX or len(value) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a ward's name has at most {TEXT_BYTES_MAX} bytes, its registry {MESSAGE_BYTES_MAX}: divide the ward")
        wards = {name: data for name, data in self.wards.items() if name != ward}
        if value:
            try:
                wards[ward] = msgspec.json.decode(value, type=RegistryData)
            except RecursionError as error:
                raise ValueError(NESTED) from error
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

    def on_the_way(self, record: Input) -> Iterator[list[Item]]:
        """What the passing of time has to say before `record`, which comes after a long silence, piece by piece.

        Nothing else is said than `apply` would say; but a tick a second through days of silence takes minutes, and between the pieces
        others have their turn. `freeze` between two of them is as good as before the first.
        """
        from_ns, to_ns = self.arrival_ns, self._arrival_ns(record)
        if from_ns == 0 or to_ns - from_ns > JUMP_NS - NS_PER_S:  # beyond that the engine leaps
            return
        for at_ns in range(from_ns + SLICE_NS, to_ns, SLICE_NS):
            self.arrival_ns = at_ns
            yield items_of(self.core.advance(at_ns), at_ns, record.offset)

    def pass_over(self, record: Input, why: str) -> list[Item]:
        """Quarantine the record unread: the process died on it before."""
        said = self._refused(record, self._arrived(record), Reason.INTERNAL, why)
        self.next_offset = record.offset + 1
        return items_of(said, self.arrival_ns, record.offset)

    def _arrived(self, record: Input) -> int:
        self.arrival_ns = self._arrival_ns(record)
        return self.arrival_ns

    def _arrival_ns(self, record: Input) -> int:
        """Never before an earlier record. Live, no clock but the broker's may run ahead: an ingest's is believed only backwards."""
        if self._live:
            stamp_ns = record.stamp_ns if record.arrival_ns is None else min(record.arrival_ns, record.stamp_ns)
        else:
            stamp_ns = record.arrival_ns or 0
        return max(self.arrival_ns, stamp_ns)

    def _command(self, record: Input, at_ns: int) -> tuple[Said, list[Item]]:
        try:
            command = msgspec.structs.replace(command_in(record.value), at_ns=at_ns)
        except ValueError as error:  # also of text that is not UTF-8
            return self._refused(record, at_ns, Reason.MALFORMED, f"this is no command: {error}"), []
        said = self.core.command(command)
        alert = self.core.book.alert(command.alert_id)
        if alert is not None and is_canary(alert.subject):
            return said, []  # the canary closes its own fall: nobody did anything to anybody
        return said, [audit_of(command, said.refusals[0] if said.refusals else None)]

    def _registry(self, record: Input, at_ns: int) -> tuple[Said, list[Item]]:
        if record.registry_offset < self.registries.next_offset:  # handed on twice
            return self.core.advance(at_ns), []
        said = self.core.advance(at_ns)  # here, for a refusal must not take with it what the clocks had to say
        try:
            changed = self.registries.changed(record.message_key, record.value, record.registry_offset)
            said.add(self.core.set_registry(changed.merged(), at_ns))
        except ValueError as error:
            changed = Registries(self.registries.wards, record.registry_offset + 1)
            said.add(self._refused(record, at_ns, Reason.MALFORMED, str(error)))
            detail = f"refused: {error}"[:WHY_MAX]
        else:
            detail = f"{len(changed.wards.get(record.message_key, RegistryData()).bindings)} bindings"
        self.registries = changed
        entry = AuditEntry(
            f"registry-{self.number}-{record.registry_offset}", at_ns, "", REGISTRY_ACTION, record.message_key[: TEXT_BYTES_MAX + 1], detail
        )
        return said, [audit_item(entry)]

    def _refused(self, record: Input, at_ns: int, reason: Reason, why: str) -> Said:
        said = self.core.advance(at_ns)
        said.outputs.rejects.append(Reject(reason, why[:WHY_MAX], "", record.kind.value, 0, record.value[:MESSAGE_BYTES_MAX]))
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


def command_in(value: bytes) -> Command:
    """The command in a record of the commands topic. ValueError when it is none, or one that is too long for the alerts it would be part of."""
    if len(value) > COMMAND_BYTES_MAX:
        raise ValueError(f"it has more than {COMMAND_BYTES_MAX} bytes")
    try:
        command = msgspec.json.decode(value, type=Command)
    except RecursionError as error:
        raise ValueError(NESTED) from error
    if max(len(command.id), len(command.by), len(command.alert_id)) > AUTHOR_MAX:
        raise ValueError(f"id, by and alert_id have at most {AUTHOR_MAX} characters")
    return command


def usable(registries: Registries, parameters: BaseModel | None, policy: Policy | None) -> str | None:
    """Why the merged registry cannot be in force; None when it can."""
    try:
        Core(parameters, policy=policy).set_registry(registries.merged(), 0)
    except ValueError as error:
        return str(error)
    return None
