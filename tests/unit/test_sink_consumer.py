"""The parts of a sink process that need no broker: reading records, offsets that wait for delivery, choosing a sink."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest
from typer.testing import CliRunner

from alerts.policy import CANARY_PREFIX
from engine.outputs import Measurements
from sinks.catalogue import SINKS
from sinks.codec import encode
from sinks.delivery import Delivery, DeliverySettings
from sinks.examples import item
from sinks.items import AlertChange, Item, ItemKind
from sinks.jsonl import JsonlConfig
from sinks.outcome import ACCEPTED, Outcome, Rejected, Retry
from sinks.parquet import ParquetConfig
from streams.cli.main import app
from streams.cli.sink import chosen
from streams.config import Sink
from streams.kafka import topics
from streams.kafka.records import frame, single
from streams.sink_process.metrics import ATTEMPT_HUNG_S, CountingSink, DeliveryCollector, SinkMetrics, health
from streams.sink_process.offset_tracker import OffsetTracker
from streams.sink_process.people import People
from streams.sink_process.reading import Undecodable, read

ANSWERS: dict[str, Outcome] = {"accept": ACCEPTED, "retry": Retry("busy", scope="item"), "reject": Rejected("never")}


class Target:
    """A sink in memory that answers as told, by id."""

    name = "target"
    takes = frozenset(ItemKind)

    def __init__(self) -> None:
        self.answers: dict[str, Outcome] = {}
        self.got: list[str] = []

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        self.got += [one.id for one in items]
        return [self.answers.get(one.id, ACCEPTED) for one in items]

    def close(self) -> None:
        pass


def delivered(delivery: Delivery) -> None:
    """One round, whatever is due."""
    delivery.run_once()


def key(one: Item) -> tuple[ItemKind, str]:
    return one.kind, one.id


# -- reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ItemKind)
def test_every_kind_comes_back_from_its_topic(kind: ItemKind) -> None:
    one = item(kind, 3)
    framed = kind in {ItemKind.MEASUREMENTS, ItemKind.QUARANTINE, ItemKind.ACCOUNT}
    topic = {ItemKind.AUDIT: "audit", ItemKind.QUARANTINE: "quarantine", ItemKind.MEASUREMENTS: "measurements"}.get(kind, f"{kind.value}s")
    found = read(topic, frame([encode(one)]) if framed else single(one)[1])
    assert [key(each) for each in found.items] == [key(one)]
    assert found.undecodable == []


def test_one_bad_item_takes_no_good_one_with_it() -> None:
    good = [item(ItemKind.MEASUREMENTS, n) for n in range(3)]
    smuggled = item(ItemKind.ALERT)
    pieces = [encode(good[0]), b"\xc1", encode(good[1]), encode(smuggled), b"", encode(good[2])[:-3], encode(good[2])]
    found = read(topics.MEASUREMENTS, frame(pieces))
    assert [one.id for one in found.items] == [one.id for one in good]
    assert [undecodable.payload for undecodable in found.undecodable] == [pieces[1], pieces[3], pieces[4], pieces[5]]
    assert f"alert {smuggled.id} does not belong" in found.undecodable[1].why


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (topics.ALERTS, None),
        (topics.ALERTS, b""),
        (topics.ALERTS, b"{"),
        (topics.ALERTS, b'{"transition": 1}'),
        (topics.ALERTS, b"\xff\xfe"),
        (topics.ALERTS, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        (topics.EVENTS, b"[]"),
        (topics.AUDIT, b"null"),
        (topics.MEASUREMENTS, b"not a frame"),
        (topics.ACCOUNTS, msgspec.msgpack.encode({"a": 1})),
        (topics.QUARANTINE, msgspec.msgpack.encode([1, 2])),
    ],
)
def test_what_is_no_record_is_bad_as_a_whole_with_a_reason(topic: str, value: bytes | None) -> None:
    found = read(topic, value)
    assert found.items == []
    (undecodable,) = found.undecodable
    assert undecodable.payload == (value or b"")
    assert undecodable.why


def test_a_simulated_wearer_is_left_out_where_people_look_and_stays_in_the_archives() -> None:
    real = item(ItemKind.ALERT)
    assert isinstance(real.body, AlertChange)
    alert = msgspec.structs.replace(real.body.alert, subject=f"{CANARY_PREFIX}3")
    simulated = real._replace(body=AlertChange(real.body.transition, alert))
    assert [SINKS[type_].leave_out(real) for type_ in ("webhook", "influx", "sqlite")] == [False, False, False]
    assert [SINKS[type_].leave_out(simulated) for type_ in ("webhook", "influx", "sqlite", "jsonl")] == [True, True, False, False]
    rows = item(ItemKind.MEASUREMENTS)
    assert isinstance(rows.body, Measurements)
    everybody = rows.body._replace(subjects=tuple(f"{CANARY_PREFIX}{n}" for n, _ in enumerate(rows.body.subjects)))
    somebody = everybody._replace(subjects=(*everybody.subjects[:-1], rows.body.subjects[-1]))
    kept = [SINKS["influx"].leave_out(rows._replace(body=body)) for body in (rows.body, somebody, everybody)]
    assert kept == [False, False, True], "a person's measurement is never left out"


# -- offsets --------------------------------------------------------------------------------------------------------------


def test_the_offset_waits_for_the_first_undelivered_record(tmp_path: Path) -> None:
    target = Target()
    delivery = Delivery(target, tmp_path, DeliverySettings(backoff_first_s=0.001, backoff_max_s=0.001))
    tracker = OffsetTracker(ItemKind.ALERT, 10)
    alerts = [item(ItemKind.ALERT, n) for n in range(4)]
    target.answers = {alerts[1].id: ANSWERS["retry"], alerts[2].id: ANSWERS["reject"]}
    tracker.add(10, 5, [], [])  # nothing this sink takes
    for offset, one in zip((11, 12, 14, 20), alerts, strict=True):
        tracker.add(offset, 100, [key(one)], [])
    delivery.put(alerts)
    assert (tracker.settle(delivery), tracker.bytes) == (11, 400)
    delivered(delivery)
    assert (tracker.settle(delivery), tracker.bytes) == (12, 300)  # 13 and on are done, 12 is not
    assert list(tracker.waiting()) == [key(one) for one in alerts[1:]]
    target.answers = {}
    time.sleep(0.002)
    delivered(delivery)
    assert (tracker.settle(delivery), tracker.bytes, tracker.read_offset) == (21, 0, 21)
    delivery.close()


def test_a_letter_that_cannot_be_written_holds_the_offset(tmp_path: Path) -> None:
    delivery = Delivery(Target(), tmp_path)
    tracker = OffsetTracker(ItemKind.MEASUREMENTS, 0)
    (tmp_path / "dead-unreadable-measurements.jsonl").mkdir()  # stands for a disk that refuses
    tracker.add(0, 4, [], [Undecodable(b"nope", "this is no frame")])
    assert tracker.settle(delivery) == 0
    (tmp_path / "dead-unreadable-measurements.jsonl").rmdir()
    assert tracker.settle(delivery) == 1
    letter = json.loads((tmp_path / "dead-unreadable-measurements.jsonl").read_text())
    assert letter == {"why": "this is no frame", "payload": "bm9wZQ=="}
    delivery.close()


def test_what_is_withdrawn_is_not_delivered_and_may_come_again(tmp_path: Path) -> None:
    target = Target()
    delivery = Delivery(target, tmp_path)
    alerts = [item(ItemKind.ALERT, n) for n in range(3)]
    delivery.put(alerts)
    assert delivery.withdraw([key(alerts[1]), (ItemKind.ALERT, "unknown")]) == 1
    assert delivery.queue()[ItemKind.ALERT] == 2
    delivered(delivery)
    assert target.got == [alerts[0].id, alerts[2].id]
    delivery.put([alerts[1]])
    delivered(delivery)
    assert target.got[2:] == [alerts[1].id]
    assert delivery.statistics().shed[ItemKind.ALERT] == 0
    delivery.close()


def test_withdrawn_while_under_way_and_put_again_is_counted_once(tmp_path: Path) -> None:
    one = item(ItemKind.ALERT)

    class Late(Target):
        def deliver(self, items: Sequence[Item]) -> list[Outcome]:
            if not self.got:
                delivery.withdraw()
                delivery.put([one])
            return super().deliver(items)

    target = Late()
    delivery = Delivery(target, tmp_path)
    delivery.put([one])
    delivered(delivery)
    assert delivery.waits([key(one)])  # the second putting is another entry: its delivery is still to come
    delivered(delivery)
    assert target.got == [one.id, one.id]
    assert (delivery.statistics().queued, delivery.statistics().queued_bytes) == (0, 0)
    delivery.close()


def test_withdrawn_items_are_gone_after_a_restart_and_delivered_ids_are_not(tmp_path: Path) -> None:
    alerts = [item(ItemKind.ALERT, n) for n in range(3)]
    first = Delivery(Target(), tmp_path)
    first.put(alerts[:1])
    delivered(first)
    first.put(alerts[1:])
    first.close(0)
    target = Target()
    second = Delivery(target, tmp_path)
    assert second.withdraw() == 2
    second.remember([alerts[2]])
    second.put(alerts)
    delivered(second)
    assert target.got == [alerts[1].id]
    assert second.statistics().duplicates == 2
    second.close()


# -- figures --------------------------------------------------------------------------------------------------------------


def test_what_was_delivered_how_late_and_what_waits_is_told(tmp_path: Path) -> None:
    metrics = SinkMetrics("oncall", 300.0, [topics.ALERTS])
    target = Target()
    delivery = Delivery(CountingSink(target, metrics), tmp_path)
    metrics.registry.register(DeliveryCollector(metrics, delivery))
    metrics.lag = {topics.ALERTS: 4}
    metrics.paused = frozenset({topics.ALERTS})
    alert = item(ItemKind.ALERT)  # of last year: late
    delivery.put([alert, item(ItemKind.EVENT)])
    text = generate_latest(metrics.registry).decode()
    assert 'vigil_sink_queue_items{kind="alert"} 1.0' in text
    assert 'vigil_sink_lag_records{topic="alerts"} 4.0' in text
    assert 'vigil_sink_paused{topic="alerts"} 1.0' in text
    delivered(delivery)
    text = generate_latest(metrics.registry).decode()
    assert 'vigil_sink_delivered_items_total{kind="alert"} 1.0' in text
    assert "vigil_sink_late_alerts_total 1.0" in text
    assert 'vigil_sink_queue_items{kind="alert"} 0.0' in text
    answer = health(metrics, delivery, stalled_s=60.0)
    ok, details = answer()
    assert (ok, details["state"], details["lag"]) == (True, "idle", {topics.ALERTS: 4})
    metrics.kafka_asked_s = time.monotonic() - 30.0
    ok, details = answer()
    assert (ok, details["state"], details["why"]) == (True, "degraded", "Kafka has not answered for 30 s")
    metrics.kafka_asked_s = None
    target.answers = {item(ItemKind.ALERT, 9).id: Retry("the receiver is away")}
    delivery.put([item(ItemKind.ALERT, 9)])
    delivered(delivery)
    ok, details = answer()
    assert (ok, details["state"], details["why"]) == (True, "failing", "the receiver is away")
    metrics.attempt_since_s = time.monotonic() - ATTEMPT_HUNG_S - 1.0
    ok, details = answer()
    assert (ok, details["state"]) == (False, "stalled")
    assert details["why"].startswith("a delivery attempt has lasted 901 s")
    metrics.attempt_since_s = None
    metrics.loop_s -= 61.0
    ok, details = answer()
    assert (ok, details["state"]) == (False, "stalled")
    delivery.close(0)


# -- choosing -------------------------------------------------------------------------------------------------------------


def sinks(*names: str) -> tuple[Sink, ...]:
    return tuple(Sink.model_validate({"name": name, "to": {"type": "jsonl", "path": f"{name}.jsonl"}}) for name in names)


def test_a_sink_is_chosen_by_name_or_by_a_type_that_is_alone() -> None:
    assert chosen(sinks("a", "b"), "b").name == "b"
    assert chosen(sinks("a"), "jsonl").name == "a"
    with pytest.raises(ValueError, match="several sinks of type jsonl; choose one of: a, b"):
        chosen(sinks("a", "b"), "jsonl")
    with pytest.raises(ValueError, match="there is no sink webhook; choose one of: a"):
        chosen(sinks("a"), "webhook")
    with pytest.raises(ValueError, match=r"none: add \[\[sinks\]\]"):
        chosen((), "x")


def test_each_instance_writes_files_of_its_own() -> None:
    jsonl, parquet = JsonlConfig(path=Path("d/x.jsonl")), ParquetConfig(root=Path("d"))
    assert jsonl.for_instance("") == jsonl
    assert jsonl.for_instance("two") == JsonlConfig(path=Path("d/two/x.jsonl"))
    assert parquet.for_instance("two") == ParquetConfig(root=Path("d/two"))


def test_a_webhook_is_called_one_request_at_a_time_unless_set() -> None:
    to = {"type": "webhook", "url": "http://127.0.0.1/", "secret": "0123456789abcdef"}

    def tried(sink: Sink) -> DeliverySettings:
        return SINKS[sink.to.type].delivery(sink.delivery)

    assert tried(Sink.model_validate({"name": "w", "to": to})).batch_max == 1
    assert tried(Sink.model_validate({"name": "w", "to": to, "delivery": {"batch_max": 7}})).batch_max == 7
    assert tried(sinks("a")[0]).batch_max == DeliverySettings().batch_max


def test_names_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    people = People(path)
    assert people("resident/1") == {}
    path.write_text('{"resident/1": {"name": "王秀英", "room": "201", "bed": "A"}}', encoding="utf-8")
    assert people("resident/1")["name"] == "王秀英"
    path.write_text("{", encoding="utf-8")
    assert people("resident/1")["name"] == "王秀英"
    assert people("resident/2") == {}


CONFIG = """
[[sinks]]
name = "oncall"
[sinks.to]
type = "webhook"
url = "http://127.0.0.1:9/hook/token-in-path"
secret = "0123456789abcdef"
[[sinks]]
name = "copy"
[sinks.to]
type = "jsonl"
path = "copy.jsonl"
"""


def invoked(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["sink", *arguments])


def test_sinks_are_listed_with_their_topics_and_without_their_secrets(tmp_path: Path) -> None:
    (tmp_path / "vigil.toml").write_text(CONFIG)
    done = invoked("list", "--config", str(tmp_path / "vigil.toml"))
    assert done.exit_code == 0
    assert "oncall: webhook, reads alerts as vigil-sink-oncall" in done.output
    assert "copy: jsonl, reads accounts, alerts, audit, events, measurements, quarantine as vigil-sink-copy" in done.output
    assert "token-in-path" not in done.output


def test_a_sink_that_is_not_configured_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "vigil.toml").write_text(CONFIG)
    done = invoked("run", "pager", "--config", str(tmp_path / "vigil.toml"))
    assert done.exit_code == 2
    assert "there is no sink pager; choose one of: oncall, copy" in done.output
