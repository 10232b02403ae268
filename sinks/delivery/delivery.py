"""A delivery: the one wrapper around every sink. Queue, spool, retry, deduplication, shedding and dead letters come together here.

`put` writes to the spool and returns; a thread of its own delivers. A sink that hangs or is down delays nobody; what was put
survives kill -9 and is delivered at least once, each item under the same id, so the receiver can make it exactly once. While the
spool's disk is full, items go on from memory alone, and `sync` says that they are not safe.
"""

from __future__ import annotations

import errno
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from sinks.codec import decode, encode
from sinks.contract import Sink, refusal
from sinks.delivery.dead_letters import DeadLetters
from sinks.delivery.deduplication import DeliveredIds
from sinks.delivery.errors import ErrorLog
from sinks.delivery.persistence import Persistence
from sinks.delivery.queue import DeliveryQueue, Entry
from sinks.delivery.replay import Replay
from sinks.delivery.retry import DOUBTFUL_ATTEMPTS, RetryTimer
from sinks.delivery.settings import DeliverySettings
from sinks.delivery.shedding import Shedding
from sinks.delivery.spool import DONE, SHED, DeliverySpool
from sinks.delivery.statistics import DeliveryStatistics
from sinks.items import NEVER_SHED, Item, ItemKind
from sinks.outcome import Accepted, Outcome, Rejected, Retry

_log: Final = logging.getLogger(__name__)

_KINDS: Final = tuple(ItemKind)


