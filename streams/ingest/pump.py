"""From the spool to Kafka: windows in order, as many on their way as memory allows, and a note of what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from asyncio import Future
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from engine.frame import NS_PER_S
from streams.ingest.batcher import NONE_OPEN, Batcher, Out
from streams.ingest.config import IngestConfig
from streams.ingest.figures import Figures
from streams.ingest.spool import Spool
from streams.ingest.wards import Wards
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import NS_PER_MS
from streams.pipeline.core import BATCHES_REMEMBERED
from streams.storage.journal_records import Entry

log = structlog.get_logger("vigil.ingest")

WAIT_S: Final = 0.02
"""How often it is looked whether a window is over."""
QUIET_S: Final = 0.25
"""On the senders' clock (recordings) a window also ends when nothing came for so long."""
FLYING_BYTES_MAX: Final = 32 * 2**20
NOTED_EVERY_S: Final = 0.5
NOTED_EVERY_RECORDS: Final = BATCHES_REMEMBERED // 16
"""What was stored but not noted is stored again after a crash: far less than a core remembers."""
FLYING_RECORDS_MAX: Final = BATCHES_REMEMBERED // 8
AGAIN_S: Final = 1.0
"""Between two tries to reach Kafka."""
PRODUCER_STOP_S: Final = 2.0
PRODUCER_BATCH_BYTES: Final = 512 * 1024

Step = Callable[[str], None]
"""Told the name of each step; tests die here."""


class _Cut(NamedTuple):
    """The records of a window, and the place in the spool behind it."""

    out: list[Out]
    position: int
    arrival_ns: int


class _Flying(NamedTuple):
    cut: _Cut
    stored: list[Future[Any]]
    bytes: int


class Pump:
    """Runs until `stop`; whatever Kafka does, it goes on from what is noted. Errors of the disk end it."""

    def __init__(
        self, kafka: KafkaConfig, config: IngestConfig, spool: Spool, wards: Wards, figures: Figures, *, step: Step = lambda _: None
    ) -> None:
        self._kafka = kafka
        self._config = config
        self._spool = spool
        self._wards = wards
        self._figures = figures
        self._step = step
        self._live = kafka.live
        self._stopping = threading.Event()
        self.moved_s = time.monotonic()
        self.oldest_ns = 0

    def stop(self) -> None:
        """End as soon as everything in the spool is stored. Cancel the task to end earlier: what is left stays in the spool."""
        self._stopping.set()

    async def run(self) -> None:
        """Publish; returns after `stop` when nothing waits."""
        while True:
            producer = producer_for(self._kafka, self._config)
            try:
                await producer.start()
                await self._publish(producer)
            except (KafkaError, ConnectionError) as error:
                log.warning("Kafka does not take records: they stay in the spool", why=f"{type(error).__name__}: {error}")
                if self._stopping.is_set():
                    return
                await asyncio.sleep(AGAIN_S)
            else:
                return
            finally:
                with contextlib.suppress(TimeoutError, KafkaError):  # it would wait for Kafka; what it holds is in the spool
                    await asyncio.wait_for(producer.stop(), PRODUCER_STOP_S)

    async def _publish(self, producer: AIOKafkaProducer) -> None:
        """From what is noted on, until stopped. KafkaError: what was on its way may be stored or not; it is sent again with the same keys."""
        cutter = await asyncio.to_thread(_Cutter, self._spool, self._new_batcher(), live=self._live)
        flying: deque[_Flying] = deque()
        stored_to, noted_s, records = self._spool.position, time.monotonic(), 0
        try:
            while True:
                stopping = self._stopping.is_set()
                cut = await asyncio.to_thread(cutter.next, stopping=stopping)
                if cut is not None:
                    stored = [await self._send(producer, out) for out in cut.out]
                    flying.append(_Flying(cut, stored, sum(len(out.value) for out in cut.out)))
                    self._count(cutter.batcher)
                    self._step("sent")
                while flying and await _settled(flying, wait=stopping and cut is None):
                    done = flying.popleft()
                    stored_to, records = done.cut.position, records + len(done.stored)
                    self._stored(done)
                if cut is None and not flying:
                    self.moved_s = time.monotonic()  # nothing is due: that is no standstill
                self.oldest_ns = flying[0].cut.arrival_ns if flying else cutter.oldest_ns
                finished = stopping and cut is None
                due = records >= NOTED_EVERY_RECORDS or time.monotonic() - noted_s >= NOTED_EVERY_S
                if stored_to > self._spool.position and (finished or due):
                    self._step("stored")
                    await asyncio.to_thread(self._spool.published, stored_to)
                    self._step("noted")
                    noted_s, records = time.monotonic(), 0
                if finished:
                    return
        finally:
            cutter.close()

    def _new_batcher(self) -> Batcher:
        return Batcher(
            self._wards,
            identity=self._spool.journal.identity,
            linger_ns=self._config.linger_ms * NS_PER_MS,
            batch_bytes=self._config.batch_bytes,
            unbound_ward=self._config.unbound_ward,
        )

    async def _send(self, producer: AIOKafkaProducer, out: Out) -> Future[Any]:
        """Hand a record to the producer, in order, however long Kafka is away."""
        stored: Future[Any] | None = None
        while stored is None:
            with contextlib.suppress(KafkaTimeoutError):  # there was no room for it: it was not taken
                stored = await producer.send(self._kafka.prefix + out.topic, out.value, out.ward.encode(), headers=list(out.headers))
        return stored

    def _stored(self, done: _Flying) -> None:
        self.moved_s = time.monotonic()
        self._figures.batches.inc(len(done.stored))
        self._figures.batch_bytes.inc(done.bytes)
        if self._live:
            self._figures.latency.observe((time.time_ns() - done.cut.arrival_ns) / NS_PER_S)

    def _count(self, batcher: Batcher) -> None:
        self._figures.repeated.inc(batcher.repeated)
        for reason, count in batcher.refused.items():
            self._figures.refused.labels(reason).inc(count)
        batcher.repeated = 0
        batcher.refused.clear()


