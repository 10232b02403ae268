"""Recordings through the core, as fast as the machine goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pydantic import BaseModel

from alerts.model import Alert, Transition
from alerts.policy import Policy
from engine.coverage import COVERAGE, Coverage
from engine.events import Event
from engine.frame import NS_PER_S
from engine.outputs import Account, Late, Measurements, Reject
from engine.watch import Hazard
from schemas.recording import Recording
from streams.pipeline.core import CoreOutput
from streams.pipeline.handovers import Handover
from streams.pipeline.partition import Applied, Partition
from streams.pipeline.records import telemetry
from streams.pipeline.registries import Registries

PROGRESS_EVERY: Final = 50
"""Records between two calls of `progress`."""
SETTLE_S: Final = 5.0
"""Time let pass after the last record, so that held chunks and due ticks have their say."""

Progress = Callable[[int, int], None]
"""Called with (records done, arrival_ns of the last one)."""


class Replayed(NamedTuple):
    """All outputs of a recording."""

    events: list[Event]
    transitions: list[tuple[Transition, Alert]]
    measurements: list[Measurements]
    rejects: list[Reject]
    late: list[Late]
    accounts: list[Account]
    exposure_s: dict[str, float]
    coverage_s: dict[tuple[str, Hazard], tuple[float, float]]
    """Seconds watched and not watched, by subject and hazard; together the time bound."""
    records: int

    @property
    def resident_days(self) -> float:
        """Days of data over all persons (residents, and beds without one)."""
        return sum(s for subject, s in self.exposure_s.items() if not subject.startswith("room/")) / 86_400

    @property
    def room_days(self) -> float:
        """Days of data over all rooms."""
        return sum(s for subject, s in self.exposure_s.items() if subject.startswith("room/")) / 86_400


def replay(
    recording: Recording,
    parameters: BaseModel | None = None,
    policy: Policy | None = None,
    *,
    settle_s: float = SETTLE_S,
    measurements: bool = False,
    progress: Progress | None = None,
    listen: Callable[[CoreOutput], None] | None = None,
) -> Replayed:
    """Run `recording` through a fresh partition, then let `settle_s` pass.

    `parameters` as in streams.pipeline.assembly.Parameters, `policy` as in `[policy]` of a configuration. Measurements are kept only
    when asked for (a night is many). `listen` gets the output of each record as it comes.
    """
    partition = Partition(
        0, parameters=parameters, policy=policy, live=False, registries=Registries({recording.meta.name: recording.registry})
    )
    total = CoreOutput.nothing()
    done, last_ns = 0, 0
    coverage_s: dict[tuple[str, Hazard], tuple[float, float]] = {}

    def cover(day: dict[tuple[str, Hazard], tuple[float, float]]) -> None:
        for key, (watched_s, blind_s) in day.items():
            before = coverage_s.get(key, (0.0, 0.0))
            coverage_s[key] = before[0] + watched_s, before[1] + blind_s

    def collect(applied: Applied) -> None:
        output = applied.output
        if listen is not None:
            listen(output)
        for measured in output.outputs.measurements:
            if measured.name == COVERAGE:
                cover(Coverage.seconds_of(measured))
        if not measurements:
            output.outputs.measurements.clear()
        total.add(output)

    for done, record in enumerate(recording.records, 1):
        last_ns = record.arrival_ns
        collect(partition.apply(telemetry(done - 1, last_ns, record.payload, handover=Handover(record.retained))))
        if progress is not None and done % PROGRESS_EVERY == 0:
            progress(done, last_ns)
    if done:
        collect(partition.advance(last_ns + int(settle_s * NS_PER_S)))
    if progress is not None:
        progress(done, last_ns)
    outputs, engine = total.outputs, partition.core.engine
    accounts = outputs.accounts + engine.accounts()
    cover(engine.watching.coverage.seconds())
    return Replayed(
        outputs.events,
        total.transitions,
        outputs.measurements,
        outputs.rejects,
        outputs.late,
        accounts,
        engine.exposure_s(),
        coverage_s,
        done,
    )