class Delivery:
    """Delivers to one sink. Thread-safe. `folder` belongs to it alone and holds the spool and the dead letters.

    `name` is what logs and the system page call it, default the sink's own. `clock` is monotonic seconds; `rng` spreads the retries of
    many sinks. Without `start` nothing runs by itself: call `run_once`. SpoolBusyError when another process delivers from `folder`.

    >>> from tempfile import TemporaryDirectory
    >>> from sinks.examples import item
    >>> from sinks.jsonl import JsonlConfig, JsonlSink, read
    >>> with TemporaryDirectory() as name:
    ...     copy = Path(name) / "copy.jsonl"
    ...     delivery = Delivery(JsonlSink(JsonlConfig(path=copy)), Path(name) / "spool")
    ...     delivery.put([item(ItemKind.EVENT), item(ItemKind.EVENT), item(ItemKind.ALERT)])
    ...     delivery.run_once()  # seconds until the next attempt: nothing waits any more
    ...     delivery.statistics().accepted, delivery.statistics().duplicates, [line["kind"] for line in read(copy)]
    ...     delivery.close()
    (2, 1, ['alert', 'event'])
    True
    """

    def __init__(
        self,
        sink: Sink,
        folder: Path,
        settings: DeliverySettings | None = None,
        *,
        name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self.sink = sink
        self.name = sink.name if name is None else name
        self.settings = settings if settings is not None else DeliverySettings()
        self._clock = clock
        self._wake = threading.Condition()
        self._flushing = threading.Lock()  # taken before _wake, never inside it
        self._errors = ErrorLog()
        self._spool = DeliverySpool(folder)
        self._dead_letters = DeadLetters(folder, self.settings.dead_max_bytes, self.name, self._errors)
        self._queue = DeliveryQueue(self.settings)
        self._delivered = DeliveredIds(self._spool, self.settings.remembered_max)
        self._persistence = Persistence(self.name, self._queue, self._spool, self._delivered, self._dead_letters, self._errors)
        self._replay = Replay(folder, lambda item: (item.kind, item.id) in self._queue)
        self._shedding = Shedding(self.name, self._queue, self._persistence, self.settings)
        # Random() spreads retries, it guards nothing.
        self._retry = RetryTimer(self.settings, rng if rng is not None else Random(), clock())  # noqa: S311
        self._accepted = self._retried = self._duplicates = 0
        self._flush_error: OSError | None = None
        self._synced_s = clock()
        self._stopping = False
        self._abandoned = threading.Event()
        self._thread: threading.Thread | None = None
        self._persistence.load(clock())

    # -- for producers ----------------------------------------------------------------------------------------------

    def put(self, items: Sequence[Item]) -> None:
        """Queue `items`, those of kinds that the sink does not take left out. Returns when they are in the spool, or in memory alone when
        its disk refuses. RuntimeError after `close`.
        """
        with self._wake:
            if self._stopping:
                raise RuntimeError(f"delivery to {self.name} is closed: put before close")
            now_s = self._clock()
            fresh: dict[str, bytes] = {}
            behind = self._queue.unsaved_count > 0
            for item in items:
                if item.kind not in self.sink.takes:
                    continue
                if item.id in fresh or (item.kind, item.id) in self._queue or item.id in self._delivered:
                    self._duplicates += 1
                    continue
                refused = refusal(item, self.sink.takes)
                if refused is None:
                    try:
                        fresh[item.id] = encode(item)
                    except (TypeError, ValueError, OverflowError) as error:
                        refused = Rejected(f"cannot be written down: {error}")
                if refused is None:
                    self._queue.add(Entry(item.kind, item.id, item.order_key, None, len(fresh[item.id]), now_s, now_s, item))
                    continue
                if not self._dead_letters.write(item, refused.why):
                    self._dead_letters.dropped += 1
                self._delivered.add(item.id, item.kind, None)
            if not fresh:
                return
            if not behind:  # else they queue up behind what the disk refused; the delivering thread tries again
                self._persistence.save(fresh)
            self._shedding.shed_to_bound()
            self._wake.notify_all()

    def sync(self) -> None:
        """Return once everything put before is safe from a power cut; OSError when the disk refuses. Call it before committing the
        input it came from, and do not commit that input when it raises.
        """
        with self._flushing:
            with self._wake:
                failed, self._flush_error = self._flush_error, None
                if any(self._shedding.counts[kind] for kind in NEVER_SHED):
                    failed = OSError(errno.ENOSPC, "alerts were shed while the disk was full: free some space and start Vigil again")
                failed = failed or self._persistence.save({})
                if failed is not None:
                    raise failed
                handles = self._spool.handles()
            DeliverySpool.flush(handles)

    def statistics(self) -> DeliveryStatistics:
        """Where things stand."""
        with self._wake:
            failures = max(self._retry.failures, self._queue.attempts_max)
            return DeliveryStatistics(
                queued=len(self._queue),
                queued_bytes=self._queue.bytes,
                spool_bytes=self._spool.size_bytes,
                accepted=self._accepted,
                retried=self._retried,
                dead=self._dead_letters.written,
                dead_dropped=self._dead_letters.dropped,
                duplicates=self._duplicates,
                shed=dict(self._shedding.counts),
                over_bound=self._shedding.over_bound,
                damaged_bytes=self._spool.damaged_bytes,
                errors=self._errors.count + self._persistence.refused,
                failures=max(failures, 1) if self._persistence.spool_error else failures,
                last_error=self._persistence.spool_error or self._errors.last,
                unsaved=self._queue.unsaved_count,
                since_accepted_s=None if self._retry.accepted_s is None else self._clock() - self._retry.accepted_s,
                given_up=self._dead_letters.open(),
                oldest_alert_s=self._queue.oldest_s(ItemKind.ALERT, self._clock()),
            )

    # -- for producers that have a log of their own (Kafka) ----------------------------------------------------------

    def queue(self) -> dict[ItemKind, int]:
        """How many items of each kind wait."""
        with self._wake:
            return self._queue.counts()

    def waits(self, keys: Iterable[tuple[ItemKind, str]]) -> bool:
        """Whether any of these (kind, id) still waits: neither accepted by the target nor set aside as a dead letter."""
        with self._wake:
            return any(key in self._queue for key in keys)

    def withdraw(self, keys: Iterable[tuple[ItemKind, str]] | None = None) -> int:
        """Deliver these no more (None: nothing that waits), somebody else will; how many. One in an attempt right now may get through."""
        with self._wake:
            if keys is None:
                entries = [entry for kind in _KINDS for entry in self._queue.entries(kind)]
            else:
                entries = [entry for kind, key in keys if (entry := self._queue.get(kind, key)) is not None]
            self._persistence.remove(entries, SHED)
            return len(entries)

    def remember(self, items: Iterable[Item]) -> None:
        """Take these as delivered: somebody else did. Of kinds whose ids are not remembered it means nothing."""
        with self._wake:
            for item in items:
                if (item.kind, item.id) not in self._queue and item.id not in self._delivered:
                    self._delivered.add(item.id, item.kind, None)

    def dead_letter(self, payload: bytes, why: str, kind: ItemKind) -> bool:
        """Set aside what should have been an item of `kind` and cannot be read; False when the disk refuses the dead letter."""
        with self._wake:
            return self._dead_letters.write_unreadable(payload, why, kind)

    # -- start, stop, one round -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Deliver in a thread of its own from now on."""
        self._thread = threading.Thread(target=self._run, name=f"deliver-{self.name}", daemon=True)
        self._thread.start()

    def close(self, deadline_s: float = 5.0) -> bool:
        """Deliver what is due within `deadline_s`, then stop. True when nothing waits any more; what waits is in the spool.

        A sink that hangs beyond the deadline is left behind: its answer no longer counts, its items will be delivered again.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(deadline_s)
        with self._wake:
            empty = not len(self._queue)
            if self._abandoned.is_set():
                return empty
            self._abandoned.set()
            self._persistence.save({})
            try:
                self._spool.close()
            except OSError as error:
                self._errors.record(f"{type(error).__name__} while the spool of {self.name} was closed: {error.strerror}")
        if self._thread is None or not self._thread.is_alive():
            self.sink.close()
        else:
            _log.warning("sink %s still hangs after %.1f s and is left behind; its items stay in the spool", self.name, deadline_s)
        return empty

    def run_once(self) -> float | None:
        """One round: at most one batch. Seconds until the next is due (0: at once), None when nothing waits."""
        self._persist()
        self._take_up_replays()
        with self._wake:
            if self._abandoned.is_set():
                return None
            due = self._queue.batch(self._clock()) if self._due_in_s() == 0 else []
        batch = self._read(due)
        outcomes = self._attempt([item for _, item in batch]) if batch else []
        with self._wake:
            if self._abandoned.is_set():
                return None
            self._settle(batch, outcomes)
            return self._due_in_s()

    def _run(self) -> None:
        while True:
            failed = False
            try:
                self.run_once()
            except Exception as error:  # noqa: BLE001 - see below
                # Whatever is wrong here, a thread that ends would deliver nothing any more and say nothing: wait, and try again.
                failed = True
                _log.exception("delivery to %s failed", self.name)
                with self._wake:
                    self._retry.target_failed(self._clock())
                    self._errors.record(f"{type(error).__name__} in the delivery to {self.name}: {error}")
            with self._wake:
                if self._abandoned.is_set():
                    break
                wait_s = self._due_in_s()
                if self._stopping and wait_s != 0:
                    return
                if wait_s is not None and failed:
                    self._wake.wait(wait_s)
                elif wait_s != 0:
                    self._wake.wait(self.settings.sync_s if wait_s is None else min(wait_s, self.settings.sync_s))
        self.sink.close()  # it hung when the delivery was closed; now nobody else holds it

    # -- one batch --------------------------------------------------------------------------------------------------

    def _due_in_s(self) -> float | None:
        """Seconds until something may be tried, None when nothing waits. Measurements linger to form a batch unless we are stopping."""
        now_s = self._clock()
        paused_s = self._retry.paused_until_s - now_s
        if paused_s > 0:
            return paused_s if len(self._queue) else None
        return self._queue.due_in_s(now_s, linger=not self._stopping)

    def _read(self, entries: list[Entry]) -> list[tuple[Entry, Item]]:
        """The items of `entries`, outside the lock. What the spool cannot give back becomes a dead letter, not tried for ever."""
        batch: list[tuple[Entry, Item]] = []
        for entry in entries:
            payload = b""
            try:
                if entry.item is not None or entry.location is None:
                    item = entry.item
                else:
                    payload = entry.location.read()
                    item = decode(payload)
            except (OSError, ValueError) as error:
                with self._wake:
                    if self._queue.get(entry.kind, entry.id) is entry:  # else it was shed meanwhile, with the whole of its segment
                        self._errors.record(
                            f"{type(error).__name__} reading {entry.kind.value} {entry.id} back from the spool of {self.name}"
                        )
                        if self._dead_letters.write_unreadable(
                            payload, f"{entry.kind.value} {entry.id} cannot be read back from the spool"
                        ):
                            self._persistence.remove([entry], DONE)
                        else:
                            self._postpone(entry)
                continue
            if item is not None:
                batch.append((entry, item))
        return batch

    def _attempt(self, items: list[Item]) -> list[Outcome]:
        try:
            outcomes = self.sink.deliver(items)
        except Exception as error:  # noqa: BLE001 - a faulty sink must not stop deliveries; it is counted and tried again
            self._errors.record(f"{type(error).__name__} in sink {self.name}")
            return [Retry(f"sink failed with {type(error).__name__}")] * len(items)
        if len(outcomes) != len(items):
            self._errors.record(f"sink {self.name} answered {len(outcomes)} times for {len(items)} items")
            return [Retry("sink gave the wrong number of answers")] * len(items)
        return outcomes

    def _settle(self, batch: list[tuple[Entry, Item]], outcomes: list[Outcome]) -> None:
        """What follows from the outcomes of an attempt."""
        now_s = self._clock()
        done: list[Entry] = []
        down: Retry | None = None
        refused: str | None
        last_accepted = max((index for index, outcome in enumerate(outcomes) if type(outcome) is Accepted), default=-1)
        for index, ((entry, item), outcome) in enumerate(zip(batch, outcomes, strict=True)):
            if self._queue.get(entry.kind, entry.id) is not entry:
                continue  # shed or withdrawn meanwhile
            if isinstance(outcome, Retry):
                if outcome.scope == "untried":
                    continue  # it says nothing about the target, and must not hide the error of the item that was tried
                self._errors.last = outcome.why
                entry.others_accepted |= last_accepted > index or (self._retry.accepted_s or -math.inf) > entry.failed_s
                self._queue.failed(entry, now_s)
                if outcome.scope == "doubtful" and entry.others_accepted and entry.attempts >= DOUBTFUL_ATTEMPTS:
                    refused = f"{outcome.why}; tried {entry.attempts} times while others were accepted"
                else:
                    self._retried += 1
                    if outcome.scope == "target":
                        down = outcome
                    else:
                        entry.due_s = now_s + self._retry.delay_s(entry.attempts, outcome.after_s)
                    continue
            else:
                refused = outcome.why if isinstance(outcome, Rejected) else None
            if refused is not None and not self._dead_letters.write(item, refused):
                self._postpone(entry)  # the dead letter must be written before the item may go
                continue
            self._accepted += refused is None
            done.append(entry)
        if last_accepted >= 0:
            self._retry.accepted_s = now_s
        if done:
            self._retry.target_answered()
        if down is not None:
            self._retry.target_failed(now_s, down.after_s)
        self._persistence.remove(done, DONE)

    def _postpone(self, entry: Entry) -> None:
        entry.attempts += 1
        entry.due_s = self._clock() + self._retry.delay_s(entry.attempts)

    def _take_up_replays(self) -> None:
        """Queue the dead letters that somebody wants delivered again."""
        with self._wake:
            if not self._stopping and (again := self._replay.due(self._clock())):
                for item in again:
                    self._delivered.forget(item.id)
                self.put(again)
                self._replay.queued()

    # -- the spool --------------------------------------------------------------------------------------------------

    def _persist(self) -> None:
        """Write and fsync what is not on the disk yet, at most once in sync_s."""
        with self._flushing:
            with self._wake:
                unsafe = self._spool.dirty or self._queue.unsaved_count > 0
                if self._abandoned.is_set() or not unsafe or self._clock() - self._synced_s < self.settings.sync_s:
                    return
                self._synced_s = self._clock()
                self._persistence.save({})
                handles = self._spool.handles()
            try:
                DeliverySpool.flush(handles)
            except OSError as error:
                with self._wake:
                    self._flush_error = error  # for the next sync: what it vouches for includes this
                    self._errors.record(f"{type(error).__name__} on the spool of {self.name}: {error.strerror}")
