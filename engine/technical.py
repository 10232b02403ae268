"""The events that the engine itself raises: about devices, not about people."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Scoring, Subject, Text

DEVICE_SILENT: Final = EventType(
    "device.silent",
    description="A bound device has stopped sending: its resident or room is not watched.",
    priority=Priority.LOW,
    life_safety=False,
    ends=Ends.CLEAR,
    regroup_s=3600.0,
    hold_s=0.0,
    data_kinds=frozenset(),
    subject=Subject.ANY,
    zh=Text("设备无数据", "此设备暂时不能报警。先亲自查看老人，再检查电池、佩戴和网络；两小时内修不好请用备用设备。"),
    en=Text(
        "Device is silent",
        "It cannot raise an alarm now. See the resident yourself, then check battery, fit and network; not repaired in two hours: use a stand-in.",
    ),
    scoring=Scoring(technical=True),
)
"""The technical alarm that makes other alerts of its subject stale."""

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

EVENTS: Final = (DEVICE_SILENT, CALL_UNATTRIBUTED)
