"""The one wrapper around every sink: spool, retry, shedding, dead letters, figures.

`put` writes to the spool and returns; a thread of its own delivers. A sink that hangs or is down delays nobody; what was put
survives kill -9 and is delivered at least once, each item under the same id, so the receiver can make it exactly once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from pydantic import Field

from sinks.base import NEVER_SHED, Item, ItemKind, Outcome, Rejected, Retry, Sink, SinkConfig, decode, encode, refusal
from sinks.dead import DeadLetters
from sinks.spool import Place, Spool

_log: Final = logging.getLogger(__name__)

_KINDS: Final = tuple(ItemKind)
_SHED_ORDER: Final = tuple(kind for kind in reversed(_KINDS) if kind not in NEVER_SHED)
_REMEMBERED: Final = frozenset({ItemKind.ALERT, ItemKind.AUDIT, ItemKind.EVENT})
"""Kinds whose delivered ids are remembered, so that an input replayed after a crash does not ring twice."""


class DeliverySettings(SinkConfig):
    """How hard one sink is tried, and how much may wait for it."""

    batch_max: int = Field(default=500, ge=1, le=100_000, description="items given to the sink at once")
    linger_s: float = Field(default=0.0, ge=0.0, le=3600.0, description="seconds to gather a batch of measurements; other kinds never wait")
    backoff_first_s: float = Field(default=0.5, gt=0.0, le=60.0, description="seconds to the first retry; doubles with every failure")
    backoff_max_s: float = Field(
        default=30.0, gt=0.0, le=3600.0, description="longest seconds between retries, unless the target asks for more"
    )
    wait_max_s: float = Field(default=300.0, gt=0.0, le=86_400.0, description="longest wait a target may ask for (Retry-After)")
    spool_max_bytes: int = Field(
        default=256 << 20, ge=1 << 10, description="bytes that may wait; beyond, measurements are shed first, alerts never"
    )
    memory_max_items: int = Field(default=10_000, ge=1, description="waiting items kept decoded; the rest is read from the spool when due")
    remembered_max: int = Field(default=10_000, ge=0, description="delivered ids of alerts, audit entries and events kept against repeats")
    sync_s: float = Field(default=0.2, gt=0.0, le=60.0, description="longest seconds between write and fsync")
    dead_max_bytes: int = Field(
        default=64 << 20, ge=1 << 10, description="bytes of dead letters per kind before the older half goes; alerts' never"
    )


class Figures(NamedTuple):
    """Counts since start (queued: now), for metrics. `failures`: batches in a row that did not get through at all."""

    queued: int
    queued_bytes: int
    spool_bytes: int
    accepted: int
    retried: int
    dead: int
    dead_dropped: int
    duplicates: int
    shed: dict[ItemKind, int]
    over_bound: int
    damaged_bytes: int
    errors: int
    failures: int
    last_error: str


@dataclass(slots=True)
class _Entry:
    """A waiting item."""

    kind: ItemKind
    id: str
    order_key: str
    place: Place
    since_s: float
    due_s: float
    item: Item | None
    attempts: int = 0


class Delivery:
    """Delivers to one sink. Thread-safe. `folder` belongs to it alone and holds the spool and the dead letters.

    `clock` is monotonic seconds; `rng` spreads the retries of many sinks. Without `start` nothing runs by itself: call `run_once`.
    """

    def __init__(
        self,
        sink: Sink,
        folder: Path,
        settings: DeliverySettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self.sink = sink
        self.settings = settings if settings is not None else DeliverySettings()
        self._clock, self._rng = clock, rng if rng is not None else Random()  # noqa: S311 - spreads retries, guards nothing
        self._wake = threading.Condition()
        self._spool = Spool(folder)
        self._dead = DeadLetters(folder, self.settings.dead_max_bytes)
        self._lanes: dict[ItemKind, OrderedDict[str, _Entry]] = {kind: OrderedDict() for kind in _KINDS}
        self._order: dict[str, OrderedDict[str, None]] = {}
        self._remembered: OrderedDict[str, None] = OrderedDict()
        self._live_bytes = self._in_memory = 0
        self._accepted = self._retried = self._duplicates = self._over_bound = self._errors = self._failures = 0
        self._shed = dict.fromkeys(_SHED_ORDER, 0)
        self._last_error = ""
        self._paused_until_s = self._synced_s = clock()
        self._stopping = False
        self._abandoned = threading.Event()
        self._thread: threading.Thread | None = None
        self._load()

    # -- for producers ----------------------------------------------------------------------------------------------

    def put(self, items: Sequence[Item]) -> None:
        """Take `items`, those the sink does not take left out. Returns when they are written; OSError when the disk refuses them."""
        with self._wake:
            if self._stopping:
                raise RuntimeError(f"delivery to {self.sink.name} is closed: put before close")
            fresh: dict[str, tuple[Item, bytes]] = {}
            for item in items:
                if item.kind not in self.sink.takes:
                    continue
                if item.id in fresh or item.id in self._lanes[item.kind] or item.id in self._remembered:
                    self._duplicates += 1
                    continue
                refused = refusal(item, self.sink.takes)
                if refused is None:
                    try:
                        fresh[item.id] = (item, encode(item))
                    except (TypeError, ValueError, OverflowError) as error:
                        refused = Rejected(f"cannot be written down: {error}")
                if refused is not None:
                    self._bury(item, refused.why)
                    self._remember(item.id, item.kind)
            if not fresh:
                return
            now_s = self._clock()
            places = self._spool.put(payload for _, payload in fresh.values())
            for (item, _), place in zip(fresh.values(), places, strict=True):
                self._add(_Entry(item.kind, item.id, item.order_key, place, now_s, now_s, item))
            self._shed_to_bound()
            self._wake.notify_all()

    def sync(self) -> None:
        """Return once everything put before is safe from a power cut. Call it before committing the input it came from."""
        with self._wake:
            handle = self._spool.handle()
        Spool.flush(handle)

    def figures(self) -> Figures:
        """Where things stand."""
        with self._wake:
            return Figures(
                queued=sum(len(lane) for lane in self._lanes.values()),
                queued_bytes=self._live_bytes,
                spool_bytes=self._spool.size_bytes,
                accepted=self._accepted,
                retried=self._retried,
                dead=self._dead.written,
                dead_dropped=self._dead.dropped,
                duplicates=self._duplicates,
                shed=dict(self._shed),
                over_bound=self._over_bound,
                damaged_bytes=self._spool.damaged_bytes,
                errors=self._errors,
                failures=self._failures,
                last_error=self._last_error,
            )

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Deliver in a thread of its own from now on."""
        self._thread = threading.Thread(target=self._run, name=f"deliver-{self.sink.name}", daemon=True)
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
            empty = not any(self._lanes.values())
            if self._abandoned.is_set():
                return empty
            self._abandoned.set()
            self._spool.close()
        if self._thread is None or not self._thread.is_alive():
            self.sink.close()
        else:
            _log.warning("sink %s still hangs after %.1f s and is left behind; its items stay in the spool", self.sink.name, deadline_s)
        return empty

    def run_once(self) -> float | None:
        """One round: at most one batch. Seconds until the next is due (0: at once), None when nothing waits."""
        with self._wake:
            if self._abandoned.is_set():
                return None
            handle = None
            if self._spool.dirty and self._clock() - self._synced_s >= self.settings.sync_s:
                handle, self._synced_s = self._spool.handle(), self._clock()
            batch = self._batch()
        if handle is not None:
            Spool.flush(handle)
        outcomes = self._attempt([item for _, item in batch]) if batch else []
        with self._wake:
            if self._abandoned.is_set():
                return None
            self._settle(batch, outcomes)
            return self._due_in()

    def _run(self) -> None:
        while True:
            failed = False
            try:
                self.run_once()
            except OSError as error:
                # The spool's own disk failed: nothing is lost from memory, so wait and try again rather than die.
                self._note(f"{type(error).__name__} on the spool: {error.strerror}")
                failed = True
            with self._wake:
                if self._abandoned.is_set():
                    break
                wait_s = self.settings.backoff_first_s if failed else self._due_in()
                if self._stopping and wait_s != 0:
                    return
                if wait_s != 0:
                    self._wake.wait(self.settings.sync_s if wait_s is None else min(wait_s, self.settings.sync_s))
        self.sink.close()  # it hung when the delivery was closed; now nobody else holds it

    # -- one batch --------------------------------------------------------------------------------------------------

    def _batch(self) -> list[tuple[_Entry, Item]]:
        """What to try now, most dangerous kinds first; of one order key only the first, so that a failure cannot turn the order round."""
        batch: list[tuple[_Entry, Item]] = []
        if self._due_in() != 0:
            return batch
        now_s = self._clock()
        for lane in self._lanes.values():
            for entry in lane.values():
                if len(batch) == self.settings.batch_max:
                    return batch
                if entry.due_s <= now_s and self._is_first(entry):
                    batch.append((entry, entry.item if entry.item is not None else decode(self._spool.read(entry.place))))
        return batch

    def _is_first(self, entry: _Entry) -> bool:
        return not entry.order_key or next(iter(self._order[entry.order_key])) == entry.id

    def _due_in(self) -> float | None:
        """Seconds until something may be tried, None when nothing waits. Measurements linger to form a batch unless we are stopping."""
        now_s = self._clock()
        paused_s = self._paused_until_s - now_s
        if paused_s > 0:
            return paused_s if any(self._lanes.values()) else None
        earliest_s: float | None = None
        for kind, lane in self._lanes.items():
            lingers = kind is ItemKind.MEASUREMENTS and not self._stopping and len(lane) < self.settings.batch_max
            for entry in lane.values():
                if not self._is_first(entry):
                    continue
                due_s = max(entry.due_s, entry.since_s + self.settings.linger_s) if lingers else entry.due_s
                if due_s <= now_s:
                    return 0.0
                earliest_s = due_s if earliest_s is None else min(earliest_s, due_s)
                if lingers:
                    break  # the first has waited longest
        return None if earliest_s is None else earliest_s - now_s

    def _attempt(self, items: list[Item]) -> list[Outcome]:
        try:
            outcomes = self.sink.deliver(items)
        except Exception as error:  # noqa: BLE001 - a faulty sink must not stop deliveries; it is counted and tried again
            self._note(f"{type(error).__name__} in sink {self.sink.name}")
            return [Retry(f"sink failed with {type(error).__name__}")] * len(items)
        if len(outcomes) != len(items):
            self._note(f"sink {self.sink.name} answered {len(outcomes)} times for {len(items)} items")
            return [Retry("sink gave the wrong number of answers")] * len(items)
        return outcomes

    def _settle(self, batch: list[tuple[_Entry, Item]], outcomes: list[Outcome]) -> None:
        now_s = self._clock()
        done: list[_Entry] = []
        down: Retry | None = None
        for (entry, item), outcome in zip(batch, outcomes, strict=True):
            if entry.id not in self._lanes[entry.kind]:
                continue  # shed meanwhile
            if isinstance(outcome, Retry):
                self._last_error = outcome.why
                if outcome.scope == "untried":
                    continue
                self._retried += 1
                entry.attempts += 1
                # To the end of its lane: an item on which the target always fails must not keep the others from being tried.
                self._lanes[entry.kind].move_to_end(entry.id)
                if outcome.scope == "target":
                    down = outcome
                else:
                    entry.due_s = now_s + self._delay_s(entry.attempts, outcome)
                continue
            if isinstance(outcome, Rejected):
                self._bury(item, outcome.why)
            else:
                self._accepted += 1
            done.append(entry)
        if done:
            self._failures = 0
        if down is not None:
            self._failures += 1
            self._paused_until_s = now_s + self._delay_s(self._failures, down)
        self._forget(done, remember=True)

    def _delay_s(self, attempts: int, retry: Retry) -> float:
        """Exponential backoff with jitter in the upper half, never sooner than the target asked, never later than wait_max_s."""
        longest = min(self.settings.backoff_max_s, self.settings.backoff_first_s * 2.0 ** min(attempts - 1, 30))
        own = longest * (0.5 + 0.5 * self._rng.random())
        return max(own, min(retry.after_s or 0.0, self.settings.wait_max_s))

    # -- what waits -------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        now_s = self._clock()
        waiting: dict[str, _Entry] = {}
        unreadable = 0
        for place, payload in self._spool.load():
            if place is None:
                entry = waiting.pop(payload.decode(), None)
                self._remember(payload.decode(), entry.kind if entry else ItemKind.ALERT)
                continue
            try:
                item = decode(payload)
            except ValueError:
                self._dead.bury_bytes(payload, "written by another version of Vigil, or damaged")
                unreadable += 1
                continue
            waiting[item.id] = _Entry(item.kind, item.id, item.order_key, place, now_s, now_s, None)
        for entry in waiting.values():
            self._add(entry)
        if self._spool.damaged_bytes or unreadable:
            _log.warning(
                "spool of %s: %d damaged bytes, %d unreadable items set aside", self.sink.name, self._spool.damaged_bytes, unreadable
            )

    def _add(self, entry: _Entry) -> None:
        if entry.item is not None:
            if self._in_memory < self.settings.memory_max_items:
                self._in_memory += 1
            else:
                entry.item = None
        self._lanes[entry.kind][entry.id] = entry
        if entry.order_key:
            self._order.setdefault(entry.order_key, OrderedDict())[entry.id] = None
        self._live_bytes += entry.place.length

    def _forget(self, entries: list[_Entry], *, remember: bool) -> None:
        if not entries:
            return
        for entry in entries:
            del self._lanes[entry.kind][entry.id]
            if entry.order_key:
                own = self._order[entry.order_key]
                del own[entry.id]
                if not own:
                    del self._order[entry.order_key]
            self._live_bytes -= entry.place.length
            self._in_memory -= entry.item is not None
            if remember:
                self._remember(entry.id, entry.kind)
        self._spool.done(entry.id for entry in entries)
        if self._spool.wasteful(self._live_bytes):
            live = [entry for lane in self._lanes.values() for entry in lane.values()]
            places = self._spool.compact([entry.place for entry in live], self._remembered)
            for entry, place in zip(live, places, strict=True):
                entry.place = place

    def _remember(self, key: str, kind: ItemKind) -> None:
        if kind not in _REMEMBERED:
            return
        self._remembered[key] = None
        if len(self._remembered) > self.settings.remembered_max:
            self._remembered.popitem(last=False)

    def _shed_to_bound(self) -> None:
        """Above the bound shed the oldest of the least dangerous kind. Alerts and audit entries stay whatever the bound says."""
        shed: list[_Entry] = []
        excess = self._live_bytes - self.settings.spool_max_bytes
        for kind in _SHED_ORDER:
            for entry in self._lanes[kind].values():
                if excess <= 0:
                    break
                excess -= entry.place.length
                shed.append(entry)
                self._shed[kind] += 1
        if shed:
            _log.warning("spool of %s is full: %d items shed, least dangerous first", self.sink.name, len(shed))
            self._forget(shed, remember=False)
        if excess > 0:
            self._over_bound += 1
            _log.error("spool of %s is over its bound with alerts alone: they are kept, the target must come back", self.sink.name)

    def _bury(self, item: Item, why: str) -> None:
        self._dead.bury(item, why)
        self._last_error = why
        _log.error("sink %s refused %s %s for good: %s", self.sink.name, item.kind.value, item.id, why)

    def _note(self, error: str) -> None:
        with self._wake:
            self._errors += 1
            self._last_error = error
        _log.error("%s", error)
