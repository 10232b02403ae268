"""One partition: its core, and how far in its log it stands. The one dispatcher of every shell; no Kafka, no clock, no files.

The journal feeds it in `vigil run`, a Kafka partition in `vigil worker`, a recording in `vigil replay` and `vigil evaluate`. Everything a
partition takes is in its log, in one order: telemetry, commands, registry changes, the passing of time. So reading the log again from
any snapshot gives the same outputs again, whoever reads it and whenever (docs/decisions/0100).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

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
from streams.pipeline.core import Core, CoreOutput
from streams.pipeline.items import audit_of, items_of
from streams.pipeline.records import Input, Kind
from streams.pipeline.registries import NESTED, Registries
from streams.pipeline.registry_change import RegistryChange, changed

STATE_VERSION: Final = 1
SLICE_NS: Final = 60 * NS_PER_S
"""Silence that is processed in one piece: some ten milliseconds of work."""
REGISTRY_ACTION: Final = "registry"
COMMAND_BYTES_MAX: Final = 2**20
"""A note of the policy's greatest length fits several times. An alert repeats what a command says, and must fit into a record."""
AUTHOR_MAX: Final = 256
"""Characters of who commands and of a command's id: an alert's history has them once for each step."""
WHY_MAX: Final = 500
"""Characters of a reason: some repeat what was received, and that may be megabytes."""
BYTES_MAX: Final = {Kind.COMMAND: COMMAND_BYTES_MAX, Kind.REGISTRY: MESSAGE_BYTES_MAX}
"""How long a command or registry record may be. Of a longer one the first bytes are forwarded, one too many: then it is refused and kept."""


class Applied(NamedTuple):
    """What came of one record: what the core said, audit entries, and why a registry was refused ("" when it was not)."""

    output: CoreOutput
    audit: list[Item]
    error: str
    at_ns: int
    offset: int

    @property
    def items(self) -> list[Item]:
        """For the sinks, alerts first."""
        return [*items_of(self.output, self.at_ns, self.offset), *self.audit]


class _Saved(msgspec.Struct, array_like=True):
    version: int
    next_offset: int
    arrival_ns: int
    registry_next: int
    wards: dict[str, RegistryData]
    core: bytes


