"""The doors of the embedded Vigil: HTTP as a device maker meets it, MQTT over a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr

from engine.registry import Binding, RegistryData
from streams.config import Listen, VigilConfig
from streams.embedded.mqtt import MqttConfig
from streams.embedded.service import Service
from streams.recording import Builder
from tests.services.mosquitto import mosquitto

TOKEN = "0123456789abcdef-token"


def chunk(device: str = "pendant-1", seq: int = 0, **more: object) -> dict[str, object]:
    return {"v": 1, "device": device, "kind": "button", "t0_ns": time.time_ns(), "seq": seq, "samples": [1], **more}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    config = VigilConfig(data_dir=tmp_path / "data", listen=Listen(port=0, device_token=SecretStr(TOKEN)))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registry.json").write_bytes(
        msgspec.json.encode(RegistryData(bindings=(Binding("pendant-1", "resident/a", "h/1"),)))
    )
    running = Service(config)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10) as browser:
        yield browser


def until(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def codes(service: Service) -> set[str]:
    return {alert.code for alert in service.vigil.core.book.open()}


def test_a_pressed_button_becomes_an_alert(service: Service, client: httpx.Client) -> None:
    answer = client.post("/v1/chunks", json=chunk())
    assert answer.status_code == 202
    assert answer.json()["chunks"] == 1
    until(lambda: "sos.pressed" in codes(service))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"not json", "malformed"),
        (b'{"v":1', "truncated"),
        (msgspec.json.encode(chunk(v=9)), "unknown_version"),
        (msgspec.json.encode(chunk(kind="aura")), "unknown_kind"),
        (msgspec.json.encode(chunk(samples="x")), "wrong_type"),
        (msgspec.json.encode(chunk(samples=[7])), "out_of_range"),
        (msgspec.json.encode({**chunk(), "kind": "accel", "rate_hz": 1e9, "samples": [[0, 0, 1]]}), "bad_rate"),
        (msgspec.json.encode({**chunk(), "kind": "accel", "rate_hz": 50, "samples": [[0, 1]]}), "bad_shape"),
        (b'{"v":1,"device":"pendant-1","kind":"accel","t0_ns":1,"rate_hz":50,"samples":[[1e999,0,0]]}', "non_finite"),
        (msgspec.json.encode(chunk(t0_ns=-5)), "bad_time"),
        (b"\x81\xa1v", "truncated"),
    ],
)
def test_bad_input_is_refused_with_a_reason_kept_and_counted(service: Service, client: httpx.Client, payload: bytes, reason: str) -> None:
    answer = client.post("/v1/chunks", content=payload)
    assert answer.status_code == 422
    (why,) = answer.json()["why"]
    assert why["reason"] == reason
    assert len(why["detail"]) > 20
    until(lambda: reason in {str(r) for r in service.vigil.rejected})
    assert client.post("/v1/chunks", json=chunk()).status_code == 202


@pytest.mark.parametrize(("shift_s", "reason"), [(3600, "time_future"), (-3600 * 24 * 800, "time_past")])
def test_impossible_times_are_seen_on_the_system_page(service: Service, client: httpx.Client, shift_s: int, reason: str) -> None:
    client.post("/v1/chunks", json=chunk(t0_ns=time.time_ns() + shift_s * 10**9))
    until(lambda: any(q["reason"] == reason for q in client.get("/api/system").json()["quarantine"]))
    assert codes(service) == set()


def test_an_unknown_device_is_offered_and_can_be_bound(service: Service, client: httpx.Client) -> None:
    client.post("/v1/chunks", json=chunk("stranger"))
    until(lambda: [u["device"] for u in client.get("/v1/unbound").json()] == ["stranger"])
    assert client.post("/v1/bindings", json={"device": "stranger", "subject": "nonsense"}).status_code == 422
    assert client.post("/v1/bindings", json={"device": "stranger", "subject": "resident/b", "by": "it"}).status_code == 200
    client.post("/v1/chunks", json=chunk("stranger", 1))
    until(lambda: any(a.subject == "resident/b" for a in service.vigil.core.book.open()))
    assert client.get("/v1/unbound").json() == []
    assert b"stranger" in (service.config.data_dir / "registry.json").read_bytes()


def test_a_request_sent_again_with_its_key_changes_nothing(service: Service, client: httpx.Client) -> None:
    body = msgspec.json.encode(chunk())
    for _ in range(3):
        assert client.post("/v1/chunks", content=body, headers={"idempotency-key": "k1"}).status_code == 202
    until(lambda: service.vigil.core.repeated == 2)
    assert service.vigil.core.engine.totals() == (1, 0, 0, 0)


def test_one_device_at_a_thousand_times_its_rate_does_not_stop_the_ward(service: Service, client: httpx.Client) -> None:
    now_ns = time.time_ns()
    flood = [chunk("pendant-1", i, t0_ns=now_ns + i) for i in range(2000)]
    assert client.post("/v1/chunks", json=flood).status_code == 202
    until(lambda: any(str(r) == "rate_exceeded" for r in service.vigil.rejected))
    client.post("/v1/bindings", json={"device": "other", "subject": "resident/b"})
    client.post("/v1/chunks", json=chunk("other"))
    until(lambda: any(a.subject == "resident/b" for a in service.vigil.core.book.open()))
    processed, duplicate, late, quarantined = service.vigil.core.engine.totals()
    assert processed + duplicate + late + quarantined == 2001


def test_the_door_is_closed_without_the_token(service: Service) -> None:
    for method, path in (("POST", "/v1/chunks"), ("GET", "/v1/registry"), ("POST", "/v1/bindings"), ("GET", "/v1/unbound")):
        assert httpx.request(method, service.url + path).status_code == 401


def test_too_large_a_message_is_said_to_be_so(client: httpx.Client) -> None:
    assert client.post("/v1/chunks", content=b"x" * (5 * 2**20)).status_code == 413


def test_the_registry_file_is_taken_over_while_running(service: Service, client: httpx.Client) -> None:
    path = service.config.data_dir / "registry.json"
    path.write_bytes(msgspec.json.encode(RegistryData(bindings=(Binding("pendant-1", "resident/new", "h/1"),))))
    until(lambda: service.vigil.core.engine.registry.data.bindings[0].subject == "resident/new")
    path.write_text("{broken", encoding="utf-8")
    time.sleep(1.5)
    assert client.get("/v1/registry").json()["bindings"][0]["subject"] == "resident/new"


@pytest.mark.services
def test_mqtt_messages_sent_while_vigil_is_away_are_not_lost(tmp_path: Path) -> None:
    builder = Builder("mqtt", "test", start_ns=time.time_ns() - 100 * 10**9)
    builder.bind("wrist", "resident/a")
    builder.add("wrist", "accel", builder.start_ns, 50, np.tile(np.array([0, 0, 1], np.float32), (50 * 60, 1)))
    payloads = [record.payload for record in builder.build().records]
    with mosquitto(tmp_path / "broker") as port:
        config = VigilConfig(data_dir=tmp_path / "data", listen=Listen(port=0), mqtt=MqttConfig(host="127.0.0.1", port=port))
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "registry.json").write_bytes(
            msgspec.json.encode(RegistryData(bindings=(Binding("wrist", "resident/a", "h/1"),)))
        )
        sender = paho.Client(CallbackAPIVersion.VERSION2, "gateway")
        sender.connect("127.0.0.1", port)
        sender.loop_start()

        def publish(part: list[bytes]) -> None:
            for payload in part:
                sender.publish("vigil/v1/ward", payload, qos=1).wait_for_publish(10)

        first = Service(config)
        first.start()
        until(lambda: first.mqtt is not None and first.mqtt.view().health == "ok")
        time.sleep(0.3)
        publish(payloads[:20])
        until(lambda: first.vigil.core.messages == 20)
        first.stop()
        publish(payloads[20:40])  # nobody listens
        second = Service(config)
        second.start()
        publish(payloads[40:])
        until(lambda: second.vigil.core.engine.totals()[0] == 50 * 60, 30)
        assert second.vigil.core.engine.totals() == (3000, 0, 0, 0)
        second.stop()
        sender.loop_stop()
