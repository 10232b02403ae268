"""A sink as a Kafka consumer in a process and a group of its own. Detection does not depend on it.

Kafka is the queue. A record's offset is committed once everything in it has been delivered or has become a dead letter, so
neither a crash of this process nor the loss of its machine loses an alert. The delivery's spool holds, up to a limit, the items that
are being delivered, and the ids of those that were: their repeats are dropped, whichever worker published them (decision 0101).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from sinks.contract import Sink
from sinks.declaration import Filter, nothing
from sinks.delivery import REMEMBERED, Delivery, DeliverySettings
from sinks.items import NEVER_SHED, Item, ItemKind
from streams.kafka import clients
from streams.kafka.config import KafkaConfig
from streams.ops.http_server import Operations
from streams.sink_process.config import SinkProcessConfig
from streams.sink_process.metrics import KAFKA_UNANSWERED_S, CountingSink, DeliveryCollector, SinkMetrics, health
from streams.sink_process.offset_tracker import OffsetTracker
from streams.sink_process.reading import KIND_OF, TOPIC_OF, read

log = structlog.get_logger("vigil.sink")

POLL_RECORDS: Final = 64
"""Records of up to 100 kB processed at once: some 10 ms of work, after which alerts come first again."""
POLL_MS: Final = 50
REBALANCE_POLL_S: Final = 0.05
"""How often the end of a rebalance is checked."""
COMMIT_EVERY_S: Final = 0.1
"""After a crash, deliveries of this last stretch may not be committed; their ids catch the repeats."""
LAG_CHECKED_EVERY_S: Final = 2.0
"""How often Kafka is asked for the ends of the topics."""
GRACE_S: Final = 1.0
"""How long a revocation waits for alerts in delivery, so that the partition's next owner need not repeat them."""
GRACE_POLL_S: Final = 0.02
RESUME_BELOW: Final = 0.5
"""A paused topic is resumed when it fills less than this fraction of its limit."""
_URGENT: Final = frozenset(TOPIC_OF[kind] for kind in NEVER_SHED)


class StalledError(RuntimeError):
    """Records wait and none is read: a new process has a new connection."""


class UnsafeError(RuntimeError):
    """An alert is neither delivered nor on this disk. Kafka has it: a new process reads it again."""


def group_of(kafka: KafkaConfig, name: str) -> str:
    """The consumer group of a sink."""
    return f"{kafka.group}-sink-{name}"


