"""What the console needs from the process it runs in, and the shapes it shows.

Times are Unix milliseconds: a browser's numbers cannot hold nanoseconds. Every struct goes to JSON as it stands.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec

from alerts.model import Alert, Command, Outcome, Reason, State
from console.live import Broadcaster
from streams.storage.identity import Person

NS_PER_MS: Final = 1_000_000

Space = Literal["resident", "bed", "room"]
Health = Literal["ok", "waiting", "down"]

OPEN_STATES: Final = frozenset({State.FIRING, State.ACKNOWLEDGED, State.STALE})
"""States in which an alert is on the board. A pending alert is not yet anybody's business."""
TAKEN: Final = frozenset({Reason.ACKNOWLEDGED_BY_STAFF, Reason.ATTENDED_BY_STAFF})
"""Reasons that say a person took the alert on."""


class HistoryEntry(msgspec.Struct, frozen=True):
    """One step in an alert's life: into which state, when, why, by whom ("" = Vigil itself)."""

    at_ms: int
    state: State
    reason: Reason
    by: str
    outcome: Outcome | None
    note: str


class AlertView(msgspec.Struct, frozen=True):
    """One alert as staff see it (`alerts.model.Alert`, without its bookkeeping).

    `onset_ms` is device time, `raised_ms` the moment from which it called somebody. `present` is False when the condition
    has ended by itself while the alert still waits for an answer or its hold time. `devices` ("<device>:<kind>") are those that are silent.
    """

    id: str
    code: str
    subject: str
    priority: int
    life_safety: bool
    state: State
    acknowledged: bool
    present: bool
    onset_ms: int
    raised_ms: int
    changed_ms: int
    repeats: int
    values: dict[str, float]
    acknowledged_by: str
    acknowledged_ms: int | None
    attended_by: str
    outcome: Outcome | None
    devices: tuple[str, ...] = ()


def alert_view(alert: Alert) -> AlertView:
    """`alert` as the pages show it."""
    raised = next((t.at_ns for t in alert.history if t.to_state is not State.PENDING), alert.arrival_ns)
    taken = next((t.at_ns for t in alert.history if t.reason in TAKEN), None)
    return AlertView(
        id=alert.id,
        code=alert.code,
        subject=alert.subject,
        priority=alert.priority,
        life_safety=alert.life_safety,
        state=alert.state,
        acknowledged=alert.acknowledged,
        present=alert.present,
        onset_ms=alert.onset_ns // NS_PER_MS,
        raised_ms=raised // NS_PER_MS,
        changed_ms=alert.last_at_ns // NS_PER_MS,
        repeats=alert.repeats,
        values=alert.values,
        acknowledged_by=alert.acknowledged_by,
        acknowledged_ms=None if taken is None else taken // NS_PER_MS,
        attended_by=alert.attended_by,
        outcome=alert.outcome,
        devices=alert.devices,
    )


