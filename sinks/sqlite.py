"""Alerts, events, audit and accounts in one SQLite file: the record a home keeps, and what the console reads.

WAL, so that readers never wait for the writer. synchronous=FULL: an accepted item is struck from the spool, so it must survive a power
cut; with NORMAL the last commits of a WAL can be lost (sqlite.org/pragma.html#pragma_synchronous). A batch is one commit, so it costs
one fsync.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

import msgspec
from pydantic import Field

from alerts.model import Alert, State, Transition
from engine.events import Event
from engine.outputs import Account
from sinks.contract import SinkConfig, refusal
from sinks.declaration import Audience, Runs, SinkSpec
from sinks.items import AlertChange, AuditEntry, Item, ItemKind
from sinks.outcome import ACCEPTED, Outcome, Rejected, Retry, all_retry

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS alerts (
  id TEXT PRIMARY KEY, subject TEXT NOT NULL, code TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,
  onset_ns INTEGER NOT NULL, arrival_ns INTEGER NOT NULL, decided_ns INTEGER NOT NULL, sequence INTEGER NOT NULL,
  outcome TEXT, body BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS alerts_open ON alerts (priority DESC, onset_ns) WHERE state <> 'resolved';
CREATE INDEX IF NOT EXISTS alerts_time ON alerts (onset_ns);
CREATE TABLE IF NOT EXISTS transitions (
  position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, alert_id TEXT NOT NULL, sequence INTEGER NOT NULL,
  at_ns INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS transitions_alert ON transitions (alert_id, sequence);
CREATE TABLE IF NOT EXISTS events (
  position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, code TEXT NOT NULL, subject TEXT NOT NULL, phase TEXT NOT NULL,
  onset_ns INTEGER NOT NULL, arrival_ns INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS events_time ON events (onset_ns);
CREATE TABLE IF NOT EXISTS audit (
  position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at_ns INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS accounts (
  device TEXT NOT NULL, kind TEXT NOT NULL, hour_ns INTEGER NOT NULL, received INTEGER NOT NULL, processed INTEGER NOT NULL,
  duplicate INTEGER NOT NULL, late INTEGER NOT NULL, quarantined INTEGER NOT NULL, PRIMARY KEY (device, kind, hour_ns)) STRICT;
"""

_PUT_ALERT: Final = """
INSERT INTO alerts VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET
  state=excluded.state, priority=excluded.priority, sequence=excluded.sequence, outcome=excluded.outcome, body=excluded.body
WHERE excluded.sequence >= alerts.sequence
"""
_PUT_TRANSITION: Final = """
INSERT INTO transitions (id, alert_id, sequence, at_ns, reason, body) VALUES (?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING
"""
_PUT_EVENT: Final = """
INSERT INTO events (id, code, subject, phase, onset_ns, arrival_ns, body) VALUES (?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING
"""
_PUT_AUDIT: Final = "INSERT INTO audit (id, at_ns, body) VALUES (?,?,?) ON CONFLICT (id) DO NOTHING"
_PUT_ACCOUNT: Final = """
INSERT INTO accounts VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (device, kind, hour_ns) DO UPDATE SET
  received=excluded.received, processed=excluded.processed, duplicate=excluded.duplicate, late=excluded.late,
  quarantined=excluded.quarantined
WHERE excluded.received >= accounts.received
"""

_T = TypeVar("_T")


class SqliteConfig(SinkConfig):
    """One file; its `-wal` and `-shm` companions lie beside it."""

    type: Literal["sqlite"] = "sqlite"
    path: Path = Field(description="database file; created with its folder", examples=["/var/lib/vigil/copy"])
    busy_timeout_s: float = Field(default=5.0, ge=0.0, le=60.0, description="seconds to wait for another writer")

    def for_instance(self, instance: str) -> Self:
        """The same file in a folder of its own."""
        return self.model_copy(update={"path": self.path.parent / instance / self.path.name})


