"""The one wrapper around every sink: spool, retry, shedding, dead letters, figures.

`put` writes to the spool and returns; a thread of its own delivers. A sink that hangs or is down delays nobody; what was put
survives kill -9 and is delivered at least once, each item under the same id, so the receiver can make it exactly once. While the
spool's disk is full, items go on from memory alone, and `sync` says that they are not safe.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

from sinks.base import NEVER_SHED, Item, ItemKind, Outcome, Rejected, Retry, Sink, decode, encode, refusal
from sinks.dead import DeadLetters
from sinks.settings import DeliverySettings, Figures
from sinks.spool import DONE, SHED, WAITING, Place, Segment, Spool

__all__ = ["REMEMBERED", "Delivery", "DeliverySettings", "Figures"]

_log: Final = logging.getLogger(__name__)

_KINDS: Final = tuple(ItemKind)
_SHED_ORDER: Final = tuple(kind for kind in reversed(_KINDS) if kind not in NEVER_SHED)
REMEMBERED: Final = frozenset({ItemKind.ALERT, ItemKind.AUDIT, ItemKind.EVENT})
"""Kinds whose delivered ids are remembered, so that an input replayed after a crash does not ring twice."""


_MEMORY_MAX_BYTES: Final = 32 << 20
"""Encoded bytes of the waiting items kept decoded, and of those a full disk leaves in memory alone: little beside the engine's own state."""
_SAVE_ITEMS: Final = 64
"""Items written at once after the disk came back: a try on a disk that is still full should cost next to nothing."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A waiting item: in the spool at `place`, or (None) in memory alone. `length` is that of its encoded bytes."""

    kind: ItemKind
    id: str
    order_key: str
    place: Place | None
    length: int
    since_s: float
    due_s: float
    item: Item | None
    attempts: int = 0


