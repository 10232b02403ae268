"""Follows the registry topic: which device belongs to which ward."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final, NamedTuple

import structlog
from aiokafka.errors import KafkaError

from streams.ingest.wards import Wards
from streams.kafka import clients
from streams.kafka.config import KafkaConfig
from streams.kafka.registry_reader import RegistryReader, RegistryRecord, apply_record
from streams.pipeline.registries import Registries

log = structlog.get_logger("vigil.ingest")

RETRY_S: Final = 1.0
"""Between two attempts to reach Kafka."""
FORWARDED_WITHIN_S: Final = 5.0
"""How long a change waits for the worker of its ward. Where no worker runs, data is stored under the new ward all the same."""


class _Change(NamedTuple):
    """A record of the registry topic that does not count here yet."""

    record: RegistryRecord
    seen_s: float


class RegistryFollower:
    """Keeps `wards` as the registry topic says. `ready` is set once the whole topic has been read.

    A later change counts here once the worker has forwarded it to the telemetry topic (it commits the registry record then). So the
    data of a device that is new in a ward is stored behind the change that binds the device, and the core knows it.
    """

    def __init__(self, kafka: KafkaConfig, wards: Wards) -> None:
        self._kafka = kafka
        self._wards = wards
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. While Kafka is away the wards stay as they were."""
        last_reason = ""
        while True:
            # The workers' group, to see what they have committed; partitions assigned by hand take none from them.
            consumer = clients.reader(self._kafka, group=self._kafka.group)
            try:
                await consumer.start()
                await self._follow(RegistryReader(consumer, self._kafka, range(self._kafka.partitions)))
            except (KafkaError, ConnectionError) as error:
                why = f"{type(error).__name__}: {error}"
                if why != last_reason:
                    log.warning("registry topic cannot be read; trying again", why=why)
                last_reason = why
                await asyncio.sleep(RETRY_S)
            finally:
                await consumer.stop()

    async def _follow(self, reader: RegistryReader) -> None:
        registries = {number: Registries() for number in range(self._kafka.partitions)}
        changes: deque[_Change] = deque()
        await reader.start()
        while True:
            if not self.ready.is_set() and await reader.at_end():
                log.info("registry topic read", wards=len(self._wards))
                self.ready.set()
            changes.extend(_Change(record, time.monotonic()) for record in await reader.poll())
            while changes and (not self.ready.is_set() or await self._forwarded(reader, changes[0])):
                record = changes.popleft().record
                found = registries[record.partition] = apply_record(registries[record.partition], record)
                self._wards.set(record.ward, found.wards.get(record.ward))

    async def _forwarded(self, reader: RegistryReader, change: _Change) -> bool:
        if time.monotonic() - change.seen_s > FORWARDED_WITHIN_S:
            log.warning("no worker has forwarded a registry change; it counts here from now on", partition=change.record.partition)
            return True
        return await reader.committed(change.record)