class Partition:
    """A partition as its owner holds it. `live`: time is what the log's clock says; else what the records say (recordings)."""

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

    def apply(self, record: Input) -> Applied:
        """Apply the record at `next_offset` or later. An exception leaves the partition unusable."""
        at_ns = self._arrived(record)
        audit: list[Item] = []
        error = ""
        if record.kind is Kind.TELEMETRY:
            output = self.core.telemetry(record.value, at_ns, record.key, record.handover)
        elif record.kind is Kind.COMMAND:
            output, audit = self._command(record, at_ns)
        elif record.kind is Kind.REGISTRY:
            output, audit, error = self._registry(record, at_ns)
        elif record.kind is Kind.REGISTRY_CHANGE:
            output, audit, error = self._registry_change(record, at_ns)
        else:
            output = self.core.advance(at_ns)
        self.next_offset = record.offset + 1
        return Applied(output, audit, error, at_ns, record.offset)

    def advance(self, now_ns: int) -> Applied:
        """Let time pass while no record comes. `apply` of the next record, or reading the log again, gives the same."""
        self.arrival_ns = max(self.arrival_ns, now_ns)
        return Applied(self.core.advance(self.arrival_ns), [], "", self.arrival_ns, self.next_offset)

    def advance_before(self, record: Input) -> Iterator[Applied]:
        """Let the long silence before `record` pass, piece by piece.

        The output is what `apply` alone would give; but a tick a second through days of silence takes minutes, and between the pieces
        other partitions have their turn. A `snapshot` between two pieces is as good as one before the first.
        """
        from_ns, to_ns = self.arrival_ns, self._arrival_ns(record)
        if from_ns == 0 or to_ns - from_ns > JUMP_NS - NS_PER_S:  # beyond that the engine leaps
            return
        for at_ns in range(from_ns + SLICE_NS, to_ns, SLICE_NS):
            self.arrival_ns = at_ns
            yield Applied(self.core.advance(at_ns), [], "", at_ns, record.offset)

    def skip_poison(self, record: Input, why: str) -> Applied:
        """Quarantine the record unread: the process crashed on it before."""
        output = self._refused(record, self._arrived(record), Reason.INTERNAL, why)
        self.next_offset = record.offset + 1
        return Applied(output, [], why, self.arrival_ns, record.offset)

    def _arrived(self, record: Input) -> int:
        self.arrival_ns = self._arrival_ns(record)
        return self.arrival_ns

    def _arrival_ns(self, record: Input) -> int:
        """Never before an earlier record. Live, no clock but the log's may run ahead: an ingest's is believed only backwards."""
        if self._live:
            stamp_ns = record.stamp_ns if record.arrival_ns is None else min(record.arrival_ns, record.stamp_ns)
        else:
            stamp_ns = record.arrival_ns or 0
        return max(self.arrival_ns, stamp_ns)

    def _command(self, record: Input, at_ns: int) -> tuple[CoreOutput, list[Item]]:
        try:
            command = msgspec.structs.replace(command_in(record.value), at_ns=at_ns)
        except ValueError as error:  # also of text that is not UTF-8
            return self._refused(record, at_ns, Reason.MALFORMED, f"this is no command: {error}"), []
        output = self.core.command(command)
        alert = self.core.book.alert(command.alert_id)
        if alert is not None and is_canary(alert.subject):
            return output, []  # the canary closes its own fall: nobody did anything to anybody
        return output, [audit_of(command, output.refusals[0] if output.refusals else None)]

    def _registry(self, record: Input, at_ns: int) -> tuple[CoreOutput, list[Item], str]:
        """A ward's whole registry. One that is refused goes to quarantine, for nobody waits for an answer."""
        output = self.core.advance(at_ns)  # here, for a refusal must not take with it what the clocks had to say
        if record.registry_offset < self.registries.next_offset:  # forwarded twice
            return output, [], ""
        refused = ""
        try:
            after = self.registries.changed(record.message_key, record.value, record.registry_offset)
            output.add(self.core.set_registry(after.merged(), at_ns))
        except ValueError as error:
            refused = str(error)
            after = Registries(self.registries.wards, record.registry_offset + 1)
            output.add(self._refused(record, at_ns, Reason.MALFORMED, refused))
            detail = f"refused: {refused}"[:WHY_MAX]
        else:
            detail = f"{len(after.wards.get(record.message_key, RegistryData()).bindings)} bindings"
        self.registries = after
        entry = AuditEntry(
            f"registry-{self.number}-{record.registry_offset}", at_ns, "", REGISTRY_ACTION, record.message_key[: TEXT_BYTES_MAX + 1], detail
        )
        return output, [audit_item(entry)], refused

    def _registry_change(self, record: Input, at_ns: int) -> tuple[CoreOutput, list[Item], str]:
        """A change that somebody waits for: its refusal is the answer, and stands in the audit log."""
        output = self.core.advance(at_ns)  # here, for a refusal must not take with it what the clocks had to say
        try:
            change = msgspec.json.decode(record.value, type=RegistryChange)
        except (ValueError, RecursionError) as error:
            output.add(self._refused(record, at_ns, Reason.MALFORMED, f"this is no change of the registry: {error}"))
            return output, [], str(error)
        refused = ""
        try:
            output.add(self.core.set_registry(changed(self.core.engine.registry.data, change, at_ns), at_ns))
        except ValueError as error:
            refused = str(error)
        detail = f"refused: {refused}"[:WHY_MAX] if refused else ""
        return output, [audit_item(AuditEntry(change.id, at_ns, change.by, REGISTRY_ACTION, change.summary(), detail))], refused

    def _refused(self, record: Input, at_ns: int, reason: Reason, why: str) -> CoreOutput:
        output = self.core.advance(at_ns)
        output.outputs.rejects.append(Reject(reason, why[:WHY_MAX], "", record.kind.value, 0, record.value[:MESSAGE_BYTES_MAX]))
        return output

    # -- state ------------------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything, as bytes."""
        saved = _Saved(
            STATE_VERSION, self.next_offset, self.arrival_ns, self.registries.next_offset, self.registries.wards, self.core.snapshot()
        )
        return msgspec.msgpack.encode(saved)

    def restore(self, state: bytes, next_offset: int = 0) -> None:
        """Go on from `snapshot`; ValueError when it does not fit this version.

        A state without a position of its own, as `vigil run` stored it before it had partitions, goes on at `next_offset`.
        """
        try:
            saved = msgspec.msgpack.decode(state, type=_Saved)
        except msgspec.ValidationError:
            self.core.restore(state)
            self.next_offset = next_offset
            return
        if saved.version != STATE_VERSION:
            raise ValueError(f"partition snapshot v{saved.version} does not fit this version v{STATE_VERSION}: start cold and replay")
        self.core.restore(saved.core)
        self.next_offset, self.arrival_ns = saved.next_offset, saved.arrival_ns
        self.registries = Registries(saved.wards, saved.registry_next)


def command_in(value: bytes) -> Command:
    """The command in a record. ValueError when it is none, or one that is too long for the alerts it would be part of."""
    if len(value) > COMMAND_BYTES_MAX:
        raise ValueError(f"it has more than {COMMAND_BYTES_MAX} bytes")
    try:
        command = msgspec.json.decode(value, type=Command)
    except RecursionError as error:
        raise ValueError(NESTED) from error
    if max(len(command.id), len(command.by), len(command.alert_id)) > AUTHOR_MAX:
        raise ValueError(f"id, by and alert_id have at most {AUTHOR_MAX} characters")
    return command
