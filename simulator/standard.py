"""The standard sensor set (ARCHITECTURE 7) for as many residents as a benchmark wants, at next to no cost.

A base ward of up to 200 residents is simulated once; further residents are the same people, a few seconds apart. The
blocks are views of the base, so the generator costs nothing to speak of, but a machine with a large cache may hold the
base where it would not hold 20,000 true residents: copy the blocks where that matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

import numpy as np

from engine.block import Block
from engine.frame import NS_PER_S
from engine.registry import RegistryData
from simulator import home
from simulator.scenario import Scenario
from simulator.simulation import Simulation

STANDARD_KINDS: Final = ("accel", "ecg", "vitals", "bed", "pressure_map", "room_air")
BASE_RESIDENTS: Final = 200
WARD_RESIDENTS: Final = 50
LAG_S: Final = 40
"""Copies of the base run at most this far behind one another."""


def standard_scenario(residents: int, seed: int = 1) -> Scenario:
    """A quiet ward with the standard sensor set: accelerometer, ECG, mattress vitals, pressure map, room air."""
    return Scenario(name="standard", seed=seed, residents=residents, seconds=float("inf"), kinds=STANDARD_KINDS, ecg_every=1)


def standard_blocks(residents: int, seconds: int, seed: int = 1, ward_residents: int = WARD_RESIDENTS) -> Iterator[list[Block]]:
    """For each second the blocks of all wards of `ward_residents`, in true time: one list a second.

    Resident r wears wb-<r> and so on as in Simulation; the last ward may be smaller. Only mattress vitals are sent.
    """
    size = min(residents, BASE_RESIDENTS, -(-residents // ward_residents) * ward_residents)
    size -= size % ward_residents if size > ward_residents else 0
    scenario = standard_scenario(size, seed)
    base = Simulation(scenario)
    wards = -(-residents // ward_residents)
    copies = 1 + (wards - 1) * ward_residents // size
    shift = [(7 * c) % LAG_S if c else 0 for c in range(copies)]
    history: list[list[Block]] = [[_without_wrist(b, size) for b in base.blocks_at(s)] for s in range(max(shift))]
    names: dict[tuple[str, int], tuple[str, ...]] = {}
    for second in count():
        if second >= seconds:
            return
        history.append([_without_wrist(b, size) for b in base.blocks_at(len(history))])
        t0 = scenario.start_ns + second * NS_PER_S
        out: list[Block] = []
        for w in range(wards):
            first = w * ward_residents
            copy, row = divmod(first, size)
            members = min(ward_residents, residents - first)
            for block in history[second + shift[copy]]:
                per = 2 if block.kind == "room_air" else 1
                low, k = row // per, -(-members // per)
                if (block.kind, w) not in names:
                    prefix = block.devices[0].rsplit("-", 1)[0]
                    at = 101 + first // per if per == 2 else 1 + first
                    names[block.kind, w] = tuple(f"{prefix}-{at + i:03d}" for i in range(k))
                out.append(
                    block._replace(
                        devices=names[block.kind, w],
                        t0_ns=np.full(k, t0, np.int64),
                        seq=np.full(k, second, np.int64),
                        samples=block.samples[low : low + k],
                        quality=block.quality[low : low + k],
                    )
                )
        history[second] = []  # no copy will ask for it again
        yield out


def standard_registry(residents: int, seed: int = 1) -> RegistryData:
    """Bindings of everybody in `standard_blocks`."""
    return home.registry(standard_scenario(residents, seed))


def _without_wrist(block: Block, residents: int) -> Block:
    """Mattress vitals only: the first `residents` rows."""
    if block.kind != "vitals":
        return block
    return block._replace(
        devices=block.devices[:residents],
        t0_ns=block.t0_ns[:residents],
        seq=block.seq[:residents],
        samples=np.ascontiguousarray(block.samples[:residents]),
        quality=block.quality[:residents],
    )
