"""Topics of other programs: small readings in, ward batches out; offsets committed once the batches are stored.

A plain aiokafka loop rather than Faust: Faust passes 4 to 5 thousand records a second, and its batching consumer would hand over the
same lists that `getmany` gives here, for a second event loop, and commits that have to be held by hand all the same.
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
from streams.ingest.figures import Figures
from streams.ingest.pump import AGAIN_S, PRODUCER_STOP_S, producer_for
from streams.ingest.readings import Joined, Reader
from streams.ingest.wards import Wards
from streams.kafka import clients, topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import NS_PER_MS, headers

log = structlog.get_logger("vigil.ingest")

MS_PER_S: Final = 1_000


class Foreign:
    """Reads the foreign topics in a consumer group: several ingests share their partitions."""

    def __init__(self, kafka: KafkaConfig, config: IngestConfig, wards: Wards, figures: Figures) -> None:
        self._kafka = kafka
        self._config = config
        self._wards = wards
        self._figures = figures
        self._reader = Reader(config.readings)

    async def run(self) -> None:
        """Until cancelled. While Kafka is away there is nothing to do."""
        readings = self._config.readings
        while True:
            producer = producer_for(self._kafka, self._config)
            consumer = clients.group_member(self._kafka, readings.group, *readings.topics)
            try:
                await producer.start()
                await consumer.start()
                await self._read(consumer, producer)
            except (KafkaError, ConnectionError) as error:
                log.warning("readings cannot be taken now", why=f"{type(error).__name__}: {error}")
                await asyncio.sleep(AGAIN_S)
            finally:
                for client in (consumer, producer):
                    with contextlib.suppress(TimeoutError, KafkaError):
                        await asyncio.wait_for(client.stop(), PRODUCER_STOP_S)

    async def _read(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        linger_ms = self._config.linger_ms
        cuts = Cuts(self._config.readings.batch_records, linger_ms)
        while True:
            began_s = time.monotonic()
            taken: dict[TopicPartition, list[Any]] = await consumer.getmany(timeout_ms=linger_ms)
            ready = [(tp, part) for tp, records in taken.items() for part in cuts.take(tp, records)]
            ready += [(tp, part) for tp in cuts.quiet() if (part := await _whole(consumer, cuts, tp))]
            if not ready:
                continue
            stored: list[asyncio.Future[Any]] = []
            offsets: dict[TopicPartition, int] = {}
            for tp, part in ready:
                joined = await asyncio.to_thread(self._reader.join, [record.value or b"" for record in part])
                # They reach Vigil when they are read; a recording says itself when it was.
                arrival_ns = time.time_ns() if self._kafka.live else part[0].timestamp * NS_PER_MS
                for ward, value, key in self._out(tp, part, joined, arrival_ns):
                    given = headers(arrival_ns, key)
                    topic = self._kafka.prefix + topics.TELEMETRY
                    stored.append(await producer.send(topic, value, ward.encode(), headers=given))
                self._figures.readings.inc(len(part))
                offsets[tp] = part[-1].offset + 1
            await asyncio.gather(*stored)
            self._figures.batches.inc(len(stored))
            with contextlib.suppress(CommitFailedError, IllegalStateError):  # the group has moved on: whoever has it now reads it again
                await consumer.commit(offsets)
            # Few large batches rather than many small ones.
            await asyncio.sleep(max(0.0, linger_ms / MS_PER_S - (time.monotonic() - began_s)))

    def _out(self, tp: TopicPartition, part: list[Any], joined: Joined, arrival_ns: int) -> list[tuple[str, bytes, str]]:
        """(ward, payload, key): what the records from `part` become, ward by ward."""
        by_ward: dict[str, list[Block]] = {}
        for block in joined.blocks:
            found = [self._wards.of(device, arrival_ns) or self._config.unbound_ward for device in block.devices]
            for ward, own in split(block, found):
                by_ward.setdefault(ward, []).append(own)
        payloads = [(w, value) for w, blocks in by_ward.items() for value in batch_payloads(w, merged(blocks), self._config.batch_bytes)]
        payloads += [(self._wards.of(device, arrival_ns) or self._config.unbound_ward, value) for device, value in joined.apart]
        stem = f"{tp.topic}-{tp.partition}-{part[0].offset}-{part[-1].offset}"
        return [(ward, value, f"{stem}-{number}") for number, (ward, value) in enumerate(payloads)]


async def _whole(consumer: AIOKafkaConsumer, cuts: Cuts, tp: TopicPartition) -> list[Any]:
    """The open records of a quiet partition, if its log has no more; [] when more will come or somebody else reads it now."""
    if tp not in consumer.assignment():
        cuts.close(tp)
        return []
    at_end = await consumer.position(tp) >= (consumer.highwater(tp) or 0)
    return cuts.close(tp) if at_end else []


class _Open(NamedTuple):
    cell: tuple[int, int]
    records: list[Any]
    since_s: float


class Cuts:
    """Cuts each partition's records where the offset reaches a multiple of `most` and where Kafka's stamp enters another `linger_ms`.

    That depends on the log alone and not on how it is fetched: read again after a crash, it is cut at the same places, the parts have
    the same keys, and what a core had is recognised. Only where a log's end was cut because nothing came, and then something with an
    old stamp did, may a part read again differ: its chunks are then told one by one.
    """

    def __init__(self, most: int, linger_ms: int) -> None:
        self._most, self._linger_ms = most, linger_ms
        self._open: dict[TopicPartition, _Open] = {}

    def take(self, tp: TopicPartition, records: list[Any]) -> list[list[Any]]:
        """The parts that are whole by now. What is left stays open until the next record or `close`."""
        whole: list[list[Any]] = []
        now_s = time.monotonic()
        left = self._open.pop(tp, None)
        if left is not None and records[0].offset <= left.records[-1].offset:
            left = None  # the group was divided anew: it is read from the commit again
        for record in records:
            cell = record.offset // self._most, record.timestamp // self._linger_ms
            if left is None or left.cell != cell:
                if left is not None:
                    whole.append(left.records)
                left = _Open(cell, [], now_s)
            left.records.append(record)
        if left is not None:
            self._open[tp] = left._replace(since_s=now_s)
        return whole

    def quiet(self) -> list[TopicPartition]:
        """Partitions of which nothing came for as long as a part may wait."""
        now_s = time.monotonic()
        return [tp for tp, left in self._open.items() if now_s - left.since_s >= self._linger_ms / MS_PER_S]

    def close(self, tp: TopicPartition) -> list[Any]:
        """The open records of `tp`, which are open no longer."""
        return self._open.pop(tp).records
