"""What a delivery does when its spool is huge, full, or damaged, or when something in it breaks."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import sinks.delivery.queue
from engine.outputs import Measurements
from sinks.codec import encode
from sinks.delivery import Delivery, DeliverySettings
from sinks.examples import item
from sinks.items import Item, ItemKind, measurements_item
from sinks.outcome import ACCEPTED, Outcome, Rejected, Retry
from tests.unit.test_sinks_delivery import Clock, Target, delivery, drain, items

DOWN = Retry("down", scope="item")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def full_disk() -> Iterator[None]:
    """The kernel refuses every byte that this process wants to write into a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def big(index: int, subjects: int = 1500) -> Item:
    """Measurements of some 60 kB."""
    times = np.full(subjects, index, np.int64)
    names = tuple(f"resident/r-{number:04d}" for number in range(subjects))
    return measurements_item(Measurements("vitals", names, times, ("a", "b", "c", "d"), np.zeros((subjects, 4), np.float32)))


def test_put_at_the_bound_frees_whole_segments_and_rewrites_nothing(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(lambda _: DOWN), clock, spool_max_bytes=8 << 20)
    written_bytes = 0
    for index in range(400):  # nobody delivers meanwhile, as behind a sink that hangs
        one = big(index)
        subject.put([one, *items(ItemKind.ALERT, 1, start=index)])
        written_bytes += len(encode(one))
    figures = subject.statistics()
    assert written_bytes > 16 << 20
    assert figures.queued_bytes <= 8 << 20
    assert figures.spool_bytes <= (8 << 20) + (3 << 20)
    on_disk_bytes = sum(path.stat().st_size for path in (tmp_path / "spool").glob("*.log"))
    assert on_disk_bytes == figures.spool_bytes
    assert figures.shed[ItemKind.MEASUREMENTS] > 0
    assert figures.shed[ItemKind.ALERT] == 0
    subject.close(0)
    target = Target()
    again = delivery(tmp_path, target, clock)
    drain(again)
    assert len([one for one in target.accepted if one.kind is ItemKind.ALERT]) == 400
    assert len(target.accepted) == figures.queued


def test_memory_is_bounded_in_bytes_too(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks.delivery.queue, "_MEMORY_MAX_BYTES", 1 << 20)
    target = Target()
    subject = delivery(tmp_path, target, clock)
    subject.put([big(index) for index in range(60)])
    kept = [entry for entry in subject._queue.entries(ItemKind.MEASUREMENTS) if entry.item is not None]
    assert 0 < sum(entry.length for entry in kept) <= 1 << 20
    drain(subject)
    assert {one.id for one in target.accepted} == {big(index).id for index in range(60)}


def test_on_a_full_disk_items_go_from_memory_and_sync_refuses(tmp_path: Path, clock: Clock) -> None:
    answer: list[Outcome] = [DOWN]
    target = Target(lambda _: answer[0])
    subject = delivery(tmp_path, target, clock)
    subject.put(items(ItemKind.ALERT, 1))
    subject.sync()
    with full_disk():
        subject.put([*items(ItemKind.ALERT, 3, start=1), *items(ItemKind.AUDIT, 2), *items(ItemKind.MEASUREMENTS, 4)])
        figures = subject.statistics()
        assert (figures.queued, figures.unsaved) == (10, 9)
        assert figures.failures >= 1
        assert "cannot be written" in figures.last_error
        with pytest.raises(OSError, match="too large"):
            subject.sync()
        answer[0] = ACCEPTED
        clock.now_s += 1
        drain(subject)
        assert len(target.accepted) == 10
        assert subject.statistics().unsaved == 0
        subject.sync()  # nothing is left that the disk would have to keep
    subject.put(items(ItemKind.ALERT, 1, start=9))
    assert subject.statistics().unsaved == 0
    assert "cannot be written" not in subject.statistics().last_error


def test_what_waited_in_memory_is_saved_in_order_once_there_is_space(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(lambda _: DOWN), clock)
    with full_disk():
        for index in range(100):
            subject.put(items(ItemKind.ALERT, 1, start=index))
        clock.now_s += 1
        subject.run_once()
        assert subject.statistics().unsaved == 100
    subject.put(items(ItemKind.ALERT, 1, start=100))
    subject.sync()
    assert subject.statistics().unsaved == 0
    os.close(subject._spool._lock)  # what the kernel does for a dead process
    target = Target()
    again = delivery(tmp_path, target, clock)
    drain(again)
    assert [one.id for one in target.accepted] == [item(ItemKind.ALERT, index).id for index in range(101)]


def test_the_delivering_thread_saves_by_itself(tmp_path: Path) -> None:
    subject = delivery(tmp_path, Target(lambda _: DOWN), time.monotonic, sync_s=0.01)
    subject.start()
    with full_disk():
        subject.put(items(ItemKind.ALERT, 5))
        assert subject.statistics().unsaved == 5
    give_up = time.monotonic() + 10
    while subject.statistics().unsaved and time.monotonic() < give_up:
        time.sleep(0.01)
    assert subject.statistics().unsaved == 0
    assert subject.close(1) is False


