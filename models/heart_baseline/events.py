"""What this model reports."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Subject, Text

CODE: Final = "heart_baseline.deviation"

EVENTS: Final = (
    EventType(
        CODE,
        description="heart rate unusual for this person at this time of day",
        priority=Priority.LOW,
        life_safety=False,
        ends=Ends.CLEAR,
        pending_s=120.0,
        regroup_s=4 * 3600.0,
        hold_s=900.0,
        data_kinds=frozenset({"ecg", "ppg", "rr_interval", "vitals"}),
        subject=Subject.RESIDENT,
        zh=Text("心率与平时不同", "今天内查看老人有无感染、脱水、用药变化或疼痛。告知护士。"),
        en=Text(
            "Heart rate unlike this person's usual",
            "See the resident today; look for infection, dehydration, new medicine, pain. Tell the nurse.",
        ),
    ),
)
