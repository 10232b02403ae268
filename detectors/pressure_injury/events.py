"""What this detector reports."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Subject, Text

TURN_OVERDUE: Final = "pressure_injury.turn_overdue"
MOISTURE: Final = "pressure_injury.moisture"

_BED: Final = frozenset({"pressure_map", "bed.in_bed"})

EVENTS: Final = (
    EventType(
        TURN_OVERDUE,
        description="on the same side longer than the care plan allows",
        priority=Priority.MEDIUM,
        life_safety=False,
        ends=Ends.CLEAR,
        regroup_s=3600.0,
        hold_s=60.0,
        data_kinds=_BED,
        subject=Subject.RESIDENT,
        zh=Text("该翻身了", "为老人翻身，查看骶尾、足跟和髋部皮肤，记录体位。"),
        en=Text("Turn overdue", "Turn the resident, look at the skin of sacrum, heels and hips, record the position."),
    ),
    EventType(
        MOISTURE,
        description="bedding has been wet for minutes",
        # IEC 60601-1-8 table 1: the harm is the one of a turn overdue, a pressure injury (irreversible at full thickness, delayed), not
        # sore skin alone: incontinence doubles the odds of one (1.92, double incontinence 4.99; Beeckman et al., Res Nurs Health
        # 2014;37:204, doi:10.1002/nur.21593).
        priority=Priority.MEDIUM,
        life_safety=False,
        ends=Ends.CLEAR,
        regroup_s=3600.0,
        hold_s=60.0,
        data_kinds=frozenset({"bed.moisture"}),
        subject=Subject.RESIDENT,
        zh=Text("床面潮湿", "更换床品和衣物，清洁并擦干皮肤，查看皮肤是否发红。"),
        en=Text("Bed is wet", "Change bedding and clothes, clean and dry the skin, look for redness."),
    ),
)
