"""A sink as a Kafka consumer of its own: its group, its process, its pace. Detection does not know it exists.

Kafka is the queue. A record's offset is committed once everything in it has been delivered or set aside as a dead letter, so
neither the death of this process nor the loss of its machine loses an alert. The delivery's spool holds what is being worked
on, up to a bound, and the ids of what was delivered: these are not sent again, whoever says them again (decision 0101).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from sinks.contract import Sink
from sinks.declaration import Filter, nothing
from sinks.delivery import REMEMBERED, Delivery, DeliverySettings
from sinks.items import NEVER_SHED, Item, ItemKind
from streams.kafka import topics
from streams.kafka.config import HEARTBEATS_A_SESSION, KafkaConfig
from streams.ops.http_server import Operations
from streams.sink_process.config import SinkProcessConfig
from streams.sink_process.figures import SILENT_S, Collected, Counted, Figures, health
from streams.sink_process.offset_tracker import Ledger
from streams.sink_process.reading import KIND_OF, TOPIC_OF, read

log = structlog.get_logger("vigil.sink")

POLL_RECORDS: Final = 64
"""Records of up to 100 kB taken at once: some 10 ms of work, after which alerts have their turn again."""
POLL_MS: Final = 50
DIVIDING_S: Final = 0.05
"""Looks whether the partitions have been divided."""
FETCH_BYTES: Final = 2 * topics.RECORD_BYTES_MAX
"""Read ahead at once; the broker sends at least one record, however large."""
FETCH_WAIT_MS: Final = 100
"""A request that waits for news of quiet topics holds up busy ones on the same broker no longer than this."""
COMMIT_EVERY_S: Final = 0.1
"""How old a delivery may be that a crash forgets."""
LOOK_EVERY_S: Final = 2.0
"""How often the ends of the topics are asked for."""
GRACE_S: Final = 1.0
"""Before partitions are given up, alerts under way are waited for: their next owner need not repeat them."""
GRACE_LOOK_S: Final = 0.02
RESUME_BELOW: Final = 0.5
"""A topic that was paused at its bound is read again below this share of it."""
_URGENT: Final = frozenset(TOPIC_OF[kind] for kind in NEVER_SHED)


class StalledError(RuntimeError):
    """Records wait and none is read: a fresh process has a fresh connection."""


class UnsafeError(RuntimeError):
    """An alert is neither delivered nor on a disk here; Kafka has it, so begin again from there."""


def group_of(kafka: KafkaConfig, name: str) -> str:
    """The consumer group of a sink."""
    return f"{kafka.group}-sink-{name}"


class SinkProcess(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads what `sink` takes and delivers it. `folder` is this process's alone; SpoolBusyError when another one uses it.

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
        self.figures = Figures(name, config.late_after_s, own)
        settings = settings if settings is not None else DeliverySettings()
        # What waits is bounded where it is read, by leaving it in Kafka: the delivery itself is never to shed.
        self.delivery = Delivery(
            Counted(sink, self.figures), folder, settings.model_copy(update={"spool_max_bytes": sys.maxsize}), name=name
        )
        self._items_max, self._bytes_max = settings.memory_max_items, settings.spool_max_bytes // len(sink.takes)
        self._kafka, self._config, self._leave_out = kafka, config, leave_out
        self._topics = [kafka.prefix + topic for topic in own]
        self._ledgers: dict[TopicPartition, Ledger] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._paused: set[str] = set()
        self._behind: set[str] = set()
        self._consumer: Any = None
        self._ready = asyncio.Event()
        self._failed: BaseException | None = None
        self._failing = False
        self._stopping = asyncio.Event()
        self._looked_s = self._committed_s = self._moved_s = time.monotonic()
        self._ends: dict[TopicPartition, int] = {}
        self.figures.registry.register(Collected(self.figures, self.delivery))
        checked = health(self.figures, self.delivery, config.stalled_s)
        self.operations = Operations(config.operations.port, self.figures.registry, checked, host=config.operations.host)

    # -- life -----------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask `run` to end. For the event loop's thread (signal handlers)."""
        self._stopping.set()

    async def run(self) -> None:
        """Deliver until `stop`. KafkaError when no broker answers; other errors mean that a new process is better than this one."""
        self.operations.start()
        dropped = self.delivery.withdraw()  # uncommitted, so Kafka gives it again, to whoever owns it now
        self.delivery.start()
        drain_s = 0.0
        try:
            self._consumer = self._connected()
            self._consumer.subscribe(self._topics, listener=self)
            await self._consumer.start()
            log.info("sink started", sink=self.name, group=group_of(self._kafka, self.name), topics=self._topics, read_again=dropped)
            while not self._stopping.is_set():
                await self._turn()
            drain_s = self._config.drain_s
        finally:
            empty = await asyncio.to_thread(self.delivery.close, drain_s)
            if self._consumer is not None:
                await self._settle()
                await self._consumer.stop()
            self.operations.stop()
        log.info("sink stopped", sink=self.name, everything_delivered=empty)

    def _connected(self) -> Any:
        session_ms = round(self._kafka.session_timeout_s * 1000)
        return AIOKafkaConsumer(
            **self._kafka.connection.client(),
            group_id=group_of(self._kafka, self.name),
            enable_auto_commit=False,
            auto_offset_reset=self._config.begin,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // HEARTBEATS_A_SESSION,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=topics.RECORD_BYTES_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )

    async def _turn(self) -> None:
        """Alerts first, then the rest; then commit what is settled."""
        now_s = self.figures.turned_s = time.monotonic()
        if self._failed is not None:
            raise self._failed
        if not self._ready.is_set():  # the group is being divided
            await asyncio.sleep(DIVIDING_S)
            return
        self._balance()
        urgent = [tp for tp in self._ledgers if self._topic(tp) in _URGENT]
        found = await self._consumer.getmany(*urgent, timeout_ms=0, max_records=POLL_RECORDS) if urgent else {}
        found = found or await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        if not self._ready.is_set():
            return  # a new division began meanwhile; it says where each partition goes on, which is before these
        for tp, records in found.items():
            self._take(tp, records)
        if now_s - self._committed_s >= COMMIT_EVERY_S:
            await self._settle()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            await self._look()

    def _topic(self, tp: TopicPartition) -> str:
        name: str = tp.topic.removeprefix(self._kafka.prefix)
        return name

    # -- reading --------------------------------------------------------------------------------------------------------

    def _take(self, tp: TopicPartition, records: Sequence[Any]) -> None:
        ledger, topic = self._ledgers[tp], self._topic(tp)
        self._moved_s = time.monotonic()
        fresh: list[Item] = []
        for record in records:
            if self._share(topic) >= 1.0:
                self._consumer.seek(tp, record.offset)
                self._pause(topic)
                break
            self.figures.records.labels(topic).inc()
            found = read(topic, record.value)
            if record.offset < ledger.known_offset:
                self.delivery.remember(found.items)
                continue
            kept = [item for item in found.items if not self._leave_out(item)]
            if len(kept) < len(found.items):
                self.figures.left_out.labels(ledger.kind.value).inc(len(found.items) - len(kept))
            letters = [bad._replace(why=f"{tp.topic}, partition {tp.partition}, offset {record.offset}: {bad.why}") for bad in found.bad]
            for bad in letters:
                self.figures.bad.labels(topic).inc()
                log.error("a record cannot be read and becomes a dead letter", sink=self.name, why=bad.why)
            ledger.add(record.offset, len(record.value or b""), [(item.kind, item.id) for item in kept], letters)
            fresh += kept
        self.delivery.put(fresh)

    def _share(self, topic: str) -> float:
        """How much of a topic is being worked on, as a share of its bound: 1 and above is enough."""
        mine = [ledger for ledger in self._ledgers.values() if ledger.kind is KIND_OF[topic]]
        items, size = sum(ledger.items for ledger in mine), sum(ledger.bytes for ledger in mine)
        return max(items / self._items_max, size / self._bytes_max)

    def _balance(self) -> None:
        """Read on in topics of which little waits. While the disk refuses the spool, only alerts and audit entries are read."""
        full = self.delivery.statistics().unsaved > 0
        for name in self._topics:
            topic = name.removeprefix(self._kafka.prefix)
            if full and topic not in _URGENT:
                self._pause(topic)
            elif topic in self._paused and self._share(topic) < RESUME_BELOW:
                self._paused.discard(topic)
                self._consumer.resume(*self._partitions(topic))
        self.figures.paused = frozenset(self._paused)

    def _pause(self, topic: str) -> None:
        """Leave a topic in Kafka; the others are read on."""
        if topic not in self._paused:
            self._paused.add(topic)
            self._consumer.pause(*self._partitions(topic))
            if topic not in self._behind:
                self._behind.add(topic)
                log.warning("enough waits, the rest stays in Kafka", sink=self.name, topic=topic)

    def _partitions(self, topic: str) -> list[TopicPartition]:
        return [tp for tp in self._ledgers if self._topic(tp) == topic]

    # -- offsets --------------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Commit what has been delivered or set aside. A commit that fails costs a repeat, which the ids catch."""
        self._committed_s = time.monotonic()
        if any(self.delivery.statistics().shed[kind] for kind in NEVER_SHED):
            raise UnsafeError("alerts were given up while the disk was full: free some space; nothing is committed past them")
        moved = {}
        for tp, ledger in self._ledgers.items():
            offset = ledger.settle(self.delivery)
            if offset != self._committed.get(tp):
                moved[tp] = offset
        if not moved:
            return
        self.figures.moved_s = self._committed_s
        try:
            await self._consumer.commit(moved)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("not committed: the group is being divided anew", sink=self.name, why=type(error).__name__)
        except KafkaError as error:
            log.warning("not committed", sink=self.name, why=str(error))
        else:
            self._committed.update(moved)

    async def _look(self) -> None:
        """How far behind we are; StalledError when Kafka has records and gives none."""
        self._looked_s = time.monotonic()
        known = self.delivery.statistics()
        if bool(known.failures) != self._failing:
            self._failing = bool(known.failures)
            log.warning("the target fails" if self._failing else "the target takes items again", sink=self.name, why=known.last_error)
        self.figures.asked_s = self.figures.asked_s or self._looked_s
        try:
            self._ends = await self._consumer.end_offsets(list(self._ledgers))
        except KafkaError as error:
            log.warning("the ends of the topics are not known", sink=self.name, why=str(error))
            return
        if self.figures.silent_s() > SILENT_S:
            self._moved_s = self._looked_s = time.monotonic()  # Kafka is back: reading has its time from now on
        self.figures.asked_s = None
        lag = {name.removeprefix(self._kafka.prefix): 0 for name in self._topics}
        readable = 0
        for tp, ledger in self._ledgers.items():
            lag[self._topic(tp)] += max(0, self._ends.get(tp, 0) - ledger.settled_offset)
            if self._topic(tp) not in self._paused:
                readable += max(0, self._ends.get(tp, 0) - ledger.read_offset)
        self.figures.lag = lag
        for topic in [topic for topic in self._behind if not lag[topic]]:
            self._behind.discard(topic)
            log.info("caught up", sink=self.name, topic=topic)
        if not readable:
            self._moved_s = self._looked_s
            if not any(lag.values()):
                self.figures.moved_s = self._looked_s
        elif self._looked_s - self._moved_s > self._config.stalled_s:
            raise StalledError(f"{readable} records wait and none was read for {self._looked_s - self._moved_s:.0f} s")

    # -- the group ------------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - eager protocol: it is all of them
        """Called by aiokafka: let alerts under way arrive, and commit."""
        self._ready.clear()
        for _ in range(round(GRACE_S / GRACE_LOOK_S)):
            if self.delivery.statistics().failures or not self.delivery.queue()[ItemKind.ALERT]:
                break
            await asyncio.sleep(GRACE_LOOK_S)
        await self._settle()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by aiokafka, which only logs what goes wrong here: the loop must hear of it."""
        try:
            await self._go_on(sorted(assigned))
        except Exception as error:  # noqa: BLE001 - raised by the next turn
            self._failed = error

    async def _go_on(self, mine: Sequence[TopicPartition]) -> None:
        """Go on where the group stands. What we still hold of partitions that went elsewhere is left to their new owner."""
        lost = [key for tp, ledger in self._ledgers.items() if tp not in mine for key in ledger.waiting()]
        begins, ends = await self._consumer.beginning_offsets(mine), await self._consumer.end_offsets(mine)
        committed = {tp: offset for tp in mine if (offset := await self._consumer.committed(tp)) is not None}
        again = self._read_again(mine)
        self._ledgers, self._committed = {}, committed
        for tp in mine:
            stood = committed.get(tp, begins[tp] if self._config.begin == "earliest" else ends[tp])
            if stood < begins[tp]:
                count = begins[tp] - stood
                self.figures.expired.labels(self._topic(tp)).inc(count)
                log.error("records expired before they were read", sink=self.name, topic=tp.topic, partition=tp.partition, lost=count)
                stood = begins[tp]
            kind = KIND_OF[self._topic(tp)]
            self._ledgers[tp] = Ledger(kind, stood)
            self._consumer.seek(tp, max(begins[tp], stood - again) if kind in REMEMBERED else stood)
        self._paused.clear()
        self._moved_s = time.monotonic()
        self._ready.set()
        log.info("partitions assigned", sink=self.name, count=len(mine), left_to_others=self.delivery.withdraw(lost))

    def _read_again(self, mine: Sequence[TopicPartition]) -> int:
        """Records of each partition whose ids are read again: a worker that crashed repeats what another sink process delivered."""
        remembered = sum(KIND_OF[self._topic(tp)] in REMEMBERED for tp in mine)
        return self.delivery.settings.remembered_max // 2 // max(1, remembered)
