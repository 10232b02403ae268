"""A backup that is made while Vigil runs, restored elsewhere: what goes on from it says what an uninterrupted Vigil says."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from engine.frame import NS_PER_S
from sinks.delivery import Delivery, DeliverySettings
from sinks.items import ItemKind
from sinks.jsonl import JsonlConfig, JsonlSink
from sinks.parquet import ParquetConfig, ParquetSink
from sinks.sqlite import SqliteConfig, SqliteReader, SqliteSink
from streams.cli.main import app
from streams.embedded.vigil import Vigil
from streams.pipeline.registry_change import RegistryChange
from streams.storage.backup import BackupError, back_up
from streams.storage.journal_records import Topic
from tests.integration.wards import TEN_MINUTES, Stream

OPERATIONS = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
MINUTES = 4
"""Of the stream that are lived through: a fall, a call, a tachycardia."""
AT = (0.3, 0.7)
"""Where in them the backups are made."""


@pytest.fixture(scope="module")
def stream() -> Stream:
    return Stream(TEN_MINUTES)


def embedded(folder: Path) -> Vigil:
    fast = DeliverySettings(backoff_first_s=0.05)
    sinks = [
        SqliteSink(SqliteConfig(path=folder / "vigil.db")),
        ParquetSink(ParquetConfig(root=folder / "measurements")),
        JsonlSink(JsonlConfig(path=folder / "quarantine.jsonl", kinds=frozenset({ItemKind.QUARANTINE}), file_max_bytes=1 << 14)),
    ]
    deliveries = [Delivery(sink, folder / "spool" / sink.name, fast) for sink in sinks]
    return Vigil(folder, deliveries=deliveries, live=False, snapshot_every_s=0.3)


def begun(folder: Path, stream: Stream) -> Vigil:
    vigil = embedded(folder)
    vigil.start()
    change = msgspec.json.encode(RegistryChange("r", "replace", "test", stream.registry))
    vigil.journal.append(Topic.REGISTRY, change, stream.records[0].arrival_ns).result(30)
    return vigil


def with_snapshot(vigil: Vigil, timeout_s: float = 120.0) -> None:
    """Wait for the first snapshot: on a machine that is fast or loaded, much can be sent before it."""
    give_up = time.monotonic() + timeout_s
    while not vigil.snapshots.newest_epoch(vigil.journal.identity):
        assert time.monotonic() < give_up, "no snapshot is taken"
        time.sleep(0.02)


def stored(folder: Path) -> tuple[list[bytes], list[bytes], dict[str, str], list[tuple[object, ...]]]:
    reader = SqliteReader(folder / "vigil.db")
    transitions = reader.transitions_since(0, 100_000)[0]
    alerts: dict[str, str] = {t.alert_id: reader.alert(t.alert_id).state.value for t in transitions}  # type: ignore[union-attr]
    accounts = [
        (a.device, a.kind, a.hour_ns, a.received, a.processed, a.duplicate, a.late, a.quarantined) for a in reader.accounts(0, 2**62)
    ]
    events = sorted(msgspec.json.encode(e) for e in reader.events_since(0, 100_000)[0])
    return events, sorted(map(msgspec.json.encode, transitions)), alerts, sorted(accounts)


def rows(folder: Path) -> set[str]:
    """Names of the measurements' items that were written."""
    import pyarrow.parquet as pq

    return {
        item for path in (folder / "measurements").rglob("*.parquet") for item in pq.read_table(path, columns=["item"])["item"].to_pylist()
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_goes_on_from_a_backup_equals_what_was_never_interrupted(stream: Stream, tmp_path: Path) -> None:
    vigil = begun(tmp_path / "vigil", stream)
    records = [record for record in stream.records if record.arrival_ns < stream.records[0].arrival_ns + MINUTES * 60 * NS_PER_S]
    marks = [round(share * len(records)) for share in AT]
    reached = [threading.Event() for _ in marks]

    def feed() -> None:
        for number, record in enumerate(records):
            vigil.telemetry(record.payload, record.arrival_ns)
            if number % 50 == 0:
                vigil.drain(120)  # so that there is a snapshot of late, as in a ward
            if number in marks:
                with_snapshot(vigil)
            for mark, event in zip(marks, reached, strict=True):
                if number == mark:
                    event.set()

    sender = threading.Thread(target=feed)
    sender.start()
    targets = []
    for number, event in enumerate(reached):
        assert event.wait(600)
        targets.append(tmp_path / f"backup-{number}.tar.gz")
        assert back_up(tmp_path / "vigil", targets[-1]) > 5  # while the stream goes on
    sender.join()
    assert vigil.drain(120)
    vigil.stop()
    expected, measured = stored(tmp_path / "vigil"), rows(tmp_path / "vigil")
    assert len(expected[0]) >= 4
    for number, target in enumerate(targets):
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        folder = tmp_path / f"restored-{number}"
        with tarfile.open(target) as tar:
            tar.extractall(folder, filter="data")
        again = embedded(folder / "vigil")
        assert again.snapshots.newest_epoch(again.journal.identity) > 0
        assert again.next_offset > 0, "the snapshot was not used"
        left = records[again.journal.synced - 1 :]  # the first record is the registry
        assert len(left) <= len(records) - marks[number] + 50
        assert number or left, "the first backup was made when everything was over"
        again.start()
        for record in left:
            again.telemetry(record.payload, record.arrival_ns)
        assert again.drain(300)
        again.stop()
        assert stored(folder / "vigil") == expected
        assert rows(folder / "vigil") == measured


def test_a_backup_of_a_vigil_that_is_off(stream: Stream, tmp_path: Path) -> None:
    vigil = begun(tmp_path / "data", stream)
    for record in stream.records[:300]:
        vigil.telemetry(record.payload, record.arrival_ns)
    assert vigil.drain(120)
    vigil.stop()
    result = CliRunner().invoke(app, ["backup", str(tmp_path / "b.tar"), "--data", str(tmp_path / "data")])
    assert result.exit_code == 0, result.output
    with tarfile.open(tmp_path / "b.tar") as tar:
        names = set(tar.getnames())
        tar.extractall(tmp_path / "restored", filter="data")
    assert {"data/vigil.db", "data/journal/id"} <= names
    assert not [name for name in names if name.endswith(("lock", "-wal", ".tmp"))]
    again = embedded(tmp_path / "restored" / "data")
    assert again.next_offset == vigil.next_offset
    assert again.core.snapshot() == vigil.core.snapshot()
    again.stop()


def test_what_cannot_be_backed_up_is_said_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackupError, match="no data folder"):
        back_up(tmp_path, tmp_path / "b.tar")
    embedded(tmp_path / "data").stop()
    with pytest.raises(BackupError, match="in the data folder itself"):
        back_up(tmp_path / "data", tmp_path / "data" / "b.tar")
    (tmp_path / "b.tar").touch()
    with pytest.raises(BackupError, match="exists already"):
        back_up(tmp_path / "data", tmp_path / "b.tar")
    full = tmp_path / "full"
    full.mkdir()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    result = CliRunner().invoke(app, ["backup", str(full / "b.tar.gz"), "--data", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert "No space left" in result.output
    assert list(full.iterdir()) == []


# -- the procedure of the page, with the service off ------------------------------------------------------------------------------


def documented() -> str:
    """The command of docs/operations.md that stops Vigil, copies and starts it."""
    (found,) = re.findall(r"^sudo sh -c '.*systemctl stop vigil.*'$", OPERATIONS, re.MULTILINE)
    return str(found)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Programs that this machine lacks or that must not be called here: each notes how it was called. tar is the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n')
    (folder / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    for tool in folder.iterdir():
        tool.chmod(0o755)
    return folder


@pytest.mark.parametrize("fails", [False, True], ids=["tar succeeds", "tar fails"])
def test_the_documented_copy_never_leaves_vigil_off(tmp_path: Path, tools: Path, fails: bool) -> None:
    place = tmp_path / "lib"
    if not fails:
        (place / "vigil").mkdir(parents=True)
    command = documented().replace("/var/lib", str(place))
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode != 0) is fails
    assert (tmp_path / "called").read_text().split("\n")[:2] == ["stop vigil", "start vigil"]
