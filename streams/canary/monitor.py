"""Checks that every simulated fall was reported in time, and holds the alarm when one was not. Pure: no clock, no Kafka, no files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from alerts.book import AlertBook
from alerts.events import CANARY_MISSING
from alerts.model import Action, Alert, Command, Outcome, Reason, Refusal, Transition
from alerts.policy import Policy
from engine.events import Event, Phase, event_id
from engine.frame import NS_PER_S
from streams.canary.wearers import Wearer
from streams.kafka.records import CANARY
from streams.pipeline.assembly import EVENT_BY_CODE, HomePolicy

CODE: Final = "falls.fall"
AUTHOR: Final = "canary"
"""Author of the commands that close alerts of simulated falls."""
ONSET_WITHIN_NS: Final = 5 * NS_PER_S
"""The detector's onset is the impact, a second after balance is lost."""
STATE_VERSION: Final = 1
_DETECTED: Final = frozenset({Reason.ONSET, Reason.REPEATED})


class Detection(NamedTuple):
    """A simulated fall was reported as an alert after `latency_s`, in time or late."""

    partition: int
    latency_s: float
    in_time: bool


class Change(NamedTuple):
    """A transition of the canary's own alarm, and the alarm after it."""

    transition: Transition
    alert: Alert


class _MonitorState(msgspec.Struct, array_like=True):
    version: int
    book: bytes
    missing: dict[int, int]


class FallMonitor:
    """Expected falls, their alerts, and one alarm for the whole of Vigil; `Alert.devices` names the canary wards that are not reported."""

    def __init__(self, wearers: Iterable[Wearer], bound_s: float, policy: Policy | None = None) -> None:
        self.book = AlertBook(policy if policy is not None else HomePolicy())
        self.missing: dict[int, int] = {}
        """Partition -> onset_ns of the first fall of it that was not reported."""
        self._wearers = {wearer.subject: wearer for wearer in wearers}
        self._wards = {wearer.partition: wearer.ward for wearer in self._wearers.values()}
        self._bound_s = bound_s
        self._expected: dict[int, deque[int]] = {partition: deque() for partition in self._wards}
        self._overdue: dict[int, deque[int]] = {partition: deque(maxlen=2) for partition in self._wards}

    def expect_fall(self, partition: int, at_ns: int) -> None:
        """The wearer of a partition lost balance at `at_ns`, and all data of the fall is being sent."""
        self._expected[partition].append(at_ns)

    def cancel_expected(self) -> None:
        """Expect no fall any more: the data of those under way was not sent completely."""
        for waiting in (*self._expected.values(), *self._overdue.values()):
            waiting.clear()

    def on_alert(self, transition: Transition, alert: Alert, now_ns: int) -> tuple[list[Change], Detection | None]:
        """An alert of the alerts topic: what it changes about the alarm, and the detection, if it is one of a simulated fall."""
        wearer = self._wearers.get(alert.subject)
        if wearer is None or alert.code != CODE or transition.reason not in _DETECTED:
            return [], None
        for waiting, in_time in ((self._expected[wearer.partition], True), (self._overdue[wearer.partition], False)):
            for at_ns in waiting:
                if abs(alert.last_onset_ns - at_ns) <= ONSET_WITHIN_NS:
                    waiting.remove(at_ns)
                    detection = Detection(wearer.partition, (now_ns - at_ns) / NS_PER_S, in_time)
                    return (self._recovered(wearer.partition, now_ns) if in_time else []), detection
        return [], None

    def closing_command(self, transition: Transition, alert: Alert) -> tuple[str, Command] | None:
        """(ward, command) that closes an alert of a simulated wearer, so that these do not pile up in a partition; None for other alerts."""
        wearer = self._wearers.get(alert.subject)
        if wearer is None or alert.code != CODE or transition.reason not in _DETECTED:
            return None
        return wearer.ward, Command(f"{AUTHOR}-{transition.id}", Action.RESOLVE, alert.id, AUTHOR, 0, Outcome.TEST)

    def tick(self, now_ns: int) -> tuple[list[Change], list[int]]:
        """Advance to `now_ns`: what changes about the alarm, and the partitions whose fall has just become overdue."""
        changes, missed = [], []
        for partition, waiting in self._expected.items():
            while waiting and now_ns - waiting[0] > self._bound_s * NS_PER_S:
                at_ns = waiting.popleft()
                self._overdue[partition].append(at_ns)
                missed.append(partition)
                if partition not in self.missing:
                    self.missing[partition] = at_ns
                    changes += self._apply(partition, at_ns, "onset", now_ns)
        return changes + self._changes(self.book.tick(now_ns)), missed

    def command(self, command: Command) -> list[Change] | Refusal | None:
        """Apply a command of staff to the alarm; None when the command is about another alert."""
        if self.book.alert(command.alert_id) is None:
            return None
        done = self.book.command(command)
        return done if isinstance(done, Refusal) else self._changes(done)

    def snapshot(self) -> bytes:
        """The alarm and the missing falls. Falls under way are not in it: a restart interrupts them."""
        return msgspec.msgpack.encode(_MonitorState(STATE_VERSION, self.book.snapshot(), self.missing))

    def restore(self, data: bytes) -> None:
        """Go on from `snapshot`; ValueError when it does not fit this version."""
        saved = msgspec.msgpack.decode(data, type=_MonitorState)
        if saved.version != STATE_VERSION:
            raise ValueError(f"state v{saved.version} does not fit this version v{STATE_VERSION}: delete the file, the alarm starts anew")
        self.book.restore(saved.book)
        self.missing = {partition: at_ns for partition, at_ns in saved.missing.items() if partition in self._wards}

    def open(self) -> list[Alert]:
        """The alarm, if it is open."""
        return self.book.open()

    def alarm_history(self) -> list[Change]:
        """Every transition so far of the open alarm, to be delivered again after a restart under the same ids."""
        return [Change(step, alert) for alert in self.open() for step in alert.history]

    @property
    def missing_wards(self) -> Mapping[str, int]:
        """Canary ward -> onset_ns of the first fall that was not reported."""
        return {self._wards[partition]: at_ns for partition, at_ns in self.missing.items()}

    def _recovered(self, partition: int, now_ns: int) -> list[Change]:
        at_ns = self.missing.pop(partition, None)
        return [] if at_ns is None else self._apply(partition, at_ns, "clear", now_ns)

    def _apply(self, partition: int, at_ns: int, phase: Phase, now_ns: int) -> list[Change]:
        ward = self._wards[partition]
        key = event_id(AUTHOR, CANARY_MISSING, CANARY, at_ns, phase, ward)
        values = {"partition": float(partition), "bound_s": self._bound_s}
        event = Event(
            key,
            AUTHOR,
            CANARY_MISSING,
            CANARY,
            phase,
            int(EVENT_BY_CODE[CANARY_MISSING].priority),
            at_ns,
            now_ns,
            now_ns,
            1.0,
            values,
            ward,
        )
        return self._changes(self.book.apply(event))

    def _changes(self, transitions: Iterable[Transition]) -> list[Change]:
        changes = []
        for transition in transitions:
            alert = self.book.alert(transition.alert_id)
            if alert is not None:
                changes.append(Change(transition, alert))
        return changes
