"""What a fault is: a function on what a device sends, what real device does so, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from benchmarks.faults.case import Case
from benchmarks.faults.stream import Chunk, Message
from engine.frame import NS_PER_S

BEFORE_S: Final = (12.0, 20.0)
"""A fault that begins suddenly begins so long before the danger (seconds, at least and at most)."""


class Scene(NamedTuple):
    """What a fault may know: the danger it comes before, chance, and when it begins if it begins suddenly."""

    case: Case
    rng: np.random.Generator
    begin_ns: int

    def cut(self, chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
        """Before and after the fault begins."""
        return [c for c in chunks if c.t0_ns < self.begin_ns], [c for c in chunks if c.t0_ns >= self.begin_ns]


Apply = Callable[[Sequence[Chunk], Scene], Iterable[Message]]
"""Chunks of a device without fault in, by arrival; messages out, by arrival."""


def everywhere(_: Case) -> bool:
    """A fault that every stream can have."""
    return True


class Fault(NamedTuple):
    """One fault.

    `device`: what does so, in one line. `reasons`: true ones, with which a technical alert may stand in for the alarm. `costless`: the
    fault takes no information away, so the alarm itself is due. `delay_s`: how much later it may come because the messages do;
    `stretch`: by this share of all that came before as well. `applies`: to which cases. `subject`: about whom the alarm must be, if the
    fault changes that. `call`: any call to the person counts as well (missing life signs on a device that says it is worn).
    `blind_s`: so long it takes at least until somebody can be told that nobody watches, where the limits of the watch are shorter.
    """

    name: str
    group: str
    device: str
    apply: Apply
    reasons: frozenset[str] = frozenset()
    costless: bool = False
    delay_s: float = 0.0
    stretch: float = 0.0
    applies: Callable[[Case], bool] = everywhere
    subject: str = ""
    call: bool = False
    blind_s: float = 0.0


def scene(case: Case, seed: int) -> Scene:
    """The scene of one run: the same seed gives the same."""
    rng = np.random.default_rng(seed)
    return Scene(case, rng, case.onset_ns - round(float(rng.uniform(*BEFORE_S)) * NS_PER_S))


def regular(case: Case) -> bool:
    """Streams of samples at a rate."""
    return case.timing == "regular"


def measuring(case: Case) -> bool:
    """Streams that come by themselves; not those that report only what happens."""
    return case.timing != "irregular"


def readings(case: Case) -> bool:
    """Streams of single readings, one a second or slower."""
    return regular(case) and all(len(chunk.samples) == 1 for chunk in case.chunks)


def waveform(case: Case) -> bool:
    """Streams with several samples a chunk."""
    return regular(case) and not readings(case)


# Why somebody is not watched: the codes of the technical events after "device.".
NEVER: Final = "never_heard"
SILENT: Final = "silent"
REFUSED: Final = "refused"
CLOCK: Final = "clock_unusable"
RATE: Final = "rate_unusable"
UNIT: Final = "values_unusable"
NO_SIGNAL: Final = "no_signal"
NO_VALUE: Final = "no_value"
QUALITY: Final = "poor_quality"
GAPS: Final = "incomplete"
