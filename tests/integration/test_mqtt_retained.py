"""Retained messages of a real broker: what it keeps is not a new press, and no press is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from alerts.model import Action, Alert, Command, Outcome
from engine.clocks import AdmissionLimits
from engine.frame import NS_PER_S
from engine.registry import Binding, RegistryData
from schemas.recording import Record
from streams.config import Listen, VigilConfig
from streams.embedded.service import Service
from streams.intake.mqtt import MqttConfig
from streams.recordings.capture import capture
from streams.recordings.format import read
from streams.recordings.replay import replay
from tests.integration.test_doors import until
from tests.services.mosquitto import mosquitto

PRESS = msgspec.json.encode({"v": 1, "device": "call-1", "kind": "button", "t0_ns": 0, "values": {"pressed": 1}})
"""A button without a clock and without numbers: each press is the same message."""

UNMARKED_S = AdmissionLimits().resend_unmarked_ns / NS_PER_S + 0.5
"""The same message within less than this may be its repetition."""


@contextmanager
def vigil(data: Path, port: int) -> Iterator[Service]:
    service = Service(VigilConfig(data_dir=data, listen=Listen(port=0), mqtt=MqttConfig(host="127.0.0.1", port=port)))
    service.start()
    try:
        until(lambda: service.mqtt is not None and service.mqtt.view().health == "ok")
        yield service
    finally:
        service.stop()


@contextmanager
def sender(port: int) -> Iterator[paho.Client]:
    client = paho.Client(CallbackAPIVersion.VERSION2, "button")
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def alerts(service: Service) -> list[Alert]:
    book = service.vigil.core.book
    return [alert for alert in (*book.closed(), *book.open()) if alert.code == "sos.pressed"]


def close(service: Service, outcome: Outcome) -> None:
    (alert,) = (alert for alert in service.vigil.core.book.open() if alert.code == "sos.pressed")
    command = Command(f"c-{alert.id}-{alert.sequence}", Action.RESOLVE, alert.id, "li", time.time_ns(), outcome)
    assert service.vigil.command(command).result(20) is None


@pytest.mark.services
def test_a_retained_press_rings_once_over_restarts_and_a_real_one_always(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "registry.json").write_bytes(msgspec.json.encode(RegistryData(bindings=(Binding("call-1", "resident/a", "h/1"),))))
    topic = "vigil/v1/call-1"
    with mosquitto(tmp_path / "broker") as port, sender(port) as button:
        button.publish(topic, PRESS, qos=1, retain=True).wait_for_publish(10)
        with vigil(data, port) as service:  # pressed before Vigil ever listened: nobody has answered
            until(lambda: len(alerts(service)) == 1)
            assert alerts(service)[0].values == {"time_unknown": 1.0}
            close(service, Outcome.FALSE)
        for number in (2, 3):
            with vigil(data, port) as service:
                until(lambda number=number: service.vigil.core.messages == number)  # type: ignore[misc]
                assert len(alerts(service)) == 1
                assert service.vigil.core.book.open() == []
        with vigil(data, port) as service:
            until(lambda: service.vigil.core.messages == 4)
            time.sleep(UNMARKED_S)
            button.publish(topic, PRESS, qos=1, retain=True).wait_for_publish(10)  # a live press, the same in every byte
            until(lambda: len(alerts(service)) == 2)
            close(service, Outcome.TRUE)
        time.sleep(UNMARKED_S)
        button.publish(topic, PRESS, qos=1, retain=True).wait_for_publish(10)  # while Vigil is away
        with vigil(data, port) as service:
            until(lambda: len(alerts(service)) == 3)
            until(lambda: service.vigil.core.messages == 7)  # queued, and once more as retained
            assert [alert.repeats for alert in alerts(service)] == [0, 0, 0]
            close(service, Outcome.TRUE)
        with vigil(data, port) as service:
            until(lambda: service.vigil.core.messages == 8)
            assert len(alerts(service)) == 3
    target = tmp_path / "kept.vigil"
    assert capture(data, target) == 8
    recording = read(target)
    records = list(recording.records)
    assert [record.retained for record in records].count(True) == 6
    found = replay(recording._replace(records=iter(records)))
    assert [event.code for event in found.events if event.code == "sos.pressed"] == ["sos.pressed"] * 3
    assert Record(0, b"") == Record(0, b"", False)


@pytest.mark.services
def test_a_brokers_second_try_at_what_is_on_disk_is_no_new_press(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "registry.json").write_bytes(msgspec.json.encode(RegistryData(bindings=(Binding("call-1", "resident/a", "h/1"),))))
    with mosquitto(tmp_path / "broker") as port, sender(port) as button:
        monkeypatch.setattr(paho.Client, "ack", lambda *_: None)  # Vigil ends before its acknowledgement is out
        with vigil(data, port) as service:
            time.sleep(0.3)
            button.publish("vigil/v1/call-1", PRESS, qos=1).wait_for_publish(10)
            until(lambda: len(alerts(service)) == 1)
            close(service, Outcome.TRUE)
        monkeypatch.undo()
        time.sleep(UNMARKED_S)
        with vigil(data, port) as service:
            until(lambda: service.vigil.core.repeated == 1)
            assert len(alerts(service)) == 1
            button.publish("vigil/v1/call-1", PRESS, qos=1).wait_for_publish(10)
            until(lambda: len(alerts(service)) == 2)
