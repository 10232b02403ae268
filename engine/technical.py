"""The events that the engine itself raises: about devices, not about people."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Scoring, Subject
from engine.watch import EXPLANATIONS, Blind


def code_of(reason: Blind) -> str:
    """The code of the event that a device is blind for `reason`."""
    return f"device.{reason}"


EVENTS: Final = tuple(
    EventType(
        code_of(reason),
        description=why.description,
        priority=Priority.LOW,
        life_safety=False,
        ends=Ends.CLEAR,
        regroup_s=3600.0,
        hold_s=0.0,
        data_kinds=frozenset(),
        subject=Subject.ANY,
        zh=why.zh,
        en=why.en,
        scoring=Scoring(technical=True),
    )
    for reason, why in EXPLANATIONS.items()
)

DEVICE_CODES: Final = frozenset(event.code for event in EVENTS)
"""Technical alarms that make other alerts of their subject stale."""
