"""The spool: bounded, remembers how far Kafka has it, and is of one process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streams.ingest.batcher import Batcher
from streams.ingest.publisher import SpoolWindower
from streams.ingest.spool import IngestSpool, SpooledMessage
from streams.ingest.wards import Wards
from streams.storage.journal import JournalBusy

MESSAGE = SpooledMessage("gateway", None, "", b'{"v": 1, "device": "a", "kind": "button", "t0_ns": 5, "samples": [[1]]}')
BYTES_MAX = 2**20


def test_it_goes_on_from_what_kafka_has(tmp_path: Path) -> None:
    spool = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    for _ in range(3):
        spool.put(MESSAGE).result(10)
    spool.mark_published(2)
    assert spool.waiting == 1
    spool.close()
    again = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    assert (again.position, again.waiting) == (2, 1)
    again.close()


def test_a_lost_note_repeats_and_loses_nothing(tmp_path: Path) -> None:
    spool = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    spool.put(MESSAGE).result(10)
    spool.mark_published(1)
    spool.close()
    (tmp_path / "published").write_text("")
    again = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    assert again.waiting == 1
    again.close()


def test_records_that_a_power_cut_took_are_not_numbered_again(tmp_path: Path) -> None:
    spool = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    spool.put(MESSAGE).result(10)
    spool.mark_published(1)
    spool.close()
    for path in tmp_path.glob("*.log"):
        path.write_bytes(b"")
    again = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    assert again.put(MESSAGE).result(10) == 1
    assert again.waiting == 1
    again.close()


def test_it_has_a_bound_and_frees_what_kafka_has(tmp_path: Path) -> None:
    spool = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    big = SpooledMessage("gateway", None, "", b"x" * 100_000)
    while not spool.full:
        spool.put(big).result(10)
        spool.measure()
    with pytest.raises(JournalBusy, match="full"):
        spool.put(MESSAGE).result(10)
    spool.mark_published(spool.journal.synced)
    assert not spool.full
    spool.put(MESSAGE).result(10)
    spool.close()


def test_one_process_has_it(tmp_path: Path) -> None:
    spool = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    with pytest.raises(OSError, match="used by another process"):
        IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    spool.close()


def windower(spool: IngestSpool, linger_ns: int = 100_000_000) -> SpoolWindower:
    batcher = Batcher(Wards(), identity=spool.journal.identity, linger_ns=linger_ns, batch_bytes=100_000, unbound_ward="u")
    return SpoolWindower(spool, batcher, live=True)


def test_a_window_ends_with_its_time(tmp_path: Path) -> None:
    clock = [1_000_000_000]
    spool = IngestSpool(tmp_path, lambda: clock[0], BYTES_MAX)
    spool.journal._stamps._monotonic = lambda: 0
    window = windower(spool)
    assert window.next(stopping=False) is None
    spool.put(MESSAGE).result(10)
    clock[0] += 99_000_000
    spool.put(MESSAGE).result(10)
    assert window.next(stopping=False) is None
    clock[0] += 1_000_000
    found = window.next(stopping=False)
    assert found is not None
    assert (found.position, len(found.out), found.arrival_ns) == (2, 1, 1_000_000_000)
    spool.put(MESSAGE).result(10)
    clock[0] += 200_000_000
    spool.put(MESSAGE).result(10)
    window.next(stopping=False)
    late = window.next(stopping=True)
    assert late is not None
    assert late.position == 4
    window.close()
    spool.close()


def test_after_a_crash_the_same_records_have_the_same_keys_and_repeats_are_known(tmp_path: Path) -> None:
    spool = IngestSpool(tmp_path, time.time_ns, BYTES_MAX)
    keyed = SpooledMessage("gateway", None, "once", MESSAGE.payload)
    for message in (keyed, MESSAGE, keyed):
        spool.put(message).result(10)
    first = windower(spool).next(stopping=True)
    again = windower(spool).next(stopping=True)
    assert first is not None
    assert first == again
    spool.mark_published(1)
    later = windower(spool)
    found = later.next(stopping=True)
    assert found is not None
    assert later.batcher.repeated == 1
    spool.close()
