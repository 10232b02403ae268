"""Whether every simulated fall was reported in time, and the alarm when one was not. Pure: no clock, no Kafka, no files."""

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
BY: Final = "canary"
"""Who closes the simulated falls."""
ONSET_WITHIN_NS: Final = 5 * NS_PER_S
"""The detector's onset is the impact, a second after balance is lost."""
STATE_VERSION: Final = 1
_TELLS: Final = frozenset({Reason.ONSET, Reason.REPEATED})


class Seen(NamedTuple):
    """A simulated fall came back as an alert after `latency_s`, on time or late."""

    partition: int
    latency_s: float
    in_time: bool


class Change(NamedTuple):
    """A step of the canary's own alarm, and the alarm after it."""

    transition: Transition
    alert: Alert


class _Saved(msgspec.Struct, array_like=True):
    version: int
    book: bytes
    missing: dict[int, int]


class Watch:
    """Expects falls, hears alerts, holds the alarm. One alarm for the whole of Vigil; `Alert.devices` names the wards that are blind."""

    def __init__(self, wearers: Iterable[Wearer], bound_s: float, policy: Policy | None = None) -> None:
        self.book = AlertBook(policy if policy is not None else HomePolicy())
        self.missing: dict[int, int] = {}
        """Partition -> onset_ns of the first fall of it that was not reported."""
        self._wearers = {wearer.subject: wearer for wearer in wearers}
        self._wards = {wearer.partition: wearer.ward for wearer in self._wearers.values()}
        self._bound_s = bound_s
        self._expected: dict[int, deque[int]] = {partition: deque() for partition in self._wards}
        self._late: dict[int, deque[int]] = {partition: deque(maxlen=2) for partition in self._wards}

    def fell(self, partition: int, at_ns: int) -> None:
        """The wearer of a partition lost balance at `at_ns`, and all of it is on its way."""
        self._expected[partition].append(at_ns)

    def forget(self) -> None:
        """Falls under way were not sent to their end: nobody can be asked for them."""
        for waiting in (*self._expected.values(), *self._late.values()):
            waiting.clear()

    def heard(self, transition: Transition, alert: Alert, now_ns: int) -> tuple[list[Change], Seen | None]:
        """An alert of the alerts topic: whether it is one of the falls, and what that changes. Others are none of our business."""
        wearer = self._wearers.get(alert.subject)
        if wearer is None or alert.code != CODE or transition.reason not in _TELLS:
            return [], None
        for waiting, in_time in ((self._expected[wearer.partition], True), (self._late[wearer.partition], False)):
            for at_ns in waiting:
                if abs(alert.last_onset_ns - at_ns) <= ONSET_WITHIN_NS:
                    waiting.remove(at_ns)
                    seen = Seen(wearer.partition, (now_ns - at_ns) / NS_PER_S, in_time)
                    return (self._well(wearer.partition, now_ns) if in_time else []), seen
        return [], None

    def closing(self, transition: Transition, alert: Alert) -> tuple[str, Command] | None:
        """(ward, command) that closes an alert of a simulated wearer: their alerts must not fill the book of a partition."""
        wearer = self._wearers.get(alert.subject)
        if wearer is None or alert.code != CODE or transition.reason not in _TELLS:
            return None
        return wearer.ward, Command(f"{BY}-{transition.id}", Action.RESOLVE, alert.id, BY, 0, Outcome.TEST)

    def tick(self, now_ns: int) -> tuple[list[Change], list[int]]:
        """Let time pass: what the alarm does, and the partitions whose fall has just been found missing."""
        changes, missed = [], []
        for partition, waiting in self._expected.items():
            while waiting and now_ns - waiting[0] > self._bound_s * NS_PER_S:
                at_ns = waiting.popleft()
                self._late[partition].append(at_ns)
                missed.append(partition)
                if partition not in self.missing:
                    self.missing[partition] = at_ns
                    changes += self._apply(partition, at_ns, "onset", now_ns)
        return changes + self._changes(self.book.tick(now_ns)), missed

    def command(self, command: Command) -> list[Change] | Refusal | None:
        """What a person says to the alarm; None when the command is about another alert."""
        if self.book.alert(command.alert_id) is None:
            return None
        done = self.book.command(command)
        return done if isinstance(done, Refusal) else self._changes(done)

    def snapshot(self) -> bytes:
        """The alarm and what is missing. Falls under way are not in it: a restart interrupts them."""
        return msgspec.msgpack.encode(_Saved(STATE_VERSION, self.book.snapshot(), self.missing))

    def restore(self, data: bytes) -> None:
        """Go on from `snapshot`; ValueError when it does not fit this version."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        if saved.version != STATE_VERSION:
            raise ValueError(f"state v{saved.version} does not fit this version v{STATE_VERSION}: delete the file, the alarm starts anew")
        self.book.restore(saved.book)
        self.missing = {partition: at_ns for partition, at_ns in saved.missing.items() if partition in self._wards}

    def open(self) -> list[Alert]:
        """The alarm, if it is on."""
        return self.book.open()

    def told(self) -> list[Change]:
        """Every step so far of the alarm that is on: to be delivered again after a restart, under the same ids."""
        return [Change(step, alert) for alert in self.open() for step in alert.history]

    @property
    def blind(self) -> Mapping[str, int]:
        """Ward -> onset_ns for what is missing now."""
        return {self._wards[partition]: at_ns for partition, at_ns in self.missing.items()}

    def _well(self, partition: int, now_ns: int) -> list[Change]:
        at_ns = self.missing.pop(partition, None)
        return [] if at_ns is None else self._apply(partition, at_ns, "clear", now_ns)

    def _apply(self, partition: int, at_ns: int, phase: Phase, now_ns: int) -> list[Change]:
        ward = self._wards[partition]
        key = event_id(BY, CANARY_MISSING, CANARY, at_ns, phase, ward)
        values = {"partition": float(partition), "bound_s": self._bound_s}
        event = Event(
            key, BY, CANARY_MISSING, CANARY, phase, int(EVENT_BY_CODE[CANARY_MISSING].priority), at_ns, now_ns, now_ns, 1.0, values, ward
        )
        return self._changes(self.book.apply(event))

    def _changes(self, transitions: Iterable[Transition]) -> list[Change]:
        changes = []
        for transition in transitions:
            alert = self.book.alert(transition.alert_id)
            if alert is not None:
                changes.append(Change(transition, alert))
        return changes
