"""Publishes the spool to Kafka: windows in order, several in flight, and the position up to which Kafka has stored them."""

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
from streams.ingest.batcher import NO_WINDOW, Batcher, BatchRecord
from streams.ingest.config import IngestConfig
from streams.ingest.metrics import IngestMetrics
from streams.ingest.spool import IngestSpool
from streams.ingest.wards import Wards
from streams.kafka import clients
from streams.kafka.config import KafkaConfig
from streams.kafka.records import NS_PER_MS
from streams.pipeline.core import BATCHES_REMEMBERED
from streams.storage.journal_records import Entry

log = structlog.get_logger("vigil.ingest")

POLL_S: Final = 0.02
"""How often the end of a window is checked."""
IDLE_S: Final = 0.25
"""On the senders' clock (recordings) a window also ends when nothing has come for so long."""
IN_FLIGHT_BYTES_MAX: Final = 32 * 2**20
POSITION_SAVED_EVERY_S: Final = 0.5
POSITION_SAVED_EVERY_RECORDS: Final = BATCHES_REMEMBERED // 16
"""Records stored since the position was saved are stored again after a crash: far fewer than a core's deduplication remembers."""
IN_FLIGHT_RECORDS_MAX: Final = BATCHES_REMEMBERED // 8
RETRY_S: Final = 1.0
"""Between two attempts to reach Kafka."""
PRODUCER_STOP_S: Final = 2.0
PRODUCER_BATCH_BYTES: Final = 512 * 1024

Step = Callable[[str], None]
"""Called with the name of each step. Tests kill the process here."""


class _Window(NamedTuple):
    """The records of a window, and the position in the spool behind it."""

    out: list[BatchRecord]
    position: int
    arrival_ns: int


class _InFlight(NamedTuple):
    window: _Window
    stored: list[Future[Any]]
    bytes: int


class Publisher:
    """Publishes until `stop`. After any failure of Kafka it goes on from the saved position; errors of the disk end it."""

    def __init__(
        self,
        kafka: KafkaConfig,
        config: IngestConfig,
        spool: IngestSpool,
        wards: Wards,
        metrics: IngestMetrics,
        *,
        step: Step = lambda _: None,
    ) -> None:
        self._kafka = kafka
        self._config = config
        self._spool = spool
        self._wards = wards
        self._metrics = metrics
        self._step = step
        self._live = kafka.live
        self._stopping = threading.Event()
        self.progress_s = time.monotonic()
        self.oldest_ns = 0

    def stop(self) -> None:
        """End as soon as Kafka has stored the whole spool. Cancel the task to end earlier: the rest stays in the spool."""
        self._stopping.set()

    async def run(self) -> None:
        """Publish; returns after `stop`, when the spool is empty."""
        while True:
            producer = producer_for(self._kafka, self._config)
            try:
                await producer.start()
                await self._publish(producer)
            except (KafkaError, ConnectionError) as error:
                log.warning("publishing failed; records stay in the spool", why=f"{type(error).__name__}: {error}")
                if self._stopping.is_set():
                    return
                await asyncio.sleep(RETRY_S)
            else:
                return
            finally:
                with contextlib.suppress(TimeoutError, KafkaError):  # it would wait for Kafka; its records are in the spool
                    await asyncio.wait_for(producer.stop(), PRODUCER_STOP_S)

    async def _publish(self, producer: AIOKafkaProducer) -> None:
        """Publish from the saved position on, until stopped. After a KafkaError records in flight are sent again, with the same keys."""
        windower = await asyncio.to_thread(SpoolWindower, self._spool, self._new_batcher(), live=self._live)
        in_flight: deque[_InFlight] = deque()
        stored_to, saved_s, records = self._spool.position, time.monotonic(), 0
        try:
            while True:
                stopping = self._stopping.is_set()
                window = await asyncio.to_thread(windower.next, stopping=stopping)
                if window is not None:
                    stored = [await self._send(producer, out) for out in window.out]
                    in_flight.append(_InFlight(window, stored, sum(len(out.value) for out in window.out)))
                    self._count(windower.batcher)
                    self._step("sent")
                while in_flight and await _oldest_stored(in_flight, wait=stopping and window is None):
                    done = in_flight.popleft()
                    stored_to, records = done.window.position, records + len(done.stored)
                    self._stored(done)
                if window is None and not in_flight:
                    self.progress_s = time.monotonic()  # nothing is due
                self.oldest_ns = in_flight[0].window.arrival_ns if in_flight else windower.oldest_ns
                finished = stopping and window is None
                due = records >= POSITION_SAVED_EVERY_RECORDS or time.monotonic() - saved_s >= POSITION_SAVED_EVERY_S
                if stored_to > self._spool.position and (finished or due):
                    self._step("stored")
                    await asyncio.to_thread(self._spool.mark_published, stored_to)
                    self._step("position saved")
                    saved_s, records = time.monotonic(), 0
                if finished:
                    return
        finally:
            windower.close()

    def _new_batcher(self) -> Batcher:
        return Batcher(
            self._wards,
            identity=self._spool.journal.identity,
            linger_ns=self._config.linger_ms * NS_PER_MS,
            batch_bytes=self._config.batch_bytes,
            unbound_ward=self._config.unbound_ward,
        )

    async def _send(self, producer: AIOKafkaProducer, out: BatchRecord) -> Future[Any]:
        """Give a record to the producer, in order, however long Kafka is away."""
        stored: Future[Any] | None = None
        while stored is None:
            with contextlib.suppress(KafkaTimeoutError):  # the producer's buffer was full: the record was not accepted
                stored = await producer.send(self._kafka.prefix + out.topic, out.value, out.ward.encode(), headers=list(out.headers))
        return stored

    def _stored(self, done: _InFlight) -> None:
        self.progress_s = time.monotonic()
        self._metrics.batches.inc(len(done.stored))
        self._metrics.batch_bytes.inc(done.bytes)
        if self._live:
            self._metrics.latency.observe((time.time_ns() - done.window.arrival_ns) / NS_PER_S)

    def _count(self, batcher: Batcher) -> None:
        self._metrics.repeated.inc(batcher.repeated)
        for reason, count in batcher.refused.items():
            self._metrics.refused.labels(reason).inc(count)
        batcher.repeated = 0
        batcher.refused.clear()


