"""The state of an assigned partition: its newest usable snapshot, or a cold start with the registries that are published now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiokafka
import msgspec
import structlog
from aiokafka import AIOKafkaConsumer
from pydantic import BaseModel

from alerts.policy import Policy
from schemas.wire import TEXT_BYTES_MAX
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.pipeline.partition import WHY_MAX, Partition
from streams.pipeline.registries import Registries, usable
from streams.storage.snapshots import SnapshotStore

log = structlog.get_logger("vigil.worker")


class Loader:
    """Blocking work goes to threads; `progress` is called at every step, for the watchdog."""

    def __init__(
        self, config: KafkaConfig, store: SnapshotStore, parameters: BaseModel | None, policy: Policy | None, progress: Callable[[], None]
    ) -> None:
        self._config = config
        self._store = store
        self._parameters, self._policy = parameters, policy
        self._progress = progress

    async def load(self, number: int, generation: int, begin: int, end: int) -> tuple[Partition, int, str | None, bool]:
        """The partition, whose log has the records [begin, end); its epoch; its crash log as stored; and whether it starts cold."""
        epoch = max(generation, await asyncio.to_thread(self._store.newest_epoch, number) + 1)
        self._progress()
        noted = await asyncio.to_thread(self._store.note, number)
        self._progress()
        partition = await asyncio.to_thread(self._restored, number, end)
        cold = partition is None
        if partition is None:
            partition = self._new(number, await self._published(number), begin)
        if partition.next_offset < begin:
            log.error("records expired before they were read", partition=number, lost=begin - partition.next_offset)
            partition.next_offset = begin
        return partition, epoch, noted, cold

    def _new(self, number: int, registries: Registries | None = None, next_offset: int = 0) -> Partition:
        return Partition(
            number,
            parameters=self._parameters,
            policy=self._policy,
            live=self._config.live,
            registries=registries,
            next_offset=next_offset,
        )

    def _restored(self, number: int, end: int) -> Partition | None:
        for snapshot in self._store.newest_first(number):
            partition = self._new(number)
            try:
                partition.restore(snapshot.state)
            except (ValueError, msgspec.DecodeError) as error:
                log.warning("snapshot ignored", partition=number, offset=snapshot.next_offset, why=str(error))
                continue
            if snapshot.next_offset <= end:
                return partition
            log.error("snapshot is ahead of its log: was the topic made anew?", partition=number, offset=snapshot.next_offset, end=end)
        return None

    async def _published(self, number: int) -> Registries:
        """What the registry topic says now about the wards of this partition."""
        tp = aiokafka.TopicPartition(self._config.prefix + topics.REGISTRY, number)
        consumer = AIOKafkaConsumer(**self._config.connection.client(), enable_auto_commit=False, auto_offset_reset="earliest")
        registries = Registries()
        await consumer.start()
        try:
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            await consumer.seek_to_beginning(tp)
            while await consumer.position(tp) < end:
                for record in (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, []):
                    if record.offset >= end:
                        break
                    registries = await asyncio.to_thread(self._with, registries, record)
                    self._progress()
        finally:
            await consumer.stop()
        return registries

    def _with(self, registries: Registries, record: Any) -> Registries:
        ward = (record.key or b"").decode("utf-8", "replace")
        try:
            changed = registries.changed(ward, record.value or b"", record.offset)
            why = usable(changed, self._parameters, self._policy)
        except ValueError as error:
            why = str(error)
        if why is None:
            return changed
        log.error("registry refused; the old one stays in force", ward=ward[:TEXT_BYTES_MAX], why=why[:WHY_MAX])
        return Registries(registries.wards, record.offset + 1)
