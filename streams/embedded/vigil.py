"""The embedded Vigil: one process, one folder, no broker and no database server.

Inputs go to the journal and are acknowledged once they are on disk. One thread applies the journal's records to the partition in
order; the outputs go to the sinks' spools and to the board. Every few seconds a checkpoint: spools synced, then a snapshot of the
partition with the journal offset it covers. After a crash the newest snapshot is restored and the rest of the journal applied again;
the same inputs give the same ids, so nothing is lost and nothing is delivered twice.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import msgspec
import structlog
from pydantic import BaseModel

from alerts.model import Alert, Command, Refusal
from alerts.policy import Policy
from console.board import LiveBoard
from engine.outputs import Reason
from engine.registry import RegistryData
from sinks.delivery import Delivery
from sinks.items import Item, account_item
from streams.embedded.statistics import Statistics, statistics
from streams.pipeline.core import Core, CoreOutput
from streams.pipeline.handovers import DIRECT, Handover
from streams.pipeline.partition import Applied, Partition, command_in
from streams.pipeline.records import Kind
from streams.pipeline.registry_change import RegistryChange
from streams.storage.crash_log import CrashLog, read, skipped_because, written
from streams.storage.journal import Journal, JournalError, new_future, short_of_descriptors
from streams.storage.journal_records import Entry, Topic, as_input, brokered, keyed
from streams.storage.snapshots import KEPT, DirectoryStore, Snapshot

log = structlog.get_logger("vigil")

SNAPSHOT_EVERY_S: Final = 10.0
TICK_EVERY_S: Final = 0.2
"""How often the loop looks whether a second is over when no input comes."""
ANSWER_S: Final = 10.0
"""How long a command may wait for the core before its sender gets the answer that it is still to come."""
STATISTICS_EVERY_S: Final = 1.0
"""The system page is about this old."""

Listener = Callable[[CoreOutput], None]


class Vigil:
    """Runs a partition over a data folder. `parameters` as in streams.pipeline.assembly, `clock` gives UTC ns (injected for tests).

    `live` False: time is what the records say (recordings, accelerated simulation); nothing ticks between them. `on_progress` is called by
    the engine's thread whenever it has got on: a record further, or a moment further in time with no record waiting.
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
        on_progress: Callable[[], None] = lambda: None,
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
        self._on_progress = on_progress
        self._stopping = threading.Event()
        self._answers: dict[str, Future[Refusal | None]] = {}
        self._lock = threading.Lock()
        self._clock_fault_logged = False
        self.partition = self._restored()
        self._noted = self.snapshots.note(self.journal.identity)
        self._crash_log = read(self._noted, self.partition.number)
        self._note(self._crash_log.started(self.next_offset))
        if self._crash_log.notes_each_record:
            log.warning(
                "restarts end where they began: each record is noted before it is applied",
                restarts=self._crash_log.restarts,
                offset=self.next_offset,
            )
        self.statistics: Statistics = statistics(self.core)
        self._caught_up = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Deliver what waits, show what is known, go on from where the journal stands."""
        for delivery in self.deliveries:
            delivery.start()
        self.board.set_registry(self.core.engine.registry.data, self.clock())
        self.board.feed([], self.core.book.open(), self.clock(), self.core.engine.watching.coverage.not_watched())
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
    def core(self) -> Core:
        """Engine and alert book."""
        return self.partition.core

    @property
    def next_offset(self) -> int:
        """The journal record that is applied next."""
        return self.partition.next_offset

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

    def telemetry(self, payload: bytes, arrival_ns: int | None = None, key: str = "", handover: Handover = DIRECT) -> Future[int]:
        """Store a wire message; the future resolves when it is on disk. A `key` makes sending it again harmless; `handover` is a broker's."""
        if handover != DIRECT:
            return self.journal.append(Topic.BROKER_TELEMETRY, brokered(handover, payload), arrival_ns)
        if key:
            return self.journal.append(Topic.KEYED_TELEMETRY, keyed(key, payload), arrival_ns)
        return self.journal.append(Topic.TELEMETRY, payload, arrival_ns)

    def command(self, command: Command) -> Future[Refusal | None]:
        """Store a command of staff; resolves when it is on disk and carried out (None) or refused."""
        payload = msgspec.json.encode(command)
        try:
            command_in(payload)  # refused before it is stored: whoever asked gets the reason
        except ValueError as error:
            refused: Future[Refusal | None] = new_future()
            refused.set_exception(error)
            return refused
        return self._ask(Topic.COMMAND, command.id, payload, command.at_ns)

    def change_registry(self, change: RegistryChange) -> Future[Refusal | None]:
        """Store a change of the registry; resolves when it is on disk and in force, or with why it cannot be (ValueError)."""
        return self._ask(Topic.REGISTRY, change.id, msgspec.json.encode(change), None)

    def _ask(self, topic: Topic, key: str, payload: bytes, at_ns: int | None) -> Future[Refusal | None]:
        answer: Future[Refusal | None] = new_future()
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

    def _new(self, next_offset: int) -> Partition:
        return Partition(0, parameters=self._parameters, policy=self._policy, live=self._live, next_offset=next_offset)

    def _restored(self) -> Partition:
        journal = self.journal
        if journal.damage:
            log.error("the journal was damaged", what=journal.damage, next_record=journal.synced)
        others = sorted(path.name for path in self.snapshots.root.iterdir() if path.name != str(journal.identity))
        if others:
            log.warning("snapshots of another journal are ignored: delete them unless it is to come back", which=others)
        found = list(self.snapshots.newest_first(journal.identity))
        self._kept.extend(snapshot.next_offset for snapshot in reversed(found))
        for snapshot in found:
            partition = self._new(snapshot.next_offset)
            try:
                partition.restore(snapshot.state, snapshot.next_offset)
            except ValueError as error:
                log.warning("snapshot ignored", offset=snapshot.next_offset, why=str(error))
                continue
            if snapshot.next_offset < journal.first_offset:
                log.warning("snapshot older than what is left of the journal", offset=snapshot.next_offset, first=journal.first_offset)
                continue
            if snapshot.next_offset > journal.synced:
                log.error("the journal lost records that a snapshot covers", end=journal.synced, goes_on_from=snapshot.next_offset)
                journal.resume_from(snapshot.next_offset)
            return partition
        if journal.first_offset > 0:
            log.warning("cold start: detectors warm up again, from the oldest record that is left", offset=journal.first_offset)
        return self._new(journal.first_offset)

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
                    due_s = min(saved_s + self._snapshot_every_s, shown_s + STATISTICS_EVERY_S)
                    for entry in _unless_short(reader.read_batch()):
                        self._consume(entry)
                        self._progressed()
                        if self._stopping.is_set() or time.monotonic() >= due_s:
                            break
                    with self._caught_up:
                        self._caught_up.notify_all()
                elif self.journal.error is not None:
                    raise self.journal.error
                elif not self._live:
                    self._progressed()
                elif (now_ns := self.journal.now_if_idle_ns()) is not None:
                    self._publish(self.partition.advance(now_ns))
                    self._progressed()
                if time.monotonic() - shown_s >= STATISTICS_EVERY_S:
                    self.statistics = statistics(self.core)
                    self._log_clock_fault()
                    shown_s = time.monotonic()
                if time.monotonic() - saved_s >= self._snapshot_every_s:
                    self._checkpoint_unless_short()
                    saved_s = time.monotonic()
        self._checkpoint_unless_short()

    def _progressed(self) -> None:
        self.board.beat()
        self._on_progress()

    def _checkpoint_unless_short(self) -> None:
        """A checkpoint; without a free file descriptor the next one, detection goes on and the journal is kept until then."""
        try:
            self.checkpoint()
        except OSError as error:
            if not short_of_descriptors(error):
                raise
            log.error("no snapshot: no file descriptor is free", why=error.strerror)  # noqa: TRY400 - the reason is the message

    def _log_clock_fault(self) -> None:
        fault = self.journal.clock_fault
        if fault and not self._clock_fault_logged:
            log.error("the clock was wrong", what=fault)
        self._clock_fault_logged = bool(fault)

    def _consume(self, entry: Entry) -> None:
        record = as_input(entry)
        skip = self._crash_log.is_poison(record.offset)
        if self._crash_log.notes_each_record and not skip:
            self._note(self._crash_log.before(record.offset))
        try:
            if skip:
                applied = self.partition.skip_poison(record, skipped_because(self._crash_log.crashes(record.offset)))
            else:
                applied = self.partition.apply(record)
            self._publish(applied)
            self._answer_for(record.kind, record.value, applied)
        except (JournalError, OSError):
            raise  # the machine's fault, not the record's
        except BaseException:
            self._note(self._crash_log.crashed(record.offset))
            raise
        if self._crash_log.applying >= 0:
            self._note(self._crash_log.after())

    def _answer_for(self, kind: Kind, value: bytes, applied: Applied) -> None:
        """Tell whoever waits for a command or a change of the registry what came of it."""
        try:
            command = command_in(value) if kind is Kind.COMMAND else None
            change = msgspec.json.decode(value, type=RegistryChange) if kind is Kind.REGISTRY_CHANGE else None
        except ValueError:
            return  # it is in quarantine, and nobody was promised an answer
        if command is not None:
            refusals = applied.output.refusals
            self._answer(command.id, refusals[0] if refusals else None, ValueError(applied.error) if applied.error else None)
        elif change is not None:
            if applied.error:
                self._answer(change.id, error=ValueError(applied.error))
                return
            self.board.set_registry(self.core.engine.registry.data, applied.at_ns)
            if self._on_registry is not None:
                self._on_registry(self.core.engine.registry.data, change.by)
            self._answer(change.id)

    def _publish(self, applied: Applied) -> None:
        output = applied.output
        for reject in output.outputs.rejects:
            seen = self.rejected.setdefault(reject.reason, [0, 0, "", ""])
            self.rejected[reject.reason] = [int(seen[0]) + 1, applied.at_ns, reject.device, reject.detail]
        if items := applied.items:
            self._put(items)
        now_ns = self.clock() if self._live else applied.at_ns
        self.board.feed(output.outputs.measurements, _latest(output), now_ns, output.outputs.watch)
        for listener in self._listeners:
            listener(output)

    def _put(self, items: Sequence[Item]) -> None:
        for delivery in self.deliveries:
            delivery.put(items)

    def checkpoint(self) -> None:
        """Outputs durable, then the snapshot, then the journal may be cut. Called by the engine thread."""
        self._put([account_item(account) for account in self.core.engine.accounts()])
        for delivery in self.deliveries:
            delivery.sync()
        offset = self.next_offset
        try:
            self.snapshots.put(self.journal.identity, Snapshot(self._epoch, offset, self.partition.snapshot()))
        except OSError as error:  # detection goes on; the journal is kept until a snapshot succeeds
            log.exception("snapshot not written: free disk space", why=error.strerror)
            return
        if offset > self._crash_log.from_offset or self._stopping.is_set():
            self._note(self._crash_log.checkpointed(offset))
        if offset not in self._kept:
            self._kept.append(offset)
        self.journal.drop_before(min(self._kept))

    def _note(self, crash_log: CrashLog) -> None:
        """Remember across whatever may happen to this process. A disk that refuses does not stop detection."""
        self._crash_log = crash_log
        text = written(crash_log)
        if text == self._noted:
            return
        try:
            self.snapshots.set_note(self.journal.identity, text)
        except OSError as error:
            log.warning("crash log not written: free disk space", why=error.strerror or str(error))
        else:
            self._noted = text


def _unless_short(entries: Iterator[Entry]) -> Iterator[Entry]:
    """`entries`, up to where no file descriptor is free to read on: the caller tries again."""
    try:
        yield from entries
    except OSError as error:
        if not short_of_descriptors(error):
            raise
        log.error("the journal cannot be read on: no file descriptor is free", why=error.strerror)  # noqa: TRY400 - the reason is the message
        time.sleep(TICK_EVERY_S)


def _latest(output: CoreOutput) -> list[Alert]:
    return list({alert.id: alert for _, alert in output.transitions}.values())