async def _oldest_stored(in_flight: deque[_InFlight], *, wait: bool) -> bool:
    """Whether Kafka has stored the oldest window; waits for it when `wait`, or when too much is in flight. KafkaError when it cannot."""
    oldest = in_flight[0]
    full = (
        sum(each.bytes for each in in_flight) > IN_FLIGHT_BYTES_MAX or sum(len(each.stored) for each in in_flight) > IN_FLIGHT_RECORDS_MAX
    )
    if wait or full:
        await asyncio.gather(*oldest.stored)
    if not all(future.done() for future in oldest.stored):
        return False
    for future in oldest.stored:
        future.result()
    return True


def producer_for(kafka: KafkaConfig, config: IngestConfig) -> AIOKafkaProducer:
    """The producer of ingest's records."""
    return clients.producer(kafka, compression=config.compression, batch_bytes=PRODUCER_BATCH_BYTES)


class SpoolWindower:
    """Divides the spool into windows. Used from one thread at a time; its construction reads the disk, so it belongs in a thread too."""

    def __init__(self, spool: IngestSpool, batcher: Batcher, *, live: bool) -> None:
        self.batcher = batcher
        self._journal = spool.journal
        self._live = live
        before = max(self._journal.first_offset, spool.position - BATCHES_REMEMBERED)
        self._reader = self._journal.reader(before)
        self._entries = self._reader.read_batch()
        while self._reader.offset < spool.position:
            batcher.remember(next(self._entries))
        self._next_window_entry: Entry | None = None
        self._read_s = time.monotonic()
        self.oldest_ns = 0

    def next(self, *, stopping: bool) -> _Window | None:
        """The next window that is over; None, after POLL_S, when none is. `stopping`: no more messages come, so the last window is over too."""
        batcher = self.batcher
        while (entry := self._next_entry()) is not None:
            self._read_s = time.monotonic()
            if batcher.window not in {NO_WINDOW, batcher.window_of(entry.arrival_ns)}:
                self._next_window_entry = entry
                return self._take_window(entry.offset)
            self._next_window_entry = None
            if batcher.window == NO_WINDOW:
                self.oldest_ns = entry.arrival_ns
            batcher.add(entry)
        if batcher.window != NO_WINDOW and (self._window_is_over() or stopping):
            return self._take_window(self._reader.offset)
        return None

    def close(self) -> None:
        """Close the journal's files."""
        self._reader.close()

    def _next_entry(self) -> Entry | None:
        if self._next_window_entry is not None:
            return self._next_window_entry
        entry = next(self._entries, None)
        if entry is None and self._journal.wait(self._reader.offset, POLL_S):
            self._entries = self._reader.read_batch()
            entry = next(self._entries, None)
        return entry

    def _window_is_over(self) -> bool:
        """Whether no further record can belong to the open window."""
        if not self._live:
            return time.monotonic() - self._read_s >= IDLE_S
        now_ns = self._journal.now_if_idle_ns()
        # Asked in this order: what was synced since is stamped after `now_ns`.
        return now_ns is not None and self._journal.synced == self._reader.offset and self.batcher.window_of(now_ns) > self.batcher.window

    def _take_window(self, position: int) -> _Window:
        window = _Window(self.batcher.close(), position, self.oldest_ns)
        self.oldest_ns = 0
        return window