class Delivery:
    """Delivers to one sink. Thread-safe. `folder` belongs to it alone and holds the spool and the dead letters.

    `name` is what logs and the system page call it, default the sink's own. `clock` is monotonic seconds; `rng` spreads the retries of many sinks. Without `start` nothing runs by itself: call `run_once`.
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
        self._clock, self._rng = clock, rng if rng is not None else Random()  # noqa: S311 - spreads retries, guards nothing
        self._wake = threading.Condition()
        self._flushing = threading.Lock()  # taken before _wake, never inside it
        self._spool = Spool(folder)
        self._dead = DeadLetters(folder, self.settings.dead_max_bytes)
        self._lanes: dict[ItemKind, OrderedDict[str, _Entry]] = {kind: OrderedDict() for kind in _KINDS}
        self._order: dict[str, OrderedDict[str, None]] = {}
        self._unsaved: dict[ItemKind, OrderedDict[str, _Entry]] = {kind: OrderedDict() for kind in _KINDS}
        self._remembered: OrderedDict[str, Segment | None] = OrderedDict()
        self._live_bytes = self._in_memory = self._memory_bytes = self._unsaved_bytes = 0
        self._accepted = self._retried = self._duplicates = self._over_bound = self._errors = self._failures = 0
        self._shed = dict.fromkeys(_KINDS, 0)
        self._last_error = self._spool_error = ""
        self._flush_error: OSError | None = None
        self._paused_until_s = self._synced_s = clock()
        self._stopping = False
        self._abandoned = threading.Event()
        self._thread: threading.Thread | None = None
        self._load()

    # -- for producers ----------------------------------------------------------------------------------------------

    def put(self, items: Sequence[Item]) -> None:
        """Take `items`, those the sink does not take left out. Returns when they are written, or in memory alone when the disk refuses."""
        with self._wake:
            if self._stopping:
                raise RuntimeError(f"delivery to {self.name} is closed: put before close")
            now_s = self._clock()
            fresh: dict[str, bytes] = {}
            behind = any(self._unsaved.values())
            for item in items:
                if item.kind not in self.sink.takes:
                    continue
                if item.id in fresh or item.id in self._lanes[item.kind] or item.id in self._remembered:
                    self._duplicates += 1
                    continue
                refused = refusal(item, self.sink.takes)
                if refused is None:
                    try:
                        fresh[item.id] = encode(item)
                    except (TypeError, ValueError, OverflowError) as error:
                        refused = Rejected(f"cannot be written down: {error}")
                if refused is None:
                    self._add(_Entry(item.kind, item.id, item.order_key, None, len(fresh[item.id]), now_s, now_s, item))
                    continue
                if not self._bury(item, refused.why):
                    self._dead.dropped += 1
                self._remember(item.id, item.kind, None)
            if not fresh:
                return
            if not behind:  # else they queue up behind what the disk refused; the delivering thread tries again
                self._save(fresh)
            self._shed_to_bound()
            self._wake.notify_all()

    def sync(self) -> None:
        """Return once everything put before is safe from a power cut; OSError when the disk refuses. Call it before committing the
        input it came from, and do not commit that input when it raises.
        """
        with self._flushing:
            with self._wake:
                failed, self._flush_error = self._flush_error, None
                if any(self._shed[kind] for kind in NEVER_SHED):
                    failed = OSError(errno.ENOSPC, "alerts were shed while the disk was full: free some space and start Vigil again")
                failed = failed or self._save({})
                if failed is not None:
                    raise failed
                handles = self._spool.handles()
            Spool.flush(handles)

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
                failures=max(self._failures, 1) if self._spool_error else self._failures,
                last_error=self._spool_error or self._last_error,
                unsaved=sum(len(lane) for lane in self._unsaved.values()),
            )

    # -- for producers that have a log of their own -----------------------------------------------------------------

    def queue(self) -> dict[ItemKind, int]:
        """How many items of each kind wait."""
        with self._wake:
            return {kind: len(lane) for kind, lane in self._lanes.items()}

    def waits(self, keys: Iterable[tuple[ItemKind, str]]) -> bool:
        """Whether any of these (kind, id) still waits: neither taken by the target nor set aside as a dead letter."""
        with self._wake:
            return any(key in self._lanes[kind] for kind, key in keys)

    def withdraw(self, keys: Iterable[tuple[ItemKind, str]] | None = None) -> int:
        """Deliver these no more (None: nothing that waits), somebody else will; how many. One being tried right now may get through."""
        with self._wake:
            if keys is None:
                keys = [(kind, key) for kind, lane in self._lanes.items() for key in lane]
            entries = [self._lanes[kind][key] for kind, key in keys if key in self._lanes[kind]]
            self._forget(entries, SHED)
            return len(entries)

    def remember(self, items: Iterable[Item]) -> None:
        """Take these as delivered: somebody else did. Of kinds whose ids are not remembered it means nothing."""
        with self._wake:
            for item in items:
                if item.id not in self._lanes[item.kind] and item.id not in self._remembered:
                    self._remember(item.id, item.kind, None)

    def bury(self, payload: bytes, why: str, kind: ItemKind) -> bool:
        """Set aside what should have been an item of `kind` and cannot be read; False when the disk refuses the letter."""
        with self._wake:
            return self._bury_bytes(payload, why, kind)

    # -- life -------------------------------------------------------------------------------------------------------

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
            empty = not any(self._lanes.values())
            if self._abandoned.is_set():
                return empty
            self._abandoned.set()
            self._save({})
            try:
                self._spool.close()
            except OSError as error:
                self._note(f"{type(error).__name__} while the spool of {self.name} was closed: {error.strerror}")
        if self._thread is None or not self._thread.is_alive():
            self.sink.close()
        else:
            _log.warning("sink %s still hangs after %.1f s and is left behind; its items stay in the spool", self.name, deadline_s)
        return empty

    def run_once(self) -> float | None:
        """One round: at most one batch. Seconds until the next is due (0: at once), None when nothing waits."""
        self._keep()
        with self._wake:
            if self._abandoned.is_set():
                return None
            due = self._batch()
        batch = self._read(due)
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
            except Exception as error:  # noqa: BLE001 - see below
                # Whatever is wrong here, a thread that ends would deliver nothing any more and say nothing: wait, and try again.
                failed = True
                _log.exception("delivery to %s failed", self.name)
                with self._wake:
                    self._failures += 1
                    self._paused_until_s = self._clock() + self._delay_s(self._failures, Retry(""))
                    self._note(f"{type(error).__name__} in the delivery to {self.name}: {error}")
            with self._wake:
                if self._abandoned.is_set():
                    break
                wait_s = self._due_in()
                if self._stopping and wait_s != 0:
                    return
                if wait_s is not None and failed:
                    self._wake.wait(wait_s)
                elif wait_s != 0:
                    self._wake.wait(self.settings.sync_s if wait_s is None else min(wait_s, self.settings.sync_s))
        self.sink.close()  # it hung when the delivery was closed; now nobody else holds it

    # -- one batch --------------------------------------------------------------------------------------------------

    def _batch(self) -> list[_Entry]:
        """What to try now, most dangerous kinds first; of one order key only the first, so that a failure cannot turn the order round."""
        batch: list[_Entry] = []
        if self._due_in() != 0:
            return batch
        now_s = self._clock()
        for lane in self._lanes.values():
            for entry in lane.values():
                if len(batch) == self.settings.batch_max:
                    return batch
                if entry.due_s <= now_s and self._is_first(entry):
                    batch.append(entry)
        return batch

    def _read(self, entries: list[_Entry]) -> list[tuple[_Entry, Item]]:
        """The items of `entries`, outside the lock. What the spool cannot give back is set aside, not tried for ever."""
        batch: list[tuple[_Entry, Item]] = []
        for entry in entries:
            payload = b""
            try:
                if entry.item is not None or entry.place is None:
                    item = entry.item
                else:
                    payload = entry.place.read()
                    item = decode(payload)
            except (OSError, ValueError) as error:
                with self._wake:
                    if self._lanes[entry.kind].get(entry.id) is entry:  # else it was shed meanwhile, with the whole of its segment
                        self._note(f"{type(error).__name__} reading {entry.kind.value} {entry.id} back from the spool of {self.name}")
                        if self._bury_bytes(payload, f"{entry.kind.value} {entry.id} cannot be read back from the spool"):
                            self._forget([entry], DONE)
                        else:
                            self._put_off(entry)
                continue
            if item is not None:
                batch.append((entry, item))
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
            self._note(f"{type(error).__name__} in sink {self.name}")
            return [Retry(f"sink failed with {type(error).__name__}")] * len(items)
        if len(outcomes) != len(items):
            self._note(f"sink {self.name} answered {len(outcomes)} times for {len(items)} items")
            return [Retry("sink gave the wrong number of answers")] * len(items)
        return outcomes

    def _settle(self, batch: list[tuple[_Entry, Item]], outcomes: list[Outcome]) -> None:
        now_s = self._clock()
        done: list[_Entry] = []
        down: Retry | None = None
        for (entry, item), outcome in zip(batch, outcomes, strict=True):
            if self._lanes[entry.kind].get(entry.id) is not entry:
                continue  # shed or withdrawn meanwhile
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
                if not self._bury(item, outcome.why):
                    self._put_off(entry)  # the letter must be written before the item may go
                    continue
            else:
                self._accepted += 1
            done.append(entry)
        if done:
            self._failures = 0
        if down is not None:
            self._failures += 1
            self._paused_until_s = now_s + self._delay_s(self._failures, down)
        self._forget(done, DONE)

    def _put_off(self, entry: _Entry) -> None:
        entry.attempts += 1
        entry.due_s = self._clock() + self._delay_s(entry.attempts, Retry(""))

    def _delay_s(self, attempts: int, retry: Retry) -> float:
        """Exponential backoff with jitter in the upper half, never sooner than the target asked, never later than wait_max_s."""
        longest = min(self.settings.backoff_max_s, self.settings.backoff_first_s * 2.0 ** min(attempts - 1, 30))
        own = longest * (0.5 + 0.5 * self._rng.random())
        return max(own, min(retry.after_s or 0.0, self.settings.wait_max_s))

    # -- what waits -------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        now_s = self._clock()
        unreadable = 0
        for place, payload, state in self._spool.load():
            kind = place.segment.kind
            if state == SHED or (state == DONE and kind not in REMEMBERED):
                continue
            try:
                item = decode(payload)
            except ValueError:
                unreadable += 1
                if self._bury_bytes(payload, "written by another version of Vigil, or damaged"):
                    self._spool.mark([place], SHED)
                else:
                    place.segment.held += 1  # it stays in the spool until its letter can be written
                continue
            if item.id in self._lanes[kind] or item.id in self._remembered:
                continue
            place.segment.held += 1
            if state == WAITING:
                self._add(_Entry(kind, item.id, item.order_key, place, place.length, now_s, now_s, None))
            else:
                self._remember(item.id, kind, place.segment)
        self._spool.sweep()
        if self._spool.damaged_bytes or unreadable:
            _log.warning("spool of %s: %d damaged bytes, %d unreadable items set aside", self.name, self._spool.damaged_bytes, unreadable)

    def _add(self, entry: _Entry) -> None:
        self._lanes[entry.kind][entry.id] = entry
        if entry.order_key:
            self._order.setdefault(entry.order_key, OrderedDict())[entry.id] = None
        self._live_bytes += entry.length
        if entry.item is not None:
            self._in_memory += 1
            self._memory_bytes += entry.length
        if entry.place is None:
            self._unsaved[entry.kind][entry.id] = entry
            self._unsaved_bytes += entry.length

    def _drop_from_memory(self, entry: _Entry) -> None:
        if entry.item is not None:
            entry.item = None
            self._in_memory -= 1
            self._memory_bytes -= entry.length

    def _save(self, encoded: Mapping[str, bytes]) -> OSError | None:
        """Write what is in memory alone, most dangerous kinds first. The error when the disk refuses: then the rest stays in memory."""
        error: OSError | None = None
        for kind, unsaved in self._unsaved.items():
            while unsaved and error is None:
                chunk = list(islice(unsaved.values(), None if encoded else _SAVE_ITEMS))
                payloads = [encoded[entry.id] if entry.id in encoded else encode(entry.item) for entry in chunk if entry.item is not None]
                try:
                    places = self._spool.put(kind, payloads)
                except OSError as refused:
                    error = refused
                    break
                for entry, place in reversed(list(zip(chunk, places, strict=True))):  # the oldest are due first and stay decoded
                    entry.place = place
                    del unsaved[entry.id]
                    self._unsaved_bytes -= entry.length
                    if self._in_memory > self.settings.memory_max_items or self._memory_bytes > _MEMORY_MAX_BYTES:
                        self._drop_from_memory(entry)
                self._spool_works()
        if error is not None:
            self._spool_fails(error)
        return error

    def _spool_works(self) -> None:
        if self._spool_error:
            _log.warning("spool of %s can be written again", self.name)
        self._spool_error = ""

    def _spool_fails(self, error: OSError) -> None:
        self._errors += 1
        if not self._spool_error:
            self._spool_error = f"the spool cannot be written ({error.strerror}): items wait in memory alone until there is space again"
            _log.error("%s: %s", self.name, self._spool_error)

    def _keep(self) -> None:
        """Bring onto the disk what is not there yet, at most once in sync_s."""
        with self._flushing:
            with self._wake:
                unsafe = self._spool.dirty or any(self._unsaved.values())
                if self._abandoned.is_set() or not unsafe or self._clock() - self._synced_s < self.settings.sync_s:
                    return
                self._synced_s = self._clock()
                self._save({})
                handles = self._spool.handles()
            try:
                Spool.flush(handles)
            except OSError as error:
                with self._wake:
                    self._flush_error = error  # for the next sync: what it vouches for includes this
                    self._note(f"{type(error).__name__} on the spool of {self.name}: {error.strerror}")

    def _forget(self, entries: Iterable[_Entry], state: int) -> None:
        saved: list[tuple[_Entry, Place]] = []
        for entry in entries:
            del self._lanes[entry.kind][entry.id]
            if entry.order_key:
                own = self._order[entry.order_key]
                del own[entry.id]
                if not own:
                    del self._order[entry.order_key]
            self._live_bytes -= entry.length
            self._drop_from_memory(entry)
            if entry.place is not None:
                saved.append((entry, entry.place))
                continue
            del self._unsaved[entry.kind][entry.id]
            self._unsaved_bytes -= entry.length
            if state == DONE:
                self._remember(entry.id, entry.kind, None)
        try:
            self._spool.mark([place for _, place in saved], state)
        except OSError as error:
            self._note(f"{type(error).__name__} on the spool of {self.name}: {error.strerror}; after a restart some items may come again")
        for entry, place in saved:
            if state == DONE:
                self._remember(entry.id, entry.kind, place.segment)
            else:
                self._spool.release(place.segment)

    def _remember(self, key: str, kind: ItemKind, segment: Segment | None) -> None:
        """Remember a delivered id with the segment that says so; of other kinds, or beyond the bound, the segment is released."""
        if kind in REMEMBERED:
            self._remembered[key] = segment
            if len(self._remembered) <= self.settings.remembered_max:
                return
            _, segment = self._remembered.popitem(last=False)
        if segment is not None:
            self._spool.release(segment)

    def _shed_to_bound(self) -> None:
        """Above a bound shed the oldest of the least dangerous kind. In the spool alerts and audit entries stay whatever its bound says; in
        memory alone they come last, and with them gone `sync` still refuses, so that a restart makes them again.
        """
        self._shed_from(self._unsaved, tuple(reversed(_KINDS)), self._unsaved_bytes - _MEMORY_MAX_BYTES)
        excess = self._shed_from(self._lanes, _SHED_ORDER, self._live_bytes - self.settings.spool_max_bytes)
        if excess > 0:
            self._over_bound += 1
            _log.error("spool of %s is over its bound with alerts alone: they are kept, the target must come back", self.name)

    def _shed_from(self, lanes: Mapping[ItemKind, Mapping[str, _Entry]], kinds: Iterable[ItemKind], excess: int) -> int:
        """Shed `excess` bytes of `kinds` in their order; how many are too many still."""
        shed: list[_Entry] = []
        for kind in kinds:
            for entry in lanes[kind].values():
                if excess <= 0:
                    break
                excess -= entry.length
                shed.append(entry)
                self._shed[kind] += 1
        if shed:
            _log.warning("delivery to %s is full: %d items shed, least dangerous first", self.name, len(shed))
            self._forget(shed, SHED)
        return excess

    def _bury(self, item: Item, why: str) -> bool:
        """Write a dead letter; False when the disk refuses it."""
        self._last_error = why
        _log.error("sink %s refused %s %s for good: %s", self.name, item.kind.value, item.id, why)
        try:
            self._dead.bury(item, why)
        except OSError as error:
            self._note(f"{type(error).__name__} on the dead letters of {self.name}: {error.strerror}")
            return False
        return True

    def _bury_bytes(self, payload: bytes, why: str, kind: ItemKind | None = None) -> bool:
        """Write a letter for what cannot be decoded; False when the disk refuses it."""
        try:
            self._dead.bury_bytes(payload, why, kind)
        except OSError as error:
            self._note(f"{type(error).__name__} on the dead letters of {self.name}: {error.strerror}")
            return False
        return True

    def _note(self, error: str) -> None:
        with self._wake:
            self._errors += 1
            self._last_error = error
        _log.error("%s", error)
