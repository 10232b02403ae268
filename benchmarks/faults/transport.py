"""Faults of the way from a device to Vigil, of its life, and of who it is about."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from benchmarks.faults.case import Case
from benchmarks.faults.fault import (
    CLOCK,
    GAPS,
    NEVER,
    QUALITY,
    REFUSED,
    SILENT,
    Apply,
    Fault,
    Scene,
    everywhere,
    measuring,
    regular,
    waveform,
)
from benchmarks.faults.stream import Chunk, Message, Rebinding, on_time, unnumbered, wire
from engine.frame import NS_PER_S
from engine.registry import Binding, RegistryData

OTHER: Final = "resident/somebody-else"


def by_arrival(chunks: Sequence[Chunk]) -> list[Chunk]:
    """In the order in which they reach Vigil."""
    return sorted(chunks, key=lambda chunk: chunk.arrival_ns)


def lost(share: float, *, spared: bool = False) -> Apply:
    """Chunks that never come. `spared`: not those of the danger's first seconds, for what is lost cannot be seen."""

    def apply(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
        first_ns, last_ns = scene.case.onset_ns - 2 * NS_PER_S, min(scene.case.alarm_ns, scene.case.onset_ns + 10 * NS_PER_S)
        luck = scene.rng.random(len(chunks))
        return [c for c, own in zip(chunks, luck, strict=True) if own >= share or (spared and first_ns <= c.t0_ns <= last_ns)]

    return apply


def every_second_lost(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """Half of the messages."""
    return list(chunks[::2])


def bursts(every_s: float, *, newest_first: bool = False) -> Apply:
    """Kept, and sent together every `every_s`."""
    step_ns = round(every_s * NS_PER_S)

    def apply(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
        sign = -1 if newest_first else 1
        due = [(-(-c.arrival_ns // step_ns) * step_ns, sign * c.t0_ns, c) for c in chunks]
        return [c._replace(arrival_ns=at_ns) for at_ns, _, c in sorted(due, key=lambda entry: entry[:2])]

    return apply


def late(by_s: float) -> Apply:
    """Everything comes `by_s` later."""
    return lambda chunks, _: [c._replace(arrival_ns=c.arrival_ns + round(by_s * NS_PER_S)) for c in chunks]


def swapped(*, numbers: bool) -> Apply:
    """Each pair of chunks in the wrong order: two radio paths."""

    def apply(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
        found: list[Chunk] = []
        for first, second in zip(chunks[::2], chunks[1::2], strict=False):
            found += [second, first._replace(arrival_ns=second.arrival_ns + 100_000_000)]
        found += chunks[len(found) :]
        return by_arrival(found if numbers else unnumbered(found))

    return apply


def twice(chunks: Sequence[Chunk], _: Scene) -> Iterator[Chunk]:
    """Every message a second time, at once."""
    for chunk in chunks:
        yield chunk
        yield chunk._replace(arrival_ns=chunk.arrival_ns + 1_000_000)


def twice_by_two_ways(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """A second gateway hears the device as well, and is a moment slower."""
    delay = (scene.rng.uniform(0.1, 1.5, len(chunks)) * NS_PER_S).astype(np.int64)
    return by_arrival([*chunks, *(c._replace(arrival_ns=c.arrival_ns + int(d)) for c, d in zip(chunks, delay, strict=True))])


def twice_restamped(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """Two gateways that stamp what they hear by their own clocks, 0.2 s apart."""
    shift = 200_000_000
    return by_arrival([*chunks, *(c._replace(arrival_ns=c.arrival_ns + shift, t0_ns=c.t0_ns + shift) for c in chunks)])


def resent(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """After each reconnection (every 30 s) the last ten messages again."""
    again = [
        earlier._replace(arrival_ns=chunk.arrival_ns + 50_000_000)
        for number, chunk in enumerate(chunks)
        if number % 30 == 29
        for earlier in chunks[number - 9 : number + 1]
    ]
    return by_arrival([*chunks, *again])


def outage(seconds: float, *, kept: bool) -> Apply:
    """No network for `seconds`, back just before the danger. `kept`: what was measured comes afterwards, beside what is live."""

    def apply(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
        end_ns = scene.begin_ns
        begin_ns = end_ns - round(seconds * NS_PER_S)
        found = []
        backlog = 0
        for chunk in chunks:
            if not begin_ns <= chunk.arrival_ns < end_ns:
                found.append(chunk)
            elif kept:
                backlog += 1
                found.append(chunk._replace(arrival_ns=end_ns + backlog * 300_000_000))
        return by_arrival(found)

    return apply


def amid_garbage(chunks: Sequence[Chunk], scene: Scene) -> Iterator[Chunk]:
    """Something broken before every message: cut off, or no JSON at all."""
    for number, chunk in enumerate(chunks):
        whole = wire(chunk)
        broken = whole[: len(whole) // 2] if number % 2 else bytes(scene.rng.integers(0, 256, 40, np.uint8))
        yield chunk._replace(raw=broken)
        yield chunk


def gathered(seconds: float) -> Apply:
    """Chunks of `seconds`."""

    def apply(chunks: Sequence[Chunk], _: Scene) -> Iterator[Chunk]:
        waiting: list[Chunk] = []
        number = 1000
        for chunk in chunks:
            waiting.append(chunk)
            if chunk.t0_ns + chunk.lasts_ns - waiting[0].t0_ns >= seconds * NS_PER_S:
                yield on_time(waiting[0]._replace(samples=np.concatenate([c.samples for c in waiting]), seq=number))
                waiting, number = [], number + 1

    return apply


def tiny(chunks: Sequence[Chunk], _: Scene) -> Iterator[Chunk]:
    """Packets of a radio: eight samples each."""
    number = 1000
    for chunk in chunks:
        for first in range(0, len(chunk.samples), 8):
            at_ns = chunk.t0_ns + round(first * NS_PER_S / chunk.rate_hz)
            yield on_time(chunk._replace(t0_ns=at_ns, samples=chunk.samples[first : first + 8], seq=number))
            number += 1


def in_batches(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
    """Binary ward batches of a gateway."""
    return [c._replace(batch=True) for c in chunks]


def stops(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """Nothing any more."""
    return scene.cut(chunks)[0]


def nothing(_: Sequence[Chunk], scene: Scene) -> list[Message]:
    """Nothing, ever: time begins with the binding."""
    return [Rebinding(scene.case.chunks[0].arrival_ns, scene.case.registry)]


def written(change: Callable[[Chunk], Chunk]) -> Apply:
    """Every message written in a way that is refused."""
    return lambda chunks, _: [change(c) for c in chunks]


def renamed(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """Another id from a certain moment on."""
    before, after = scene.cut(chunks)
    return [*before, *(c._replace(device=c.device.upper() + "-2") for c in after)]


def rebound(*changes: tuple[float, str]) -> Apply:
    """The device is bound anew so many seconds before the fault's beginning, to whom ("": its own resident); "-": to nobody."""

    def apply(chunks: Sequence[Chunk], scene: Scene) -> list[Message]:
        found: list[Message] = list(chunks)
        bindings = list(scene.case.registry.bindings)
        for before_s, subject in changes:
            at_ns = max(scene.begin_ns - round(before_s * NS_PER_S), chunks[0].arrival_ns - NS_PER_S)
            bindings = [msgspec.structs.replace(b, to_ns=min(b.to_ns, at_ns)) for b in bindings]
            bindings = [b for b in bindings if b.from_ns < b.to_ns]
            old = scene.case.registry.bindings[0]
            if subject != "-":
                bindings.append(Binding(old.device, subject or old.subject, old.ward, old.site, at_ns))
            found.append(Rebinding(at_ns, msgspec.structs.replace(scene.case.registry, bindings=tuple(bindings))))
        return sorted(found, key=lambda message: message.arrival_ns)

    return apply


def renewed(chunks: Sequence[Chunk], scene: Scene) -> list[Message]:
    """The same registry sent again every ten seconds, for something else in it has changed."""
    found: list[Message] = list(chunks)
    first, last = chunks[0].arrival_ns, scene.case.alarm_ns
    found += [Rebinding(at_ns, _with_place(scene.case.registry, at_ns)) for at_ns in range(first, last, 10 * NS_PER_S)]
    return sorted(found, key=lambda message: message.arrival_ns)


def _with_place(registry: RegistryData, number: int) -> RegistryData:
    other = Binding(f"other-{number}", OTHER, registry.bindings[0].ward, to_ns=number)
    return msgspec.structs.replace(registry, bindings=(*registry.bindings, other))


def of_a_resident(case: Case) -> bool:
    """Devices that a resident wears."""
    return all(binding.subject.startswith("resident/") for binding in case.registry.bindings)


def quick(case: Case) -> bool:
    """Dangers that need no long history of the same person."""
    return of_a_resident(case) and case.alarm_ns - case.chunks[0].arrival_ns < 300 * NS_PER_S


def _of(name: str, device: str, apply: Apply, *reasons: str, delay_s: float = 0.0, applies: Callable[[Case], bool] = everywhere) -> Fault:
    """Without `reasons` it costs nothing: only holes and an unusable clock would be true ones."""
    return Fault(name, "network", device, apply, frozenset(reasons or (SILENT, CLOCK)), not reasons, delay_s, applies=applies)


NETWORK: Final = (
    _of("2 % of the chunks lost", "weak radio", lost(0.02, spared=True), SILENT, GAPS, applies=measuring),
    _of("10 % of the chunks lost", "weaker radio", lost(0.1, spared=True), SILENT, GAPS, QUALITY, delay_s=120.0, applies=measuring),
    _of("30 % of the chunks lost", "edge of the radio's reach", lost(0.3), SILENT, GAPS, QUALITY, applies=measuring),
    _of("every second chunk lost", "two devices share a slot", every_second_lost, SILENT, GAPS, QUALITY, applies=measuring),
    _of("bursts of 30 s", "phone as gateway sleeps", bursts(30.0), delay_s=30.0),
    _of("bursts of 5 min", "store and forward", bursts(300.0), SILENT, delay_s=300.0),
    _of("bursts of 30 s, newest first", "last in, first out", bursts(30.0, newest_first=True), SILENT, GAPS, CLOCK, delay_s=30.0),
    _of("90 s late", "queue in a gateway", late(90.0), delay_s=90.0),
    _of("neighbours swapped", "two radio paths", swapped(numbers=True), delay_s=2.0),
    _of("neighbours swapped, no seq", "two radio paths, no numbers", swapped(numbers=False), SILENT, GAPS, CLOCK, delay_s=2.0),
    _of("every message twice", "QoS 1", twice),
    _of("duplicate by two ways", "two gateways hear the device", twice_by_two_ways),
    _of("duplicate with another stamp", "two gateways with clocks of their own", twice_restamped),
    _of("last ten sent again", "resends after reconnecting", resent),
    _of("outage of a minute", "access point restarts", outage(60.0, kept=False), applies=measuring),
    _of("outage of a minute, kept", "backlog beside live data", outage(60.0, kept=True), applies=measuring),
    _of("garbage between", "damaged messages", amid_garbage),
    _of("chunks of 10 s", "large buffer", gathered(10.0), delay_s=10.0, applies=regular),
    _of("chunks of 60 s", "very large buffer", gathered(60.0), REFUSED, delay_s=60.0, applies=regular),
    _of("chunks of 8 samples", "packets of a radio", tiny, applies=waveform),
    _of("ward batches", "binary form of a gateway", in_batches),
)

LIFE: Final = tuple(
    fault._replace(group="life")
    for fault in (
        _of("falls silent", "battery empty", stops, SILENT, applies=measuring),
        _of("never sends", "dead from the first day", nothing, NEVER, SILENT, applies=measuring),
        _of(
            "id misspelt",
            "typed wrongly when bound",
            written(lambda c: c._replace(device=f"{c.device}x")),
            NEVER,
            SILENT,
            applies=measuring,
        ),
        _of("id changes", "firmware writes it otherwise", renamed, SILENT, applies=measuring),
        _of("unknown version", "v is 2", written(lambda c: c._replace(more={"v": 2})), REFUSED, NEVER, applies=measuring),
        _of("unknown field", "battery in each message", written(lambda c: c._replace(more={"battery": 80})), REFUSED, applies=measuring),
        _of(
            "kind misspelt",
            "acceleration for accel",
            written(lambda c: c._replace(more={"kind": f"{c.kind}s"})),
            REFUSED,
            applies=measuring,
        ),
        _of("compressed", "gzip", written(lambda c: c._replace(raw=gzip.compress(wire(c), 1))), REFUSED, NEVER, applies=measuring),
        _of(
            "wrong number of channels",
            "firmware of another model",
            written(lambda c: c._replace(samples=np.hstack([c.samples, c.samples, c.samples[:, :1], c.samples, c.samples, c.samples]))),
            REFUSED,
            applies=lambda case: case.kind != "ecg" and measuring(case),
        ),
    )
)

PEOPLE: Final = tuple(
    fault._replace(group="people")
    for fault in (
        _of("bound while it sends", "charged beside the bed first", rebound((60.0, "-"), (15.0, "")), applies=quick),
        _of("bound to another", "band changes its wearer", rebound((15.0, OTHER)), applies=quick)._replace(subject=OTHER),
        _of("bound to another and back", "bands mixed up, noticed at once", rebound((30.0, OTHER), (15.0, "")), applies=quick),
        _of("registry renewed", "others are bound meanwhile", renewed),
    )
)
