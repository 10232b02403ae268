"""What this detector reports, in the order of the kernel's C_ constants. 119 is China's number of the fire brigade, 120 of the ambulance."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Scoring, Subject, Text

_AIR: Final = frozenset({"room_air"})
_POWER: Final = frozenset({"electrical"})
_ONE_FIRE: Final = Scoring(happening="fire")
_ZH: Final = "立即查看。有烟或火：按下手动报警按钮，疏散老人，关门，拨打119。"
_EN: Final = "Look now. Smoke or fire: raise the alarm, move residents out, close doors, call 119."


def _alarm(code: str, description: str, zh: Text, en: Text) -> EventType:
    """A fire alarm condition: EN 54-2 and GB 4717 keep it until it is reset by hand, so it is latched."""
    return EventType(
        code,
        description=description,
        priority=Priority.HIGH,
        life_safety=True,
        ends=Ends.LATCHED,
        regroup_s=1800.0,
        hold_s=120.0,
        data_kinds=_AIR,
        subject=Subject.ROOM,
        zh=zh,
        en=en,
        scoring=_ONE_FIRE,
    )


def _wiring(code: str, description: str, zh: Text, en: Text) -> EventType:
    """A fault of the wiring: somebody has to look soon, and a motor that starts is no fault."""
    return EventType(
        code,
        description=description,
        priority=Priority.MEDIUM,
        life_safety=False,
        ends=Ends.CLEAR,
        pending_s=10.0,
        regroup_s=3600.0,
        hold_s=300.0,
        data_kinds=_POWER,
        subject=Subject.ROOM,
        zh=zh,
        en=en,
    )


EVENTS: Final = (
    _alarm("fire.smoke", "Smoke over the clean-air baseline", Text("烟雾报警", _ZH), Text("Smoke", _EN)),
    _alarm("fire.heat", "Temperature over the fixed limit (lower when it rises fast)", Text("高温报警", _ZH), Text("Heat", _EN)),
    _alarm(
        "fire.rate_of_rise",
        "Temperature rises like a fire, confirmed by heat, smoke or CO",
        Text("温度急升", _ZH),
        Text("Temperature rising fast", _EN),
    ),
    _alarm(
        "fire.co",
        "Carbon monoxide dose of a person in this room",
        Text("一氧化碳超标", "立即将老人移到室外新鲜空气处，开窗，关闭燃气和炉具，拨打119；有头痛、呕吐、意识不清者拨打120。"),
        Text(
            "Carbon monoxide",
            "Move residents into fresh air now, open windows, turn off gas and stoves, call 119; for headache, vomiting or confusion call 120.",
        ),
    ),
    EventType(
        "fire.prewarning",
        description="On the way to a fire or CO alarm: look at the room",
        priority=Priority.MEDIUM,
        life_safety=False,
        ends=Ends.CLEAR,
        regroup_s=1800.0,
        hold_s=120.0,
        data_kinds=_AIR,
        subject=Subject.ROOM,
        zh=Text("火灾预警", "到房间查看是否有烟味、过热的插座或电器；发现火情立即报警。"),
        en=Text(
            "Early fire warning", "Look in the room for a smell of smoke, hot sockets or appliances; raise the alarm at any sign of fire."
        ),
        scoring=_ONE_FIRE,
    ),
    _wiring(
        "fire.residual_current",
        "Residual current in the room's circuit",
        Text("漏电过大", "停用潮湿或损坏的电器，通知电工检查线路。不要触碰裸露电线。"),
        Text("Residual current too high", "Stop using wet or damaged appliances, call the electrician. Do not touch bare wires."),
    ),
    _wiring(
        "fire.cable_heat",
        "A cable is hotter than its insulation bears",
        Text("电线过热", "关闭大功率电器，查看有无焦味，通知电工检查线路。"),
        Text("Cable too hot", "Switch off heavy appliances, look and smell for scorching, call the electrician."),
    ),
)
