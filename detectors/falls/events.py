"""What this detector reports."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Scoring, Subject, Text

FALL: Final = "falls.fall"

EVENTS: Final = (
    EventType(
        FALL,
        description="The wearer fell and lies still.",
        priority=Priority.HIGH,
        life_safety=True,
        # A fall does not un-happen; two within five minutes are one visit to the bedside.
        ends=Ends.STAFF,
        regroup_s=300.0,
        hold_s=0.0,
        data_kinds=frozenset(),
        subject=Subject.RESIDENT,
        zh=Text("跌倒", "立即前往。先查看意识、呼吸和出血；怀疑骨折或撞到头部时不要扶起，呼叫医护人员。"),
        en=Text(
            "Fall",
            "Go now. Check consciousness, breathing, bleeding. If a fracture or head injury is possible, do not lift: call a nurse or doctor.",
        ),
        scoring=Scoring(happening="fall"),
    ),
)
