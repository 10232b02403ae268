"""The events that the engine itself raises: about devices, not about people."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Scoring, Subject, Text
from engine.watch import EXPLANATIONS, Blind


def code_of(reason: Blind) -> str:
    """The code of the event that a device is blind for `reason`."""
    return f"device.{reason}"


def _technical(code: str, subject: Subject, description: str, zh: Text, en: Text) -> EventType:
    """About equipment, and over when it works again."""
    return EventType(
        code,
        description=description,
        priority=Priority.LOW,
        life_safety=False,
        ends=Ends.CLEAR,
        regroup_s=3600.0,
        hold_s=0.0,
        data_kinds=frozenset(),
        subject=subject,
        zh=zh,
        en=en,
        scoring=Scoring(technical=True),
    )


OF_DEVICES: Final = tuple(_technical(code_of(reason), Subject.ANY, *why) for reason, why in EXPLANATIONS.items())

DEVICE_CODES: Final = frozenset(event.code for event in OF_DEVICES)
"""Technical alarms that make other alerts of their subject stale."""

OUTAGE: Final = _technical(
    "device.outage",
    Subject.WARD,
    "Many devices of a ward stopped at once: their gateway or network.",
    Text(
        "多台设备同时中断",
        "网关或网络中断，这些设备暂时不能报警。增加巡视，亲自查看老人；检查网关电源和网络，呼叫技术人员。恢复后自动结束。",
    ),
    Text(
        "Many devices stopped at once",
        "Their gateway or network is down; they cannot raise an alarm now. Do rounds, see the residents; check power and network of the gateway, call the technician. Ends by itself.",
    ),
)
OUTAGE_CLOCK: Final = _technical(
    "device.outage_clock",
    Subject.WARD,
    "The data of many devices of a ward is refused for its times since one moment: the clock of their gateway.",
    Text(
        "多台设备时间错误",
        "网关时钟错误，这些设备暂时不能报警。增加巡视，亲自查看老人；请技术人员校准网关时钟（NTP，UTC）。恢复后自动结束。",
    ),
    Text(
        "Times of many devices are wrong",
        "The clock of their gateway is wrong; they cannot raise an alarm now. Do rounds, see the residents; have the clock of the gateway set (NTP, UTC). Ends by itself.",
    ),
)
"""One for a gateway, not one for each resident behind it."""

UNTRIED: Final = _technical(
    "device.untried",
    Subject.WARD,
    "Buttons, door contacts or cameras of a ward, bound for more than a day, were never heard: nobody knows whether they work.",
    Text(
        "有按钮或传感器从未试用",
        "绑定超过一天仍没有任何消息，不知道能否报警。请将每个呼叫按钮试按一次，每扇门开关一次；没有反应的检查编号、电池和网络。全部收到后自动结束。",
    ),
    Text(
        "Buttons or sensors never tried",
        "Bound for more than a day, and nothing has come: nobody knows whether they work. Press each call button once, open each door; where nothing arrives, check id, battery and network. Ends when all were heard.",
    ),
)
"""One for a ward: most buttons are never needed, and fifty reminders are read by nobody."""

CALL_UNATTRIBUTED: Final = EventType(
    "device.call_unattributed",
    description="A known device called for help, but was bound to nobody when the button was pressed.",
    priority=Priority.HIGH,
    life_safety=True,
    ends=Ends.STAFF,
    regroup_s=300.0,
    hold_s=0.0,
    data_kinds=frozenset(),
    subject=Subject.WARD,
    zh=Text("呼叫求助，不知道是谁", "此设备呼叫时没有绑定任何人。立即查看可能带着它的老人和它最后所在的地方，然后在系统页绑定设备。"),
    en=Text(
        "Call for help, not known whose",
        "This device was bound to nobody when it called. See now who may carry it and where it was last, then bind it on the page System.",
    ),
)
"""The call of last resort: somebody pressed, and only the ward is known."""

DEVICE_UNBOUND: Final = "device.unbound"
"""Code of a fact for the alert book, which opens no alert: a device is no longer about this subject. Alerts that rest on its data become
stale."""

EVENTS: Final = (*OF_DEVICES, OUTAGE, OUTAGE_CLOCK, UNTRIED, CALL_UNATTRIBUTED)