def history(alert: Alert) -> list[HistoryEntry]:
    """The steps of `alert`, oldest first."""
    return [HistoryEntry(t.at_ns // NS_PER_MS, t.to_state, t.reason, t.by, t.outcome, t.note) for t in alert.history]


class Tile(msgspec.Struct):
    """What is known of one subject: `readings` maps a quantity (unit last) to (value, time in ms).

    `turn_due_s` is the care plan's turning interval, None where nobody told. `not_watched`: hazards that no device watches now, each with the
    reason and since when (ms).
    """

    subject: str
    space: Space
    room: str = ""
    ward: str = ""
    bed: str = ""
    seen_ms: int | None = None
    turn_due_s: float | None = None
    readings: dict[str, tuple[float, int]] = {}
    not_watched: dict[str, tuple[str, int]] = {}


class Board(msgspec.Struct, frozen=True):
    """Everything a page shows at one moment. `seq` grows with every change; a patch with a smaller one is old.

    `engine_ms`: wall clock of the engine's last step. `engine_age_ms`: how long ago it was on the monotonic clock, which no setting of the
    time changes; whether the engine moves is judged by this alone.
    """

    seq: int
    now_ms: int
    engine_ms: int
    home: str
    tiles: list[Tile]
    alerts: list[AlertView]
    people: dict[str, Person]
    engine_age_ms: int = 0


class Patch(msgspec.Struct, frozen=True):
    """What changed since the last one: whole tiles and whole alerts (a resolved alert comes once, then is gone)."""

    seq: int
    now_ms: int
    engine_ms: int
    tiles: list[Tile]
    alerts: list[AlertView]


class CommandResult(msgspec.Struct, frozen=True):
    """`reason` says why not: alerts.model.RefusalReason, or a sentence; `alert` is the alert afterwards."""

    ok: bool
    reason: str = ""
    alert: AlertView | None = None


class Totals(msgspec.Struct, frozen=True):
    """Where readings went; `received` must be the sum of the others, or readings were lost inside Vigil."""

    received: int = 0
    processed: int = 0
    duplicate: int = 0
    late: int = 0
    quarantined: int = 0

    @property
    def closes(self) -> bool:
        """Whether every reading is accounted for."""
        return self.received == self.processed + self.duplicate + self.late + self.quarantined


class DeviceAccount(msgspec.Struct, frozen=True):
    """The account of one (device, kind), when it was last heard, and how many of its readings said "no value"."""

    device: str
    kind: str
    subject: str
    totals: Totals
    seen_ms: int | None = None
    no_value: int = 0


class QuarantineCount(msgspec.Struct, frozen=True):
    """How often input was refused for `reason` (engine.outputs.Reason), with the latest case to act on."""

    reason: str
    count: int
    last_ms: int | None = None
    device: str = ""
    detail: str = ""


class UnboundDevice(msgspec.Struct, frozen=True):
    """A device that sends and is bound to nobody."""

    device: str
    kinds: list[str]
    readings: int
    first_ms: int
    last_ms: int


class Delivery(msgspec.Struct, frozen=True):
    """A sink or a source: how it is, how many items wait, how many were given up.

    `undelivered`: alerts and audit entries that were given up and that nobody has acknowledged or had delivered again. `overdue`: people
    should have been called by this sink and have not been, for longer than a receiver may be away without somebody's knowing.
    """

    name: str
    role: Literal["sink", "source"]
    health: Health
    waiting: int = 0
    given_up: int = 0
    last_ok_ms: int | None = None
    detail: str = ""
    undelivered: int = 0
    overdue: bool = False


class SystemView(msgspec.Struct, frozen=True):
    """For whoever keeps the system running."""

    now_ms: int
    started_ms: int
    engine_ms: int
    version: str
    totals: Totals
    devices: list[DeviceAccount]
    quarantine: list[QuarantineCount]
    unbound: list[UnboundDevice]
    deliveries: list[Delivery]


class BindCommand(msgspec.Struct, frozen=True):
    """Somebody says whom a device watches: `subject` is "resident/<id>", "bed/<id>" or "room/<id>"."""

    device: str
    subject: str
    by: str
    at_ns: int
    site: str = ""


class ConsoleBackend(Protocol):
    """Implemented by the runner. The synchronous methods must return at once (milliseconds): they run on the event loop.

    `command` and `bind` may wait: they answer when the command is on disk, so that a browser never shows an
    acknowledgement that a crash would forget.
    """

    @property
    def live(self) -> Broadcaster:
        """Where patches are published; `console.board.LiveBoard` does it."""

    def board(self) -> Board:
        """The board now, with the people's names where there is an identity file."""

    def alert(self, alert_id: str) -> Alert | None:
        """An alert in any state, open or recently resolved."""

    def system(self) -> SystemView:
        """Accounts, quarantine, unbound devices, sinks."""

    async def command(self, command: Command) -> CommandResult:
        """Carry out an answer to an alert."""

    async def bind(self, command: BindCommand) -> CommandResult:
        """Bind a device; the reason is a sentence from the registry when it cannot be."""
