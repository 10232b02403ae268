"""A whole simulated ward: records as Vigil would receive them, the registry, the truth, and made-up names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.block import Block
from engine.devices import SILENT_AFTER_NS
from engine.frame import NS_PER_S
from engine.registry import Registry, RegistryData
from schemas.recording import Meta, Record, Recording, Truth
from simulator import home
from simulator.scenario import Scenario
from simulator.transport import Transport
from simulator.world import World


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
        return tuple(sorted((*self.world.script.truth(limit), *self._silences(limit)), key=lambda t: (t.start_ns, t.subject, t.code)))

    def _silences(self, until_s: float) -> Iterator[Truth]:
        """Dropouts long enough to be a silent device: data went missing, which Vigil announces."""
        registry = Registry(self.registry())
        start = self.scenario.start_ns
        for trouble in self.scenario.troubles:
            if trouble.kind == "dropout" and trouble.at_s < until_s and trouble.duration_s * NS_PER_S > SILENT_AFTER_NS:
                begin = start + round(trouble.at_s * NS_PER_S)
                end = start + round(min(trouble.at_s + trouble.duration_s, until_s) * NS_PER_S)
                gone = sorted(b.device for b in registry.data.bindings if b.device.startswith(trouble.device))
                for subject in dict.fromkeys(registry.subject(device, begin) for device in gone):
                    if subject:
                        yield Truth(subject, "device.silent", begin, end, trouble.device)

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
    return Recording(Meta(scenario.name, "Vigil ward simulator", notes=notes, labelled=True), ward.registry(), ward.truth(), ward.records())
