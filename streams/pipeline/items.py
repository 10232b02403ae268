"""From the output of a core to items for sinks: the same for every shell."""

from __future__ import annotations

from alerts.model import Command, Refusal
from engine.frame import NS_PER_S
from engine.outputs import Late, Reason, Reject
from sinks.items import AuditEntry, Item, account_item, alert_item, audit_item, event_item, measurements_item, quarantine_item
from streams.pipeline.core import CoreOutput


def items_of(output: CoreOutput, at_ns: int, position: int) -> list[Item]:
    """What came of the record at `position` (offset in the journal or partition): alerts first.

    Late chunks are kept as quarantine items: they are counted as late, and their readings were not lost.
    """
    outputs = output.outputs
    found = [alert_item(transition, alert) for transition, alert in output.transitions]
    found += [event_item(event) for event in outputs.events]
    found += [measurements_item(rows) for rows in outputs.measurements]
    kept = [*outputs.rejects, *map(_kept, outputs.late)]
    found += [quarantine_item(reject, at_ns, position, index) for index, reject in enumerate(kept)]
    found += [account_item(account) for account in outputs.accounts]
    return found


def audit_of(command: Command, refusal: Refusal | None) -> Item:
    """The audit entry of a command that was carried out or refused."""
    detail = f"refused: {refusal.reason}" if refusal is not None else " ".join(filter(None, [command.outcome or "", command.note]))
    return audit_item(AuditEntry(command.id, command.at_ns, command.by, command.action, command.alert_id, detail))


def _kept(late: Late) -> Reject:
    why = f"came {late.behind_ns / NS_PER_S:.1f} s after its time was processed"
    if late.earlier:
        why = "measured before the device was bound to its present subject; signals of a time that is over are not judged"
    return Reject(Reason.LATE, why, late.device, late.kind, late.readings, late.payload)