def test_memory_on_a_full_disk_is_bounded_and_alerts_are_the_last_to_go(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks.delivery.queue, "_MEMORY_MAX_BYTES", 20_000)
    subject = delivery(tmp_path, Target(lambda _: DOWN), clock)
    with full_disk():
        subject.put(items(ItemKind.EVENT, 20))
        subject.put(items(ItemKind.MEASUREMENTS, 200))
        figures = subject.statistics()
        assert figures.shed[ItemKind.MEASUREMENTS] > 0
        assert figures.shed[ItemKind.EVENT] == figures.shed[ItemKind.ALERT] == 0
        subject.put(items(ItemKind.ALERT, 20))
        assert subject.statistics().shed[ItemKind.ALERT] == 0
        subject.put(items(ItemKind.ALERT, 100, start=20))
        figures = subject.statistics()
        assert figures.shed[ItemKind.MEASUREMENTS] == 200
        assert figures.shed[ItemKind.ALERT] > 0
        assert figures.queued_bytes <= 20_000
    with pytest.raises(OSError, match="alerts were shed"):  # for good: only the input, replayed, can bring them back
        subject.sync()


def test_an_item_whose_dead_letter_cannot_be_written_waits(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(lambda one: Rejected("no") if one.id == item(ItemKind.ALERT, 1).id else ACCEPTED), clock)
    subject.put(items(ItemKind.ALERT, 3))
    with full_disk():
        subject.run_once()
        assert (subject.statistics().queued, subject.statistics().accepted, subject.statistics().dead) == (1, 2, 0)
        subject.put([Item(ItemKind.EVENT, "x", item(ItemKind.ALERT).body)])
        assert subject.statistics().dead_dropped == 1
    clock.now_s += 60
    drain(subject)
    assert (subject.statistics().queued, subject.statistics().dead) == (0, 1)


def test_a_delivery_starts_on_a_full_disk(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(lambda _: DOWN), clock)
    subject.put(items(ItemKind.ALERT, 3))
    subject.close(0)
    (log,) = (tmp_path / "spool").glob("alert-*.log")
    os.truncate(log, log.stat().st_size - 5)
    with full_disk():
        target = Target()
        again = delivery(tmp_path, target, clock)
        again.put(items(ItemKind.ALERT, 1, start=2))
        drain(again)
        assert [one.id for one in target.accepted] == [item(ItemKind.ALERT, index).id for index in range(3)]
        assert again.statistics().damaged_bytes > 0


def test_damage_costs_the_rest_of_its_segment_only(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(lambda _: DOWN), clock)
    for index in range(60):
        subject.put([big(index)])
    subject.close(0)
    logs = sorted((tmp_path / "spool").glob("measurements-*.log"))
    assert len(logs) > 2
    data = bytearray(logs[0].read_bytes())
    data[len(data) // 2] ^= 1
    logs[0].write_bytes(data)
    target = Target()
    again = delivery(tmp_path, target, clock)
    drain(again)
    per_segment = 60 / (len(logs) - 0.5)
    assert 60 - per_segment <= len(target.accepted) < 60
    assert big(59).id in {one.id for one in target.accepted}
    assert (tmp_path / "spool" / "spool.damaged").stat().st_size == again.statistics().damaged_bytes


def test_an_item_that_cannot_be_read_back_is_set_aside_and_the_others_go(tmp_path: Path, clock: Clock) -> None:
    target = Target()
    subject = delivery(tmp_path, target, clock, memory_max_items=1)
    subject.put(items(ItemKind.EVENT, 4))
    (log,) = (tmp_path / "spool").glob("event-*.log")
    data = log.read_bytes()
    log.write_bytes(data[: len(data) // 4 * 3] + b"\xc1" * (len(data) - len(data) // 4 * 3))
    drain(subject)
    assert len(target.accepted) == 3
    assert (subject.statistics().dead, subject.statistics().queued) == (1, 0)
    assert (tmp_path / "spool" / "dead-unreadable.jsonl").exists()


def test_whatever_breaks_the_thread_goes_on_and_says_so(tmp_path: Path) -> None:
    class Broken(Target):
        tries = 0

        def deliver(self, items: Sequence[Item]) -> list[Outcome]:
            self.tries += 1
            if self.tries < 3:
                nothing: list[Outcome] = cast("Any", None)
                return nothing  # no list at all: breaks in the delivery, not in the sink
            return super().deliver(items)

    target = Broken()
    subject = delivery(tmp_path, target, time.monotonic, backoff_first_s=0.01)
    subject.start()
    subject.put(items(ItemKind.ALERT, 2))
    give_up = time.monotonic() + 10
    seen = 0
    while not target.accepted and time.monotonic() < give_up:
        seen = max(seen, subject.statistics().failures)
        time.sleep(0.001)
    assert len(target.accepted) == 2
    assert seen >= 1
    assert subject.statistics().errors == 2
    assert "TypeError" in subject.statistics().last_error
    assert subject.close(5) is True


def test_it_is_called_as_configured(tmp_path: Path) -> None:
    named = Delivery(Target(), tmp_path / "a", DeliverySettings(), name="night nurse")
    assert (named.name, Delivery(Target(), tmp_path / "b").name) == ("night nurse", "target")
    named.start()
    assert "deliver-night nurse" in {thread.name for thread in threading.enumerate()}
    named.close(5)
