"""What this detector reports."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Subject, Text

PRESSED: Final = "sos.pressed"

EVENTS: Final = (
    EventType(
        PRESSED,
        description="Somebody pressed a call button",
        priority=Priority.HIGH,
        life_safety=True,
        # A call is over when somebody came, whatever the button reports.
        ends=Ends.STAFF,
        regroup_s=300.0,
        hold_s=0.0,
        data_kinds=frozenset(),
        subject=Subject.ANY,  # a resident's pendant, a room's pull cord
        zh=Text("呼叫求助", "立即前往呼叫地点，询问并查看情况。"),
        en=Text("Call for help", "Go to the place of the call now, ask and look."),
    ),
)