class SqliteSink:
    """Stores alerts (latest state), transitions, events, audit entries and accounts. A repeat changes nothing; an older state of an alert
    never replaces a newer one.

    One table a kind, with columns for what is searched (times in nanoseconds since 1970 UTC) and the whole body as msgpack. `SqliteReader`
    reads it.

    >>> from tempfile import TemporaryDirectory
    >>> from sinks.examples import item
    >>> with TemporaryDirectory() as folder:
    ...     sink = SqliteSink(SqliteConfig(path=Path(folder) / "vigil.db"))
    ...     sink.deliver([item(ItemKind.ALERT), item(ItemKind.ALERT)])  # a repeat is accepted and changes nothing
    ...     [(alert.code, alert.state.value) for alert in SqliteReader(Path(folder) / "vigil.db").open_alerts()]
    ...     sink.close()
    [Accepted(), Accepted()]
    [('falls.fall', 'firing')]
    """

    name = "sqlite"
    takes = frozenset({ItemKind.ALERT, ItemKind.AUDIT, ItemKind.EVENT, ItemKind.ACCOUNT})

    def __init__(self, config: SqliteConfig) -> None:
        self._config = config
        self._db: sqlite3.Connection | None = None

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """One transaction, one outcome an item. An item that the schema refuses is left out of it and rejected; a file that is locked, full
        or unreadable is a retry of the whole batch.
        """
        try:
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            outcomes = [self._store(db, item) for item in items]
            db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            # Locked, disk full, unreadable: nothing of the batch is stored. A fresh connection next time.
            self.close()
            return all_retry(Retry(f"SQLite: {error}"), len(items))
        return outcomes

    def close(self) -> None:
        """Close the file; an open transaction is rolled back."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._config.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._config.path, timeout=self._config.busy_timeout_s, isolation_level=None, check_same_thread=False)
            self._db = db
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, SCHEMA_VERSION}:
                raise sqlite3.DatabaseError(
                    f"the file has schema {version}, this Vigil writes {SCHEMA_VERSION}: use the Vigil that wrote it"
                )
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        return self._db

    def _store(self, db: sqlite3.Connection, item: Item) -> Outcome:
        refused = refusal(item, self.takes)
        if refused is not None:
            return refused
        try:
            for statement, row in _rows(item):
                db.execute(statement, row)
        except (OverflowError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, UnicodeEncodeError) as error:
            return Rejected(f"SQLite cannot store this {item.kind.value}: {error}")
        return ACCEPTED


def _rows(item: Item) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The statements that store `item`, with their values. The checking ones come first: a statement that fails leaves no other behind."""
    body = item.body
    if isinstance(body, AlertChange):
        alert, step = body.alert, body.transition
        outcome = alert.outcome.value if alert.outcome else None
        clocks = (alert.onset_ns, alert.arrival_ns, alert.decided_ns)
        head = (alert.id, alert.subject, alert.code, alert.state.value, alert.priority)
        yield _PUT_ALERT, (*head, *clocks, alert.sequence, outcome, _pack(alert))
        yield _PUT_TRANSITION, (step.id, step.alert_id, step.sequence, step.at_ns, step.reason.value, _pack(step))
    elif isinstance(body, Event):
        yield _PUT_EVENT, (body.id, body.code, body.subject, body.phase, body.onset_ns, body.arrival_ns, _pack(body))
    elif isinstance(body, AuditEntry):
        yield _PUT_AUDIT, (body.id, body.at_ns, _pack(body))
    elif isinstance(body, Account):
        yield _PUT_ACCOUNT, tuple(body)


def _pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


class SqliteReader:
    """Read queries for the console. Opens the file read-only for each query, so it may be used from any thread and before the file exists.

    Times are nanoseconds since 1970 UTC. Every query raises sqlite3.Error when the file cannot be read, and finds nothing when there is none.

    >>> SqliteReader(Path("no-such-file.db")).open_alerts()
    []
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def open_alerts(self) -> list[Alert]:
        """Every alert that is not resolved, most urgent first, then oldest."""
        return self._bodies(Alert, "SELECT body FROM alerts WHERE state <> ? ORDER BY priority DESC, onset_ns, id", State.RESOLVED.value)

    def alert(self, alert_id: str) -> Alert | None:
        """One alert in its latest state."""
        found = self._bodies(Alert, "SELECT body FROM alerts WHERE id = ?", alert_id)
        return found[0] if found else None

    def history(self, alert_id: str) -> list[Transition]:
        """Every transition of one alert, whole, in order."""
        return self._bodies(Transition, "SELECT body FROM transitions WHERE alert_id = ? ORDER BY sequence", alert_id)

    def alerts_between(self, from_ns: int, to_ns: int, limit: int = 1000) -> list[Alert]:
        """Alerts with onset in [from_ns, to_ns), newest first."""
        query = "SELECT body FROM alerts WHERE onset_ns >= ? AND onset_ns < ? ORDER BY onset_ns DESC, id LIMIT ?"
        return self._bodies(Alert, query, from_ns, to_ns, limit)

    def events_since(self, position: int, limit: int = 1000) -> tuple[list[Event], int]:
        """Events stored after `position` (0: from the start), oldest first, and the position to go on from."""
        return self._since(Event, "events", position, limit)

    def transitions_since(self, position: int, limit: int = 1000) -> tuple[list[Transition], int]:
        """Transitions stored after `position`, oldest first, and the position to go on from."""
        return self._since(Transition, "transitions", position, limit)

    def audit_since(self, position: int, limit: int = 1000) -> tuple[list[AuditEntry], int]:
        """Audit entries stored after `position`, oldest first, and the position to go on from."""
        return self._since(AuditEntry, "audit", position, limit)

    def accounts(self, from_ns: int, to_ns: int) -> list[Account]:
        """Accounts of the hours that start in [from_ns, to_ns)."""
        query = "SELECT * FROM accounts WHERE hour_ns >= ? AND hour_ns < ? ORDER BY hour_ns, device, kind"
        with self._db() as db:
            return [Account(*row) for row in db.execute(query, (from_ns, to_ns))] if db else []

    def _since(self, kind: type[_T], table: Literal["events", "transitions", "audit"], position: int, limit: int) -> tuple[list[_T], int]:
        query = f"SELECT position, body FROM {table} WHERE position > ? ORDER BY position LIMIT ?"  # noqa: S608 - table is one of three names
        with self._db() as db:
            rows = db.execute(query, (position, limit)).fetchall() if db else []
        return [msgspec.msgpack.decode(body, type=kind) for _, body in rows], rows[-1][0] if rows else position

    def _bodies(self, kind: type[_T], query: str, *values: Any) -> list[_T]:
        with self._db() as db:
            return [msgspec.msgpack.decode(body, type=kind) for (body,) in db.execute(query, values)] if db else []

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection | None]:
        """A read-only connection, None while nothing has been stored yet."""
        if not self._path.exists():
            yield None
            return
        db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            ready = db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
            yield db if ready else None
        finally:
            db.close()


SINK: Final = SinkSpec(settings=SqliteConfig, sink=SqliteSink, audience=Audience.MACHINES, runs=frozenset(Runs))
