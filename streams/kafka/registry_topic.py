"""Publishing to the registry topic (`vigil registry`): a file is split by ward, checked as a worker will, and sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from pydantic import BaseModel

from alerts.policy import CANARY_WARD_PREFIX, Policy
from engine.registry import RegistryData
from streams.kafka import clients, topics
from streams.kafka.config import KafkaConfig
from streams.kafka.preflight import ensure_reachable
from streams.kafka.registry_reader import read_registries
from streams.pipeline.registries import Registries, usable

IN_FORCE_S: Final = 10.0
"""How long `publish` waits for the workers to forward a change: a few times what a rebalance takes."""
SEND_TIMEOUT_MS: Final = 30_000
"""How long Kafka may take to store a record before the command gives up."""
_POLL_S: Final = 0.1


def split_by_ward(data: RegistryData) -> dict[str, RegistryData]:
    """`data` by the ward that its bindings name. ValueError when a part of it belongs to none of these wards."""
    wards = sorted({binding.ward for binding in data.bindings})
    for binding in data.bindings:
        if not binding.ward or binding.ward.startswith(CANARY_WARD_PREFIX):
            raise ValueError(f"device {binding.device} is bound in ward {binding.ward!r}: name the ward it is in, as facility/ward")
    parts = {ward: _part(data, ward) for ward in wards}
    lost = sorted(
        {p.subject for p in data.places}.difference(p.subject for part in parts.values() for p in part.places)
        | {a.bed for a in data.assignments}.difference(a.bed for part in parts.values() for a in part.assignments)
        | {c.subject for c in data.care}.difference(c.subject for part in parts.values() for c in part.care)
    )
    if lost:
        raise ValueError(f"no ward with devices has {', '.join(lost)}: give each a place in the ward of its devices, or leave it out")
    return parts


def select_wards(parts: Mapping[str, RegistryData], wards: Sequence[str]) -> dict[str, RegistryData]:
    """The wards `wards` of `parts`; all when none is given. ValueError when one is not there."""
    if absent := sorted(set(wards) - parts.keys()):
        raise ValueError(f"no device is bound in ward {', '.join(absent)}, only in {', '.join(parts)}")
    return {ward: part for ward, part in parts.items() if not wards or ward in wards}


def _part(data: RegistryData, ward: str) -> RegistryData:
    bindings = tuple(b for b in data.bindings if b.ward == ward)
    places = tuple(p for p in data.places if p.ward == ward)
    here = {b.subject for b in bindings} | {p.subject for p in places}
    placed = {b.subject for b in data.bindings} | {p.subject for p in data.places}
    stays = tuple(a for a in data.assignments if a.bed in here or (a.bed not in placed and a.resident in here))
    here |= {a.resident for a in stays}
    return RegistryData(data.version, bindings, stays, places, tuple(c for c in data.care if c.subject in here))


def registries_in_force(kafka: KafkaConfig, parameters: BaseModel | None = None, policy: Policy | None = None) -> list[Registries]:
    """The registries in force now, by partition. `parameters` and `policy` are the workers', who refuse what does not fit them.

    KafkaError, or KafkaUnreachable, when the topic cannot be read. Not for use inside an event loop.
    """
    ensure_reachable(kafka.connection)
    found = asyncio.run(read_registries(kafka, range(kafka.partitions), validate=lambda all_: usable(all_, parameters, policy)))
    return [found[number] for number in range(kafka.partitions)]


def refusal_reason(
    parts: Mapping[str, RegistryData], now: Sequence[Registries], parameters: BaseModel | None, policy: Policy | None
) -> str | None:
    """Why a worker would refuse `parts` together with the registries in force `now`; None when it would not."""
    after = list(now)
    for ward, part in parts.items():
        number = topics.partition_of(ward, len(now))
        after[number] = after[number].changed(ward, msgspec.json.encode(part), after[number].next_offset)
    reasons = (usable(registries, parameters, policy) for registries, before in zip(after, now, strict=True) if registries is not before)
    return next(filter(None, reasons), None)


def shared_subjects(parts: Mapping[str, RegistryData], now: Sequence[Registries]) -> list[str]:
    """Residents, beds and rooms of `parts` that another ward has at the same time: `resident/r-1 (home/east, home/west)`.

    No worker can see that, yet sinks and receivers would treat them as one: a ward is not part of a pseudonym.
    """
    wards = {ward: data for registries in now for ward, data in registries.wards.items()} | dict(parts)
    stays: dict[str, set[tuple[int, int, str]]] = {}
    for ward, data in wards.items():
        for b in data.bindings:
            stays.setdefault(b.subject, set()).add((b.from_ns, b.to_ns, ward))
    found: dict[str, set[str]] = {}
    for ward, part in parts.items():
        for b in part.bindings:
            others = {name for from_ns, to_ns, name in stays[b.subject] if name != ward and from_ns < b.to_ns and b.from_ns < to_ns}
            if others:
                found.setdefault(b.subject, {ward}).update(others)
    return [f"{subject} ({', '.join(sorted(found[subject]))})" for subject in sorted(found)]


def publish(kafka: KafkaConfig, values: Mapping[str, bytes]) -> dict[str, int]:
    """Send the values by ward and wait for the workers: by ward the partition of those that no worker has forwarded within IN_FORCE_S.

    KafkaError when Kafka does not store one of them. Not for use inside an event loop.
    """
    return asyncio.run(_publish(kafka, values))


async def _publish(kafka: KafkaConfig, values: Mapping[str, bytes]) -> dict[str, int]:
    name = kafka.prefix + topics.REGISTRY
    producer = clients.impatient_producer(kafka, request_timeout_ms=SEND_TIMEOUT_MS)
    await producer.start()
    try:
        sent = [await producer.send(name, value, ward.encode()) for ward, value in values.items()]
        waiting = dict(zip(values, await asyncio.gather(*sent), strict=True))
    finally:
        await producer.stop()
    consumer = clients.reader(kafka, group=kafka.group)  # assigned nothing: it only sees what the workers have committed
    await consumer.start()
    try:
        give_up_s = time.monotonic() + IN_FORCE_S
        while waiting and time.monotonic() < give_up_s:
            offsets = {at.topic_partition: await consumer.committed(at.topic_partition) or 0 for at in waiting.values()}
            waiting = {ward: at for ward, at in waiting.items() if offsets[at.topic_partition] <= at.offset}
            await asyncio.sleep(_POLL_S if waiting else 0)
    finally:
        await consumer.stop()
    return {ward: at.partition for ward, at in waiting.items()}
