"""Follows the registry topic: which device belongs to which ward."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams import topics
from streams.ingest.wards import Wards
from streams.worker.config import KafkaConfig

log = structlog.get_logger("vigil.ingest")

AGAIN_S: Final = 1.0
POLL_MS: Final = 200


class Following:
    """Keeps `wards` as the registry topic says. `ready` is set once what it says now is known."""

    def __init__(self, kafka: KafkaConfig, wards: Wards) -> None:
        self._kafka = kafka
        self._wards = wards
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. While Kafka is away the wards stay as they were."""
        while True:
            consumer = AIOKafkaConsumer(**self._kafka.connection.client(), enable_auto_commit=False, auto_offset_reset="earliest")
            try:
                await consumer.start()
                await self._follow(consumer)
            except (KafkaError, ConnectionError) as error:
                log.warning("the registry cannot be read now", why=f"{type(error).__name__}: {error}")
                await asyncio.sleep(AGAIN_S)
            finally:
                await consumer.stop()

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        tps = [TopicPartition(self._kafka.prefix + topics.REGISTRY, number) for number in range(self._kafka.partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        while True:
            if not self.ready.is_set() and all([await consumer.position(tp) >= ends[tp] for tp in tps]):
                log.info("registry read", wards=len(self._wards))
                self.ready.set()
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    ward = (record.key or b"").decode("utf-8", "replace")
                    try:
                        self._wards.set(ward, record.value)
                    except ValueError as error:
                        log.error("this registry is none; the old one stays in force", ward=ward, why=str(error))  # noqa: TRY400 - the reason is the message