class SinkProcess(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads the kinds of items that `sink` takes, and delivers them. `folder` is this process's alone; SpoolBusyError when another uses it.

    OSError when the port of /metrics is taken. `leave_out` says which items the sink is not given.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        config: SinkProcessConfig,
        name: str,
        sink: Sink,
        folder: Path,
        *,
        settings: DeliverySettings | None = None,
        leave_out: Filter = nothing,
    ) -> None:
        self.name = name
        own = [TOPIC_OF[kind] for kind in ItemKind if kind in sink.takes]
        self.metrics = SinkMetrics(name, config.late_after_s, own)
        settings = settings if settings is not None else DeliverySettings()
        # The queue is limited by leaving records in Kafka: the delivery itself must never shed.
        self.delivery = Delivery(
            CountingSink(sink, self.metrics), folder, settings.model_copy(update={"spool_max_bytes": sys.maxsize}), name=name
        )
        self._items_max, self._bytes_max = settings.memory_max_items, settings.spool_max_bytes // len(sink.takes)
        self._kafka, self._config, self._leave_out = kafka, config, leave_out
        self._topics = [kafka.prefix + topic for topic in own]
        self._trackers: dict[TopicPartition, OffsetTracker] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._paused: set[str] = set()
        self._throttled: set[str] = set()
        self._consumer: Any = None
        self._ready = asyncio.Event()
        self._failed: BaseException | None = None
        self._failing = False
        self._stopping = asyncio.Event()
        self._lag_checked_s = self._committed_s = self._read_s = time.monotonic()
        self._ends: dict[TopicPartition, int] = {}
        self.metrics.registry.register(DeliveryCollector(self.metrics, self.delivery))
        checked = health(self.metrics, self.delivery, config.stalled_s)
        self.operations = Operations(config.operations.port, self.metrics.registry, checked, host=config.operations.host)

    # -- running --------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask `run` to end. For the event loop's thread (signal handlers)."""
        self._stopping.set()

    async def run(self) -> None:
        """Deliver until `stop`. KafkaError when no broker answers. After any other error the process should end and be started again."""
        self.operations.start()
        dropped = self.delivery.withdraw()  # uncommitted, so Kafka delivers it again, to the partition's present owner
        self.delivery.start()
        drain_s = 0.0
        try:
            self._consumer = clients.group_member(self._kafka, group_of(self._kafka, self.name), begin=self._config.begin)
            self._consumer.subscribe(self._topics, listener=self)
            await self._consumer.start()
            log.info("sink started", sink=self.name, group=group_of(self._kafka, self.name), topics=self._topics, read_again=dropped)
            while not self._stopping.is_set():
                await self._run_once()
            drain_s = self._config.drain_s
        finally:
            empty = await asyncio.to_thread(self.delivery.close, drain_s)
            if self._consumer is not None:
                await self._commit_settled()
                await self._consumer.stop()
            self.operations.stop()
        log.info("sink stopped", sink=self.name, everything_delivered=empty)

    async def _run_once(self) -> None:
        """Alerts first, then the rest; then commit what is settled."""
        now_s = self.metrics.loop_s = time.monotonic()
        if self._failed is not None:
            raise self._failed
        if not self._ready.is_set():  # a rebalance is under way
            await asyncio.sleep(REBALANCE_POLL_S)
            return
        self._apply_back_pressure()
        urgent = [tp for tp in self._trackers if self._topic(tp) in _URGENT]
        found = await self._consumer.getmany(*urgent, timeout_ms=0, max_records=POLL_RECORDS) if urgent else {}
        found = found or await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        if not self._ready.is_set():
            return  # a rebalance began meanwhile; it seeks each partition to where it goes on, which is before these records
        for tp, records in found.items():
            self._process(tp, records)
        if now_s - self._committed_s >= COMMIT_EVERY_S:
            await self._commit_settled()
        if now_s - self._lag_checked_s >= LAG_CHECKED_EVERY_S:
            await self._check_lag()

    def _topic(self, tp: TopicPartition) -> str:
        name: str = tp.topic.removeprefix(self._kafka.prefix)
        return name

    # -- reading --------------------------------------------------------------------------------------------------------

    def _process(self, tp: TopicPartition, records: Sequence[Any]) -> None:
        tracker, topic = self._trackers[tp], self._topic(tp)
        self._read_s = time.monotonic()
        fresh: list[Item] = []
        for record in records:
            if self._fill_fraction(topic) >= 1.0:
                self._consumer.seek(tp, record.offset)
                self._pause(topic)
                break
            self.metrics.records.labels(topic).inc()
            found = read(topic, record.value)
            if record.offset < tracker.known_offset:
                self.delivery.remember(found.items)
                continue
            kept = [item for item in found.items if not self._leave_out(item)]
            if len(kept) < len(found.items):
                self.metrics.filtered.labels(tracker.kind.value).inc(len(found.items) - len(kept))
            letters = [
                undecodable._replace(why=f"{tp.topic}, partition {tp.partition}, offset {record.offset}: {undecodable.why}")
                for undecodable in found.undecodable
            ]
            for undecodable in letters:
                self.metrics.undecodable.labels(topic).inc()
                log.error("undecodable record becomes a dead letter", sink=self.name, why=undecodable.why)
            tracker.add(record.offset, len(record.value or b""), [(item.kind, item.id) for item in kept], letters)
            fresh += kept
        self.delivery.put(fresh)

    def _fill_fraction(self, topic: str) -> float:
        """How much of a topic is in delivery, as a fraction of its limit; at 1 no more is read."""
        mine = [tracker for tracker in self._trackers.values() if tracker.kind is KIND_OF[topic]]
        items, size = sum(tracker.items for tracker in mine), sum(tracker.bytes for tracker in mine)
        return max(items / self._items_max, size / self._bytes_max)

    def _apply_back_pressure(self) -> None:
        """Resume topics that fill little of their limit. While the spool's disk refuses, only alerts and audit entries are read."""
        full = self.delivery.statistics().unsaved > 0
        for name in self._topics:
            topic = name.removeprefix(self._kafka.prefix)
            if full and topic not in _URGENT:
                self._pause(topic)
            elif topic in self._paused and self._fill_fraction(topic) < RESUME_BELOW:
                self._paused.discard(topic)
                self._consumer.resume(*self._partitions(topic))
        self.metrics.paused = frozenset(self._paused)

    def _pause(self, topic: str) -> None:
        """Stop reading a topic: its records wait in Kafka."""
        if topic not in self._paused:
            self._paused.add(topic)
            self._consumer.pause(*self._partitions(topic))
            if topic not in self._throttled:
                self._throttled.add(topic)
                log.warning("back-pressure: topic paused, its records wait in Kafka", sink=self.name, topic=topic)

    def _partitions(self, topic: str) -> list[TopicPartition]:
        return [tp for tp in self._trackers if self._topic(tp) == topic]

    # -- offsets --------------------------------------------------------------------------------------------------------

    async def _commit_settled(self) -> None:
        """Commit what has been delivered or has become a dead letter. A commit that fails costs a repeat, which the ids catch."""
        self._committed_s = time.monotonic()
        if any(self.delivery.statistics().shed[kind] for kind in NEVER_SHED):
            raise UnsafeError("alerts were shed while the disk was full: free some space; no offset is committed past them")
        moved = {}
        for tp, tracker in self._trackers.items():
            offset = tracker.settle(self.delivery)
            if offset != self._committed.get(tp):
                moved[tp] = offset
        if not moved:
            return
        self.metrics.progress_s = self._committed_s
        try:
            await self._consumer.commit(moved)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("offsets not committed: a rebalance is under way", sink=self.name, why=type(error).__name__)
        except KafkaError as error:
            log.warning("offsets not committed", sink=self.name, why=str(error))
        else:
            self._committed.update(moved)

    async def _check_lag(self) -> None:
        """Measure the lag; StalledError when Kafka has records and none is read."""
        self._lag_checked_s = time.monotonic()
        known = self.delivery.statistics()
        if bool(known.failures) != self._failing:
            self._failing = bool(known.failures)
            log.warning("target fails" if self._failing else "target accepts items again", sink=self.name, why=known.last_error)
        self.metrics.kafka_asked_s = self.metrics.kafka_asked_s or self._lag_checked_s
        try:
            self._ends = await self._consumer.end_offsets(list(self._trackers))
        except KafkaError as error:
            log.warning("lag unknown: the topics' ends cannot be read", sink=self.name, why=str(error))
            return
        if self.metrics.kafka_unanswered_s() > KAFKA_UNANSWERED_S:
            self._read_s = self._lag_checked_s = time.monotonic()  # Kafka is back: `stalled_s` counts from now on
        self.metrics.kafka_asked_s = None
        lag = {name.removeprefix(self._kafka.prefix): 0 for name in self._topics}
        readable = 0
        for tp, tracker in self._trackers.items():
            lag[self._topic(tp)] += max(0, self._ends.get(tp, 0) - tracker.settled_offset)
            if self._topic(tp) not in self._paused:
                readable += max(0, self._ends.get(tp, 0) - tracker.read_offset)
        self.metrics.lag = lag
        for topic in [topic for topic in self._throttled if not lag[topic]]:
            self._throttled.discard(topic)
            log.info("topic caught up", sink=self.name, topic=topic)
        if not readable:
            self._read_s = self._lag_checked_s
            if not any(lag.values()):
                self.metrics.progress_s = self._lag_checked_s
        elif self._lag_checked_s - self._read_s > self._config.stalled_s:
            raise StalledError(f"{readable} records wait and none was read for {self._lag_checked_s - self._read_s:.0f} s")

    # -- the group ------------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - eager protocol: it is all of them
        """Called by aiokafka: wait shortly for alerts in delivery, and commit."""
        self._ready.clear()
        for _ in range(round(GRACE_S / GRACE_POLL_S)):
            if self.delivery.statistics().failures or not self.delivery.queue()[ItemKind.ALERT]:
                break
            await asyncio.sleep(GRACE_POLL_S)
        await self._commit_settled()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by aiokafka, which only logs an error here: it is kept for the loop."""
        try:
            await self._resume(sorted(assigned))
        except Exception as error:  # noqa: BLE001 - raised by `_run_once`
            self._failed = error

    async def _resume(self, mine: Sequence[TopicPartition]) -> None:
        """Read on from the group's committed offsets. Items of partitions that were revoked are left to their new owner."""
        lost = [key for tp, tracker in self._trackers.items() if tp not in mine for key in tracker.waiting()]
        begins, ends = await self._consumer.beginning_offsets(mine), await self._consumer.end_offsets(mine)
        committed = {tp: offset for tp in mine if (offset := await self._consumer.committed(tp)) is not None}
        reread = self._records_reread(mine)
        self._trackers, self._committed = {}, committed
        for tp in mine:
            begin_offset = committed.get(tp, begins[tp] if self._config.begin == "earliest" else ends[tp])
            if begin_offset < begins[tp]:
                count = begins[tp] - begin_offset
                self.metrics.expired.labels(self._topic(tp)).inc(count)
                log.error("records expired before they were read", sink=self.name, topic=tp.topic, partition=tp.partition, lost=count)
                begin_offset = begins[tp]
            kind = KIND_OF[self._topic(tp)]
            self._trackers[tp] = OffsetTracker(kind, begin_offset)
            self._consumer.seek(tp, max(begins[tp], begin_offset - reread) if kind in REMEMBERED else begin_offset)
        self._paused.clear()
        self._read_s = time.monotonic()
        self._ready.set()
        log.info("partitions assigned", sink=self.name, count=len(mine), left_to_others=self.delivery.withdraw(lost))

    def _records_reread(self, mine: Sequence[TopicPartition]) -> int:
        """Records of each partition that are read again for their ids: a worker that crashed may repeat what another sink process delivered."""
        remembered = sum(KIND_OF[self._topic(tp)] in REMEMBERED for tp in mine)
        return self.delivery.settings.remembered_max // 2 // max(1, remembered)
