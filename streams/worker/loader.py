"""The state of an assigned partition: its newest usable snapshot, or a cold start with the registries that are published now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog
from pydantic import BaseModel

from alerts.policy import Policy
from streams.kafka.config import KafkaConfig
from streams.kafka.registry_reader import read_registries
from streams.pipeline.partition import Partition
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
        """The registries of this partition's wards that are in force now."""
        found = await read_registries(
            self._config, [number], validate=lambda all_: usable(all_, self._parameters, self._policy), progress=self._progress
        )
        return found[number]
