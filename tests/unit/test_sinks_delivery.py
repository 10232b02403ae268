"""Delivery, spool and dead letters, round by round with a hand-moved clock."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from alerts.book import AlertBook
from alerts.model import Action, Command
from sinks.codec import decode, encode
from sinks.contract import redacted
from sinks.delivery import Delivery, DeliverySettings
from sinks.delivery.spool import DeliverySpool, SpoolBusyError
from sinks.examples import event, item
from sinks.items import Item, ItemKind, alert_item, event_item
from sinks.outcome import ACCEPTED, Outcome, Rejected, Retry
from streams.pipeline.assembly import HomePolicy

Judge = Callable[[Item], Outcome]


class Target:
    """A sink in memory that answers as told."""

    name = "target"

    def __init__(self, judge: Judge = lambda _: ACCEPTED, takes: frozenset[ItemKind] = frozenset(ItemKind)) -> None:
        self.judge, self.takes = judge, takes
        self.tried: list[Item] = []
        self.accepted: list[Item] = []
        self.batches: list[int] = []
        self.closed = 0

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        outcomes = [self.judge(one) for one in items]
        self.batches.append(len(items))
        self.tried += items
        self.accepted += [one for one, outcome in zip(items, outcomes, strict=True) if outcome is ACCEPTED]
        return outcomes

    def close(self) -> None:
        self.closed += 1


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def delivery(tmp_path: Path, target: Target, clock: Callable[[], float], **settings: object) -> Delivery:
    return Delivery(target, tmp_path / "spool", DeliverySettings.model_validate(settings), clock=clock, rng=Random(1))


def drain(subject: Delivery) -> None:
    while subject.run_once() == 0:
        pass


def items(kind: ItemKind, count: int, start: int = 0) -> list[Item]:
    return [item(kind, index) for index in range(start, start + count)]


@pytest.mark.parametrize("kind", list(ItemKind))
def test_items_survive_the_spool_bit_for_bit(kind: ItemKind) -> None:
    one = item(kind, 3)
    back = decode(encode(one))
    assert (back.kind, back.id, back.order_key) == (one.kind, one.id, one.order_key)
    assert encode(back) == encode(one)
    assert item(kind, 3).id == one.id != item(kind, 4).id


def test_alerts_go_before_everything_else(tmp_path: Path, clock: Clock) -> None:
    target = Target()
    subject = delivery(tmp_path, target, clock, batch_max=4)
    subject.put([*items(ItemKind.MEASUREMENTS, 10), *items(ItemKind.EVENT, 2), *items(ItemKind.ALERT, 2)])
    subject.run_once()
    assert [one.kind for one in target.accepted] == [ItemKind.ALERT] * 2 + [ItemKind.EVENT] * 2
    drain(subject)
    assert subject.statistics().accepted == 14
    assert subject.statistics().queued == subject.statistics().queued_bytes == 0


def test_backoff_doubles_is_spread_and_honours_the_target(tmp_path: Path, clock: Clock) -> None:
    asked: list[float | None] = [None]
    target = Target(lambda _: Retry("down", asked[0]))
    subject = delivery(tmp_path, target, clock, backoff_first_s=1, backoff_max_s=8, wait_max_s=100)
    subject.put([item(ItemKind.EVENT)])
    waits = []
    for _ in range(6):
        wait_s = subject.run_once()
        assert wait_s is not None
        waits.append(wait_s)
        clock.now_s += wait_s
    for wait_s, longest_s in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert longest_s / 2 <= wait_s <= longest_s
    asked[0] = 50.0
    assert subject.run_once() == 50.0
    clock.now_s += 49
    assert subject.run_once() == 1.0
    clock.now_s += 1
    asked[0] = 1e9
    assert subject.run_once() == 100.0
    assert subject.statistics().failures == 8
    assert subject.statistics().last_error == "down"


def test_an_item_that_always_fails_keeps_nobody_waiting(tmp_path: Path, clock: Clock) -> None:
    poison = item(ItemKind.ALERT, 0).id
    for scope in ("item", "target"):
        target = Target(lambda one, scope=scope: Retry("500", scope=scope) if one.id == poison else ACCEPTED)  # type: ignore[misc]
        subject = delivery(tmp_path / scope, target, clock, batch_max=1)
        subject.put(items(ItemKind.ALERT, 3))
        for _ in range(4):
            clock.now_s += subject.run_once() or 0
        assert {one.id for one in target.accepted} == {item(ItemKind.ALERT, index).id for index in (1, 2)}
        assert subject.statistics().queued == 1


def test_transitions_of_one_alert_keep_their_order(tmp_path: Path, clock: Clock) -> None:
    book = AlertBook(HomePolicy())
    (first,) = book.apply(event(0))
    one = alert_item(first, book.open()[0])
    second = book.command(Command("c", Action.ACKNOWLEDGE, first.alert_id, "n-1", first.at_ns + 1))
    assert isinstance(second, list)
    two = alert_item(second[0], book.open()[0])
    answers: list[Outcome] = [Retry("500", scope="item"), ACCEPTED, ACCEPTED]
    target = Target(lambda _: answers.pop(0))
    subject = delivery(tmp_path, target, clock)
    subject.put([one, two])
    for _ in range(5):
        clock.now_s += subject.run_once() or 0
    assert [got.id for got in target.tried] == [one.id, one.id, two.id]


def test_what_is_refused_is_a_dead_letter_with_the_reason(tmp_path: Path, clock: Clock) -> None:
    target = Target(lambda one: Rejected("receiver answered 410") if one.id == item(ItemKind.ALERT, 1).id else ACCEPTED)
    subject = delivery(tmp_path, target, clock)
    subject.put(items(ItemKind.ALERT, 3))
    drain(subject)
    letter = json.loads((tmp_path / "spool" / "dead-alert.jsonl").read_text())
    assert (letter["why"], letter["id"]) == ("receiver answered 410", item(ItemKind.ALERT, 1).id)
    assert letter["body"]["alert"]["subject"] == "resident/r-1"
    assert (subject.statistics().dead, subject.statistics().accepted, subject.statistics().queued) == (1, 2, 0)


def test_a_body_that_cannot_be_is_a_dead_letter_and_raises_nothing(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(), clock)
    subject.put([Item(ItemKind.EVENT, "x", item(ItemKind.ALERT).body), item(ItemKind.EVENT)])
    drain(subject)
    assert (subject.statistics().dead, subject.statistics().accepted) == (1, 1)


def test_dead_letters_are_bounded_but_for_alerts(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(lambda _: Rejected("no")), clock, dead_max_bytes=4096)
    subject.put([*items(ItemKind.EVENT, 60), *items(ItemKind.ALERT, 20)])
    drain(subject)
    folder = tmp_path / "spool"
    assert sum(path.stat().st_size for path in folder.glob("dead-event.jsonl*")) <= 4096
    assert len((folder / "dead-alert.jsonl").read_text().splitlines()) == 20
    kept = sum(len(path.read_text().splitlines()) for path in folder.glob("dead-event.jsonl*"))
    assert kept + subject.statistics().dead_dropped == 60


def test_when_full_the_least_dangerous_goes_first_and_alerts_never(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(lambda _: Retry("down")), clock, spool_max_bytes=20_000)
    subject.put(items(ItemKind.EVENT, 30))
    subject.put(items(ItemKind.MEASUREMENTS, 200))
    figures = subject.statistics()
    assert figures.queued_bytes <= 20_000
    assert figures.shed[ItemKind.MEASUREMENTS] > 0
    assert figures.shed[ItemKind.EVENT] == 0
    subject.put(items(ItemKind.ALERT, 60))
    figures = subject.statistics()
    assert figures.shed[ItemKind.MEASUREMENTS] == 200
    assert figures.shed[ItemKind.EVENT] == 30
    assert figures.queued == 60
    assert figures.over_bound == 1


def test_what_was_put_survives_a_process_that_dies(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(lambda one: ACCEPTED if one.kind is ItemKind.EVENT else Retry("later", scope="item")), clock)
    subject.put([*items(ItemKind.ALERT, 2), *items(ItemKind.EVENT, 3)])
    drain(subject)
    os.close(subject._spool._lock)  # what the kernel does for a dead process
    target = Target()
    again = delivery(tmp_path, target, clock)
    again.put(items(ItemKind.EVENT, 4))  # the input is replayed: three were delivered before
    drain(again)
    assert [one.kind for one in target.accepted] == [ItemKind.ALERT] * 2 + [ItemKind.EVENT]
    assert again.statistics().duplicates == 3


@pytest.mark.parametrize("cut", [1, 5, 9, 40, 200])
def test_a_torn_tail_costs_the_torn_record_only(tmp_path: Path, clock: Clock, cut: int) -> None:
    subject = delivery(tmp_path, Target(lambda _: Retry("down")), clock)
    subject.put(items(ItemKind.EVENT, 3))
    subject.close(0)
    (log,) = (tmp_path / "spool").glob("event-*.log")
    data = log.read_bytes()
    log.write_bytes(data[:-cut])
    target = Target()
    again = delivery(tmp_path, target, clock)
    drain(again)
    assert [one.id for one in target.accepted] == [item(ItemKind.EVENT, index).id for index in range(2)]
    assert again.statistics().damaged_bytes == (len(data) // 3 - cut) if len(data) % 3 == 0 else again.statistics().damaged_bytes > 0
    again.put(items(ItemKind.EVENT, 1, start=7))
    drain(again)
    assert len(target.accepted) == 3


def test_the_log_does_not_grow_with_what_is_delivered(tmp_path: Path, clock: Clock) -> None:
    stuck = item(ItemKind.ALERT, 0)
    target = Target(lambda one: Retry("no", scope="item") if one.id == stuck.id else ACCEPTED)
    subject = delivery(tmp_path, target, clock, batch_max=2000)
    subject.put([stuck])
    for start in range(0, 20_000, 1000):
        subject.put(items(ItemKind.MEASUREMENTS, 1000, start=start))
        subject.run_once()
    assert subject.statistics().spool_bytes < 3 << 20
    subject.close(0)
    again_target = Target()
    again = delivery(tmp_path, again_target, clock)
    drain(again)
    assert [one.id for one in again_target.accepted] == [stuck.id]


def test_memory_is_bounded_and_the_rest_is_read_back(tmp_path: Path, clock: Clock) -> None:
    target = Target()
    subject = delivery(tmp_path, target, clock, memory_max_items=5)
    subject.put(items(ItemKind.MEASUREMENTS, 50))
    drain(subject)
    assert [encode(one) for one in target.accepted] == [encode(one) for one in items(ItemKind.MEASUREMENTS, 50)]


def test_measurements_linger_and_alerts_do_not(tmp_path: Path, clock: Clock) -> None:
    target = Target()
    subject = delivery(tmp_path, target, clock, linger_s=60, batch_max=100)
    subject.put(items(ItemKind.MEASUREMENTS, 10))
    assert subject.run_once() == 60
    clock.now_s += 59
    assert subject.run_once() == 1
    clock.now_s += 1
    assert subject.run_once() is None
    assert target.batches == [10]
    subject.put(items(ItemKind.MEASUREMENTS, 100, start=50))
    subject.run_once()
    assert target.batches == [10, 100]


def test_a_sink_that_raises_or_miscounts_loses_nothing(tmp_path: Path, clock: Clock) -> None:
    def faulty(_: Item) -> Outcome:
        raise KeyError("bug")

    target = Target(faulty)
    subject = delivery(tmp_path, target, clock)
    subject.put(items(ItemKind.EVENT, 3))
    clock.now_s += subject.run_once() or 0
    assert "KeyError" in subject.statistics().last_error
    target.deliver = lambda items: [ACCEPTED]  # type: ignore[method-assign]
    clock.now_s += subject.run_once() or 0
    assert (subject.statistics().errors, subject.statistics().queued) == (2, 3)


def test_two_deliveries_cannot_share_a_folder(tmp_path: Path, clock: Clock) -> None:
    first = delivery(tmp_path, Target(), clock)
    with pytest.raises(SpoolBusyError, match="another process"):
        delivery(tmp_path, Target(), clock)
    first.close()
    DeliverySpool(tmp_path / "spool").close()


def test_a_hanging_sink_delays_nobody_and_close_keeps_its_deadline(tmp_path: Path) -> None:
    release, entered, answered = threading.Event(), threading.Event(), threading.Event()

    def hang(_: Item) -> Outcome:
        entered.set()
        release.wait(120)
        answered.set()
        return ACCEPTED

    target = Target(hang)
    subject = delivery(tmp_path, target, time.monotonic)
    subject.start()
    subject.put(items(ItemKind.ALERT, 1))
    assert entered.wait(60)
    for index in range(200):
        subject.put([item(ItemKind.EVENT, index)])
    subject.sync()
    assert not answered.is_set(), "the sink was waited for"
    assert subject.close(0.3) is False
    assert not answered.is_set(), "the sink was waited for"
    again_target = Target()
    again = delivery(tmp_path, again_target, time.monotonic)
    drain(again)
    assert len(again_target.accepted) == 201
    release.set()
    give_up = time.monotonic() + 5
    while not target.closed and time.monotonic() < give_up:
        time.sleep(0.01)
    assert target.closed == 1


def test_a_thread_delivers_at_once_and_drains_on_close(tmp_path: Path) -> None:
    target = Target()
    subject = delivery(tmp_path, target, time.monotonic, linger_s=60)
    subject.start()
    subject.put(items(ItemKind.ALERT, 1))
    give_up = time.monotonic() + 5
    while not target.accepted and time.monotonic() < give_up:
        time.sleep(0.001)
    assert len(target.accepted) == 1
    subject.put(items(ItemKind.MEASUREMENTS, 5))
    assert subject.close(5) is True
    assert (len(target.accepted), target.closed) == (6, 1)
    assert subject.close(5) is True
    with pytest.raises(RuntimeError, match="closed"):
        subject.put([event_item(event(1))])


def test_kinds_a_sink_does_not_take_pass_by(tmp_path: Path, clock: Clock) -> None:
    subject = delivery(tmp_path, Target(takes=frozenset({ItemKind.ALERT})), clock)
    subject.put([item(kind) for kind in ItemKind])
    assert subject.statistics().queued == 1


def test_an_address_is_redacted() -> None:
    assert redacted("https://user:pass@example.org:8443/hook/token?key=1") == "https://example.org:8443/…"
