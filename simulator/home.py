"""Who lives on a simulated ward, where, and what they wear: the registry, and made-up names."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from engine.kinds import KINDS
from engine.registry import Assignment, Binding, CareSetting, Place, RegistryData
from simulator.scenario import Scenario
from simulator.script import resident_id, room_id

SITES: Final = {
    "wb": "wrist",
    "patch": "chest",
    "sos": "pendant",
    "tag": "belt",
    "cam": "ceiling",
    "mat": "mattress",
    "map": "mattress",
    "air": "ceiling",
    "el": "socket",
    "door": "door",
}
_DEVICE_KINDS: Final = {
    "wb": {"accel", "gyro", "ppg", "vitals"},
    "patch": {"ecg", "rr_interval"},
    "sos": {"button"},
    "tag": {"position"},
    "cam": {"camera_event"},
    "mat": {"bed", "vitals"},
    "map": {"pressure_map"},
    "air": {"room_air"},
    "el": {"electrical"},
    "door": {"door"},
}
_INSTANTS: Final = {
    prefix: tuple(sorted(own)) for prefix, own in _DEVICE_KINDS.items() if all(KINDS[kind].timing == "irregular" for kind in own)
}
"""Devices that may say nothing for weeks and are well: their kinds are declared."""
_PERSONAL: Final = ("wb", "patch", "sos", "tag", "cam")
_OF_BED: Final = ("mat", "map")
_OF_ROOM: Final = ("air", "el", "door")
_FAMILY_NAMES: Final = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
_GIVEN_NAMES: Final = (
    "秀英",
    "建国",
    "桂兰",
    "德明",
    "玉珍",
    "志强",
    "淑华",
    "国华",
    "凤英",
    "文斌",
    "桂英",
    "福生",
    "玉兰",
    "永康",
    "秀珍",
    "长贵",
    "月娥",
    "世杰",
    "翠花",
    "鸿儒",
    "惠芳",
    "宝林",
    "素琴",
    "耀华",
)


class Identity(msgspec.Struct, frozen=True):
    """How staff know a subject: made-up name, room and bed labels."""

    name: str
    room: str
    bed: str


def bed_id(number: int) -> str:
    """The bed of resident `number` as a subject: 101-1, 101-2, 102-1, ..."""
    return f"bed/{101 + number // 2}-{number % 2 + 1}"


def registry(scenario: Scenario) -> RegistryData:
    """Who wears what, who lies where, and each resident's own turn interval."""
    ward, n = scenario.ward, scenario.residents
    kinds = set(scenario.kinds)
    wearers = set(scenario.ecg_wearers)
    here = [prefix for prefix, own in _DEVICE_KINDS.items() if own & kinds]
    bindings = [
        Binding(f"{prefix}-{i + 1:03d}", resident_id(i), ward, SITES[prefix], kinds=_INSTANTS.get(prefix, ()))
        for i in range(n)
        for prefix in here
        if prefix in _PERSONAL and (prefix != "patch" or i in wearers)
    ]
    bindings += [Binding(f"{prefix}-{i + 1:03d}", bed_id(i), ward, SITES[prefix]) for i in range(n) for prefix in here if prefix in _OF_BED]
    bindings += [
        Binding(f"{prefix}-{101 + j}", room_id(j), ward, SITES[prefix], kinds=_INSTANTS.get(prefix, ()))
        for j in range(scenario.rooms)
        for prefix in here
        if prefix in _OF_ROOM
    ]
    places = [Place(subject, room_id(i // 2), ward) for i in range(n) for subject in (resident_id(i), bed_id(i))]
    places += [Place(room_id(j), room_id(j), ward) for j in range(scenario.rooms)]
    care = [CareSetting(resident_id(i), "pressure_injury", "turn_interval_s", value) for i, value in scenario.turn_overrides.items()]
    if scenario.turn_interval_s != Scenario().turn_interval_s:
        plain = (i for i in range(n) if i not in scenario.turn_overrides)
        care += [CareSetting(resident_id(i), "pressure_injury", "turn_interval_s", scenario.turn_interval_s) for i in plain]
    assignments = [Assignment(resident_id(i), bed_id(i)) for i in range(n)]
    return RegistryData(bindings=tuple(bindings), assignments=tuple(assignments), places=tuple(places), care=tuple(care))


def identity(scenario: Scenario) -> dict[str, Identity]:
    """Subject -> made-up identity, for the demo only; no two residents share a name."""
    pairs = [family + given for given in _GIVEN_NAMES for family in _FAMILY_NAMES]
    order = np.random.default_rng([scenario.seed, 5]).permutation(len(pairs))
    found: dict[str, Identity] = {}
    for i in range(scenario.residents):
        room = str(101 + i // 2)
        extra = str(i // len(pairs)) if i >= len(pairs) else ""
        found[resident_id(i)] = Identity(pairs[order[i % len(pairs)]] + extra, room, f"{room}-{i % 2 + 1}")
    return found
