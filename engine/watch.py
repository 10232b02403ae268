"""What is watched, and why it is not: hazards and the reasons of blindness, with the words a carer reads. Each is declared here once.

For every bound resident and room, each hazard is at every moment either *watching* (a device gives what a detector can judge) or *blind*,
with one of the reasons below. `engine.ledger` keeps the books; `engine.technical` makes the events.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from engine.events import Text
from engine.frame import NS_PER_S


class Hazard(StrEnum):
    """What may harm a resident and is watched for. Stable: measurements and statistics count by it."""

    HEART = "heart"
    BREATHING = "breathing"
    FALL = "fall"
    PRESSURE = "pressure"
    BED = "bed"
    FIRE = "fire"
    CALL = "call"
    DEVICE = "device"  # a bound device of which nobody knows yet what it measures


class Name(NamedTuple):
    """A word in both languages."""

    zh: str
    en: str


HAZARD_NAMES: Final[dict[Hazard, Name]] = {
    Hazard.HEART: Name("心脏", "heart"),
    Hazard.BREATHING: Name("呼吸", "breathing"),
    Hazard.FALL: Name("跌倒", "falls"),
    Hazard.PRESSURE: Name("压疮", "pressure injury"),
    Hazard.BED: Name("床面", "bed"),
    Hazard.FIRE: Name("火灾", "fire"),
    Hazard.CALL: Name("呼叫", "call"),
    Hazard.DEVICE: Name("设备", "device"),
}


class Line(IntEnum):
    """Which constant signal is none."""

    ANY = 0  # every value is one
    CONSTANT = 1  # a chunk that never moves: an electrode that is off, an amplifier at its end
    ZERO = 2  # a chunk of zeros, and a reading of 0
    EVEN = 3  # as CONSTANT, and a map of which every cell is the same and not 0: no mattress is pressed so


SIGNALS_MAX: Final = 3
"""Signals of one kind."""


class Signal(NamedTuple):
    """One quantity of a kind that a detector watches a hazard by.

    `channel` names its column ("": any of them). A usable value is there, and greater than `above`: 0 is how monitors say that they found
    no pulse. `line`: which constant chunk is no signal. `rate_hz_min`: slower than this nothing can be judged. `frozen_s`: as long as this the same value, in
    every row and of any of its channels in every row of a chunk, is no measurement (0: it may be), or `fine_s` where it has finer digits than
    halves (0: no difference), unless it is `rest`, at which it may stay for ever.
    `share_min`: of the time that passes, at least so much must be judged (0: readings now and then are enough). What is judged is the device
    time received, less what was unusable, less `hole_s` after each hole and `restart_s` after each restart of the device's clock or
    numbers: so long it takes until the detector sees again what the hazard needs.

    Equal values on end that come about by themselves (400 ICU patients of CinC 2019, most of them paced or on oxygen): 35 of the heart rate, 47
    of SpO2, at its ceiling for days. At 1 Hz for 8 minutes (BIDMC, 10 ICU patients) the heart rate stood for 2 minutes at most, respiration (of a
    ventilator) and SpO2 all the time. Of beat intervals the same came up to 19 times on end (8 ms apart, 27 days of 20 people: NSR2DB, CHF2DB)
    and 11 times (4 ms, AFDB). A fixed pace does not stand still either: a period that is no whole number of steps is read as two of them in turn.
    """

    hazard: Hazard
    quantity: str
    channel: str = ""
    above: float = float("-inf")
    line: Line = Line.ANY
    rate_hz_min: float = 0.0
    frozen_s: float = 0.0
    fine_s: float = 0.0
    rest: float = float("inf")
    share_min: float = 0.0
    hole_s: float = 0.0
    restart_s: float = 0.0


FROZEN_READINGS_MIN: Final = 60
FROZEN_FINE_S: Final = 1800.0
"""A value with finer digits than halves does not come again by chance."""


class Blind(StrEnum):
    """Why a hazard is not watched. Stable; the codes of the technical events are "device." and this."""

    NEVER_HEARD = "never_heard"  # nothing received since the device was bound
    SILENT = "silent"  # it sent, and stopped
    REFUSED = "refused"  # every message is refused
    CLOCK_UNUSABLE = "clock_unusable"  # refused for its times
    RATE_UNUSABLE = "rate_unusable"  # refused for its rate
    VALUES_UNUSABLE = "values_unusable"  # refused for its unit, or for values no sensor measures
    NO_SIGNAL = "no_signal"  # probe off, flat line, saturated
    NO_VALUE = "no_value"  # it sends, and what it sends is the device's "no value"
    POOR_QUALITY = "poor_quality"  # the device itself says that its data is not to be trusted
    INCOMPLETE = "incomplete"  # too much of its data is missing
    EMPTY_BED = "empty_bed"  # the device itself says that nobody lies on it
    ON_CHARGER = "on_charger"  # the device itself says that it lies on its charger
    WARMING_UP = "warming_up"  # too little data since it came


class Explanation(NamedTuple):
    """A reason in a carer's words: `description` for whoever configures Vigil, then title and first step."""

    description: str
    zh: Text
    en: Text


