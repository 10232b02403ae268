"""SQLite, Parquet and JSON lines: what readers find, and what a bad disk does."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from alerts.book import AlertBook
from alerts.model import Action, Command, Outcome, State
from engine.outputs import Account, Measurements
from sinks import jsonl, parquet
from sinks.examples import HOUR_NS, T0_NS, event, item
from sinks.items import Item, ItemKind, account_item, alert_item, measurements_item
from sinks.jsonl import JsonlConfig, JsonlSink
from sinks.outcome import Accepted, Rejected, Retry
from sinks.parquet import ParquetConfig, ParquetSink
from sinks.sqlite import SqliteConfig, SqliteReader, SqliteSink
from streams.pipeline.assembly import HomePolicy

DAY_NS = 24 * HOUR_NS


def life(index: int) -> list[Item]:
    """A fall from onset to resolution."""
    book = AlertBook(HomePolicy())
    (first,) = book.apply(event(index))
    items = [alert_item(first, book.open()[0])]
    for action, outcome in ((Action.ACKNOWLEDGE, None), (Action.ATTEND, None), (Action.RESOLVE, Outcome.FALSE)):
        steps = book.command(Command(action.value, action, first.alert_id, "n-1", first.at_ns + 1, outcome, "说明"))
        after = book.alert(first.alert_id)
        assert isinstance(steps, list)
        assert after is not None
        items += [alert_item(step, after) for step in steps]
    return items


def test_sqlite_answers_what_the_console_asks(tmp_path: Path) -> None:
    path = tmp_path / "vigil.db"
    reader = SqliteReader(path)
    assert reader.open_alerts() == []
    assert reader.events_since(0) == ([], 0)
    sink = SqliteSink(SqliteConfig(path=path))
    done, still = life(0), life(1)[:2]
    sink.deliver([*done, *still, *(item(ItemKind.EVENT, index) for index in range(5)), item(ItemKind.AUDIT)])
    (alert,) = reader.open_alerts()
    assert alert.subject == "resident/r-1"
    assert alert.state is State.ACKNOWLEDGED
    resolved = reader.alert(done[0].order_key)
    assert resolved is not None
    assert (resolved.outcome, resolved.state) == (Outcome.FALSE, State.RESOLVED)
    assert [step.id for step in reader.history(resolved.id)] == [one.id for one in done]
    assert reader.history(resolved.id)[-1].note == "说明"
    assert len(reader.alerts_between(T0_NS, T0_NS + HOUR_NS)) == 2
    assert reader.alerts_between(T0_NS + 1, T0_NS + HOUR_NS, limit=1)[0].id == alert.id
    some, position = reader.events_since(0, limit=3)
    rest, end = reader.events_since(position)
    assert [one.id for one in [*some, *rest]] == [event(index).id for index in range(5)]
    assert reader.events_since(end) == ([], end)
    assert len(reader.transitions_since(0)[0]) == 6
    assert reader.audit_since(0)[0][0].by == "n-7"
    sink.close()


def test_sqlite_never_goes_back_to_an_older_state(tmp_path: Path) -> None:
    path = tmp_path / "vigil.db"
    sink = SqliteSink(SqliteConfig(path=path))
    items = life(0)
    sink.deliver([*reversed(items), *items[:2]])
    assert SqliteReader(path).open_alerts() == []
    assert len(SqliteReader(path).history(items[0].order_key)) == 4


def test_sqlite_keeps_the_newest_account_of_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "vigil.db"
    sink = SqliteSink(SqliteConfig(path=path))
    older, newer = Account("d", "ecg", 0, 10, 10, 0, 0, 0), Account("d", "ecg", 0, 30, 25, 1, 3, 1)
    sink.deliver([account_item(older), account_item(newer), account_item(older)])
    assert SqliteReader(path).accounts(0, 1) == [newer]


def test_sqlite_rejects_what_a_column_cannot_hold_and_keeps_the_rest(tmp_path: Path) -> None:
    sink = SqliteSink(SqliteConfig(path=tmp_path / "vigil.db"))
    huge = account_item(Account("d", "ecg", 2**63, 1, 1, 0, 0, 0))
    assert [type(outcome) for outcome in sink.deliver([huge, item(ItemKind.EVENT)])] == [Rejected, Accepted]
    assert len(SqliteReader(tmp_path / "vigil.db").events_since(0)[0]) == 1


def test_sqlite_waits_for_a_writer_and_then_says_retry(tmp_path: Path) -> None:
    path = tmp_path / "vigil.db"
    sink = SqliteSink(SqliteConfig(path=path, busy_timeout_s=0.05))
    sink.deliver([item(ItemKind.EVENT)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (outcome,) = sink.deliver([item(ItemKind.EVENT, 1)])
    assert isinstance(outcome, Retry)
    assert "locked" in outcome.why
    other.execute("ROLLBACK")
    other.close()
    assert sink.deliver([item(ItemKind.EVENT, 1)]) == [Accepted()]


def test_sqlite_refuses_a_file_of_another_schema_and_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "vigil.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    (outcome,) = SqliteSink(SqliteConfig(path=path)).deliver([item(ItemKind.EVENT)])
    assert isinstance(outcome, Retry)
    assert "schema 99" in outcome.why
    path.write_bytes(b"this is no database, it is a sentence. " * 100)
    (outcome,) = SqliteSink(SqliteConfig(path=path)).deliver([item(ItemKind.EVENT)])
    assert isinstance(outcome, Retry)


def many(name: str, count: int, start_ns: int, step_ns: int, columns: tuple[str, ...] = ("x",)) -> Item:
    times = start_ns + step_ns * np.arange(count, dtype=np.int64)
    values = np.arange(count * len(columns), dtype=np.float32).reshape(count, len(columns))
    return measurements_item(Measurements(name, tuple(f"resident/{i % 3}" for i in range(count)), times, columns, values))


def test_parquet_is_cut_by_day_and_read_back_in_order(tmp_path: Path) -> None:
    sink = ParquetSink(ParquetConfig(root=tmp_path))
    midnight = T0_NS - T0_NS % DAY_NS + DAY_NS
    item_ = many("vitals", 10, midnight - 5 * HOUR_NS, HOUR_NS)
    assert sink.deliver([item_, many("bed", 3, midnight, 1)]) == [Accepted(), Accepted()]
    assert len(list(tmp_path.glob("date=*"))) == 2
    table = parquet.read(tmp_path, "vitals", midnight - 2 * HOUR_NS, midnight + 2 * HOUR_NS)
    assert table is not None
    assert table["t_ns"].to_pylist() == [midnight + k * HOUR_NS for k in (-2, -1, 0, 1)]
    assert table["x"].to_pylist() == [3, 4, 5, 6]
    assert parquet.read(tmp_path, "none", 0, midnight) is None
    whole = parquet.read(tmp_path, "vitals", 0, 2**62)
    assert whole is not None
    assert whole.num_rows == 10


def test_parquet_takes_a_measurement_whose_columns_change_and_writes_missing_as_null(tmp_path: Path) -> None:
    sink = ParquetSink(ParquetConfig(root=tmp_path))
    sink.deliver([many("f", 2, T0_NS, 1, ("a",)), many("f", 2, T0_NS + 10, 1, ("a", "b")), item(ItemKind.MEASUREMENTS)])
    table = parquet.read(tmp_path, "f", 0, 2**62)
    assert table is not None
    assert table["b"].to_pylist() == [None, None, 1, 3]
    vitals = parquet.read(tmp_path, "vitals", 0, 2**62)
    assert vitals is not None
    assert vitals["temperature_c"].to_pylist() == [None, pytest.approx(36.6)]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 101])
def test_parquet_refuses_names_that_are_paths(tmp_path: Path, name: str) -> None:
    (outcome,) = ParquetSink(ParquetConfig(root=tmp_path / "in")).deliver([many(name, 1, T0_NS, 1)])
    assert isinstance(outcome, Rejected)
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def test_parquet_merges_the_files_of_past_days_and_nothing_changes_for_readers(tmp_path: Path) -> None:
    sink = ParquetSink(ParquetConfig(root=tmp_path))
    old, items = T0_NS - 5 * DAY_NS, []
    for index in range(6):
        items.append(many("f", 4, old + index * HOUR_NS, 1000, ("a", "b") if index % 2 else ("a",)))
        sink.deliver([items[-1]])
    before = parquet.read(tmp_path, "f", 0, 2**62)
    assert len(list(tmp_path.rglob("*.parquet"))) == 6
    sources = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    sink.deliver([many("g", 1, T0_NS, 1)])
    (whole, _) = sorted(tmp_path.rglob("*.parquet"))
    assert whole.name.startswith("whole-")
    assert before is not None
    assert parquet.read(tmp_path, "f", 0, 2**62) == before
    for path, data in sources.items():  # as a crash before the sources were deleted leaves them
        path.write_bytes(data)
    assert parquet.read(tmp_path, "f", 0, 2**62) == before
    sink.deliver(items)  # still known
    again = ParquetSink(ParquetConfig(root=tmp_path))
    again.deliver([many("g", 1, T0_NS, 1)])
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert parquet.read(tmp_path, "f", 0, 2**62) == before


def test_parquet_clears_what_a_crash_left_half_written(tmp_path: Path) -> None:
    ParquetSink(ParquetConfig(root=tmp_path)).deliver([many("f", 2, T0_NS, 1)])
    (whole,) = tmp_path.rglob("*.parquet")
    (whole.parent / "torn.part").write_bytes(b"PAR1")
    ParquetSink(ParquetConfig(root=tmp_path)).deliver([many("f", 2, T0_NS, 1)])
    assert [path.name for path in whole.parent.iterdir()] == [whole.name]


def test_jsonl_sets_full_files_aside_and_counts_what_it_drops(tmp_path: Path) -> None:
    sink = JsonlSink(JsonlConfig(path=tmp_path / "log.jsonl", file_max_bytes=2000, files_max=2))
    for index in range(40):
        sink.deliver([item(ItemKind.EVENT, index)])
    sink.close()
    files = [path for path in (tmp_path / "log.jsonl.2", tmp_path / "log.jsonl.1", tmp_path / "log.jsonl") if path.exists()]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files}
    assert all(path.stat().st_size < 3000 for path in files)
    kept = [line["id"] for path in files for line in jsonl.read(path)]
    assert kept == [event(index).id for index in range(40 - len(kept), 40)]
    per_file = len(jsonl.read(tmp_path / "log.jsonl.2"))
    assert sink.files_dropped == (40 - len(kept)) / per_file > 0


def test_jsonl_cuts_a_torn_line_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    JsonlSink(JsonlConfig(path=path)).deliver([item(kind) for kind in ItemKind])
    with path.open("ab") as file:
        file.write(b'{"kind":"event","id":"to')
    JsonlSink(JsonlConfig(path=path)).deliver([item(ItemKind.EVENT), item(ItemKind.EVENT, 1)])
    lines = jsonl.read(path)
    assert [line["id"] for line in lines] == [*(item(kind).id for kind in ItemKind), event(1).id]
    assert lines[-2]["body"]["values"] == [[71.5, None], [None, 36.6]]
