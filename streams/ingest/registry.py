"""Follows the registry topic: which device belongs to which ward."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Final, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from streams.ingest.wards import Wards
from streams.kafka import topics
from streams.kafka.config import KafkaConfig

log = structlog.get_logger("vigil.ingest")

AGAIN_S: Final = 1.0
POLL_MS: Final = 200
HANDED_ON_S: Final = 5.0
"""How long a change waits for the worker of its ward. Where no worker runs, data is stored under the new ward all the same."""


class _Change(NamedTuple):
    """A record of the registry topic that has not been taken over yet."""

    tp: TopicPartition
    record: Any
    seen_s: float


class Following:
    """Keeps `wards` as the registry topic says. `ready` is set once what it says now is known.

    A later change counts here when the worker has put it into the log of its ward (it commits the registry record then): what is
    stored for a device that came comes behind the change that says whose it is, and the core knows it.
    """

    def __init__(self, kafka: KafkaConfig, wards: Wards) -> None:
        self._kafka = kafka
        self._wards = wards
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. While Kafka is away the wards stay as they were."""
        told = ""
        while True:
            # The workers' group, to see what they have committed; partitions assigned by hand take none from them.
            consumer = AIOKafkaConsumer(
                **self._kafka.connection.client(), group_id=self._kafka.group, enable_auto_commit=False, auto_offset_reset="earliest"
            )
            try:
                await consumer.start()
                await self._follow(consumer)
            except (KafkaError, ConnectionError) as error:
                why = f"{type(error).__name__}: {error}"
                if why != told:
                    log.warning("the registry cannot be read now", why=why)
                told = why
                await asyncio.sleep(AGAIN_S)
            finally:
                await consumer.stop()

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        topic = self._kafka.prefix + topics.REGISTRY
        if topic not in await consumer.topics():  # aiokafka would look for it without a pause
            raise UnknownTopicOrPartitionError(f"topic {topic} is missing: run `vigil topics create`")
        tps = [TopicPartition(topic, number) for number in range(self._kafka.partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        changes: deque[_Change] = deque()
        while True:
            if not self.ready.is_set() and all([await consumer.position(tp) >= ends[tp] for tp in tps]):
                log.info("registry read", wards=len(self._wards))
                self.ready.set()
            for tp, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                changes.extend(_Change(tp, record, time.monotonic()) for record in records)
            while changes and (not self.ready.is_set() or await self._handed_on(consumer, changes[0])):
                self._take(changes.popleft().record)

    async def _handed_on(self, consumer: AIOKafkaConsumer, change: _Change) -> bool:
        if time.monotonic() - change.seen_s > HANDED_ON_S:
            log.warning("no worker has taken a registry change over: it counts here from now on", partition=change.tp.partition)
            return True
        committed: int | None = await consumer.committed(change.tp)
        return (committed or 0) > int(change.record.offset)

    def _take(self, record: Any) -> None:
        ward = (record.key or b"").decode("utf-8", "replace")
        try:
            self._wards.set(ward, record.value)
        except (ValueError, RecursionError) as error:
            log.error("this registry is none; the old one stays in force", ward=ward, why=str(error))  # noqa: TRY400 - the reason is the message
