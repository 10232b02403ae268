"""A week of a ward through the very partition that wakes somebody; what it said about devices, and what was watched."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from alerts.model import State
from benchmarks.week.bank import CHUNK_S, DAY_S, Bank, ward
from benchmarks.week.life import GATEWAY_S, SAYS_S, Away, How, Life, ordinary
from engine.block import QUALITY_CHARGER, QUALITY_POOR, Block
from engine.coverage import COVERAGE, Coverage
from engine.frame import NS_PER_S
from engine.watch import Blind, Hazard, WatchChange
from schemas.encode import encode_batch, take
from simulator.simulation import Simulation
from streams.pipeline.assembly import EVENT_BY_CODE
from streams.pipeline.core import CoreOutput
from streams.pipeline.partition import Partition
from streams.pipeline.records import telemetry
from streams.pipeline.registries import Registries

DELAY_NS: Final = NS_PER_S // 5
RESEND_NS: Final = 15_000_000
TABLE_NOISE_G: Final = 0.004
"""What a band measures that lies on a table."""


class Told(NamedTuple):
    """A technical alert that called: when (seconds after the start), what, where."""

    at_s: float
    code: str
    subject: str
    source: str


class Week(NamedTuple):
    """What came of it. `blind_s`: seconds by hazard and reason."""

    residents: int
    days: float
    told: list[Told]
    coverage_s: dict[Hazard, tuple[float, float]]
    blind_s: dict[tuple[Hazard, Blind], float]
    aways: Counter[str]
    chunks: int
    rejected: int

    @property
    def resident_days(self) -> float:
        """Residents times days."""
        return self.residents * self.days

    @property
    def a_resident_day(self) -> float:
        """Technical alerts a resident-day."""
        return len(self.told) / self.resident_days


class _Ears:
    """Listens to all outputs."""

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.told: list[Told] = []
        self.coverage_s: dict[Hazard, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.blind_s: dict[tuple[Hazard, Blind], float] = defaultdict(float)
        self.rejected = 0
        self._sources: dict[str, str] = {}
        self._now: dict[tuple[str, Hazard], WatchChange] = {}

    def take(self, output: CoreOutput) -> None:
        self._sources |= {event.id: event.device for event in output.outputs.events if EVENT_BY_CODE[event.code].scoring.technical}
        for transition, alert in output.transitions:
            if transition.notify and transition.to_state is State.FIRING and EVENT_BY_CODE[alert.code].scoring.technical:
                self.told.append(
                    Told(
                        (transition.at_ns - self.start_ns) / NS_PER_S, alert.code, alert.subject, self._sources.get(transition.event_id, "")
                    )
                )
        for measured in output.outputs.measurements:
            if measured.name == COVERAGE:
                self.add(Coverage.seconds_of(measured))
        for change in output.outputs.watch:
            self.end(change.subject, change.hazard, change.at_ns)
            self._now[change.subject, change.hazard] = change
        self.rejected += len(output.outputs.rejects)

    def add(self, seconds: dict[tuple[str, Hazard], tuple[float, float]]) -> None:
        for (_, hazard), (watched_s, blind_s) in seconds.items():
            self.coverage_s[hazard][0] += watched_s
            self.coverage_s[hazard][1] += blind_s

    def end(self, subject: str, hazard: Hazard, at_ns: int) -> None:
        before = self._now.pop((subject, hazard), None)
        if before is not None and before.reason is not None:
            self.blind_s[hazard, before.reason] += (at_ns - before.at_ns) / NS_PER_S

    def close(self, now_ns: int) -> None:
        for subject, hazard in list(self._now):
            self.end(subject, hazard, now_ns)


class _Ward:
    """What reaches Vigil of a chunk's time."""

    def __init__(self, life: Life, seed: int, says: bool) -> None:
        self._life = life
        self._says = says
        self._flag = QUALITY_CHARGER if says else QUALITY_POOR
        self._rng = np.random.default_rng([seed, 12])
        self._restarted: dict[str, int] = {}
        self._next = 0
        self._active: list[Away] = []
        self.aways: Counter[str] = Counter()
        self.chunks = 0

    def send(self, step: int, blocks: list[Block]) -> list[Block]:
        at_s = step * CHUNK_S
        while self._next < len(self._life.aways) and self._life.aways[self._next].from_s <= at_s:
            away = self._life.aways[self._next]
            self._active.append(away)
            self.aways[away.why] += 1
            self._next += 1
        for away in [away for away in self._active if away.until_s <= at_s]:
            self._active.remove(away)
            self._restarted |= dict.fromkeys(away.devices, step) if away.restarts else {}
        how = {device: self._how(away, at_s) for away in self._active for device in away.devices}
        sent = [self._sent(block, how) for block in blocks]
        self.chunks += sum(len(block.devices) for block in sent)
        return [block for block in sent if block.devices]

    def _how(self, away: Away, at_s: float) -> How:
        speaks = self._says and away.charger and away.how is How.GONE and at_s < away.from_s + SAYS_S
        return How.FLAGGED if speaks else away.how

    def _sent(self, block: Block, how: dict[str, How]) -> Block:
        lost = np.array([self._life.lost[device] for device in block.devices])
        gone = np.array([how.get(device) is How.GONE for device in block.devices])
        off = np.array([device in how for device in block.devices]) & ~gone
        if off.any():
            flagged = np.array([how.get(device) is How.FLAGGED for device in block.devices])
            samples = block.samples.copy()
            samples[off] = self._of_nobody(block.kind, samples[off])
            block = block._replace(samples=samples, quality=np.where(flagged, self._flag, block.quality).astype(np.uint8))
        seq = block.seq - np.array([self._restarted.get(device, 0) for device in block.devices])
        return take(block._replace(seq=seq), ~gone & (self._rng.random(len(block.devices)) >= lost))

    def _of_nobody(
        self, kind: str, samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        if kind == "vitals":
            return np.full_like(samples, np.nan)
        nobody = np.zeros_like(samples)
        if kind == "accel":
            nobody[:] = (self._rng.normal(0, TABLE_NOISE_G, samples.shape) + np.array([0.0, 0.0, 1.0])).round(3)
        return nobody


def week(residents: int, days: float, seed: int = 1, *, says: bool = True, progress: Callable[[float], None] | None = None) -> Week:
    """Live `days` of ordinary life. `says`: devices say when they lie on their chargers, as far as they know. `progress` is called with the share
    done."""
    bank = Bank(scenario := ward(residents, seed))
    simulation = Simulation(scenario)
    registry = simulation.registry()
    walking = (~simulation.world.routine.bedridden).tolist()
    wearers = set(scenario.ecg_wearers)
    devices = [binding.device for binding in registry.bindings]
    life = ordinary(walking, [i in wearers for i in range(residents)], -int(-days // 1), seed, devices)
    outside = _Ward(life, seed, says)
    partition = Partition(0, live=False, registries=Registries({scenario.ward: registry}))
    start_ns = scenario.start_ns
    ears = _Ears(start_ns)
    ears.take(partition.advance(start_ns).output)
    kept: list[bytes] = []
    offset = 0
    steps = round(days * DAY_S / CHUNK_S)
    for step in range(steps):
        end_s = (step + 1) * CHUNK_S
        at_ns = start_ns + end_s * NS_PER_S + DELAY_NS
        kept.append(encode_batch(scenario.ward, outside.send(step, bank.blocks(step)), gateway="gw-1", seq=step, sent_ns=at_ns))
        if life.gateway_s <= end_s < life.gateway_s + GATEWAY_S:
            continue
        for i, payload in enumerate(kept):
            ears.take(partition.apply(telemetry(offset, at_ns + i * RESEND_NS, payload)).output)
            offset += 1
        kept.clear()
        if progress is not None and step % 60 == 0:
            progress(step / steps)
    now_ns = start_ns + steps * CHUNK_S * NS_PER_S
    watching = partition.core.engine.watching
    ears.add(watching.coverage.seconds())
    ears.close(now_ns)
    covered = {hazard: (both[0], both[1]) for hazard, both in ears.coverage_s.items()}
    return Week(residents, days, ears.told, covered, dict(ears.blind_s), outside.aways, outside.chunks, ears.rejected)
