"""The topic `registry` as whoever keeps it sees it: what it says, a file divided by wards, and sending."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from pydantic import BaseModel

from alerts.policy import CANARY_WARD_PREFIX, Policy
from engine.registry import RegistryData
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.kafka.preflight import ensure
from streams.pipeline.registries import Registries, usable

log = structlog.get_logger("vigil.registry")

IN_FORCE_S: Final = 10.0
"""How long a change waits for the worker of its ward: a few times what a rebalance takes."""
_LOOK_S: Final = 0.1
_POLL_MS: Final = 500


def divided(data: RegistryData) -> dict[str, RegistryData]:
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


def named(parts: Mapping[str, RegistryData], wards: Sequence[str]) -> dict[str, RegistryData]:
    """These wards of `parts`, all where none is named. ValueError when one is not there."""
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


def _consumer(kafka: KafkaConfig, group: str | None = None) -> KafkaConsumer:
    fetch = topics.RECORD_BYTES_MAX
    return KafkaConsumer(**kafka.connection.client(), group_id=group, enable_auto_commit=False, max_partition_fetch_bytes=fetch)


def published(kafka: KafkaConfig) -> list[Registries]:
    """What the registry topic says now, by partition. KafkaError, or KafkaUnreachable, when it cannot be read."""
    ensure(kafka.connection)
    found = [Registries() for _ in range(kafka.partitions)]
    tps = [TopicPartition(kafka.prefix + topics.REGISTRY, number) for number in range(kafka.partitions)]
    consumer = _consumer(kafka)
    try:
        consumer.assign(tps)
        ends: dict[TopicPartition, int] = consumer.end_offsets(tps)
        consumer.seek_to_beginning(*tps)
        while any(consumer.position(tp) < ends[tp] for tp in tps):
            for tp, records in consumer.poll(timeout_ms=_POLL_MS).items():
                for record in records:
                    found[tp.partition] = _with(found[tp.partition], record)
    finally:
        consumer.close()
    return found


def _with(registries: Registries, record: Any) -> Registries:
    """The worker of the ward passes over a record that is no registry, and so does this."""
    try:
        return registries.changed((record.key or b"").decode("utf-8", "replace"), record.value or b"", record.offset)
    except ValueError as error:
        log.warning("this registry is none; passed over", partition=record.partition, offset=record.offset, why=str(error))
        return Registries(registries.wards, record.offset + 1)


def refusal(
    parts: Mapping[str, RegistryData], now: Sequence[Registries], parameters: BaseModel | None, policy: Policy | None
) -> str | None:
    """Why a worker would refuse `parts` beside what is published `now`; None when it would not."""
    after = list(now)
    for ward, part in parts.items():
        number = topics.partition_of(ward, len(now))
        after[number] = after[number].changed(ward, msgspec.json.encode(part), after[number].next_offset)
    reasons = (usable(registries, parameters, policy) for registries, before in zip(after, now, strict=True) if registries is not before)
    return next(filter(None, reasons), None)


def shared(parts: Mapping[str, RegistryData], now: Sequence[Registries]) -> list[str]:
    """Residents, beds and rooms of `parts` that another ward has at the same time: `resident/r-1 (home/east, home/west)`.

    No worker sees that, yet sinks and receivers would take the two for one: a ward is not part of a pseudonym.
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


def send(kafka: KafkaConfig, values: Mapping[str, bytes]) -> dict[str, int]:
    """Send the values by ward and wait for the workers: by ward the partition of those that no worker has taken over within IN_FORCE_S.

    KafkaError when Kafka does not store one of them.
    """
    producer = KafkaProducer(**kafka.connection.client(), acks="all", max_request_size=topics.RECORD_BYTES_MAX)
    try:
        name = kafka.prefix + topics.REGISTRY
        sent = {ward: producer.send(name, key=ward.encode(), value=value) for ward, value in values.items()}
        offsets = {ward: future.get() for ward, future in sent.items()}
    finally:
        producer.close()
    waiting = {ward: (TopicPartition(at.topic, at.partition), at.offset) for ward, at in offsets.items()}
    consumer = _consumer(kafka, kafka.group)  # assigned nothing: it only sees what the workers have committed
    try:
        give_up_s = time.monotonic() + IN_FORCE_S
        while waiting and time.monotonic() < give_up_s:
            waiting = {ward: (tp, offset) for ward, (tp, offset) in waiting.items() if (consumer.committed(tp) or 0) <= offset}
            time.sleep(_LOOK_S if waiting else 0)
    finally:
        consumer.close()
    return {ward: tp.partition for ward, (tp, _) in waiting.items()}
