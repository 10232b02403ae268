"""Checkpoints: outputs stored, then the snapshot, then the commit. And the crash log, which checkpoints clear."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from faust.types import TP

from sinks.items import account_item
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.storage.crash_log import CrashLog, written
from streams.storage.snapshots import Snapshot, SnapshotStore
from streams.worker.assigned_partition import AssignedPartition
from streams.worker.metrics import WorkerMetrics

log = structlog.get_logger("vigil.worker")

ACCOUNTS_EVERY_S: Final = 60.0
"""How often the counts of the running hour are published; later counts of an hour replace earlier ones."""
NOTE_S: Final = 1.0
"""How long a record waits for the note that it is being applied."""

Step = Callable[[str], None]
"""Called with the name of each step of a checkpoint, before and after it; tests crash the process here."""


class Checkpointer:
    """One checkpoint at a time. `consumer` gives the present Kafka consumer (streams.worker.consumer)."""

    def __init__(
        self, config: KafkaConfig, store: SnapshotStore, metrics: WorkerMetrics, consumer: Callable[[], Any], step: Step = lambda _: None
    ) -> None:
        self._config = config
        self._store = store
        self._metrics = metrics
        self._consumer = consumer
        self._step = step
        self._telemetry = config.prefix + topics.TELEMETRY
        self._running: asyncio.Task[None] | None = None
        self.closing = False

    async def checkpoint(self, number: int, owned: AssignedPartition, *, leaving: bool = False) -> None:
        """Store and commit all that has been applied. A crash anywhere repeats a stretch of the log, with the same outputs."""
        async with owned.lock:
            now_s = time.monotonic()
            if now_s - owned.accounts_s >= ACCOUNTS_EVERY_S or self.closing:
                owned.outbox.put(account_item(account) for account in owned.partition.core.engine.accounts())
                owned.accounts_s = now_s
            offset = owned.partition.next_offset
            owned.saved_s = now_s
            self._metrics.counted(number, owned.partition.core.engine.totals())
            if offset == owned.saved_offset and not self.closing:
                self._metrics.covered(number)
                if leaving:
                    await self.note(owned, owned.crash_log.checkpointed(offset))
                return
            state = owned.partition.snapshot()
            self._step("before outputs")
            await owned.outbox.stored()
            self._step("after outputs")
            try:
                await asyncio.to_thread(self._store.put, number, Snapshot(owned.epoch, offset, state))
            except OSError as error:  # detection goes on; what is not in a snapshot is not committed and will be read again
                log.error("snapshot not stored", partition=number, why=error.strerror or str(error))  # noqa: TRY400 - the reason is the message
                self._metrics.not_saved(number)
                return
            self._step("after snapshot")
            await self._consumer().commit_exactly({TP(self._telemetry, number): offset})
            self._step("after commit")
            self._metrics.saved(number, len(state), time.monotonic() - now_s)
            owned.saved_offset = offset
            if leaving or offset > owned.crash_log.from_offset:
                await self.note(owned, owned.crash_log.checkpointed(offset))

    async def start_due(self, partitions: Mapping[int, AssignedPartition]) -> None:
        """Start the checkpoint that has been due longest, one at a time; nothing waits for it, for a store may hang."""
        if self._running is not None:
            if not self._running.done():
                return
            await self.finish()
        if partitions:
            number, owned = min(partitions.items(), key=lambda entry: entry[1].saved_s)
            if time.monotonic() - owned.saved_s >= self._config.checkpoint_every_s:
                self._running = asyncio.create_task(self.checkpoint(number, owned))

    async def finish(self) -> None:
        """Wait for the checkpoint that is running; raises its error, if there was one."""
        running, self._running = self._running, None
        if running is not None:
            await running

    # -- crash log --------------------------------------------------------------------------------------------------------

    async def note(self, owned: AssignedPartition, crash_log: CrashLog) -> None:
        """Remember, across whatever may happen to this process."""
        owned.crash_log = crash_log
        async with owned.noting:  # a checkpoint may have something to note while a record has
            text = written(owned.crash_log)
            if text == owned.noted:
                return
            try:
                await asyncio.to_thread(self._store.set_note, owned.partition.number, text)
            except OSError as error:  # a full store must not stop detection
                log.warning("crash log not written", partition=owned.partition.number, why=error.strerror or str(error))
            else:
                owned.noted = text

    async def note_soon(self, owned: AssignedPartition, crash_log: CrashLog) -> None:
        """`note`, but a store that hangs does not stop detection: then nothing is noted until it is back."""
        if owned.noting.locked():
            owned.crash_log = crash_log
            return
        noting = asyncio.create_task(self.note(owned, crash_log))
        if (await asyncio.wait({noting}, timeout=NOTE_S))[0]:
            await noting