async def _settled(flying: deque[_Flying], *, wait: bool) -> bool:
    """Whether the oldest window is stored. It is waited for when `wait`, or when there is no room for more. KafkaError: it cannot be."""
    oldest = flying[0]
    full = sum(each.bytes for each in flying) > FLYING_BYTES_MAX or sum(len(each.stored) for each in flying) > FLYING_RECORDS_MAX
    if wait or full:
        await asyncio.gather(*oldest.stored)
    if not all(future.done() for future in oldest.stored):
        return False
    for future in oldest.stored:
        future.result()
    return True


def producer_for(kafka: KafkaConfig, config: IngestConfig) -> AIOKafkaProducer:
    """A producer that repeats nothing, reorders nothing, and calls stored what is on all brokers."""
    return AIOKafkaProducer(
        **kafka.connection.client(),
        acks="all",
        enable_idempotence=True,
        compression_type=None if config.compression == "none" else config.compression,
        max_request_size=topics.RECORD_BYTES_MAX,
        max_batch_size=PRODUCER_BATCH_BYTES,
    )


class _Cutter:
    """Cuts the spool into windows. Called from one thread at a time; its construction reads, so it belongs in a thread too."""

    def __init__(self, spool: Spool, batcher: Batcher, *, live: bool) -> None:
        self.batcher = batcher
        self._journal = spool.journal
        self._live = live
        before = max(self._journal.first_offset, spool.position - BATCHES_REMEMBERED)
        self._reader = self._journal.reader(before)
        self._entries = self._reader.read_batch()
        while self._reader.offset < spool.position:
            batcher.remember(next(self._entries))
        self._ahead: Entry | None = None
        self._read_s = time.monotonic()
        self.oldest_ns = 0

    def next(self, *, stopping: bool) -> _Cut | None:
        """The next window that is over; None when none is, after a moment. `stopping`: nothing comes any more, the last one is over too."""
        batcher = self.batcher
        while (entry := self._next_entry()) is not None:
            self._read_s = time.monotonic()
            if batcher.window not in {NONE_OPEN, batcher.window_of(entry.arrival_ns)}:
                self._ahead = entry
                return self._cut(entry.offset)
            self._ahead = None
            if batcher.window == NONE_OPEN:
                self.oldest_ns = entry.arrival_ns
            batcher.take(entry)
        if batcher.window != NONE_OPEN and (self._over() or stopping):
            return self._cut(self._reader.offset)
        return None

    def close(self) -> None:
        """Let the files go."""
        self._reader.close()

    def _next_entry(self) -> Entry | None:
        if self._ahead is not None:
            return self._ahead
        entry = next(self._entries, None)
        if entry is None and self._journal.wait(self._reader.offset, WAIT_S):
            self._entries = self._reader.read_batch()
            entry = next(self._entries, None)
        return entry

    def _over(self) -> bool:
        """Whether no record can come any more that belongs to the open window."""
        if not self._live:
            return time.monotonic() - self._read_s >= QUIET_S
        now_ns = self._journal.now_if_idle_ns()
        # Asked in this order: what was synced since is stamped after `now_ns`.
        return now_ns is not None and self._journal.synced == self._reader.offset and self.batcher.window_of(now_ns) > self.batcher.window

    def _cut(self, position: int) -> _Cut:
        cut = _Cut(self.batcher.close(), position, self.oldest_ns)
        self.oldest_ns = 0
        return cut
