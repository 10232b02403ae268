"""The partitions this worker owns: taking them over, feeding them, checkpoints, giving them up."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import aiokafka
import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust.types import TP
from pydantic import BaseModel

from alerts.policy import Policy
from schemas.wire import TEXT_BYTES_MAX
from sinks.items import Item, account_item
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import ARRIVAL_HEADER, CANARY, KIND_HEADER, NS_PER_MS, OFFSET_HEADER, Input, Kind, headers, parse
from streams.pipeline.partition import BYTES_MAX, WHY_MAX, Partition, Registries, usable
from streams.storage.crash_log import CRASHES_MAX, Deaths, read, written
from streams.storage.snapshots import Snapshot, SnapshotStore
from streams.worker.figures import Figures
from streams.worker.outbox import FRAME_S, Outbox

log = structlog.get_logger("vigil.worker")

ACCOUNTS_EVERY_S: Final = 60.0
"""How often the counts of the running hour are said; later counts of an hour replace earlier ones."""
LOOK_EVERY_S: Final = 0.1
"""How often frames, checkpoints and the passing of time are looked after."""
QUIET_S: Final = 1.0
"""A partition silent for so long is told that time passes: the engine ticks every whole second."""

NOTE_S: Final = 1.0
"""How long a record waits for the note that it is being taken."""

Step = Callable[[str], None]
"""Called with the name of each step of a checkpoint, before and after it; tests die here."""


class GapError(RuntimeError):
    """Offsets were left out. Telemetry has none, so the reader lost them: restart and read again."""


class Owned:
    """A partition with what its owner knows about it."""

    def __init__(self, partition: Partition, outbox: Outbox, epoch: int, noted: str | None) -> None:
        self.partition = partition
        self.outbox = outbox
        self.epoch = epoch
        self.deaths = read(noted, partition.number)
        self.noted = noted
        self.saved_offset = -1
        now_s = time.monotonic()
        self.saved_s = self.accounts_s = self.touched_s = self.told_s = now_s
        self.lock, self.noting = asyncio.Lock(), asyncio.Lock()


class Progress(NamedTuple):
    """How far a partition is: next_offset of `end` records."""

    partition: int
    next_offset: int
    end: int
    at_ns: int = 0
    """How far its time is: it moves also within a record, through a long silence."""


class Owner:
    """Everything between Faust and the partitions. Lives in the event loop's thread; blocking work goes to threads."""

    def __init__(
        self,
        config: KafkaConfig,
        store: SnapshotStore,
        *,
        parameters: BaseModel | None = None,
        policy: Policy | None = None,
        step: Step = lambda _: None,
    ) -> None:
        self.config = config
        self.owned: dict[int, Owned] = {}
        self.app: Any = None
        self.figures = Figures()
        self._store = store
        self._parameters, self._policy = parameters, policy
        self._step = step
        self._producer: Any = None
        self._telemetry = config.prefix + topics.TELEMETRY
        self._closing = False
        self._saving: asyncio.Task[None] | None = None
        self._dividing = self._steps = 0

    # -- life -----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect the producer of outputs."""
        self._producer = AIOKafkaProducer(
            **self.config.connection.client(),
            acks="all",
            enable_idempotence=True,  # a repeated send must not swap two transitions of an alert
            max_request_size=topics.RECORD_BYTES_MAX,
            compression_type=None if self.config.compression == "none" else self.config.compression,
        )
        await self._producer.start()

    async def stop(self) -> None:
        """Give everything up in good order; after a crash nothing more is said or saved, the next worker reads it again."""
        self._closing = True
        if self.app.crashed:
            return
        await self.release(set(self.owned))
        if self._producer is not None:
            await self._producer.stop()

    async def look_after(self) -> None:
        """Frames, time and checkpoints, until the app stops. Any error ends the process."""
        while not self._closing:
            await asyncio.sleep(LOOK_EVERY_S)
            for number, owned in list(self.owned.items()):
                owned.outbox.close_frames(older_than_s=FRAME_S)
                await owned.outbox.pump()
                if self.config.live:
                    await self._tell_time(number, owned)
            await self._save_next()

    # -- taking over ----------------------------------------------------------------------------------------------------

    def positions(self) -> dict[TP, int]:
        """Where owned partitions go on."""
        return {TP(self._telemetry, number): owned.partition.next_offset for number, owned in self.owned.items()}

    @property
    def division(self) -> int | None:
        """While partitions are taken over or given up, a number that changes with every step of it; else None."""
        return self._steps if self._dividing else None

    @contextlib.contextmanager
    def _division(self) -> Iterator[None]:
        self._dividing += 1
        self._steps += 1
        try:
            yield
        finally:
            self._dividing -= 1

    def progress(self) -> list[Progress]:
        """How far each owned partition is; without those of which the end is not known yet."""
        if not self.owned:
            return []
        consumer, found = self.app.consumer, []
        for number, owned in list(self.owned.items()):
            end = consumer.highwater(TP(self._telemetry, number))
            self.figures.counted(number, owned.partition.core.engine.totals())
            if end is not None:
                self.figures.waits(number, max(0, end - owned.partition.next_offset))
                found.append(Progress(number, owned.partition.next_offset, end, owned.partition.arrival_ns))
        return found

    async def take_over(self) -> None:
        """Load the state of every assigned partition (they were given up at the start of the rebalance)."""
        wanted = {tp.partition for tp in self.app.consumer.assignment() if tp.topic == self._telemetry}
        self.owned = {}
        if not wanted or self._closing:
            self.figures.taken_over({}, {})
            return
        tps = [TP(self._telemetry, number) for number in sorted(wanted)]
        begins = await self.app.consumer.earliest_offsets(*tps)
        ends = await self.app.consumer.highwaters(*tps)
        with self._division():
            for tp in tps:
                self.owned[tp.partition] = await self._load(tp.partition, begins[tp], ends[tp])
                self._steps += 1
        epochs = {number: owned.epoch for number, owned in self.owned.items()}
        self.figures.taken_over(epochs, {number: owned.partition.core.engine.totals() for number, owned in self.owned.items()})
        log.info("partitions taken over", positions={n: o.partition.next_offset for n, o in self.owned.items()})

    async def _load(self, number: int, begin: int, end: int) -> Owned:
        epoch = max(int(self.app.consumer_generation_id), await asyncio.to_thread(self._store.newest_epoch, number) + 1)
        self._steps += 1
        text = await asyncio.to_thread(self._store.marked, number)
        self._steps += 1
        partition = await asyncio.to_thread(self._restored, number, end)
        cold = partition is None
        if partition is None:
            registries = await self._registries(number)
            partition = self._new(number, registries, begin)
        if partition.next_offset < begin:
            log.error("records expired before they were read", partition=number, lost=begin - partition.next_offset)
            partition.next_offset = begin
        owned = Owned(partition, Outbox(self._producer, self.config.prefix, number), epoch, text)
        await self._note(owned, owned.deaths.begun(partition.next_offset))
        if owned.deaths.careful:
            log.warning("lives end where they began: each record is noted before it is taken", partition=number, lives=owned.deaths.lives)
        # Partitions take turns in saving.
        owned.saved_s -= self.config.checkpoint_every_s * (number % self.config.partitions) / self.config.partitions
        if cold:
            # The registry that a cold start begins with is not in the log: it counts from now on as part of the state.
            await self.checkpoint(number, owned)
        return owned

    def _new(self, number: int, registries: Registries | None = None, next_offset: int = 0) -> Partition:
        return Partition(
            number,
            parameters=self._parameters,
            policy=self._policy,
            live=self.config.live,
            registries=registries,
            next_offset=next_offset,
        )

    def _restored(self, number: int, end: int) -> Partition | None:
        for snapshot in self._store.newest_first(number):
            partition = self._new(number)
            try:
                partition.thaw(snapshot.state)
            except (ValueError, msgspec.DecodeError) as error:
                log.warning("snapshot passed over", partition=number, offset=snapshot.next_offset, why=str(error))
                continue
            if snapshot.next_offset <= end:
                return partition
            log.error("snapshot is ahead of its log: was the topic made anew?", partition=number, offset=snapshot.next_offset, end=end)
        return None

    async def _registries(self, number: int) -> Registries:
        """What the registry topic says now about the wards of this partition."""
        tp = aiokafka.TopicPartition(self.config.prefix + topics.REGISTRY, number)
        consumer = AIOKafkaConsumer(**self.config.connection.client(), enable_auto_commit=False, auto_offset_reset="earliest")
        registries = Registries()
        await consumer.start()
        try:
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            await consumer.seek_to_beginning(tp)
            while await consumer.position(tp) < end:
                for record in (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, []):
                    if record.offset >= end:
                        break
                    registries = await asyncio.to_thread(self._with, registries, record)
                    self._steps += 1
        finally:
            await consumer.stop()
        return registries

    def _with(self, registries: Registries, record: Any) -> Registries:
        ward = (record.key or b"").decode("utf-8", "replace")
        try:
            changed = registries.changed(ward, record.value or b"", record.offset)
            why = usable(changed, self._parameters, self._policy)
        except ValueError as error:
            why = str(error)
        if why is None:
            return changed
        log.error("registry passed over; the old one stays in force", ward=ward[:TEXT_BYTES_MAX], why=why[:WHY_MAX])
        return Registries(registries.wards, record.offset + 1)

    # -- feeding --------------------------------------------------------------------------------------------------------

    async def take(self, message: Any) -> None:
        """Records of the telemetry topic that came together."""
        for record in message.value:
            owned = self.owned.get(message.partition)
            if owned is None or self._closing or message.generation_id != self.app.consumer_generation_id:
                return  # of an assignment that is over: its next owner reads them
            if record.offset >= owned.partition.next_offset:  # else it is in the snapshot
                await self._take(owned, record)
                await asyncio.sleep(0)  # others have their turn between records of some milliseconds

    async def _take(self, owned: Owned, message: Any) -> None:
        partition = owned.partition
        record = parse(message.offset, message.timestamp * NS_PER_MS, message.key, message.value, message.headers or ())
        crashes = owned.deaths.crashes(record.offset)
        if owned.deaths.careful and crashes < CRASHES_MAX:
            await self._note_soon(owned, owned.deaths.about_to(record.offset))
            if self.owned.get(partition.number) is not owned:
                return
        steps, apply_s = _steps(partition, record, crashes), 0.0
        while partition.next_offset <= record.offset:
            began_s = time.perf_counter()
            try:
                items = next(steps)
            except Exception:
                del self.owned[partition.number]  # its state is half a record ahead: it must never be saved
                await self._note(owned, owned.deaths.on(record.offset))
                raise
            apply_s += time.perf_counter() - began_s
            owned.touched_s = time.monotonic()
            owned.outbox.put(items)
            await owned.outbox.pump()
            if partition.next_offset <= record.offset:
                await asyncio.sleep(0)
                if self.owned.get(partition.number) is not owned:
                    return  # given up on the way: the snapshot stands between two steps
        if owned.deaths.trying >= 0:
            await self._note_soon(owned, owned.deaths.done())
        if crashes >= CRASHES_MAX:
            owned.saved_s = -math.inf  # a checkpoint is due, so that it is behind us before the next one kills
        self.figures.took(record, items, apply_s)

    async def hand_on(self, message: Any, kind: Kind) -> None:
        """Records of the commands or registry topic, into the one order of their partition."""
        waiting = []
        for record in message.value:
            if kind is Kind.COMMAND and record.key == CANARY.encode():
                continue  # said to the canary's alarm, which no partition knows
            given = [(key, value) for key, value in record.headers or () if key == ARRIVAL_HEADER and len(value or b"") <= TEXT_BYTES_MAX]
            given += [(KIND_HEADER, kind.encode()), (OFFSET_HEADER, b"%d" % record.offset)]
            # Cut where the partition sees that it was too long: what no record can hold must not stop everything behind it.
            key, value = (record.key or b"")[: TEXT_BYTES_MAX + 1], (record.value or b"")[: BYTES_MAX[kind] + 1]
            waiting.append(await self._producer.send(self._telemetry, value, key, record.partition, headers=given))
        await asyncio.gather(*waiting)
        await self.app.consumer.commit_exactly({message.tp: message.offset + 1})

    async def _tell_time(self, number: int, owned: Owned) -> None:
        """Put the passing of time into the log of a partition that has been read to its end and is silent."""
        now_s = time.monotonic()
        if now_s - max(owned.touched_s, owned.told_s) < QUIET_S:
            return
        end = self.app.consumer.highwater(TP(self._telemetry, number))
        if end is not None and owned.partition.next_offset >= end:
            owned.told_s = now_s
            await self._producer.send(self._telemetry, b"", None, number, headers=headers(kind=Kind.TIME))

    # -- state ----------------------------------------------------------------------------------------------------------

    async def checkpoint(self, number: int, owned: Owned, *, leaving: bool = False) -> None:
        """Outputs stored, then the snapshot, then the commit: a crash anywhere repeats a stretch and says the same again."""
        async with owned.lock:
            now_s = time.monotonic()
            if now_s - owned.accounts_s >= ACCOUNTS_EVERY_S or self._closing:
                owned.outbox.put(account_item(account) for account in owned.partition.core.engine.accounts())
                owned.accounts_s = now_s
            offset = owned.partition.next_offset
            owned.saved_s = now_s
            self.figures.counted(number, owned.partition.core.engine.totals())
            if offset == owned.saved_offset and not self._closing:
                self.figures.covered(number)
                if leaving:
                    await self._note(owned, owned.deaths.saved(offset))
                return
            state = owned.partition.freeze()
            self._step("before outputs")
            await owned.outbox.stored()
            self._step("after outputs")
            try:
                await asyncio.to_thread(self._store.put, number, Snapshot(owned.epoch, offset, state))
            except OSError as error:  # detection goes on; what is not in a snapshot is not committed and will be read again
                log.error("snapshot not stored", partition=number, why=error.strerror or str(error))  # noqa: TRY400 - the reason is the message
                self.figures.not_saved(number)
                return
            self._step("after snapshot")
            await self.app.consumer.commit_exactly({TP(self._telemetry, number): offset})
            self._step("after commit")
            self.figures.saved(number, len(state), time.monotonic() - now_s)
            owned.saved_offset = offset
            if leaving or offset > owned.deaths.from_offset:
                await self._note(owned, owned.deaths.saved(offset))

    async def _note(self, owned: Owned, deaths: Deaths) -> None:
        """Remember, across whatever may happen to this process."""
        owned.deaths = deaths
        async with owned.noting:  # a checkpoint may have something to note while a record has
            text = written(owned.deaths)
            if text == owned.noted:
                return
            try:
                await asyncio.to_thread(self._store.mark, owned.partition.number, text)
            except OSError as error:  # a full store must not stop detection
                log.warning("note about the partition not stored", partition=owned.partition.number, why=error.strerror or str(error))
            else:
                owned.noted = text

    async def _note_soon(self, owned: Owned, deaths: Deaths) -> None:
        """`_note`, but a store that hangs does not stop detection: then nothing is noted until it is back."""
        if owned.noting.locked():
            owned.deaths = deaths
            return
        noting = asyncio.create_task(self._note(owned, deaths))
        if (await asyncio.wait({noting}, timeout=NOTE_S))[0]:
            await noting

    async def _save_next(self) -> None:
        """Begin the checkpoint that is due longest, one at a time; nothing waits for it, for a store may hang."""
        if self._saving is not None:
            if not self._saving.done():
                return
            await self._saved()
        if self.owned:
            number, owned = min(self.owned.items(), key=lambda entry: entry[1].saved_s)
            if time.monotonic() - owned.saved_s >= self.config.checkpoint_every_s:
                self._saving = asyncio.create_task(self.checkpoint(number, owned))

    async def _saved(self) -> None:
        """The checkpoint under way is over; its error, if there was one."""
        saving, self._saving = self._saving, None
        if saving is not None:
            await saving

    async def release(self, numbers: Iterable[int]) -> None:
        """Save and let go."""
        with self._division():
            await self._saved()
            for number in sorted(numbers):
                self._steps += 1
                owned = self.owned.pop(number, None)
                if owned is not None:
                    await self.checkpoint(number, owned, leaving=True)

    async def revoked(self, tps: Iterable[TP]) -> None:
        """A rebalance begins: every partition is given up, and loaded again if it comes back."""
        await self.release({tp.partition for tp in tps if tp.topic == self._telemetry})


def _steps(partition: Partition, record: Input, crashes: int) -> Iterator[list[Item]]:
    """What there is to say on the way to `record` and at it; with the last step the partition stands behind it."""
    if crashes >= CRASHES_MAX:
        yield partition.pass_over(record, f"workers died {crashes} times on this record; it was passed over")
        return
    if record.offset > partition.next_offset and not crashes:  # the second time it is a gap in the log itself
        raise GapError(f"partition {partition.number} expected offset {partition.next_offset}, got {record.offset}")
    yield from partition.on_the_way(record)
    yield partition.apply(record)
