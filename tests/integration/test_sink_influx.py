"""InfluxDB: a real server, asked afterwards what it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from alerts.book import AlertBook
from alerts.model import Action, Command, Outcome
from engine.events import Event
from engine.outputs import Measurements
from sinks.delivery import Delivery, DeliverySettings
from sinks.examples import T0_NS, event, item
from sinks.influx import InfluxConfig, InfluxSink
from sinks.items import Item, ItemKind, alert_item, event_item, measurements_item
from sinks.outcome import Accepted, Rejected, Retry
from streams.pipeline.assembly import HomePolicy
from tests.conftest import missing_service
from tests.services import influx

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[influx.Influx]:
    reason = influx.missing()
    if reason:
        missing_service(f"InfluxDB: {reason}")
    with influx.running(tmp_path_factory.mktemp("influx")) as running:
        yield running


@pytest.fixture
def database(server: influx.Influx) -> influx.Influx:
    server.query(f"DROP DATABASE {server.bucket}")
    server.query(f"CREATE DATABASE {server.bucket}")
    return server


def sink_of(database: influx.Influx, bucket: str = "vigil/autogen") -> InfluxSink:
    return InfluxSink(InfluxConfig.model_validate({"url": database.url, "token": "t", "org": "home", "bucket": bucket}))


def rows(name: str, column: str, *values: float, t_ns: int = T0_NS, subject: str = "resident/1") -> Item:
    times = np.arange(len(values), dtype=np.int64) + t_ns
    return measurements_item(Measurements(name, (subject,) * len(values), times, (column,), np.array(values, np.float32)[:, None]))


def test_values_arrive_as_they_were(database: influx.Influx) -> None:
    strange = "room/2 楼,=x"
    sink = sink_of(database)
    items = [rows("feature.heart rate,x", "rate=, bpm", 36.6, np.nan, -1e-8, subject=strange)]
    assert sink.deliver(items) == [Accepted()]
    got = database.query('SELECT * FROM "feature.heart rate,x"')
    assert [(row["time"], row["subject"]) for row in got] == [(T0_NS, strange), (T0_NS + 2, strange)]
    assert [row["rate=, bpm"] for row in got] == [36.6, -1e-8]


def test_a_type_conflict_is_reported_for_the_item_that_has_it(database: influx.Influx) -> None:
    sink = sink_of(database)
    assert sink.deliver([rows("taken", "x", 1)]) == [Accepted()]
    database.query("DROP SERIES FROM taken")
    sink._api.write("vigil/autogen", "home", f'other x="text" {T0_NS}')
    items = [rows("vitals", "x", index, t_ns=T0_NS + index) for index in range(9)]
    items[4] = rows("other", "x", 1)
    outcomes = sink.deliver(items)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 4 + [Rejected] + [Accepted] * 4
    assert isinstance(outcomes[4], Rejected)
    assert "field type conflict" in outcomes[4].why
    assert len(database.query("SELECT * FROM vitals")) == 8


def test_one_point_of_another_type_takes_nobody_with_it(database: influx.Influx, tmp_path: Path) -> None:
    sink = sink_of(database)
    sink._api.write("vigil/autogen", "home", f'vitals,subject=resident/7 x="text" {T0_NS}')  # somebody else's program
    delivery = Delivery(sink, tmp_path / "spool", DeliverySettings(batch_max=500))
    delivery.put([*(rows("vitals", "x", n, t_ns=T0_NS + 1000 * n, subject=f"resident/{n}") for n in range(25)), item(ItemKind.ALERT)])
    delivery.run_once()
    refused = delivery.statistics().dead
    assert delivery.statistics().queued == 0
    delivery.close()
    stored = {row["subject"] for row in database.query("SELECT * FROM vitals") if row["time"] > T0_NS or row["subject"] != "resident/7"}
    assert len(stored) + refused == 25  # nothing is lost without a word
    assert len(database.query("SELECT * FROM alerts")) == 1
    for line in (tmp_path / "spool" / "dead-measurements.jsonl").read_text().splitlines() if refused else ():
        assert "field type conflict" in json.loads(line)["why"]


def test_an_alert_is_one_point_that_follows_its_state(database: influx.Influx, tmp_path: Path) -> None:
    book = AlertBook(HomePolicy())
    (first,) = book.apply(event(1))
    items = [alert_item(first, book.open()[0])]
    alert = book.open()[0]
    for action, outcome in ((Action.ACKNOWLEDGE, None), (Action.RESOLVE, Outcome.TRUE)):
        steps = book.command(Command(action.value, action, alert.id, "n-1", first.at_ns + 1, outcome))
        assert isinstance(steps, list)
        after = book.alert(alert.id)
        assert after is not None
        items += [alert_item(step, after) for step in steps]
    delivery = Delivery(sink_of(database), tmp_path / "spool", DeliverySettings())
    delivery.put(items)
    while delivery.run_once() == 0:
        pass
    delivery.close()
    (point,) = database.query("SELECT * FROM alerts")
    assert (point["time"], point["code"], point["subject"]) == (event(1).onset_ns, "falls.fall", "resident/r-1")
    assert (point["state"], point["outcome"], point["sequence"], point["priority"]) == ("resolved", "true", 3, 3)


def test_an_event_keeps_its_values(database: influx.Influx) -> None:
    assert sink_of(database).deliver([event_item(event(2))]) == [Accepted()]
    (point,) = database.query("SELECT * FROM events")
    assert (point["time"], point["value_impact_g"], point["score"], point["id"]) == (event(2).onset_ns, 5.5, 0.9, event(2).id)


def test_two_devices_silent_at_the_same_instant_are_two_points(database: influx.Influx) -> None:
    silent = [
        Event(key, "device", "device.silent", "resident/r-1", "onset", 1, T0_NS, T0_NS, T0_NS, 1.0, {}, device)
        for key, device in (("a", "mat:vitals"), ("b", "mat:bed"), ("c", ""))
    ]
    assert set(sink_of(database).deliver([event_item(one) for one in silent])) == {Accepted()}
    points = database.query("SELECT * FROM events")
    assert {(row["id"], row["device"] or "") for row in points} == {("a", "mat:vitals"), ("b", "mat:bed"), ("c", "")}


@pytest.mark.parametrize("text", ["line\nbreak", "", "end\\", "bell\x07"])
def test_text_that_line_protocol_cannot_carry_is_rejected_not_mangled(database: influx.Influx, text: str) -> None:
    good = event(0)
    bad = Event("x", "d", "c.x", text, "onset", 1, T0_NS, T0_NS, T0_NS, 1.0, {})
    outcomes = sink_of(database).deliver([event_item(bad), event_item(good), rows("m", "x", 1, subject=text)])
    assert [type(outcome) for outcome in outcomes] == [Rejected, Accepted, Rejected]
    assert len(database.query("SELECT id FROM events")) == 1


def test_a_wrong_bucket_keeps_the_data_waiting(database: influx.Influx) -> None:
    (first, second) = sink_of(database, "nowhere").deliver([item(ItemKind.EVENT), item(ItemKind.EVENT, 1)])
    assert isinstance(first, Retry)
    assert "404" in first.why
    assert isinstance(second, Retry)
