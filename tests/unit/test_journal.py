"""The journal gives back what it acknowledged, in order, whatever happened to the file's tail."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from streams.embedded.journal import Journal, JournalError, Topic
from streams.embedded.snapshots import Snapshot, SnapshotFolder


def open_journal(folder: Path, **more: int) -> Journal:
    ticks = itertools.count(1000)
    return Journal(folder, lambda: next(ticks), **more)


def put(journal: Journal, *payloads: bytes) -> list[int]:
    return [journal.append(Topic.TELEMETRY, payload).result(5) for payload in payloads]


def test_what_was_acknowledged_is_read_back_after_reopening(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert put(journal, b"a", b"", b"c" * 1000) == [0, 1, 2]
    journal.close()
    again = open_journal(tmp_path)
    assert [e.payload for e in again.read(0)] == [b"a", b"", b"c" * 1000]
    assert put(again, b"d") == [3]
    assert [(e.offset, e.payload) for e in again.read(2)] == [(2, b"c" * 1000), (3, b"d")]
    again.close()


@pytest.mark.parametrize("cut", [1, 5, 16, 20])
def test_a_torn_tail_is_cut_off_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    journal = open_journal(tmp_path)
    put(journal, b"first", b"second")
    journal.close()
    (path,) = tmp_path.glob("*.log")
    path.write_bytes(path.read_bytes()[:-cut])
    again = open_journal(tmp_path)
    assert [e.payload for e in again.read(0)] == [b"first"]
    assert put(again, b"third") == [1]
    assert [e.payload for e in again.read(0)] == [b"first", b"third"]
    again.close()


def test_a_flipped_bit_ends_the_readable_part(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    put(journal, b"first", b"second")
    journal.close()
    (path,) = tmp_path.glob("*.log")
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)
    again = open_journal(tmp_path)
    assert [e.payload for e in again.read(0)] == [b"first"]
    again.close()


def test_segments_roll_and_are_dropped_whole(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=100)
    put(journal, *(bytes([i]) * 60 for i in range(10)))
    assert len(list(tmp_path.glob("*.log"))) >= 4
    assert [e.offset for e in journal.read(0)] == list(range(10))
    journal.drop_before(5)
    assert [e.offset for e in journal.read(5)] == [5, 6, 7, 8, 9]
    with pytest.raises(JournalError, match="is not there"):
        list(journal.read(0))
    journal.close()
    again = open_journal(tmp_path, segment_bytes=100)
    assert put(again, b"x") == [10]
    again.close()


def test_stamps_never_go_back(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(Topic.TELEMETRY, b"", 9_000).result(5)
    journal.append(Topic.TELEMETRY, b"", 8_000).result(5)
    assert journal.quiet_ns() == 9_000
    assert [e.arrival_ns for e in journal.read(0)] == [9_000, 9_000]
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(Topic.TELEMETRY, b"late").result(5)


def test_a_full_disk_is_an_answer_not_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_journal(tmp_path)
    put(journal, b"kept")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streams.embedded.journal.os.fsync", full)
    with pytest.raises(JournalError, match="No space left"):
        put(journal, b"lost?")
    with pytest.raises(JournalError, match="free disk space"):
        put(journal, b"and the next")


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path)
    for offset in range(5):
        folder.save(Snapshot(offset, b"state %d" % offset))
    newest = max(tmp_path.glob("*.snap"))
    newest.write_bytes(newest.read_bytes()[:-1])
    assert [s.next_offset for s in folder.newest_first()] == [3, 2]
    assert folder.oldest_offset() == 2
