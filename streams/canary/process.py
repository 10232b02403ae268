"""`vigil canary run`: lets simulated wearers fall, listens for their alerts, and raises the alarm by itself when one does not come.

The alarm goes to the webhooks directly, from a spool of this process: it must reach people when Kafka, every worker and every
sink process are gone. It also goes to the alerts topic when Kafka can be reached, under the same ids.
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
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from alerts.model import Command, Refusal
from alerts.policy import Policy
from engine.frame import NS_PER_S
from sinks.delivery import Delivery
from sinks.items import AlertChange, Item, alert_item
from streams.canary.config import CanaryConfig
from streams.canary.figures import Figures
from streams.canary.state import Folder, Kept
from streams.canary.watch import Change, Watch
from streams.canary.wearers import Life, wearers
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import NS_PER_MS, items_in, single
from streams.ops.http_server import Operations
from streams.pipeline.items import audit_of
from streams.pipeline.partition import command_in

log = structlog.get_logger("vigil.canary")

BEAT_S: Final = 0.1
CATCH_UP_S: Final = 5
"""Seconds of data that are made up for after a hold-up; beyond it the wearers begin anew and falls under way are forgotten."""
WARM_S: Final = 5
"""Seconds of data that the detector needs before a fall (detectors.falls: 3 s) with some to spare."""
WAITING_S: Final = 30
"""Seconds of simulated data that wait for Kafka; older ones are lost, as with a wearer out of reach."""
REQUEST_MS: Final = 10_000
RECONNECT_S: Final = 1.0
POLL_MS: Final = 200
SAVE_EVERY_S: Final = 5.0
LOOP_STANDS_S: Final = 10.0
CLOSE_S: Final = 5.0


class Out(NamedTuple):
    """A record for Kafka."""

    topic: str
    key: str
    value: bytes


class Canary:
    """`run` until `stop`. OSError when its folder cannot be used, or the port of the operations server is taken."""

    def __init__(self, kafka: KafkaConfig, config: CanaryConfig, deliveries: Sequence[Delivery], policy: Policy | None = None) -> None:
        self._kafka = kafka
        self._deliveries = deliveries
        self._wearers = wearers(kafka.partitions)
        self._numbers = [wearer.partition for wearer in self._wearers]
        self._life = Life(config.every_s)
        self._watch = Watch(self._wearers, config.bound_s, policy)
        self._folder = Folder(config.folder)
        self._figures = Figures(self._numbers, deliveries)
        operations = config.operations
        self._operations = Operations(operations.port, self._figures.registry, self._health, host=operations.host)
        self._positions: dict[str, dict[int, int]] = {}
        self._data: deque[Out] = deque()
        self._words: deque[Out] = deque()
        """Alarm, commands, audit: sent in order, each until Kafka has it."""
        self._second = self._since = 0
        self._saved_s = self._turned_s = self._stored_s = time.monotonic()
        self._keeping = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._restore()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    async def run(self) -> None:
        """Watch until `stop`; what is to be kept is kept, what the webhooks have not taken stays in their spools."""
        self._operations.start()
        for delivery in self._deliveries:
            delivery.start()
        await self._deliver(self._watch.told())
        log.info("canary starts", partitions=len(self._numbers), webhooks=len(self._deliveries), missing=len(self._watch.missing))
        if not self._deliveries:
            log.warning("no webhook is configured: when Kafka is down, the alarm reaches nobody")
        link = asyncio.create_task(self._link())
        try:
            while not self._stopping.is_set():
                await self._beat()
                await asyncio.sleep(BEAT_S)
                if link.done():
                    await link  # it ends by a fault of ours alone: whoever runs the canary starts it again
        finally:
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)
            await self._keep()
            for delivery in self._deliveries:
                await asyncio.to_thread(delivery.close, CLOSE_S)
            self._operations.stop()

    # -- what needs no Kafka ------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        kept = self._folder.load()
        if kept is not None:
            self._watch.restore(kept.watch)
            self._positions = kept.positions

    async def _keep(self) -> None:
        async with self._keeping:
            self._saved_s = time.monotonic()
            positions = {topic: dict(heard) for topic, heard in self._positions.items()}
            try:
                await asyncio.to_thread(self._folder.save, Kept(self._watch.snapshot(), positions))
            except OSError as error:  # the alarm matters more than its memory
                log.error("state not kept", why=error.strerror or str(error))  # noqa: TRY400 - the reason is the message

    async def _beat(self) -> None:
        now_ns = time.time_ns()
        self._turned_s = time.monotonic()
        if now_ns // NS_PER_S != self._second:
            self._live(now_ns // NS_PER_S)
            await self._inbox(now_ns)
        changes, missed = self._watch.tick(now_ns)
        for partition in missed:
            self._figures.missed()
            log.error("a simulated fall was not reported", partition=partition)
        await self._say(changes)
        self._figures.stands(self._numbers, self._watch.missing, len(self._watch.open()))
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            await self._keep()

    async def _inbox(self, now_ns: int) -> None:
        """Commands left in the folder by `vigil canary acknowledge`."""
        for path, command in await asyncio.to_thread(self._folder.said):
            if command is None:
                log.error("a command that cannot be read is dropped", file=path.name)
            else:
                await self._command(msgspec.structs.replace(command, at_ns=now_ns))
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _live(self, now: int) -> None:
        """Every wearer's data of the seconds that are over."""
        if not self._second or not 0 <= now - self._second <= CATCH_UP_S:
            self._second = self._since = now
            self._watch.forget()
        for second in range(self._second, now):
            for wearer in self._wearers:
                samples = self._life.samples(wearer.partition, second)
                self._data.append(Out(topics.TELEMETRY, wearer.ward, wearer.message(second, samples)))
                if self._life.falls(wearer.partition, second) and second - self._since >= WARM_S:
                    self._watch.fell(wearer.partition, second * NS_PER_S)
        self._second = now
        while len(self._data) > WAITING_S * len(self._wearers):
            self._data.popleft()
            self._figures.lost(1)

    async def _say(self, changes: Iterable[Change]) -> None:
        """Kept first, then delivered: what a crash leaves undelivered is delivered at the next start, under the same ids."""
        changes = list(changes)
        if not changes:
            return
        await self._keep()
        await self._deliver(changes)
        for transition, _ in changes:
            log.warning("alarm", state=transition.to_state.value, reason=transition.reason.value, blind=len(self._watch.missing))

    async def _deliver(self, changes: Iterable[Change]) -> None:
        items = [alert_item(*change) for change in changes]
        self._words.extend(_spoken(topics.ALERTS, item) for item in items)
        for delivery in self._deliveries:
            await asyncio.to_thread(delivery.put, items)

    async def _command(self, command: Command) -> None:
        done = self._watch.command(command)
        if done is None:
            return
        refusal = done if isinstance(done, Refusal) else None
        if refusal is not None:
            log.warning("command refused", action=command.action.value, why=refusal.detail)
        else:
            await self._say(done if isinstance(done, list) else [])
        self._words.append(_spoken(topics.AUDIT, audit_of(command, refusal)))

    # -- Kafka --------------------------------------------------------------------------------------------------------

    async def _link(self) -> None:
        """Speak to Kafka and listen to it; whatever happens to the connection, begin again."""
        while not self._stopping.is_set():
            try:
                async with AsyncExitStack() as stack:
                    producer, consumer = await self._connected(stack)
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._speak(producer))
                        group.create_task(self._listen(consumer))
            except* (KafkaError, OSError) as errors:
                log.warning("Kafka is not reached", why=type(errors.exceptions[0]).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _connected(self, stack: AsyncExitStack) -> tuple[Any, Any]:
        client = self._kafka.connection.client()
        producer = AIOKafkaProducer(**client, acks="all", request_timeout_ms=REQUEST_MS)
        await producer.start()
        stack.push_async_callback(_stopped, producer)
        consumer = AIOKafkaConsumer(**client, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        stack.push_async_callback(_stopped, consumer)
        for wearer in self._wearers:
            topic = self._kafka.prefix + topics.REGISTRY
            await producer.send_and_wait(topic, msgspec.json.encode(wearer.registry()), wearer.ward.encode())
        await self._placed(consumer)
        return producer, consumer

    async def _placed(self, consumer: Any) -> None:
        """Go on where the last words were heard; the first time, with what comes from now on."""
        tps = [TopicPartition(self._kafka.prefix + name, p) for name in (topics.ALERTS, topics.COMMANDS) for p in self._numbers]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            heard = self._positions.setdefault(tp.topic, {})
            heard[tp.partition] = min(heard.get(tp.partition, ends[tp]), ends[tp])
            consumer.seek(tp, heard[tp.partition])

    async def _speak(self, producer: Any) -> None:
        while True:
            while self._words:
                await self._send(producer, self._words[0], wait=True)
                self._words.popleft()
            while self._data:
                out = self._data.popleft()
                try:
                    await self._send(producer, out, wait=False)
                except KafkaError:
                    self._figures.lost(1)
                    raise
            await asyncio.sleep(BEAT_S)

    async def _send(self, producer: Any, out: Out, *, wait: bool) -> None:
        sent = await producer.send(self._kafka.prefix + out.topic, out.value, out.key.encode())
        if wait:
            await sent
        else:
            sent.add_done_callback(self._settled)

    def _settled(self, sent: Any) -> None:
        if sent.cancelled() or sent.exception() is not None:
            self._figures.lost(1)
        else:
            self._stored_s = time.monotonic()

    async def _listen(self, consumer: Any) -> None:
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                for record in records:
                    if tp.topic == self._kafka.prefix + topics.ALERTS:
                        await self._heard(record.value or b"")
                    else:
                        await self._told(record)
                    self._positions[tp.topic][tp.partition] = record.offset + 1

    async def _heard(self, value: bytes) -> None:
        try:
            (item,) = items_in(topics.ALERTS, value)
        except (ValueError, RecursionError):
            return  # not ours to judge: every sink sets it aside with its reason
        change = item.body
        if not isinstance(change, AlertChange):
            return
        now_ns = time.time_ns()
        changes, seen = self._watch.heard(change.transition, change.alert, now_ns)
        if seen is not None:
            self._figures.saw(seen, now_ns / NS_PER_S)
        await self._say(changes)
        if (closing := self._watch.closing(change.transition, change.alert)) is not None:
            ward, command = closing
            self._words.append(Out(topics.COMMANDS, ward, msgspec.json.encode(command)))

    async def _told(self, record: Any) -> None:
        try:
            command = command_in(record.value or b"")
        except ValueError:
            return  # the partition it was meant for quarantines it
        await self._command(msgspec.structs.replace(command, at_ns=record.timestamp * NS_PER_MS))

    # -- health -------------------------------------------------------------------------------------------------------

    def _health(self) -> tuple[bool, dict[str, Any]]:
        """Not well while a partition is blind, or this process itself stands. From the operations server's thread."""
        stands_s = time.monotonic() - self._turned_s
        blind = dict(self._watch.missing)
        details: dict[str, Any] = {
            "kafka_silent_s": round(time.monotonic() - self._stored_s, 1),
            "missing": sorted(blind),
            "alarms": [{"id": alert.id, "state": alert.state.value} for alert in self._watch.open()],
        }
        if stands_s > LOOP_STANDS_S:
            return False, {"state": "stalled", "why": f"the event loop has not turned for {stands_s:.0f} s", **details}
        return not blind, {"state": "missing" if blind else "watching", **details}


async def _stopped(client: Any) -> None:
    """Stop a client within CLOSE_S. aiokafka's, while its broker is away, may wait, fail, or end as if we had been cancelled."""
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait([stopping], timeout=CLOSE_S)
    if not stopping.done():
        stopping.cancel()
    elif not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.warning("Kafka client not stopped in order", why=type(error).__name__)


def _spoken(topic: str, item: Item) -> Out:
    key, value = single(item)
    return Out(topic, key.decode(), value)
