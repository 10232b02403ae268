"""The partitions that are assigned to this worker: assigning, applying their records, revoking."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import structlog
from faust.types import TP
from pydantic import BaseModel

from alerts.policy import Policy
from streams.kafka import clients, topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import NS_PER_MS, parse
from streams.pipeline.partition import Applied, Partition
from streams.pipeline.records import Input, Kind
from streams.storage.crash_log import skipped_because
from streams.storage.snapshots import SnapshotStore
from streams.worker.assigned_partition import AssignedPartition, Progress
from streams.worker.checkpointer import Checkpointer, Step
from streams.worker.forwarder import Forwarder
from streams.worker.loader import Loader
from streams.worker.metrics import WorkerMetrics
from streams.worker.outbox import FRAME_S, Outbox

log = structlog.get_logger("vigil.worker")

MAINTAIN_EVERY_S: Final = 0.1
"""How often frames, checkpoints and the passing of time are looked after."""


class GapError(RuntimeError):
    """Offsets are missing. Telemetry has none missing, so the reader lost them: restart and read again."""


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
        self.owned: dict[int, AssignedPartition] = {}
        self.app: Any = None
        self.metrics = WorkerMetrics()
        self.checkpointer = Checkpointer(config, store, self.metrics, lambda: self.app.consumer, step)
        self._loader = Loader(config, store, parameters, policy, self._rebalance_progress)
        self._forwarder = Forwarder(config)
        self._producer: Any = None
        self._telemetry = config.prefix + topics.TELEMETRY
        self._closing = False
        self._rebalances_running = self._rebalance_steps = 0

    # -- life -----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect the producer of outputs."""
        self._producer = clients.producer(self.config)
        self._forwarder.producer = self._producer
        await self._producer.start()

    async def stop(self) -> None:
        """Revoke everything in good order; after a crash nothing more is published or saved, the next worker reads it again."""
        self._closing = self.checkpointer.closing = True
        if self.app.crashed:
            return
        await self.revoke(set(self.owned))
        if self._producer is not None:
            await self._producer.stop()

    async def maintain(self) -> None:
        """Frames, time and checkpoints, until the app stops. Any error ends the process."""
        while not self._closing:
            await asyncio.sleep(MAINTAIN_EVERY_S)
            for number, owned in list(self.owned.items()):
                owned.outbox.close_frames(older_than_s=FRAME_S)
                await owned.outbox.pump()
                if self.config.live:
                    await self._forwarder.tick_if_idle(number, owned, self.app.consumer)
            await self.checkpointer.start_due(self.owned)

    # -- assigning ------------------------------------------------------------------------------------------------------

    def positions(self) -> dict[TP, int]:
        """Where owned partitions go on."""
        return {TP(self._telemetry, number): owned.partition.next_offset for number, owned in self.owned.items()}

    @property
    def rebalance(self) -> int | None:
        """While partitions are assigned or revoked, a number that changes with every step of it; else None."""
        return self._rebalance_steps if self._rebalances_running else None

    def _rebalance_progress(self) -> None:
        self._rebalance_steps += 1

    @contextlib.contextmanager
    def _rebalancing(self) -> Iterator[None]:
        self._rebalances_running += 1
        self._rebalance_progress()
        try:
            yield
        finally:
            self._rebalances_running -= 1

    def progress(self) -> list[Progress]:
        """How far each owned partition is; without those that Kafka has taken away, or of which the end is not known yet."""
        found = []
        for number, owned in list(self.owned.items()):
            self.metrics.counted(number, owned.partition.core.engine.totals())
            end = self._end(TP(self._telemetry, number))
            if end is not None:
                self.metrics.waits(number, max(0, end - owned.partition.next_offset))
                found.append(Progress(number, owned.partition.next_offset, end, owned.partition.arrival_ns))
        return found

    def _end(self, tp: TP) -> int | None:
        """Where the log of a partition ends; None when that is not known, or while the partition is not assigned.

        Kafka's own thread begins a rebalance whenever it likes: a look at the assignment beforehand says nothing about the moment of
        the question. aiokafka answers with AssertionError then, or with AttributeError where the assignment goes while it looks.
        """
        ask = self.app.consumer.highwater
        try:
            return cast("int | None", ask(tp))
        except (AssertionError, AttributeError):
            return None

    async def assign(self) -> None:
        """Load the state of every assigned partition (they were revoked at the start of the rebalance)."""
        wanted = {tp.partition for tp in self.app.consumer.assignment() if tp.topic == self._telemetry}
        self.owned = {}
        if not wanted or self._closing:
            self.metrics.assigned({}, {})
            return
        tps = [TP(self._telemetry, number) for number in sorted(wanted)]
        begins = await self.app.consumer.earliest_offsets(*tps)
        ends = await self.app.consumer.highwaters(*tps)
        with self._rebalancing():
            for tp in tps:
                self.owned[tp.partition] = await self._load(tp.partition, begins[tp], ends[tp])
                self._rebalance_progress()
        epochs = {number: owned.epoch for number, owned in self.owned.items()}
        self.metrics.assigned(epochs, {number: owned.partition.core.engine.totals() for number, owned in self.owned.items()})
        log.info("partitions assigned", positions={n: o.partition.next_offset for n, o in self.owned.items()})

    async def _load(self, number: int, begin: int, end: int) -> AssignedPartition:
        partition, epoch, noted, cold = await self._loader.load(number, int(self.app.consumer_generation_id), begin, end)
        owned = AssignedPartition(partition, Outbox(self._producer, self.config.prefix, number), epoch, noted)
        await self.checkpointer.note(owned, owned.crash_log.started(partition.next_offset))
        if owned.crash_log.notes_each_record:
            log.warning(
                "restarts end where they began: each record is noted before it is applied",
                partition=number,
                restarts=owned.crash_log.restarts,
            )
        # Partitions take turns in saving.
        owned.saved_s -= self.config.checkpoint_every_s * (number % self.config.partitions) / self.config.partitions
        if cold:
            # The registry that a cold start begins with is not in the log: it counts from now on as part of the state.
            await self.checkpointer.checkpoint(number, owned)
        return owned

    # -- applying -------------------------------------------------------------------------------------------------------

    async def consume(self, message: Any) -> None:
        """Records of the telemetry topic that came together."""
        for record in message.value:
            owned = self.owned.get(message.partition)
            if owned is None or self._closing or message.generation_id != self.app.consumer_generation_id:
                return  # of an assignment that is over: its next owner reads them
            if record.offset >= owned.partition.next_offset:  # else it is in the snapshot
                await self.apply(owned, record)
                await asyncio.sleep(0)  # others have their turn between records of some milliseconds

    async def apply(self, owned: AssignedPartition, message: Any) -> None:
        """Apply one Kafka record to its partition; its outputs are handed to the producer."""
        partition = owned.partition
        record = parse(message.offset, message.timestamp * NS_PER_MS, message.key, message.value, message.headers or ())
        poison = owned.crash_log.is_poison(record.offset)
        if owned.crash_log.notes_each_record and not poison:
            await self.checkpointer.note_soon(owned, owned.crash_log.before(record.offset))
            if self.owned.get(partition.number) is not owned:
                return
        steps, apply_s = _steps(partition, record, owned.crash_log.crashes(record.offset), poison=poison), 0.0
        while partition.next_offset <= record.offset:
            began_s = time.perf_counter()
            try:
                applied = next(steps)
                items = applied.items
            except Exception:
                del self.owned[partition.number]  # its state is half a record ahead: it must never be saved
                await self.checkpointer.note(owned, owned.crash_log.crashed(record.offset))
                raise
            apply_s += time.perf_counter() - began_s
            owned.applied_s = time.monotonic()
            owned.outbox.put(items)
            await owned.outbox.pump()
            if partition.next_offset <= record.offset:
                await asyncio.sleep(0)
                if self.owned.get(partition.number) is not owned:
                    return  # revoked on the way: the snapshot stands between two steps
        if owned.crash_log.applying >= 0:
            await self.checkpointer.note_soon(owned, owned.crash_log.after())
        if poison:
            owned.saved_s = -math.inf  # a checkpoint is due, so that it is not read again when a later record crashes the process
        self.metrics.applied(record, items, apply_s)

    async def forward(self, message: Any, kind: Kind) -> None:
        """Records of the commands or registry topic, into the one log of their partition."""
        await self._forwarder.forward(message, kind, self.app.consumer)

    # -- revoking -------------------------------------------------------------------------------------------------------

    async def revoke(self, numbers: Iterable[int]) -> None:
        """Save these partitions and let go of them."""
        with self._rebalancing():
            await self.checkpointer.finish()
            for number in sorted(numbers):
                self._rebalance_progress()
                owned = self.owned.pop(number, None)
                if owned is not None:
                    await self.checkpointer.checkpoint(number, owned, leaving=True)

    async def revoked(self, tps: Iterable[TP]) -> None:
        """A rebalance begins: every partition is revoked, and loaded again if it comes back."""
        await self.revoke({tp.partition for tp in tps if tp.topic == self._telemetry})


def _steps(partition: Partition, record: Input, crashes: int, *, poison: bool) -> Iterator[Applied]:
    """The outputs on the way to `record` and at it; with the last step the partition stands behind it."""
    if poison:
        yield partition.skip_poison(record, skipped_because(crashes))
        return
    if record.offset > partition.next_offset and not crashes:  # the second time it is a gap in the log itself
        raise GapError(f"partition {partition.number} expected offset {partition.next_offset}, got {record.offset}")
    yield from partition.advance_before(record)
    yield partition.apply(record)
