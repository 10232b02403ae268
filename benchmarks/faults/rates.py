"""Faults of the rate: wrongly declared, changing, or none; and of how many samples make a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.faults.case import Case
from benchmarks.faults.clocks import DRIFT, of_clock, said, then, without_numbers
from benchmarks.faults.fault import RATE, REFUSED, SILENT, Apply, Fault, Scene, readings, regular, waveform
from benchmarks.faults.stream import Chunk, on_time, unnumbered
from engine.frame import NS_PER_S
from engine.kinds import KINDS

SINGLE_HZ_MAX: Final = 60.0
"""Nobody sends each sample of a faster stream as a message of its own."""


def rate_off(share: float) -> Apply:
    """Times are right, and the declared rate is `share` above the true one: the crystal of the sensor is not that of the clock."""
    return lambda chunks, _: [c._replace(rate_hz=c.rate_hz * (1 + share)) for c in chunks]


def halved(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """Saves its battery: half the rate from a certain moment on, and says so."""
    before, after = scene.cut(chunks)
    return [*before, *(c._replace(samples=c.samples[::2], rate_hz=c.rate_hz / 2) for c in after)]


def may_halve(case: Case) -> bool:
    """Whether half the rate is still one of the kind."""
    return waveform(case) and case.chunks[0].rate_hz / 2 >= KINDS[case.kind].rate_hz_min


def half_unsaid(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """Every second sample left out, and the full rate declared all the same."""
    return [c._replace(samples=c.samples[::2]) for c in chunks]


def singles(chunks: Sequence[Chunk], _: Scene) -> Iterator[Chunk]:
    """Each sample a chunk of its own."""
    number = 0
    for chunk in chunks:
        for index in range(len(chunk.samples)):
            at_ns = chunk.t0_ns + round(index * NS_PER_S / chunk.rate_hz)
            part = chunk._replace(t0_ns=at_ns, samples=chunk.samples[index : index + 1], seq=number)
            number += 1
            yield on_time(part)


def sparse(every_s: float, *, rate: bool) -> Apply:
    """One reading every `every_s`, as a spot device sends it."""

    def apply(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
        found: list[Chunk] = []
        for chunk in chunks:
            if not found or chunk.t0_ns >= found[-1].t0_ns + round(every_s * NS_PER_S):
                found.append(
                    chunk._replace(rate_hz=1 / every_s if rate else 0.0, seq=1000 + len(found), arrival_ns=chunk.t0_ns + NS_PER_S // 2)
                )
        return found

    return apply


def fast_readings(case: Case) -> bool:
    """Single readings often enough to leave some out."""
    return readings(case) and case.chunks[0].rate_hz >= 0.5


def without_rate(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """Single readings, no rate, no number."""
    return [c._replace(rate_hz=0.0) for c in unnumbered(chunks)]


_DECLARED: Final = tuple(
    fault._replace(group="rate")
    for fault in (
        of_clock("rate declared 5 % high", "crystal of the sensor 5 % slow", rate_off(DRIFT), applies=regular),
        of_clock("rate declared 5 % low", "crystal of the sensor 5 % fast", rate_off(-DRIFT), applies=regular),
        of_clock("rate declared 3 % low, no seq", "the same, no numbers", then(rate_off(-0.03), without_numbers), applies=regular),
        of_clock("rate declared 3 % high, no seq", "the same, no numbers", then(rate_off(0.03), without_numbers), applies=regular),
        of_clock("rate declared half", "default of a library", rate_off(-0.5), RATE, applies=regular),
        of_clock("rate declared double", "both edges counted", rate_off(1.0), RATE, applies=regular),
        of_clock("no rate", "field left out", said("rate_hz", lambda _: None), REFUSED, RATE, applies=regular),
        of_clock("rate 0", "field never filled", said("rate_hz", lambda _: 0), REFUSED, RATE, applies=regular),
    )
)

_MEASURED: Final = (
    Fault("half the rate, said", "rate", "saves its battery", halved, frozenset({RATE, SILENT}), costless=True, applies=may_halve),
    Fault(
        "half of the samples, not said",
        "rate",
        "radio too slow, rate as designed",
        half_unsaid,
        frozenset({RATE, SILENT}),
        applies=waveform,
    ),
    Fault(
        "each sample a message",
        "rate",
        "no buffer in the device",
        singles,
        frozenset({RATE, SILENT}),
        costless=True,
        applies=lambda case: waveform(case) and case.chunks[0].rate_hz <= SINGLE_HZ_MAX,
    ),
    Fault(
        "single readings, no rate, no seq",
        "rate",
        "smallest firmware",
        without_rate,
        frozenset({RATE, SILENT}),
        costless=True,
        applies=readings,
    ),
    Fault(
        "a reading every 10 s, no rate",
        "rate",
        "spot measurement",
        sparse(10.0, rate=False),
        frozenset({RATE, SILENT}),
        costless=True,
        delay_s=60.0,
        applies=fast_readings,
    ),
    Fault(
        "a reading every minute, no rate",
        "rate",
        "spot measurement",
        sparse(60.0, rate=False),
        frozenset({RATE, SILENT}),
        costless=True,
        delay_s=240.0,
        applies=fast_readings,
    ),
    Fault(
        "a reading every minute, rate said",
        "rate",
        "sleeps between readings",
        sparse(60.0, rate=True),
        frozenset({RATE, SILENT}),
        costless=True,
        delay_s=240.0,
        applies=fast_readings,
    ),
)
RATES: Final = (*_DECLARED, *_MEASURED)
