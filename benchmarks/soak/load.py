"""The standard sensor set of a town of wards as Kafka records."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer

from engine.registry import RegistryData
from schemas.encode import encode_wire, wire_block
from simulator.standard import WARD_RESIDENTS, standard_blocks, standard_registry, standard_scenario
from streams.ingest.config import IngestConfig
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import headers
from tests.integration.kafka_wards import partition_of

COMPRESSION: Final = IngestConfig.model_fields["compression"].default
"""Telemetry lies in Kafka as `vigil ingest` writes it."""
START_NS: Final = standard_scenario(2).start_ns


class Batch(NamedTuple):
    """A ward's second."""

    ward: int
    arrival_ns: int
    payload: bytes


def ward_names(count: int, partitions: int) -> list[str]:
    """Names that spread evenly over the partitions."""
    room = dict.fromkeys(range(partitions), -(-count // partitions))
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        name = f"town/ward-{number}"
        if room[partition_of(name)]:
            room[partition_of(name)] -= 1
            found.append(name)
    return found


def registries(wards: int, ward_residents: int = WARD_RESIDENTS) -> list[RegistryData]:
    """Who is who in each ward: devices are numbered through, residents and beds too."""
    whole = standard_registry(wards * ward_residents)
    per_room = 2
    found = []
    for ward in range(wards):
        residents = range(ward * ward_residents, (ward + 1) * ward_residents)
        rooms = range(ward * ward_residents // per_room, (ward + 1) * ward_residents // per_room)
        own = [
            b
            for b in whole.bindings
            if (
                int(b.device.rsplit("-", 1)[1]) - 101 in rooms
                if b.subject.startswith("room/")
                else int(b.device.rsplit("-", 1)[1]) - 1 in residents
            )
        ]
        beds = [a for i, a in enumerate(whole.assignments) if i in residents]
        found.append(RegistryData(bindings=tuple(own), assignments=tuple(beds)))
    return found


def batches(wards: int, seconds: int, ward_residents: int = WARD_RESIDENTS) -> Iterator[Batch]:
    """Every ward's every second, in order of time, as binary ward batches."""
    for second, blocks in enumerate(standard_blocks(wards * ward_residents, seconds, ward_residents=ward_residents)):
        share = len(blocks) // wards
        arrival_ns = START_NS + (second + 1) * 1_000_000_000
        for ward in range(wards):
            wires = [wire_block(block) for block in blocks[ward * share : (ward + 1) * share]]
            yield Batch(ward, arrival_ns, encode_wire(f"town/{ward}", wires, seq=second, sent_ns=arrival_ns))


async def publish(
    config: KafkaConfig, names: Sequence[str], made: Iterator[Batch], ward_residents: int = WARD_RESIDENTS
) -> tuple[int, int]:
    """Registries, then everything as fast as it goes; (records, bytes)."""
    producer = AIOKafkaProducer(
        **config.connection.client(), acks="all", max_request_size=topics.RECORD_BYTES_MAX, linger_ms=5, compression_type=COMPRESSION
    )
    await producer.start()
    count = size = 0
    try:
        for name, data in zip(names, registries(len(names), ward_residents), strict=True):
            await producer.send_and_wait(config.prefix + topics.REGISTRY, msgspec.json.encode(data), name.encode())
        waiting = []
        for batch in made:
            key = names[batch.ward].encode()
            waiting.append(await producer.send(config.prefix + topics.TELEMETRY, batch.payload, key, headers=headers(batch.arrival_ns)))
            count, size = count + 1, size + len(batch.payload)
            if len(waiting) > 256:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
    return count, size
