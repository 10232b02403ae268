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

EVENTS: Final = (DEVICE_SILENT,)
