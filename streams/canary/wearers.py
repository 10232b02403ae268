"""The simulated wearers: one ward with one wrist device for each partition, whose wearer falls at fixed seconds of the clock.

All replay the same 24 seconds of a fall and the same seconds of sitting, simulated once from a fixed seed. A test shows that the
detector reports that fall, so a fall that is not reported means that Vigil has failed, never that the detector was unsure.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import msgspec
import numpy as np

from alerts.policy import CANARY_PREFIX, CANARY_WARD_PREFIX
from engine.block import NO_SEQ, Block
from engine.frame import NS_PER_S, Float32
from engine.registry import Binding, RegistryData
from schemas.encode import encode_batch
from simulator.scenario import Incident, Scenario
from simulator.world import World
from streams.canary.config import CLIP_S
from streams.kafka.topics import partition_of

RATE_HZ: Final = 50
SEED: Final = 1
FALL_AT_S: Final = 10
"""Second of the clip in which balance is lost; the impact is 0.6 to 0.8 s later."""
LIE_S: Final = 6.0
SIT_S: Final = 30
"""Seconds of sitting, repeated between two clips."""
_BEFORE_S: Final = 14
"""Seconds that the simulator needs before the clip: sitting, standing up."""


class Wearer(NamedTuple):
    """A simulated resident. `subject`, `device` and `ward` are those of `partition` alone."""

    partition: int
    ward: str
    subject: str
    device: str

    def registry(self) -> RegistryData:
        """The registry of the wearer's ward."""
        return RegistryData(bindings=(Binding(self.device, self.subject, self.ward, "wrist"),))

    def message(self, second: int, samples: Float32) -> bytes:
        """The wire message of one second (UTC) of the wrist."""
        t0_ns = second * NS_PER_S
        one = np.zeros(1, np.int64)
        block = Block("accel", (self.device,), one + t0_ns, one + NO_SEQ, RATE_HZ, samples[np.newaxis], one.astype(np.uint8), (1, 3))
        return encode_batch(self.ward, [block], gateway="canary", seq=second, sent_ns=t0_ns + NS_PER_S)


def wearers(partitions: int) -> list[Wearer]:
    """One wearer for each partition, in a ward whose key Kafka's default partitioner puts there."""
    wards: dict[int, str] = {}
    number = 0
    while len(wards) < partitions:
        ward = f"{CANARY_WARD_PREFIX}{number}"
        wards.setdefault(partition_of(ward, partitions), ward)
        number += 1
    return [Wearer(p, wards[p], f"{CANARY_PREFIX}{p}", f"vigil-canary-{p}") for p in range(partitions)]


class FallSchedule(NamedTuple):
    """Each wearer falls every `every_s` seconds of the clock, each at a different time. A function of the time alone."""

    every_s: int

    def of(self, partition: int, second: int) -> int:
        """The second of the cycle of a partition; its clip begins at 0."""
        return (second - int(_phase(partition) * self.every_s)) % self.every_s

    def samples(self, partition: int, second: int) -> Float32:
        """What the wrist measures in that second: float32 (RATE_HZ, 3) in g."""
        clip, sitting = _simulated()
        at = self.of(partition, second)
        samples: Float32 = clip[at] if at < CLIP_S else sitting[(at - CLIP_S) % SIT_S]
        return samples

    def falls(self, partition: int, second: int) -> bool:
        """Whether balance is lost in that second."""
        return self.of(partition, second) == FALL_AT_S


@cache
def _phase(partition: int) -> float:
    """The van der Corput sequence: 0, 1/2, 1/4, 3/4, 1/8, ... Any run of partitions, such as one worker may own, is spread evenly."""
    digits = f"{partition:b}"
    return int(digits[::-1], 2) / (1 << len(digits))


@cache
def _simulated() -> tuple[Float32, Float32]:
    """The clip and the sitting after it: float32 (seconds, RATE_HZ, 3) in g."""
    fall = Incident("fall", at_s=float(_BEFORE_S + FALL_AT_S), duration_s=LIE_S, variant="forward")
    scenario = Scenario(residents=1, kinds=("accel",), ecg_every=0, accel_rate_hz=RATE_HZ, seed=SEED, incidents=(fall,))
    world = World(msgspec.structs.replace(scenario, seconds=float("inf")))
    seconds = [world.blocks_at(second)[0].samples[0] for second in range(_BEFORE_S + CLIP_S + SIT_S)]
    movement = np.stack(seconds[_BEFORE_S:]).astype(np.float32)
    return movement[:CLIP_S], movement[CLIP_S:]
