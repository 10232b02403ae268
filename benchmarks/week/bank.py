"""What the devices of a ward send, in chunks of CHUNK_S: ten minutes of a day and of a night of the simulator, lived over and over.

A week of each resident's waveforms, second by second, takes the simulator longer than Vigil. What devices do, and when they do it, is what
is looked at here (benchmarks/week/life.py); so the signals repeat. Clinical alarms of such a week mean nothing, and none is counted.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import msgspec
import numpy as np

from engine.block import Block
from engine.frame import NS_PER_S
from engine.kinds import KINDS
from simulator.scenario import KINDS_ALL, Scenario
from simulator.world import World

CHUNK_S: Final = 10
BANK_S: Final = 600
HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
NIGHT_H: Final = (22.0, 6.0)
_BANK_AT_H: Final = {"day": 10.0, "night": 23.0}
ONCE: Final = frozenset({"pressure_map"})


def ward(residents: int, seed: int) -> Scenario:
    """A ward of `residents` with every kind of device that the simulator has; a pressure map a minute, an ECG patch on every fourth."""
    return Scenario(
        name="week", seed=seed, residents=residents, kinds=KINDS_ALL, ecg_every=4, map_every_s=60, utc_offset_h=0.0, start_ns=_midnight()
    )


def is_night(at_s: float) -> bool:
    """Whether the ward sleeps, `at_s` after a midnight."""
    hour = at_s % DAY_S / HOUR_S
    return hour >= NIGHT_H[0] or hour < NIGHT_H[1]


def _midnight() -> int:
    return 1_760_054_400 * NS_PER_S  # 2025-10-10 00:00 UTC


class Bank:
    """Chunks of a ward by day and by night."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._parts = {name: _recorded(scenario, hour) for name, hour in _BANK_AT_H.items()}

    def blocks(self, step: int) -> list[Block]:
        """What is measured in CHUNK_S seconds from `step` * CHUNK_S after the start on; numbers are `step` everywhere."""
        at_s = step * CHUNK_S
        parts = self._parts["night" if is_night(at_s) else "day"][step % (BANK_S // CHUNK_S)]
        begin_ns = self.scenario.start_ns + at_s * NS_PER_S
        return [block._replace(t0_ns=block.t0_ns + begin_ns, seq=np.full(len(block.devices), step, np.int64)) for block in parts]


def _recorded(scenario: Scenario, hour: float) -> list[list[Block]]:
    world = World(msgspec.structs.replace(scenario, start_ns=scenario.start_ns + round(hour * HOUR_S) * NS_PER_S))
    chunks = []
    for begin in range(0, BANK_S, CHUNK_S):
        seconds = [world.blocks_at(begin + i) for i in range(CHUNK_S)]
        begin_ns = world.scenario.start_ns + begin * NS_PER_S
        chunks.append([block._replace(t0_ns=block.t0_ns - begin_ns) for block in _joined([b for second in seconds for b in second])])
    return chunks


def _joined(blocks: list[Block]) -> list[Block]:
    """One block a kind and length for the whole chunk."""
    by_kind: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        by_kind[block.kind].append(block)
    found: list[Block] = []
    for kind, own in by_kind.items():
        if kind in ONCE:
            found += own
        elif KINDS[kind].timing == "regular":
            found.append(
                own[0]._replace(samples=np.concatenate([b.samples for b in own], axis=1), quality=np.max([b.quality for b in own], axis=0))
            )
        elif KINDS[kind].timing == "irregular":
            found.append(_rows(own))
        else:
            found += _intervals(own)
    return found


def _rows(own: list[Block]) -> Block:
    return own[0]._replace(
        devices=tuple(device for b in own for device in b.devices),
        t0_ns=np.concatenate([b.t0_ns for b in own]),
        seq=np.concatenate([b.seq for b in own]),
        samples=np.concatenate([b.samples for b in own]),
        quality=np.concatenate([b.quality for b in own]),
    )


def _intervals(own: list[Block]) -> list[Block]:
    """Beat intervals of a device on end; devices with equally many share a block."""
    first: dict[str, tuple[Block, int]] = {}
    values: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = defaultdict(list)
    for block in own:
        for row, device in enumerate(block.devices):
            first.setdefault(device, (block, row))
            values[device].append(block.samples[row])
    lengths: dict[int, list[str]] = defaultdict(list)
    for device, parts in values.items():
        lengths[sum(map(len, parts))].append(device)
    return [
        own[0]._replace(
            devices=tuple(devices),
            t0_ns=np.array([first[d][0].t0_ns[first[d][1]] for d in devices], np.int64),
            seq=np.zeros(len(devices), np.int64),
            samples=np.stack([np.concatenate(values[d]) for d in devices]),
            quality=np.zeros(len(devices), np.uint8),
        )
        for devices in lengths.values()
    ]
