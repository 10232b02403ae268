"""Faults of a device's clock, and of the numbers of its chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from benchmarks.faults.case import Case
from benchmarks.faults.fault import CLOCK, GAPS, RATE, REFUSED, SILENT, Apply, Fault, Scene, everywhere, measuring, waveform
from benchmarks.faults.stream import DECIMALS, Chunk, unnumbered
from engine.frame import NS_PER_S

HOUR_S: Final = 3600.0
YEAR_2000_S: Final = 946_684_800.0
DRIFT: Final = 0.05
REBOOT_S: Final = 5.0
SETTLED_S: Final = 25.0
"""A restart begins so much earlier than other faults: a detector may warm up after it, but must have done so when the danger comes."""
LOOP_S: Final = 20.0
"""Between two restarts of a device that restarts again and again."""
LOOP_BEFORE_S: Final = 4.0


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def shifted(by_s: float) -> Apply:
    """A clock that is wrong by a constant."""
    return lambda chunks, _: [c._replace(t0_ns=c.t0_ns + _ns(by_s)) for c in chunks]


def since(epoch_s: float) -> Apply:
    """A clock that began at `epoch_s` when the device was switched on, a few seconds before its first chunk."""
    return lambda chunks, _: [c._replace(t0_ns=c.t0_ns - chunks[0].t0_ns + _ns(epoch_s + 5)) for c in chunks]


def jump(by_s: float) -> Apply:
    """A clock that is set by `by_s` while the device runs on: its numbers go on."""

    def apply(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
        before, after = scene.cut(chunks)
        return [*before, *(c._replace(t0_ns=c.t0_ns + _ns(by_s)) for c in after)]

    return apply


def set_right(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """At 1970 until NTP answers, then right."""
    before, after = scene.cut(chunks)
    return [*(c._replace(t0_ns=c.t0_ns - chunks[0].t0_ns + _ns(5)) for c in before), *after]


def frozen(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """Every chunk with the time of the first."""
    return [c._replace(t0_ns=chunks[0].t0_ns) for c in chunks]


def frozen_unnumbered(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """The same without numbers. A waveform never repeats itself to the last digit, which alone tells its chunks apart here; a lead-in of
    three seconds over and over does, so each chunk gets noise in the last digits."""
    found = unnumbered(frozen(chunks, scene))
    if not waveform(scene.case):
        return found
    return [c._replace(samples=c.samples + scene.rng.integers(0, 10, c.samples.shape) * 10.0**-DECIMALS) for c in found]


def drifting(share: float) -> Apply:
    """The device's time runs `share` faster than time: so does everything it measures and sends."""

    def apply(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
        first = chunks[0].arrival_ns
        return [c._replace(arrival_ns=first + round((c.arrival_ns - first) / (1 + share))) for c in chunks]

    return apply


def rebooted(by_s: float | None) -> Apply:
    """A restart: REBOOT_S are not sent, numbers begin at 0, and the clock is wrong by `by_s` afterwards (None: it begins in 1970)."""

    def apply(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
        begin_ns = max(scene.begin_ns - _ns(SETTLED_S), chunks[0].t0_ns + _ns(REBOOT_S))
        before = [c for c in chunks if c.t0_ns < begin_ns]
        after = [c for c in chunks if c.t0_ns >= begin_ns + _ns(REBOOT_S)]
        shift = _ns(by_s) if by_s is not None else _ns(5) - (after[0].t0_ns if after else 0)
        return [*before, *(c._replace(seq=number, t0_ns=c.t0_ns + shift) for number, c in enumerate(after))]

    return apply


def reboot_loop(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """A restart every LOOP_S: a second is not sent each time, and the numbers begin at 0.

    One comes just before the danger, none in its first seconds: what is not sent cannot be seen.
    """
    found, number, last = [], 0, None
    for chunk in chunks:
        turn, into = divmod(chunk.t0_ns - (scene.case.onset_ns - _ns(LOOP_BEFORE_S)), _ns(LOOP_S))
        number = number + 1 if turn == last else 0
        last = turn
        if into >= NS_PER_S:
            found.append(chunk._replace(seq=number))
    return found


def trembling(by_s: float, *, numbers: bool) -> Apply:
    """Times wander by up to `by_s` either way: a radio device that stamps on sending."""

    def apply(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
        wander = scene.rng.uniform(-by_s, by_s, len(chunks))
        found = [c._replace(t0_ns=c.t0_ns + _ns(float(w))) for c, w in zip(chunks, wander, strict=True)]
        return found if numbers else unnumbered(found)

    return apply


def stamped_on_arrival(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """No clock in the device: the gateway stamps each chunk when it comes, up to 0.3 s late, and numbers nothing."""
    late = scene.rng.uniform(0.0, 0.3, len(chunks))
    found = [
        c._replace(arrival_ns=c.arrival_ns + _ns(float(w)), t0_ns=c.arrival_ns + _ns(float(w))) for c, w in zip(chunks, late, strict=True)
    ]
    return sorted(unnumbered(found), key=lambda c: c.arrival_ns)


def coarser(divisor: int) -> Apply:
    """Times in another unit than nanoseconds."""
    return lambda chunks, _: [c._replace(t0_ns=c.t0_ns // divisor) for c in chunks]


def whole_seconds(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """A clock that knows whole seconds."""
    return [c._replace(t0_ns=c.t0_ns // NS_PER_S * NS_PER_S) for c in chunks]


def flapping(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """Every second chunk an hour behind."""
    return [c._replace(t0_ns=c.t0_ns - _ns(HOUR_S) * (number % 2)) for number, c in enumerate(chunks)]


def said(field: str, value: Callable[[Chunk], Any]) -> Apply:
    """A field written wrongly."""
    return lambda chunks, _: [c._replace(more={field: value(c)}) for c in chunks]


def without_numbers(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """No seq."""
    return unnumbered(chunks)


def numbered_by(number: Callable[[int, Chunk, Scene], int]) -> Apply:
    """Other numbers than 1 more each time; `number` gets the index, the chunk and the scene."""
    return lambda chunks, scene: [c._replace(seq=number(index, c, scene)) for index, c in enumerate(chunks)]


def of_clock(
    name: str,
    device: str,
    apply: Apply,
    *reasons: str,
    group: str = "clock",
    applies: Callable[[Case], bool] = everywhere,
    stretch: float = 0.0,
) -> Fault:
    """Without `reasons` it costs nothing: only a clock or a rate that cannot be used would be a true one."""
    return Fault(name, group, device, apply, frozenset(reasons or (CLOCK, RATE)), not reasons, applies=applies, stretch=stretch)


def then(first: Apply, second: Apply) -> Apply:
    def apply(chunks: Sequence[Chunk], scene: Scene) -> Iterable[Any]:
        done = [message for message in first(chunks, scene) if isinstance(message, Chunk)]
        return second(done, scene)

    return apply


CLOCKS: Final = (
    of_clock("clock an hour behind", "daylight time taken for standard time", shifted(-HOUR_S)),
    of_clock("clock an hour ahead", "standard time taken for daylight time", shifted(HOUR_S)),
    of_clock("clock 8 h ahead", "local time of China sent as UTC", shifted(8 * HOUR_S)),
    of_clock("clock 8 h behind", "local time of California sent as UTC", shifted(-8 * HOUR_S)),
    of_clock("clock 10 min ahead", "set by hand", shifted(600.0)),
    of_clock("clock 10 min behind", "set by hand", shifted(-600.0)),
    of_clock("clock 70 s ahead", "not set for a year", shifted(70.0)),
    of_clock("clock at 1970", "counts from switching on, no battery, no NTP", since(0.0)),
    of_clock("clock at 2000", "real-time clock after its battery was empty", since(YEAR_2000_S)),
    of_clock("clock a year ahead", "year set wrongly by hand", shifted(365 * 24 * HOUR_S)),
    of_clock("clock 10 days behind", "stood in a drawer", shifted(-10 * 24 * HOUR_S)),
    of_clock("clock stands still", "oscillator of the real-time clock stopped", frozen, CLOCK),
    of_clock("clock stands still, no seq", "the same, firmware without numbers", frozen_unnumbered, CLOCK),
    of_clock("clock runs 5 % fast", "RC oscillator instead of a crystal", drifting(DRIFT), stretch=DRIFT),
    of_clock("clock runs 5 % slow", "RC oscillator, cold", drifting(-DRIFT), stretch=DRIFT),
    of_clock("clock set ahead by an hour", "daylight time begins", jump(HOUR_S)),
    of_clock("clock set back by an hour", "daylight time ends", jump(-HOUR_S)),
    of_clock("clock set back by an hour, no seq", "the same, firmware without numbers", then(jump(-HOUR_S), without_numbers)),
    of_clock("clock set back by 10 min", "phone as gateway corrects the band", jump(-600.0)),
    of_clock("clock set back by 2 s", "NTP steps", jump(-2.0)),
    of_clock("clock at 1970, then right", "first samples before NTP answers", set_right),
    of_clock("clock of whole seconds", "calendar chip without fractions", whole_seconds),
    of_clock("every second chunk an hour behind", "two processes, one without time zone", flapping, CLOCK),
    of_clock("times in milliseconds", "t0_ns filled with ms", coarser(1_000_000), CLOCK),
    of_clock("times in seconds", "t0_ns filled with s", coarser(NS_PER_S), CLOCK),
    of_clock("times as text", "ISO 8601 instead of a number", said("t0_ns", lambda _: "2026-01-05T00:00:00Z"), REFUSED, CLOCK),
    of_clock("times tremble by 80 ms", "radio stamps on sending", trembling(0.08, numbers=True)),
    of_clock("times tremble by 80 ms, no seq", "radio stamps on sending, no numbers", trembling(0.08, numbers=False)),
    of_clock("stamped by the gateway", "sensor without clock or numbers", stamped_on_arrival),
    of_clock("restart, clock right", "battery changed", rebooted(0.0)),
    of_clock("restart, clock an hour behind", "battery changed, time zone lost", rebooted(-HOUR_S)),
    of_clock("restart, clock 10 min behind", "real-time clock kept badly", rebooted(-600.0)),
    of_clock("restart, clock at 1970", "battery changed, no NTP", rebooted(None)),
    of_clock("restarts every 20 s", "brown-out at each transmission", reboot_loop, SILENT, GAPS, CLOCK, applies=measuring),
)

NUMBERS: Final = tuple(
    fault._replace(group="numbers")
    for fault in (
        of_clock("no seq", "simple firmware", without_numbers),
        of_clock("seq always 0", "field never counted", numbered_by(lambda *_: 0)),
        of_clock("seq wraps at 256", "one byte", numbered_by(lambda index, _, scene: (index + 256 - len(scene.case.chunks) // 2) % 256)),
        of_clock(
            "seq counts samples", "number of the first sample", numbered_by(lambda index, c, _: index * len(c.samples)), applies=waveform
        ),
        of_clock("seq as text", "number in quotes", said("seq", lambda c: str(c.seq)), REFUSED),
    )
)