EXPLANATIONS: Final[dict[Blind, Explanation]] = {
    Blind.NEVER_HEARD: Explanation(
        "Nothing has been received from a device since it was bound: its resident or room is not watched by it.",
        Text("设备从未发来数据", "绑定后没有收到任何数据，此设备不能报警。核对登记的设备编号，检查电源和网络；呼叫按钮请试按一次。"),
        Text(
            "Nothing received from device",
            "Nothing has come since it was bound, so it cannot raise an alarm. Compare its id with the registry, check power and network; press a call button once.",
        ),
    ),
    Blind.SILENT: Explanation(
        "A bound device has stopped sending: its resident or room is not watched.",
        Text("设备无数据", "此设备暂时不能报警。先亲自查看老人，再检查电池、佩戴和网络；两小时内修不好请用备用设备。"),
        Text(
            "Device is silent",
            "It cannot raise an alarm now. See the resident yourself, then check battery, fit and network; not repaired in two hours: use a stand-in.",
        ),
    ),
    Blind.REFUSED: Explanation(
        "Everything a bound device sends is refused: its resident or room is not watched by it.",
        Text("设备数据被拒收", "设备在发送，但数据无法使用，不能报警。多查看老人；请技术人员在系统页的拒收记录中查看原因。"),
        Text(
            "Device data is refused",
            "It sends, but nothing of it can be used, so it cannot raise an alarm. See the resident more often; have the technician read the reason in quarantine.",
        ),
    ),
    Blind.CLOCK_UNUSABLE: Explanation(
        "Everything a bound device sends is refused for its times: its clock is wrong.",
        Text("设备时钟错误", "设备时间不对，数据无法使用，不能报警。多查看老人；请技术人员校准时钟（NTP，UTC）或重启设备。"),
        Text(
            "Device clock is wrong",
            "Its times cannot be true, so it cannot raise an alarm. See the resident more often; have the clock set (NTP, UTC) or the device restarted.",
        ),
    ),
    Blind.RATE_UNUSABLE: Explanation(
        "Everything a bound device sends is refused for its rate.",
        Text("设备采样率无法使用", "采样率不符，数据无法使用，不能报警。多查看老人；请技术人员检查设备的采样设置。"),
        Text(
            "Device rate cannot be used",
            "Its sampling rate does not fit, so it cannot raise an alarm. See the resident more often; have the technician check its sampling settings.",
        ),
    ),
    Blind.VALUES_UNUSABLE: Explanation(
        "Everything a bound device sends is refused for its unit or its values.",
        Text("设备数值或单位错误", "数值或单位不可能，数据无法使用，不能报警。多查看老人；请技术人员检查单位设置和传感器。"),
        Text(
            "Device values cannot be true",
            "Its values or their unit are impossible, so it cannot raise an alarm. See the resident more often; have the technician check unit and sensor.",
        ),
    ),
    Blind.NO_SIGNAL: Explanation(
        "A device sends, but its sensor picks up nothing: probe off, flat or saturated.",
        Text("传感器没有信号", "传感器可能脱落，不能报警。查看老人，检查探头、电极和佩戴位置。"),
        Text(
            "Sensor has no signal",
            "It may have come off and cannot raise an alarm. See the resident; check probe, electrodes and fit.",
        ),
    ),
    Blind.NO_VALUE: Explanation(
        "A device sends, but without a value: it measures nothing.",
        Text("设备没有测量值", "设备在线但没有测到数值，不能报警。查看老人，检查探头和佩戴位置。"),
        Text(
            "Device measures nothing",
            "It is online but gives no value, so it cannot raise an alarm. See the resident; check probe and fit.",
        ),
    ),
    Blind.INCOMPLETE: Explanation(
        "So much of a device's data is missing, or comes in pieces, that a danger could be missed.",
        Text("设备数据断续", "数据缺失太多，可能漏报。多查看老人；检查电池、信号和与网关的距离，以及佩戴接触。"),
        Text(
            "Device data has gaps",
            "So much is missing that a danger could be missed. See the resident more often; check battery, radio reach, gateway and fit.",
        ),
    ),
    Blind.POOR_QUALITY: Explanation(
        "A device says of all its data that it is not to be trusted.",
        Text("设备信号质量差", "信号质量差，不能可靠报警。查看老人，调整佩戴，擦净皮肤和电极。"),
        Text(
            "Device signal is poor",
            "It says itself that its data is not to be trusted. See the resident; adjust the fit, clean skin and electrodes.",
        ),
    ),
}
"""Of every reason that calls somebody. Warming up ends by itself; an empty bed and a charger are no faults."""


