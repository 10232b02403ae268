"""The embedded Vigil: one process, one folder, no broker and no database server.

Inputs go to the journal and count as taken once they are on disk. One thread feeds the core from the journal in order;
what it says goes to the sinks' spools and to the board. Every few seconds: spools synced, then a snapshot of the core with
the journal offset it covers. After a crash the newest snapshot is restored and the rest of the journal read again; the
same inputs give the same ids, so nothing is lost and nothing is said twice.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import msgspec
import structlog
from pydantic import BaseModel

from alerts.model import Alert, Command, Refusal
from alerts.policy import Policy
from console.board import LiveBoard
from engine.outputs import Reason, Reject
from engine.registry import RegistryData
from sinks.delivery import Delivery
from sinks.items import AuditEntry, Item, account_item, audit_item
from streams.embedded.figures import Figures, figures
from streams.pipeline.core import Core, Said
from streams.pipeline.items import audit_of, items_of
from streams.pipeline.registry_change import RegistryChange, changed
from streams.storage.journal import Journal, JournalError, promise
from streams.storage.journal_records import Entry, Topic
from streams.storage.poison import CRASHES_MAX, Poison
from streams.storage.snapshots import KEPT, DirectoryStore, Snapshot

log = structlog.get_logger("vigil")

SNAPSHOT_EVERY_S: Final = 10.0
TICK_EVERY_S: Final = 0.2
"""How often the loop looks whether a second is over when no input comes."""
ANSWER_S: Final = 10.0
"""How long a command may wait for the core before its sender is told to look again."""
FIGURES_EVERY_S: Final = 1.0
"""The system page is about this old."""

KEY_END: Final = b"\0"

Listener = Callable[[Said], None]


class Vigil:
    """Runs a core over a data folder. `parameters` as in streams.pipeline.assembly, `clock` gives UTC ns (injected for tests).

    `live` False: time is what the records say (recordings, accelerated simulation); nothing ticks between them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        parameters: BaseModel | None = None,
        policy: Policy | None = None,
        deliveries: Sequence[Delivery] = (),
        board: LiveBoard | None = None,
        clock: Callable[[], int] = time.time_ns,
        live: bool = True,
        snapshot_every_s: float = SNAPSHOT_EVERY_S,
        listeners: Sequence[Listener] = (),
        on_registry: Callable[[RegistryData, str], None] | None = None,
    ) -> None:
        self.folder = folder
        # On the sender's clock a command or a change happens at the time of the last record.
        self.journal = Journal(folder / "journal", clock if live else None)
        # Snapshots are kept under the number of their journal: one that was moved away takes its own out of sight with it.
        self.snapshots = DirectoryStore(folder / "snapshots")
        self._epoch = self.snapshots.newest_epoch(self.journal.identity) + 1
        self._kept: deque[int] = deque(maxlen=KEPT)
        self.deliveries = list(deliveries)
        self.board = board if board is not None else LiveBoard()
        self.clock = clock
        self.started_ns = clock()
        self.rejected: dict[Reason, list[int | str]] = {}
        self.error: BaseException | None = None
        self._parameters, self._policy = parameters, policy
        self._live = live
        self._snapshot_every_s = snapshot_every_s
        self._listeners = list(listeners)
        self._on_registry = on_registry
        self._stopping = threading.Event()
        self._answers: dict[str, Future[Refusal | None]] = {}
        self._lock = threading.Lock()
        self._poison = Poison(self.snapshots, self.journal.identity)
        self._clock_fault_told = False
        self.core, self.next_offset = self._restored()
        self.figures: Figures = figures(self.core)
        self._caught_up = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Deliver what waits, show what is known, go on from where the journal stands."""
        for delivery in self.deliveries:
            delivery.start()
        self.board.set_registry(self.core.engine.registry.data, self.clock())
        self.board.feed([], self.core.book.open(), self.clock())
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Finish the record at hand, take a snapshot, stop the sinks."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self.journal.close()
        for delivery in self.deliveries:
            delivery.close(deadline_s)

    @property
    def running(self) -> bool:
        """False once the engine thread has ended, by `stop` or by an error (see `error`)."""
        return self._thread.is_alive()

    @property
    def lag(self) -> int:
        """Records on disk that the core has not seen yet."""
        return self.journal.synced - self.next_offset

    def drain(self, timeout_s: float) -> bool:
        """Wait until every record appended before this call has been processed."""
        target = self.journal.end
        with self._caught_up:
            return self._caught_up.wait_for(lambda: self.next_offset >= target or not self._thread.is_alive(), timeout_s)

    # -- input ------------------------------------------------------------------------------------------------------

    def telemetry(self, payload: bytes, arrival_ns: int | None = None, key: str = "") -> Future[int]:
        """Take a wire message; the future resolves when it is on disk. A `key` makes sending it again harmless."""
        if key:
            return self.journal.append(Topic.KEYED_TELEMETRY, key.encode() + KEY_END + payload, arrival_ns)
        return self.journal.append(Topic.TELEMETRY, payload, arrival_ns)

    def command(self, command: Command) -> Future[Refusal | None]:
        """Take what staff said; resolves when it is on disk and carried out (None) or refused."""
        return self._ask(Topic.COMMAND, command.id, msgspec.json.encode(command), command.at_ns)

    def change_registry(self, change: RegistryChange) -> Future[Refusal | None]:
        """Take a change of the registry; resolves when it is on disk and in force, or with why it cannot be (ValueError)."""
        return self._ask(Topic.REGISTRY, change.id, msgspec.json.encode(change), None)

    def _ask(self, topic: Topic, key: str, payload: bytes, at_ns: int | None) -> Future[Refusal | None]:
        answer: Future[Refusal | None] = promise()
        with self._lock:
            self._answers[key] = answer

        def stored(written: Future[int]) -> None:
            error = written.exception()
            if error is not None:
                self._answer(key, error=error)

        self.journal.append(topic, payload, at_ns if not self._live else None).add_done_callback(stored)
        return answer

    def _answer(self, key: str, refusal: Refusal | None = None, error: BaseException | None = None) -> None:
        with self._lock:
            answer = self._answers.pop(key, None)
        if answer is None:
            return  # asked before a crash; whoever asked has gone
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(refusal)

    # -- the engine thread --------------------------------------------------------------------------------------------

    def _restored(self) -> tuple[Core, int]:
        journal = self.journal
        if journal.damage:
            log.error("the journal was damaged", what=journal.damage, next_record=journal.synced)
        others = sorted(path.name for path in self.snapshots.root.iterdir() if path.name != str(journal.identity))
        if others:
            log.warning("snapshots of another journal are passed over: delete them unless it is to come back", which=others)
        found = list(self.snapshots.newest_first(journal.identity))
        self._kept.extend(snapshot.next_offset for snapshot in reversed(found))
        for snapshot in found:
            core = Core(self._parameters, policy=self._policy)
            try:
                core.restore(snapshot.state)
            except ValueError as error:
                log.warning("snapshot passed over", offset=snapshot.next_offset, why=str(error))
                continue
            if snapshot.next_offset < journal.first_offset:
                log.warning("snapshot older than what is left of the journal", offset=snapshot.next_offset, first=journal.first_offset)
                continue
            if snapshot.next_offset > journal.synced:
                log.error("the journal lost records that a snapshot covers", end=journal.synced, goes_on_from=snapshot.next_offset)
                journal.go_on_from(snapshot.next_offset)
            return core, snapshot.next_offset
        if journal.first_offset > 0:
            log.warning("cold start: detectors warm up again, from the oldest record that is left", offset=journal.first_offset)
        return Core(self._parameters, policy=self._policy), journal.first_offset

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # recorded, then the process ends loudly: see `running` and `error`
            self.error = error
            log.exception("the engine stopped", offset=self.next_offset)
        finally:
            with self._caught_up:
                self._caught_up.notify_all()

    def _loop(self) -> None:
        saved_s = shown_s = time.monotonic()
        with self.journal.reader(self.next_offset) as reader:
            while not self._stopping.is_set():
                if self.journal.wait(self.next_offset, TICK_EVERY_S):
                    due_s = min(saved_s + self._snapshot_every_s, shown_s + FIGURES_EVERY_S)
                    for entry in reader.take():
                        self._take(entry)
                        if self._stopping.is_set() or time.monotonic() >= due_s:
                            break
                    with self._caught_up:
                        self._caught_up.notify_all()
                elif self.journal.error is not None:
                    raise self.journal.error
                elif self._live and (now_ns := self.journal.quiet_ns()) is not None:
                    self._say(self.core.advance(now_ns), now_ns, self.next_offset)
                if time.monotonic() - shown_s >= FIGURES_EVERY_S:
                    self.figures = figures(self.core)
                    self._watch_clock()
                    shown_s = time.monotonic()
                if time.monotonic() - saved_s >= self._snapshot_every_s:
                    self.checkpoint()
                    saved_s = time.monotonic()
        self.checkpoint()

    def _watch_clock(self) -> None:
        fault = self.journal.clock_fault
        if fault and not self._clock_fault_told:
            log.error("the clock was wrong", what=fault)
        self._clock_fault_told = bool(fault)

    def _take(self, entry: Entry) -> None:
        crashes = self._poison.crashes(entry.offset)
        try:
            if crashes >= CRASHES_MAX:
                said = self._quarantined(entry, f"the engine died {crashes} times on this record; it was passed over")
            else:
                said = self._apply(entry)
            self._say(said, entry.arrival_ns, entry.offset)
        except (JournalError, OSError):
            raise  # the machine's fault, not the record's
        except BaseException:
            self._poison.died_on(entry.offset)
            raise
        self.next_offset = entry.offset + 1

    def _apply(self, entry: Entry) -> Said:
        if entry.topic is Topic.TELEMETRY:
            return self.core.telemetry(entry.payload, entry.arrival_ns)
        if entry.topic is Topic.KEYED_TELEMETRY:
            key, _, payload = entry.payload.partition(KEY_END)
            return self.core.telemetry(payload, entry.arrival_ns, key.decode())
        if entry.topic is Topic.COMMAND:
            command = msgspec.structs.replace(msgspec.json.decode(entry.payload, type=Command), at_ns=entry.arrival_ns)
            said = self.core.command(command)
            refusal = said.refusals[0] if said.refusals else None
            self._put([audit_of(command, refusal)])
            self._answer(command.id, refusal)
            return said
        change = msgspec.json.decode(entry.payload, type=RegistryChange)
        said = self.core.advance(entry.arrival_ns)  # here, for a refusal must not take with it what the clocks had to say
        try:
            said.add(self.core.set_registry(changed(self.core.engine.registry.data, change, entry.arrival_ns), entry.arrival_ns))
        except ValueError as error:
            self._answer(change.id, error=error)
            return said
        self._put([audit_item(AuditEntry(change.id, entry.arrival_ns, change.by, "registry", change.summary()))])
        self.board.set_registry(self.core.engine.registry.data, entry.arrival_ns)
        if self._on_registry is not None:
            self._on_registry(self.core.engine.registry.data, change.by)
        self._answer(change.id)
        return said

    def _quarantined(self, entry: Entry, why: str) -> Said:
        said = self.core.advance(entry.arrival_ns)
        said.outputs.rejects.append(Reject(Reason.INTERNAL, why, "", entry.topic.name.lower(), 0, entry.payload))
        return said

    def _say(self, said: Said, at_ns: int, offset: int) -> None:
        outputs = said.outputs
        items = items_of(said, at_ns, offset)
        for reject in outputs.rejects:
            seen = self.rejected.setdefault(reject.reason, [0, 0, "", ""])
            self.rejected[reject.reason] = [int(seen[0]) + 1, at_ns, reject.device, reject.detail]
        if items:
            self._put(items)
        self.board.feed(outputs.measurements, _latest(said), self.clock() if self._live else at_ns)
        for listener in self._listeners:
            listener(said)

    def _put(self, items: Sequence[Item]) -> None:
        for delivery in self.deliveries:
            delivery.put(items)

    def checkpoint(self) -> None:
        """Outputs durable, then the snapshot, then the journal may be cut. Called by the engine thread."""
        self._put([account_item(account) for account in self.core.engine.accounts()])
        for delivery in self.deliveries:
            delivery.sync()
        try:
            self.snapshots.put(self.journal.identity, Snapshot(self._epoch, self.next_offset, self.core.snapshot()))
        except OSError as error:  # detection goes on; the journal is kept until a snapshot succeeds
            log.exception("snapshot not written: free disk space", why=error.strerror)
            return
        if self.next_offset not in self._kept:
            self._kept.append(self.next_offset)
        self.journal.drop_before(min(self._kept))


def _latest(said: Said) -> list[Alert]:
    return list({alert.id: alert for _, alert in said.transitions}.values())
