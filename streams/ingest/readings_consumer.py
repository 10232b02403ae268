"""Consumes small readings from topics of other programs and publishes them as ward batches; commits once the batches are stored.

A plain aiokafka loop rather than Faust: Faust passes 4 to 5 thousand records a second, and its batching consumer would give the
same lists that `getmany` gives here, with a second event loop, and commits would still have to be made by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from engine.block import Block
from streams.ingest.batcher import batch_payloads, merged, split
from streams.ingest.config import IngestConfig
from streams.ingest.metrics import IngestMetrics
from streams.ingest.publisher import PRODUCER_STOP_S, RETRY_S, producer_for
from streams.ingest.readings import Joined, Reader
from streams.ingest.wards import Wards
from streams.kafka import clients, topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import NS_PER_MS, headers

log = structlog.get_logger("vigil.ingest")

MS_PER_S: Final = 1_000


class ReadingsConsumer:
    """Consumes `ingest.readings.topics` in a consumer group: several ingest processes share the partitions."""

    def __init__(self, kafka: KafkaConfig, config: IngestConfig, wards: Wards, metrics: IngestMetrics) -> None:
        self._kafka = kafka
        self._config = config
        self._wards = wards
        self._metrics = metrics
        self._reader = Reader(config.readings)

    async def run(self) -> None:
        """Until cancelled. While Kafka is away it tries again every RETRY_S."""
        readings = self._config.readings
        while True:
            producer = producer_for(self._kafka, self._config)
            consumer = clients.group_member(self._kafka, readings.group, *readings.topics)
            try:
                await producer.start()
                await consumer.start()
                await self._consume(consumer, producer)
            except (KafkaError, ConnectionError) as error:
                log.warning("readings cannot be consumed; trying again", why=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_S)
            finally:
                for client in (consumer, producer):
                    with contextlib.suppress(TimeoutError, KafkaError):
                        await asyncio.wait_for(client.stop(), PRODUCER_STOP_S)

    async def _consume(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        linger_ms = self._config.linger_ms
        windower = Windower(self._config.readings.batch_records, linger_ms)
        while True:
            began_s = time.monotonic()
            taken: dict[TopicPartition, list[Any]] = await consumer.getmany(timeout_ms=linger_ms)
            ready = [(tp, part) for tp, records in taken.items() for part in windower.take(tp, records)]
            ready += [(tp, part) for tp in windower.idle() if (part := await _idle_records(consumer, windower, tp))]
            if not ready:
                continue
            stored: list[asyncio.Future[Any]] = []
            offsets: dict[TopicPartition, int] = {}
            for tp, part in ready:
                joined = await asyncio.to_thread(self._reader.join, [record.value or b"" for record in part])
                # Readings arrive when they are read; in a recording, at the record's own timestamp.
                arrival_ns = time.time_ns() if self._kafka.live else part[0].timestamp * NS_PER_MS
                for ward, value, key in self._records_of(tp, part, joined, arrival_ns):
                    given = headers(arrival_ns, key)
                    topic = self._kafka.prefix + topics.TELEMETRY
                    stored.append(await producer.send(topic, value, ward.encode(), headers=given))
                self._metrics.readings.inc(len(part))
                offsets[tp] = part[-1].offset + 1
            await asyncio.gather(*stored)
            self._metrics.batches.inc(len(stored))
            with contextlib.suppress(CommitFailedError, IllegalStateError):  # a rebalance: the new owner reads them again
                await consumer.commit(offsets)
            # Few large batches rather than many small ones.
            await asyncio.sleep(max(0.0, linger_ms / MS_PER_S - (time.monotonic() - began_s)))

    def _records_of(self, tp: TopicPartition, part: list[Any], joined: Joined, arrival_ns: int) -> list[tuple[str, bytes, str]]:
        """(ward, payload, key) of the batches made from the records in `part`."""
        by_ward: dict[str, list[Block]] = {}
        for block in joined.blocks:
            found = [self._wards.of(device, arrival_ns) or self._config.unbound_ward for device in block.devices]
            for ward, own in split(block, found):
                by_ward.setdefault(ward, []).append(own)
        payloads = [(w, value) for w, blocks in by_ward.items() for value in batch_payloads(w, merged(blocks), self._config.batch_bytes)]
        payloads += [(self._wards.of(device, arrival_ns) or self._config.unbound_ward, value) for device, value in joined.single]
        stem = f"{tp.topic}-{tp.partition}-{part[0].offset}-{part[-1].offset}"
        return [(ward, value, f"{stem}-{number}") for number, (ward, value) in enumerate(payloads)]


async def _idle_records(consumer: AIOKafkaConsumer, windower: Windower, tp: TopicPartition) -> list[Any]:
    """The open records of an idle partition whose end has been reached; [] when the log has more, or the partition was revoked."""
    if tp not in consumer.assignment():
        windower.close(tp)
        return []
    at_end = await consumer.position(tp) >= (consumer.highwater(tp) or 0)
    return windower.close(tp) if at_end else []


class _OpenWindow(NamedTuple):
    cell: tuple[int, int]
    records: list[Any]
    since_s: float


class Windower:
    """Divides each partition's records into windows, which end at every multiple of `most` offsets and of `linger_ms` in Kafka's timestamps.

    The boundaries depend on the log alone, not on how it is fetched: records read again after a crash give the same windows with the
    same keys, and the core's deduplication drops them. A window that was closed because the partition was idle may differ when a
    record with an old timestamp came afterwards: its chunks are then deduplicated one by one.
    """

    def __init__(self, most: int, linger_ms: int) -> None:
        self._most, self._linger_ms = most, linger_ms
        self._open: dict[TopicPartition, _OpenWindow] = {}

    def take(self, tp: TopicPartition, records: list[Any]) -> list[list[Any]]:
        """The windows that `records` complete. The last one stays open until the next record or `close`."""
        whole: list[list[Any]] = []
        now_s = time.monotonic()
        left = self._open.pop(tp, None)
        if left is not None and records[0].offset <= left.records[-1].offset:
            left = None  # after a rebalance the records are read again from the committed offset
        for record in records:
            cell = record.offset // self._most, record.timestamp // self._linger_ms
            if left is None or left.cell != cell:
                if left is not None:
                    whole.append(left.records)
                left = _OpenWindow(cell, [], now_s)
            left.records.append(record)
        if left is not None:
            self._open[tp] = left._replace(since_s=now_s)
        return whole

    def idle(self) -> list[TopicPartition]:
        """Partitions with an open window to which nothing has come for `linger_ms`."""
        now_s = time.monotonic()
        return [tp for tp, left in self._open.items() if now_s - left.since_s >= self._linger_ms / MS_PER_S]

    def close(self, tp: TopicPartition) -> list[Any]:
        """Close the window of `tp`: its records."""
        return self._open.pop(tp).records
