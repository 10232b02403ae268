"""A whole simulated ward: records as Vigil would receive them, the registry, the truth, and made-up names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine.block import Block
from engine.registry import RegistryData
from simulator import home
from simulator.scenario import Scenario
from simulator.transport import Transport
from simulator.world import World
from streams.recording import Meta, Record, Recording, Truth, write


class Simulation:
    """A ward being lived through. `records` runs once; a scenario with `seconds` = inf never ends."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = World(scenario)
        self.transport = Transport(scenario)

    def __iter__(self) -> Iterator[Record]:
        return self.records()

    def blocks_at(self, second: int) -> list[Block]:
        """True, complete blocks of one second, without the network (see World.blocks_at)."""
        return self.world.blocks_at(second)

    def records(self) -> Iterator[Record]:
        """Messages in order of arrival; each second's batch is made when it is asked for."""
        second = 0
        while second < self.scenario.seconds:
            blocks = self.world.blocks_at(second)
            if second == 0:
                self.transport.stored(self.world.stored_maps())
            yield from self.transport.second(second, blocks)
            second += 1
        yield from self.transport.rest()

    def truth(self, until_s: float | None = None) -> tuple[Truth, ...]:
        """What is true of incidents that start before `until_s` (default: the scenario's end).

        ValueError when neither ends: the truth of an endless ward has no end.
        """
        limit = self.scenario.seconds if until_s is None else until_s
        if not np.isfinite(limit):
            raise ValueError("this ward never ends: say until which second the truth is wanted (until_s)")
        return self.world.script.truth(limit)

    def registry(self) -> RegistryData:
        """Who wears what, who lies where, and each resident's own turn interval."""
        return home.registry(self.scenario)

    def identity(self) -> dict[str, home.Identity]:
        """Subject -> made-up identity, for the demo only."""
        return home.identity(self.scenario)


def simulate(scenario: Scenario) -> Simulation:
    """The ward of a scenario: iterate it for records; ask it for registry(), truth(), identity()."""
    return Simulation(scenario)


def recording(scenario: Scenario) -> Recording:
    """The scenario as a recording, its records made as they are read."""
    ward = Simulation(scenario)
    notes = f"seed {scenario.seed}, {scenario.residents} residents, {scenario.seconds:g} s"
    return Recording(Meta(scenario.name, "Vigil ward simulator", notes=notes), ward.registry(), ward.truth(), ward.records())


def write_recording(scenario: Scenario, path: Path) -> None:
    """Write the scenario as a recording folder at `path` (see streams.recording)."""
    write(path, recording(scenario))
