"""A danger that one stream of one device shows: what a run of the fault machine is made from, and how it goes without a fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.faults.play import Played, play
from benchmarks.faults.stream import Chunk, chunks_of, led_in, looped, numbered, on_time
from engine.detector import Detector, Spec
from engine.frame import NS_PER_S
from engine.kinds import KINDS
from engine.registry import CareSetting, Registry, RegistryData
from engine.watch import CARE
from schemas.codec import decode
from schemas.recording import Recording, Truth
from streams.pipeline.assembly import CLASSES, EVENT_BY_CODE

LEAD_S: Final = 60.0
"""What is played before the danger. A recording that begins later is preceded by its own first seconds, repeated."""
LEADS_S: Final = {"room_air": 300.0, "electrical": 300.0, "pressure_map": float("inf"), "bed": float("inf")}
"""Where more is needed: a clean-air baseline; a turn clock that counts from the beginning."""
AFTER_S: Final = 10.0
"""How much of the recording is played after the alarm of the run without fault. Then its last seconds are repeated."""
AFTERS_S: Final = {"room_air": 300.0}
"""Where more is needed: a fire grows. Ten seconds after the first wisp that a sensor calls, over and over, are no fire."""
FAINTER: Final = {"room_air": (0.75, 0.75, 1.0, 1.0)}
"""What a sensor at the lower end of its tolerance reads of each channel: EN 54-7 allows a response value 1.33 times the mean. A danger that it
would not call yet is at the limit by chance, and so would be its bound: the alarm is due from when this sensor calls as well."""
LOOP_S: Final = 8.0
CALM_S: Final = 3.0
BEFORE_ALARM_S: Final = 25.0
"""A recording whose alarm comes sooner has no room for a fault that begins before the danger."""
AFTERWARDS_S: Final = 300.0
"""So long after the alarm it is seen what else is called without a fault."""
TRUTH_S_MAX: Final = 900.0
"""A danger that raises no alarm in this time raises none."""
SLACK_S: Final = 3.0
"""An alarm this much before the labelled onset still belongs to it: labels are by eye."""


class Case(NamedTuple):
    """One danger in one stream.

    `codes`: any of them is the alarm (of one happening). `chunks`: lead-in and danger, on a device without fault. `loop`: what the
    device goes on with. `alarm_ns`: when somebody is called without a fault. `expected`: every code that is called without a fault.
    """

    name: str
    source: str
    detector: str
    codes: frozenset[str]
    subject: str
    registry: RegistryData
    chunks: tuple[Chunk, ...]
    loop: tuple[Chunk, ...]
    onset_ns: int
    alarm_ns: int
    expected: frozenset[str]

    @property
    def kind(self) -> str:
        """Of the stream."""
        return self.chunks[0].kind

    @property
    def device(self) -> str:
        """Whose stream it is."""
        return self.chunks[0].device

    @property
    def spec(self) -> Spec:
        """Of the detector."""
        return next(cls.spec for cls in CLASSES if cls.spec.name == self.detector)

    @property
    def timing(self) -> str:
        """ "regular", "irregular" or "interval"."""
        return KINDS[self.kind].timing

    def until(self, end_ns: int) -> list[Chunk]:
        """Everything the device sends until `end_ns`, numbered."""
        return numbered([*self.chunks, *looped(self.loop, end_ns)] if self.timing != "irregular" else self.chunks)


Streams = Mapping[tuple[str, str], Sequence[Chunk]]
"""Chunks of each (device, kind), by time."""


def of_recording(recording: Recording, source: str, *, most: int | None = None) -> Iterator[Case]:
    """A case for each labelled danger and each stream that shows it on its own (found by playing it alone); `most` dangers at most."""
    name = f"{source}/{recording.meta.name.rpartition('/')[2]}"
    yield from of_streams(_streams(recording), recording.registry, recording.truth, name, source, most=most)


def of_streams(
    streams: Streams, data: RegistryData, truth: Iterable[Truth], name: str, source: str, *, most: int | None = None
) -> Iterator[Case]:
    """As `of_recording`, from streams that stand ready."""
    registry = Registry(data)
    groups = groupby(sorted(truth, key=_happening), key=_happening)
    for (subject, _), truths in islice(groups, most):
        own = list(truths)
        for (device, kind), chunks in streams.items():
            if registry.subject(device, own[0].start_ns) != subject or kind not in detector_of(own[0].code).spec.kinds:
                continue
            case = _case(data, f"{name}:{device}:{own[0].code.partition('.')[2]}", source, own, chunks)
            if case is not None:
                yield case


def _happening(truth: Truth) -> tuple[str, str]:
    return truth.subject, EVENT_BY_CODE[truth.code].scoring.happening or truth.code


def detector_of(code: str) -> type[Detector[Any, Any]]:
    """The detector that reports `code`."""
    return next(cls for cls in CLASSES if any(event.code == code for event in cls.spec.events))


def _streams(recording: Recording) -> Streams:
    """What each stream sent, as a device without fault on a network without fault would have sent it: in order, once, on time."""
    found: dict[tuple[str, str], dict[int, Chunk]] = {}
    for record in recording.records:
        for block in decode(record.payload).blocks:
            for chunk in chunks_of(block):
                found.setdefault((chunk.device, chunk.kind), {}).setdefault(chunk.t0_ns, chunk)
    return {key: [by_time[t0] for t0 in sorted(by_time)] for key, by_time in found.items()}


def _answers(codes: Iterable[str]) -> frozenset[str]:
    """`codes`, and what else answers them: smoke and heat of one burning room are one fire."""
    happenings = {EVENT_BY_CODE[code].scoring.happening for code in codes} - {""}
    return frozenset(codes) | {code for code, event in EVENT_BY_CODE.items() if event.life_safety and event.scoring.happening in happenings}


def _case(data: RegistryData, name: str, source: str, truths: Sequence[Truth], chunks: Sequence[Chunk]) -> Case | None:
    kind, device = chunks[0].kind, chunks[0].device
    onset_ns = min(truth.start_ns for truth in truths)
    end_ns = min(max(truth.end_ns for truth in truths), onset_ns + _ns(TRUTH_S_MAX)) + _ns(LEAD_S)
    begin_ns = onset_ns - _ns(min(LEADS_S.get(kind, LEAD_S), onset_ns / NS_PER_S))
    chosen = [chunk for chunk in chunks if begin_ns <= chunk.t0_ns < end_ns]
    if not chosen:
        return None
    first_ns = chosen[0].t0_ns
    if KINDS[kind].timing != "irregular" and onset_ns - _ns(LEAD_S / 2) < first_ns < onset_ns:
        calm_ns = min(onset_ns, first_ns + _ns(CALM_S))
        calm = [chunk for chunk in chosen if chunk.t0_ns + chunk.lasts_ns <= calm_ns] or chosen[:1]
        chosen = [*led_in(calm, onset_ns - _ns(LEAD_S)), *chosen]
    registry = msgspec.structs.replace(data, bindings=tuple(binding for binding in data.bindings if binding.device == device))
    codes = _answers([truth.code for truth in truths])
    detector = detector_of(truths[0].code).spec.name
    return _clean(
        Case(name, source, detector, codes, truths[0].subject, registry, tuple(map(on_time, chosen)), (), onset_ns, 0, frozenset())
    )


def _clean(case: Case) -> Case | None:
    """`case` with what happens without a fault; None when nobody is called in it."""
    earliest_ns = case.onset_ns - _ns(SLACK_S)
    start_ns = case.chunks[0].arrival_ns

    def called(played: Played, _: int) -> bool:
        return any(ring.code in case.codes and ring.subject == case.subject and ring.at_ns >= earliest_ns for ring in played.rings)

    end_ns = case.chunks[-1].arrival_ns + _ns(2 * LEAD_S)
    chunks = case.chunks
    alarm_ns = 0
    for gain in [None, FAINTER[case.kind]] if case.kind in FAINTER else [None]:
        if gain is not None:
            chunks = tuple(chunk._replace(samples=chunk.samples * gain[: chunk.samples.shape[1]]) for chunk in case.chunks)
        alone = play(numbered(chunks), case.registry, start_ns, end_ns, called)
        own = (r.at_ns for r in alone.rings if r.code in case.codes and r.subject == case.subject and r.at_ns >= earliest_ns)
        at_ns = next(own, None)
        if at_ns is None or (case.timing != "irregular" and at_ns < start_ns + _ns(BEFORE_ALARM_S)):
            return None
        alarm_ns = max(alarm_ns, at_ns)
    chunks = tuple(chunk for chunk in case.chunks if chunk.t0_ns <= alarm_ns + _ns(AFTERS_S.get(case.kind, AFTER_S)))
    end_ns = chunks[-1].t0_ns + chunks[-1].lasts_ns
    loop = tuple(chunk for chunk in chunks if chunk.t0_ns >= end_ns - _ns(LOOP_S)) or chunks[-1:]
    # Where the danger is there from the beginning, what begins before it begins in the recording all the same.
    onset_ns = min(alarm_ns, max(case.onset_ns, start_ns + _ns(LEAD_S / 2))) if case.timing != "irregular" else case.onset_ns
    case = case._replace(chunks=chunks, loop=loop, onset_ns=onset_ns, alarm_ns=alarm_ns)
    whole = play(case.until(alarm_ns + _ns(AFTERWARDS_S)), case.registry, start_ns, alarm_ns + _ns(AFTERWARDS_S), never)
    return case._replace(expected=frozenset(ring.code for ring in whole.rings) | case.codes)


def watched_closely(case: Case, limit_s: float) -> Case:
    """`case` with a care plan by which somebody is told after `limit_s` that nobody watches: shorter runs than the home's own limits."""
    hazards = {signal.hazard for signals in case.spec.watches.values() for signal in signals}
    care = (CareSetting(case.subject, CARE, f"{hazard}_s", limit_s) for hazard in sorted(hazards))
    return case._replace(registry=msgspec.structs.replace(case.registry, care=(*case.registry.care, *care)))


def never(_: Played, __: int) -> bool:
    """Play to the end."""
    return False


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
