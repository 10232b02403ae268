"""The journal gives back what it acknowledged, in order, whatever happened to the file's tail."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import pytest

from engine.frame import NS_PER_S
from streams.storage.arrival_clock import CATCH_UP, STAMP_NS_MAX, ArrivalClock
from streams.storage.journal import Journal, JournalError
from streams.storage.journal_records import Topic, is_torn

HOUR_NS = 3600 * NS_PER_S


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


@pytest.mark.parametrize("at", [0, 2, 20, 40 + 4, 40 + 20, -2])
def test_a_flipped_bit_sets_what_follows_aside_and_says_so(tmp_path: Path, at: int) -> None:
    """In the length (so that the record seems to run beyond the end), the payload, a later record, the very last byte."""
    journal = open_journal(tmp_path)
    put(journal, *(b"payload %03d" % i * 2 for i in range(20)))
    identity = journal.identity
    journal.close()
    (path,) = tmp_path.glob("*.log")
    whole = path.read_bytes()
    raw = bytearray(whole)
    raw[at] ^= 1 if at else 0x80
    path.write_bytes(raw)
    again = open_journal(tmp_path)
    kept = list(again.read(0))
    assert len(kept) < 20
    (aside,) = tmp_path.glob("*.damaged")
    assert path.read_bytes() + aside.read_bytes() == raw
    assert aside.name in again.damage
    assert put(again, b"goes on") == [len(kept)]
    again.close()
    third = open_journal(tmp_path)
    assert third.identity == identity
    assert aside.name in third.damage
    third.close()


def test_a_torn_length_with_whole_records_behind_it_is_damage() -> None:
    assert is_torn(b"")
    assert is_torn(b"\xff" * 40)
    assert not is_torn(bytes(40))


def test_a_snapshot_beyond_the_end_lets_the_numbers_go_on(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    put(journal, b"a", b"b")
    journal.resume_from(10)
    assert put(journal, b"c") == [10]
    assert [(e.offset, e.payload) for e in journal.read(10)] == [(10, b"c")]
    journal.close()
    again = open_journal(tmp_path)
    assert (again.first_offset, again.synced) == (10, 11)
    again.close()


def test_a_caller_that_gives_up_does_not_stop_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    real = os.fsync

    def fsync(file: int) -> None:
        slow.wait(5)
        real(file)

    journal = open_journal(tmp_path)
    monkeypatch.setattr("streams.storage.journal.os.fsync", fsync)
    first = journal.append(Topic.TELEMETRY, b"on its way")
    first.cancel()
    slow.set()
    assert put(journal, b"next") == [1]
    assert first.result(5) == 0
    assert journal.error is None
    journal.close()


def test_a_writer_that_fails_in_any_way_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise ValueError("a bug nobody knows yet")

    journal = open_journal(tmp_path)
    monkeypatch.setattr("streams.storage.journal.os.fsync", broken)
    with pytest.raises(JournalError, match="a bug nobody knows yet"):
        put(journal, b"x")
    assert journal.error is not None
    with pytest.raises(JournalError, match="report it"):
        put(journal, b"y")


def test_an_impossible_stamp_is_refused_and_the_next_record_is_taken(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for stamp in (10**30, STAMP_NS_MAX + 1, -1):
        with pytest.raises(JournalError, match="UTC nanoseconds"):
            journal.append(Topic.TELEMETRY, b"x", stamp).result(5)
    assert put(journal, b"y") == [0]
    journal.close()


def test_stamps_go_on_while_the_clock_is_behind_and_fall_back_to_it() -> None:
    clock = [0, 0]
    stamps = ArrivalClock(lambda: clock[0], lambda: clock[1])
    clock[:] = 8 * HOUR_NS, NS_PER_S  # it boots eight hours ahead
    assert stamps.now() == 8 * HOUR_NS
    clock[0] = NS_PER_S  # NTP sets it back
    seen = [stamps.now()]
    for _ in range(100 * 3600):
        clock[:] = clock[0] + NS_PER_S, clock[1] + NS_PER_S
        seen.append(stamps.now())
    steps = {late - early for early, late in itertools.pairwise(seen)}
    assert min(steps) == int(CATCH_UP * NS_PER_S)
    assert seen[0] == 8 * HOUR_NS
    assert stamps.ahead_ns == 0
    assert seen[-1] == clock[0]


def test_a_clock_that_was_ahead_is_announced(tmp_path: Path) -> None:
    clock = [9 * HOUR_NS]
    journal = Journal(tmp_path, lambda: clock[0])
    put(journal, b"x")
    assert journal.clock_fault == ""
    clock[0] = HOUR_NS
    first = journal.now_if_idle_ns()
    assert "480 min ahead" in journal.clock_fault
    time.sleep(0.02)
    second = journal.now_if_idle_ns()
    assert first is not None
    assert second is not None
    assert second - first >= 0.01 * NS_PER_S
    journal.close()


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
    journal = Journal(tmp_path, None)
    journal.append(Topic.TELEMETRY, b"", 9_000).result(5)
    journal.append(Topic.TELEMETRY, b"", 8_000).result(5)
    assert journal.now_if_idle_ns() == 9_000
    assert [e.arrival_ns for e in journal.read(0)] == [9_000, 9_000]
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(Topic.TELEMETRY, b"late").result(5)


def test_a_full_disk_is_an_answer_not_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_journal(tmp_path)
    put(journal, b"kept")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streams.storage.journal.os.fsync", full)
    with pytest.raises(JournalError, match="No space left"):
        put(journal, b"lost?")
    with pytest.raises(JournalError, match="free disk space"):
        put(journal, b"and the next")
