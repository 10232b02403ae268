"""Messages through the very partition that wakes somebody, second by second, until what is looked for has come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from alerts.model import Alert, State, Transition
from benchmarks.faults.stream import Message, Rebinding, wire
from engine.events import Event
from engine.frame import NS_PER_S
from engine.registry import RegistryData
from streams.pipeline.assembly import EVENT_BY_CODE
from streams.pipeline.core import CoreOutput
from streams.pipeline.partition import Partition
from streams.pipeline.records import Input, Kind, telemetry
from streams.pipeline.registries import Registries
from streams.pipeline.registry_change import RegistryChange

LOOK_EVERY_NS: Final = 10 * NS_PER_S
"""How often a silence is looked into."""


class Ring(NamedTuple):
    """Somebody was called: when, for what, about whom."""

    at_ns: int
    code: str
    subject: str
    alert_id: str


class Technical(NamedTuple):
    """Somebody was told that a person, a room or a device is not watched. `until_ns`: None while it lasts."""

    at_ns: int
    code: str
    subject: str
    reason: str
    until_ns: int | None


class Played:
    """What has been said so far."""

    def __init__(self) -> None:
        self.rings: list[Ring] = []
        self.technical: dict[str, Technical] = {}
        self.refused: dict[str, int] = {}
        self.late = 0

    def take(self, output: CoreOutput) -> None:
        """Note what `output` says."""
        events = {event.id: event for event in output.outputs.events}
        for transition, alert in output.transitions:
            self._step(transition, alert, events.get(transition.event_id))
        for reject in output.outputs.rejects:
            self.refused[reject.reason.value] = self.refused.get(reject.reason.value, 0) + 1
        self.late += len(output.outputs.late)

    def _step(self, transition: Transition, alert: Alert, event: Event | None) -> None:
        if not EVENT_BY_CODE[alert.code].scoring.technical:
            if transition.notify and transition.to_state is State.FIRING:
                self.rings.append(Ring(transition.at_ns, alert.code, alert.subject, alert.id))
            return
        if transition.to_state is State.RESOLVED and alert.id in self.technical:
            self.technical[alert.id] = self.technical[alert.id]._replace(until_ns=transition.at_ns)
        elif transition.notify and transition.to_state is State.FIRING:
            self.technical[alert.id] = Technical(transition.at_ns, alert.code, alert.subject, reason_of(alert, event), None)


def reason_of(alert: Alert, event: Event | None) -> str:
    """Why somebody is not watched, as the alert says it."""
    del event
    return alert.code.partition(".")[2]


def play(
    messages: Iterable[Message],
    registry: RegistryData,
    start_ns: int,
    end_ns: int,
    enough: Callable[[Played, int], bool],
    noted: Played | None = None,
) -> Played:
    """Play `messages` (by arrival, from `start_ns` on) and then time until `end_ns`; sooner when `enough`, which is asked after each
    message and each LOOK_EVERY_NS of silence. What is said is noted in `noted`, which is returned."""
    partition = Partition(0, live=False, registries=Registries({"home/ward": registry}))
    played = noted if noted is not None else Played()
    at_ns = start_ns
    played.take(partition.advance(at_ns).output)
    for offset, message in enumerate(messages):
        if message.arrival_ns > end_ns:
            break
        while message.arrival_ns - at_ns > LOOK_EVERY_NS:
            at_ns += LOOK_EVERY_NS
            played.take(partition.advance(at_ns).output)
            if enough(played, at_ns):
                return played
        at_ns = max(at_ns, message.arrival_ns)
        played.take(partition.apply(_record(offset, message)).output)
        if enough(played, at_ns):
            return played
    while at_ns < end_ns:
        at_ns = min(at_ns + LOOK_EVERY_NS, end_ns)
        played.take(partition.advance(at_ns).output)
        if enough(played, at_ns):
            return played
    return played


def _record(offset: int, message: Message) -> Input:
    if not isinstance(message, Rebinding):
        return telemetry(offset, message.arrival_ns, wire(message))
    change = RegistryChange(f"change-{offset}", "replace", "faults", message.registry)
    return Input(offset, Kind.REGISTRY_CHANGE, "", message.arrival_ns, message.arrival_ns, msgspec.json.encode(change), "", 0)
