"""Reads the registry topic: up to its end, or further as it grows. The worker, ingest and `vigil registry` all read it through here.

A record that is no registry, or one that the core refuses, changes nothing: the ward's previous registry stays in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from schemas.wire import TEXT_BYTES_MAX
from streams.kafka import clients, topics
from streams.kafka.config import KafkaConfig
from streams.pipeline.partition import WHY_MAX
from streams.pipeline.registries import Registries

log = structlog.get_logger("vigil.registry")

POLL_MS: Final = 200
REFUSED: Final = "registry record refused; the ward's previous registry stays in force"

Validate = Callable[[Registries], str | None]
"""Why the core would refuse these registries, None when it would not; called in a thread, for it builds a core."""


class RegistryRecord(NamedTuple):
    """A record of the registry topic. `value` is empty when the ward has been withdrawn."""

    partition: int
    offset: int
    ward: str
    value: bytes


def apply_record(registries: Registries, record: RegistryRecord, validate: Validate = lambda _: None) -> Registries:
    """`registries` after `record`; with the same wards, and a line in the log, when the record is refused."""
    try:
        changed = registries.changed(record.ward, record.value, record.offset)
        why = validate(changed)
    except ValueError as error:
        why = str(error)
    if why is None:
        return changed
    log.error(REFUSED, ward=record.ward[:TEXT_BYTES_MAX], partition=record.partition, offset=record.offset, why=why[:WHY_MAX])
    return Registries(registries.wards, record.offset + 1)


class RegistryReader:
    """The registry topic's records in the order of each partition, from the beginning. `consumer` is started and stopped by the caller."""

    def __init__(self, consumer: AIOKafkaConsumer, kafka: KafkaConfig, partitions: Iterable[int]) -> None:
        self._consumer = consumer
        self._topic = kafka.prefix + topics.REGISTRY
        self._partitions = [TopicPartition(self._topic, number) for number in partitions]
        self._ends: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Go to the beginning, and note where the end is now. UnknownTopicOrPartitionError when there is no such topic."""
        if self._topic not in await self._consumer.topics():  # aiokafka would look for it without a pause
            raise UnknownTopicOrPartitionError(f"topic {self._topic} is missing: run `vigil topics create`")
        self._consumer.assign(self._partitions)
        self._ends = await self._consumer.end_offsets(self._partitions)
        await self._consumer.seek_to_beginning(*self._partitions)

    async def at_end(self) -> bool:
        """Whether everything has been read that the topic held at the start."""
        return all([await self._consumer.position(tp) >= end for tp, end in self._ends.items()])

    def was_there(self, record: RegistryRecord) -> bool:
        """Whether the topic held `record` at the start."""
        return record.offset < self._ends[TopicPartition(self._topic, record.partition)]

    async def poll(self) -> list[RegistryRecord]:
        """The next records; [] when none came for a moment."""
        found = await self._consumer.getmany(timeout_ms=POLL_MS)
        return [_record(record) for records in found.values() for record in records]

    async def committed(self, record: RegistryRecord) -> bool:
        """Whether the consumer's group has committed `record`."""
        offset: int | None = await self._consumer.committed(TopicPartition(self._topic, record.partition))
        return (offset or 0) > record.offset


async def read_registries(
    kafka: KafkaConfig, partitions: Iterable[int], *, validate: Validate = lambda _: None, progress: Callable[[], None] = lambda: None
) -> dict[int, Registries]:
    """The registries that are in force in each of `partitions`, as the topic says now. `progress` is called after each record.

    KafkaError when the topic is missing or cannot be read.
    """
    found = {number: Registries() for number in partitions}
    consumer = clients.reader(kafka)
    await consumer.start()
    try:
        reader = RegistryReader(consumer, kafka, found)
        await reader.start()
        while not await reader.at_end():
            for record in filter(reader.was_there, await reader.poll()):
                found[record.partition] = await asyncio.to_thread(apply_record, found[record.partition], record, validate)
                progress()
    finally:
        await consumer.stop()
    return found


def _record(record: Any) -> RegistryRecord:
    return RegistryRecord(record.partition, record.offset, (record.key or b"").decode("utf-8", "replace"), record.value or b"")