BLIND_NAMES: Final[dict[Blind, Name]] = {
    **{reason: Name(why.zh.title, why.en.title) for reason, why in EXPLANATIONS.items()},
    Blind.EMPTY_BED: Name("床上无人", "nobody in bed"),
    Blind.ON_CHARGER: Name("正在充电", "on its charger"),
    Blind.WARMING_UP: Name("刚开始监测", "watching has just begun"),
}


class WatchLimits(NamedTuple):
    """How long a device may be blind before somebody is told. Times in ns.

    never_heard_ns: nothing since the binding. event_only_ns: the same of a device whose kinds are instants (a call button that nobody pressed).
    charger_ns: a device that says it is on its charger: two or three hours, or a night of nine; after ten it is forgotten there.
    told_ns: a hazard that nothing watches, from the last that could be judged on; the silence of a device has the shortest of what it watches. refused_ns: everything refused. forget_ns: a refusal is past when none has come for so long.
    """

    never_heard_ns: int = 600 * NS_PER_S
    event_only_ns: int = 86_400 * NS_PER_S
    refused_ns: int = 120 * NS_PER_S
    forget_ns: int = 86_400 * NS_PER_S
    charger_ns: int = 36_000 * NS_PER_S
    missing_ns: int = 120 * NS_PER_S
    missing_gaps: int = 5
    told_ns: dict[Hazard, int] = {  # noqa: RUF012 - never mutated
        Hazard.HEART: 1800 * NS_PER_S,
        Hazard.BREATHING: 1800 * NS_PER_S,
        Hazard.FALL: 3600 * NS_PER_S,
        Hazard.PRESSURE: 3600 * NS_PER_S,
        Hazard.BED: 3600 * NS_PER_S,
        Hazard.FIRE: 900 * NS_PER_S,
        Hazard.CALL: 3600 * NS_PER_S,
        Hazard.DEVICE: 3600 * NS_PER_S,
    }


CARE: Final = "watch"
"""What a care setting names in the place of a detector to set for one resident how long a hazard may be blind: field "<hazard>_s"."""
CARE_S_MIN, CARE_S_MAX = 120.0, 86_400.0


def check_care(field: str, value: float | None) -> None:
    """ValueError when a care setting of the watch names no hazard or breaks a bound."""
    fields = {f"{hazard}_s" for hazard in Hazard if hazard is not Hazard.DEVICE}
    if field not in fields:
        raise ValueError(f"{CARE}.{field} cannot be set per resident; these can: {sorted(fields)}")
    if value is not None and not CARE_S_MIN <= value <= CARE_S_MAX:
        raise ValueError(f"{CARE}.{field} must be {CARE_S_MIN:g} to {CARE_S_MAX:g} s, got {value:g}")


class WatchChange(NamedTuple):
    """A hazard of a subject is watched from now on, or is not, and why.

    `source` is what decides, "<device>", "<device>:<kind>" or "<device>:<kind>.<channel>"; `reason` None while watched. `since_ns`: arrival time from which on
    it is so. `at_ns`: when that was found.
    """

    subject: str
    hazard: Hazard
    source: str
    reason: Blind | None
    since_ns: int
    at_ns: int
