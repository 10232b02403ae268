"""`vigil canary run`: simulates falls, reads the alerts topic for their alerts, and raises an alarm of its own when one is missing.

The alarm is delivered to the webhooks directly, from a spool of this process: it must reach people also when Kafka, every worker and
every sink process have failed. It is also published to the alerts topic, under the same ids, when Kafka can be reached.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from alerts.model import Command, Refusal
from alerts.policy import Policy
from engine.frame import NS_PER_S
from sinks.delivery import Delivery
from sinks.items import AlertChange, Item, alert_item
from streams.canary.config import CanaryConfig
from streams.canary.metrics import CanaryMetrics
from streams.canary.monitor import Change, FallMonitor
from streams.canary.state_folder import SavedState, StateFolder
from streams.canary.wearers import FallSchedule, wearers
from streams.kafka import clients, topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import NS_PER_MS, items_in, single
from streams.ops.http_server import Operations
from streams.pipeline.items import audit_of
from streams.pipeline.partition import command_in

log = structlog.get_logger("vigil.canary")

TICK_S: Final = 0.1
CATCH_UP_S: Final = 5
"""Seconds of data that are simulated afterwards when this process was held up; beyond it the schedule restarts, and falls under way are no longer expected."""
WARM_UP_S: Final = 5
"""Seconds of data that the detector needs before a fall (detectors.falls: 3 s), with a margin."""
TELEMETRY_WAITS_S: Final = 30
"""Seconds of simulated data that wait for Kafka at most; older data is dropped, as from a device out of range."""
REQUEST_MS: Final = 10_000
RECONNECT_S: Final = 1.0
POLL_MS: Final = 200
SAVE_EVERY_S: Final = 5.0
LOOP_STALLED_S: Final = 10.0
CLOSE_S: Final = 5.0


class OutgoingRecord(NamedTuple):
    """A record that the canary publishes."""

    topic: str
    key: str
    value: bytes


class Canary:
    """`run` until `stop`. OSError when its folder cannot be used, or the port of the operations server is taken."""

    def __init__(self, kafka: KafkaConfig, config: CanaryConfig, deliveries: Sequence[Delivery], policy: Policy | None = None) -> None:
        self._kafka = kafka
        self._deliveries = deliveries
        self._wearers = wearers(kafka.partitions)
        self._partitions = [wearer.partition for wearer in self._wearers]
        self._schedule = FallSchedule(config.every_s)
        self._monitor = FallMonitor(self._wearers, config.bound_s, policy)
        self._folder = StateFolder(config.folder)
        self._metrics = CanaryMetrics(self._partitions, deliveries)
        operations = config.operations
        self._operations = Operations(operations.port, self._metrics.registry, self._health, host=operations.host)
        self._positions: dict[str, dict[int, int]] = {}
        self._telemetry: deque[OutgoingRecord] = deque()
        self._outbox: deque[OutgoingRecord] = deque()
        """Alarm, commands, audit entries: sent in order, each until Kafka has stored it."""
        self._second = self._since = 0
        self._saved_s = self._loop_s = self._stored_s = time.monotonic()
        self._saving = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._load_state()

    def stop(self) -> None:
        """Ask `run` to end. For the event loop's thread (signal handlers)."""
        self._stopping.set()

    async def run(self) -> None:
        """Watch until `stop`. The state is saved; what the webhooks have not accepted stays in their spools."""
        self._operations.start()
        for delivery in self._deliveries:
            delivery.start()
        await self._deliver(self._monitor.alarm_history())
        log.info("canary started", partitions=len(self._partitions), webhooks=len(self._deliveries), missing=len(self._monitor.missing))
        if not self._deliveries:
            log.warning("no webhook is configured: the alarm cannot reach staff while Kafka is down")
        kafka_task = asyncio.create_task(self._run_kafka())
        try:
            while not self._stopping.is_set():
                await self._tick()
                await asyncio.sleep(TICK_S)
                if kafka_task.done():
                    await kafka_task  # it ends only by a programming error, which ends the process: the service manager starts it again
        finally:
            kafka_task.cancel()
            await asyncio.gather(kafka_task, return_exceptions=True)
            await self._save_state()
            for delivery in self._deliveries:
                await asyncio.to_thread(delivery.close, CLOSE_S)
            self._operations.stop()

    # -- without Kafka -----------------------------------------------------------------------------------------------

    def _load_state(self) -> None:
        saved = self._folder.load()
        if saved is not None:
            self._monitor.restore(saved.monitor)
            self._positions = saved.positions

    async def _save_state(self) -> None:
        async with self._saving:
            self._saved_s = time.monotonic()
            positions = {topic: dict(positions) for topic, positions in self._positions.items()}
            try:
                await asyncio.to_thread(self._folder.save, SavedState(self._monitor.snapshot(), positions))
            except OSError as error:  # the alarm goes on without a saved state
                log.error("state not saved", why=error.strerror or str(error))  # noqa: TRY400 - the reason is the message

    async def _tick(self) -> None:
        now_ns = time.time_ns()
        self._loop_s = time.monotonic()
        if now_ns // NS_PER_S != self._second:
            self._simulate_until(now_ns // NS_PER_S)
            await self._run_left_commands(now_ns)
        changes, missed = self._monitor.tick(now_ns)
        for partition in missed:
            self._metrics.missed()
            log.error("simulated fall not reported", partition=partition)
        await self._announce(changes)
        self._metrics.set_state(self._partitions, self._monitor.missing, len(self._monitor.open()))
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            await self._save_state()

    async def _run_left_commands(self, now_ns: int) -> None:
        """Carry out the commands that `vigil canary acknowledge` left in the folder."""
        for path, command in await asyncio.to_thread(self._folder.left_commands):
            if command is None:
                log.error("unreadable command file deleted", file=path.name)
            else:
                await self._command(msgspec.structs.replace(command, at_ns=now_ns))
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _simulate_until(self, now: int) -> None:
        """Simulate every wearer's data of the seconds before `now`, and expect the falls in it."""
        if not self._second or not 0 <= now - self._second <= CATCH_UP_S:
            self._second = self._since = now
            self._monitor.cancel_expected()
        for second in range(self._second, now):
            for wearer in self._wearers:
                samples = self._schedule.samples(wearer.partition, second)
                self._telemetry.append(OutgoingRecord(topics.TELEMETRY, wearer.ward, wearer.message(second, samples)))
                if self._schedule.falls(wearer.partition, second) and second - self._since >= WARM_UP_S:
                    self._monitor.expect_fall(wearer.partition, second * NS_PER_S)
        self._second = now
        while len(self._telemetry) > TELEMETRY_WAITS_S * len(self._wearers):
            self._telemetry.popleft()
            self._metrics.lost(1)

    async def _announce(self, changes: Iterable[Change]) -> None:
        """Save, then deliver: what a crash leaves undelivered is delivered at the next start, under the same ids."""
        changes = list(changes)
        if not changes:
            return
        await self._save_state()
        await self._deliver(changes)
        for transition, _ in changes:
            log.warning("alarm", state=transition.to_state.value, reason=transition.reason.value, missing=len(self._monitor.missing))

    async def _deliver(self, changes: Iterable[Change]) -> None:
        items = [alert_item(*change) for change in changes]
        self._outbox.extend(_record_of(topics.ALERTS, item) for item in items)
        for delivery in self._deliveries:
            await asyncio.to_thread(delivery.put, items)

    async def _command(self, command: Command) -> None:
        done = self._monitor.command(command)
        if done is None:
            return
        refusal = done if isinstance(done, Refusal) else None
        if refusal is not None:
            log.warning("command refused", action=command.action.value, why=refusal.detail)
        else:
            await self._announce(done if isinstance(done, list) else [])
        self._outbox.append(_record_of(topics.AUDIT, audit_of(command, refusal)))

    # -- Kafka --------------------------------------------------------------------------------------------------------

    async def _run_kafka(self) -> None:
        """Send and receive until `stop`; connect again after every failure."""
        while not self._stopping.is_set():
            try:
                async with AsyncExitStack() as stack:
                    producer, consumer = await self._connect(stack)
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._send_all(producer))
                        group.create_task(self._receive_all(consumer))
            except* (KafkaError, OSError) as errors:
                log.warning("connection to Kafka failed; trying again", why=type(errors.exceptions[0]).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _connect(self, stack: AsyncExitStack) -> tuple[Any, Any]:
        producer = clients.impatient_producer(self._kafka, request_timeout_ms=REQUEST_MS)
        await producer.start()
        stack.push_async_callback(_stop_client, producer)
        consumer = clients.reader(self._kafka)
        await consumer.start()
        stack.push_async_callback(_stop_client, consumer)
        for wearer in self._wearers:
            topic = self._kafka.prefix + topics.REGISTRY
            await producer.send_and_wait(topic, msgspec.json.encode(wearer.registry()), wearer.ward.encode())
        await self._assign_positions(consumer)
        return producer, consumer

    async def _assign_positions(self, consumer: Any) -> None:
        """Read on from the saved offsets; at the first start, from the topics' ends."""
        tps = [TopicPartition(self._kafka.prefix + name, p) for name in (topics.ALERTS, topics.COMMANDS) for p in self._partitions]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            positions = self._positions.setdefault(tp.topic, {})
            positions[tp.partition] = min(positions.get(tp.partition, ends[tp]), ends[tp])
            consumer.seek(tp, positions[tp.partition])

    async def _send_all(self, producer: Any) -> None:
        while True:
            while self._outbox:
                await self._send(producer, self._outbox[0], wait=True)
                self._outbox.popleft()
            while self._telemetry:
                out = self._telemetry.popleft()
                try:
                    await self._send(producer, out, wait=False)
                except KafkaError:
                    self._metrics.lost(1)
                    raise
            await asyncio.sleep(TICK_S)

    async def _send(self, producer: Any, out: OutgoingRecord, *, wait: bool) -> None:
        sent = await producer.send(self._kafka.prefix + out.topic, out.value, out.key.encode())
        if wait:
            await sent
        else:
            sent.add_done_callback(self._on_sent)

    def _on_sent(self, sent: Any) -> None:
        if sent.cancelled() or sent.exception() is not None:
            self._metrics.lost(1)
        else:
            self._stored_s = time.monotonic()

    async def _receive_all(self, consumer: Any) -> None:
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                for record in records:
                    if tp.topic == self._kafka.prefix + topics.ALERTS:
                        await self._on_alert(record.value or b"")
                    else:
                        await self._on_command(record)
                    self._positions[tp.topic][tp.partition] = record.offset + 1

    async def _on_alert(self, value: bytes) -> None:
        try:
            (item,) = items_in(topics.ALERTS, value)
        except (ValueError, RecursionError):
            return  # every sink process makes a dead letter of it
        change = item.body
        if not isinstance(change, AlertChange):
            return
        now_ns = time.time_ns()
        changes, detection = self._monitor.on_alert(change.transition, change.alert, now_ns)
        if detection is not None:
            self._metrics.detected(detection, now_ns / NS_PER_S)
        await self._announce(changes)
        if (closing := self._monitor.closing_command(change.transition, change.alert)) is not None:
            ward, command = closing
            self._outbox.append(OutgoingRecord(topics.COMMANDS, ward, msgspec.json.encode(command)))

    async def _on_command(self, record: Any) -> None:
        try:
            command = command_in(record.value or b"")
        except ValueError:
            return  # the partition it was meant for quarantines it
        await self._command(msgspec.structs.replace(command, at_ns=record.timestamp * NS_PER_MS))

    # -- health -------------------------------------------------------------------------------------------------------

    def _health(self) -> tuple[bool, dict[str, Any]]:
        """Unhealthy while a partition does not report its falls, a webhook has refused the alarm for good, or this process's event loop stalls.

        Called in the operations server's thread.
        """
        stalled_s = time.monotonic() - self._loop_s
        missing = sorted(self._monitor.missing)
        details: dict[str, Any] = {
            "kafka_silent_s": round(time.monotonic() - self._stored_s, 1),
            "missing": missing,
            "alarms": [{"id": alert.id, "state": alert.state.value} for alert in self._monitor.open()],
        }
        if stalled_s > LOOP_STALLED_S:
            return False, {"state": "stalled", "why": f"the event loop has stalled for {stalled_s:.0f} s", **details}
        given_up = [f"{one.name}: {said}" for one in self._deliveries if (said := one.statistics().given_up.sentence())]
        if given_up:
            return False, {"state": "undelivered", "why": "; ".join(given_up), **details}
        return not missing, {"state": "missing" if missing else "watching", **details}


async def _stop_client(client: Any) -> None:
    """Stop a client within CLOSE_S. While its broker is away, aiokafka's `stop` may wait, fail, or raise CancelledError."""
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait([stopping], timeout=CLOSE_S)
    if not stopping.done():
        stopping.cancel()
    elif not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.warning("Kafka client did not stop cleanly", why=type(error).__name__)


def _record_of(topic: str, item: Item) -> OutgoingRecord:
    key, value = single(item)
    return OutgoingRecord(topic, key.decode(), value)
