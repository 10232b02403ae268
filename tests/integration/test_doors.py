"""The doors of the embedded Vigil: HTTP as a device maker meets it, MQTT over a real broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr

from engine.outputs import Reason
from engine.registry import Binding, RegistryData
from schemas.codec import decode
from schemas.wire import MESSAGE_BYTES_MAX
from streams.config import Listen, VigilConfig
from streams.embedded.service import Service
from streams.intake.mqtt import MqttConfig
from streams.recordings.format import Builder
from tests.services.mosquitto import mosquitto

TOKEN = "0123456789abcdef-token"
PASSWORD = "of the house"


def chunk(device: str = "pendant-1", seq: int = 0, **more: object) -> dict[str, object]:
    return {"v": 1, "device": device, "kind": "button", "t0_ns": time.time_ns(), "seq": seq, "samples": [1], **more}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    config = VigilConfig(
        data_dir=tmp_path / "data", listen=Listen(port=0, device_token=SecretStr(TOKEN), console_password=SecretStr(PASSWORD))
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registry.json").write_bytes(
        msgspec.json.encode(RegistryData(bindings=(Binding("pendant-1", "resident/a", "h/1"), Binding("air-1", "room/201", "h/1"))))
    )
    running = Service(config)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """A device: it has the token."""
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10) as browser:
        yield browser


@pytest.fixture
def office(service: Service) -> Iterator[httpx.Client]:
    """Who knows the password of the house."""
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {PASSWORD}"}, timeout=10) as browser:
        yield browser


@pytest.fixture
def open_house(tmp_path: Path) -> Iterator[Service]:
    """As `vigil run` starts without a configuration: loopback, no secrets."""
    running = Service(VigilConfig(data_dir=tmp_path / "open", listen=Listen(port=0)))
    running.start()
    yield running
    running.stop()


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
        (msgspec.json.encode({**chunk(t0_ns=-5), "kind": "accel", "rate_hz": 50, "samples": [[0, 0, 1]]}), "bad_time"),
        (b"\x81\xa1v", "truncated"),
    ],
    ids=lambda value: value if isinstance(value, str) else "sent",
)
def test_bad_input_is_refused_with_a_reason_kept_and_counted(service: Service, client: httpx.Client, payload: bytes, reason: str) -> None:
    answer = client.post("/v1/chunks", content=payload)
    assert answer.status_code == 422
    (why,) = answer.json()["why"]
    assert why["reason"] == reason
    assert len(why["detail"]) > 20
    until(lambda: reason in {str(r) for r in service.vigil.rejected})
    assert client.post("/v1/chunks", json=chunk()).status_code == 202


def oximeter(service: Service, client: httpx.Client, values: list[dict[str, object]]) -> list[httpx.Response]:
    """One reading a second until now, of the device on resident/a."""
    now_ns = time.time_ns()
    readings: list[dict[str, object]] = [
        {"v": 1, "device": "pendant-1", "kind": "vitals", "t0_ns": now_ns - (len(values) - i) * 10**9, "seq": i, "values": each}
        for i, each in enumerate(values)
    ]
    answers = [client.post("/v1/chunks", json=each) for each in readings]
    until(lambda: service.vigil.core.engine.totals()[0] + service.vigil.core.engine.totals()[3] >= len(values))
    return answers


def test_a_pulse_of_255_without_a_finger_is_no_tachycardia_and_is_seen_as_no_value(
    service: Service, client: httpx.Client, office: httpx.Client
) -> None:
    answers = oximeter(service, client, [{"heart_rate_bpm": 255, "spo2_percent": None}] * 40)
    assert {(a.status_code, a.json()["refused"]) for a in answers} == {(202, 0)}
    assert not [code for code in codes(service) if code.startswith("heart.")]
    until(lambda: any(d["no_value"] == 40 == d["totals"]["processed"] for d in office.get("/api/system").json()["devices"]))


def test_a_heart_rate_of_0_never_reaches_a_tile(service: Service, client: httpx.Client) -> None:
    measured = {"heart_rate_bpm": 70, "spo2_percent": 97}
    oximeter(service, client, [measured] * 5 + [{"heart_rate_bpm": 0, "spo2_percent": 0}] * 50)
    until(lambda: bool(service.vigil.board.board(0).tiles))
    (tile,) = (tile for tile in service.vigil.board.board(0).tiles if tile.subject == "resident/a")
    assert tile.readings == {}


def test_one_wrong_value_costs_itself_and_is_said(service: Service, client: httpx.Client, office: httpx.Client) -> None:
    (answer,) = oximeter(service, client, [{"heart_rate_bpm": 70, "spo2_percent": 0.97, "temperature_c": -999}])
    assert (answer.status_code, answer.json()["refused"], answer.json()["chunks"]) == (202, 0, 1)
    (warning,) = answer.json()["warnings"]
    assert (warning["reason"], "fraction" in warning["detail"]) == ("bad_unit", True)
    until(lambda: any(q["reason"] == "bad_unit" and q["count"] == 1 for q in office.get("/api/system").json()["quarantine"]))
    assert service.vigil.core.engine.totals() == (1, 0, 0, 0)


def test_acceleration_in_m_per_s2_without_a_unit_is_refused_with_the_unit(
    service: Service, client: httpx.Client, office: httpx.Client
) -> None:
    chunk_of = {"v": 1, "device": "pendant-1", "kind": "accel", "rate_hz": 50, "t0_ns": time.time_ns() - 10**9}
    assert client.post("/v1/chunks", json={**chunk_of, "samples": [[0.1, -9.8, 0.3]] * 50}).status_code == 202
    until(lambda: any("say unit m/s2" in q["detail"] for q in office.get("/api/system").json()["quarantine"]))
    assert service.vigil.core.engine.totals() == (0, 0, 0, 50)


@pytest.mark.parametrize(("shift_s", "reason"), [(3600, "time_future"), (-3600 * 24 * 800, "time_past")])
def test_impossible_times_are_seen_on_the_system_page(
    service: Service, client: httpx.Client, office: httpx.Client, shift_s: int, reason: str
) -> None:
    air = {"v": 1, "device": "air-1", "kind": "room_air", "t0_ns": time.time_ns() + shift_s * 10**9, "values": {"temperature_c": 20}}
    client.post("/v1/chunks", json=air)
    until(lambda: any(q["reason"] == reason for q in office.get("/api/system").json()["quarantine"]))
    assert codes(service) == set()


def test_what_will_be_refused_later_is_foreseen_in_the_answer(client: httpx.Client) -> None:
    assert client.post("/v1/chunks", json=chunk()).json()["warnings"] == []
    (warning,) = client.post("/v1/chunks", json=chunk("stranger")).json()["warnings"]
    assert (warning["reason"], warning["device"]) == ("unknown_device", "stranger")
    seconds = {"v": 1, "device": "pendant-1", "kind": "bed", "t0_ns": int(time.time()), "values": {"in_bed": 1}}
    (warning,) = client.post("/v1/chunks", json=seconds).json()["warnings"]
    assert warning["reason"] == "time_past"
    assert "nanoseconds" in warning["detail"]


def test_an_unknown_device_is_offered_and_can_be_bound(service: Service, client: httpx.Client, office: httpx.Client) -> None:
    client.post("/v1/chunks", json=chunk("stranger"))
    until(lambda: [u["device"] for u in office.get("/v1/unbound").json()] == ["stranger"])
    assert office.post("/v1/bindings", json={"device": "stranger", "subject": "nonsense"}).status_code == 422
    assert office.post("/v1/bindings", json={"device": "stranger", "subject": "resident/b", "by": "it"}).status_code == 200
    client.post("/v1/chunks", json=chunk("stranger", 1))
    until(lambda: any(a.subject == "resident/b" for a in service.vigil.core.book.open()))
    assert office.get("/v1/unbound").json() == []
    assert b"stranger" in (service.config.data_dir / "registry.json").read_bytes()


def test_a_request_sent_again_with_its_key_changes_nothing(service: Service, client: httpx.Client) -> None:
    body = msgspec.json.encode(chunk())
    for _ in range(3):
        assert client.post("/v1/chunks", content=body, headers={"idempotency-key": "k1"}).status_code == 202
    until(lambda: service.vigil.core.repeated == 2)
    assert service.vigil.core.engine.totals() == (1, 0, 0, 0)


def test_one_device_at_a_thousand_times_its_rate_does_not_stop_the_ward(
    service: Service, client: httpx.Client, office: httpx.Client
) -> None:
    now_ns = time.time_ns()
    flood = [chunk("pendant-1", i, t0_ns=now_ns + i) for i in range(2000)]
    assert client.post("/v1/chunks", json=flood).status_code == 202
    until(lambda: any(str(r) == "rate_exceeded" for r in service.vigil.rejected))
    office.post("/v1/bindings", json={"device": "other", "subject": "resident/b"})
    client.post("/v1/chunks", json=chunk("other"))
    until(lambda: any(a.subject == "resident/b" for a in service.vigil.core.book.open()))
    processed, duplicate, late, quarantined = service.vigil.core.engine.totals()
    assert processed + duplicate + late + quarantined == 2001


def test_the_doors_are_closed_without_their_secrets(service: Service) -> None:
    for method, path in (
        ("POST", "/v1/chunks"),
        ("GET", "/v1/registry"),
        ("GET", "/v1/unbound"),
        ("PUT", "/v1/registry"),
        ("POST", "/v1/bindings"),
    ):
        assert httpx.request(method, service.url + path, json={} if method != "GET" else None).status_code == 401


def test_the_token_of_a_device_does_not_open_the_registry(service: Service, client: httpx.Client) -> None:
    before = service.vigil.core.engine.registry.data
    registry = {"bindings": [{"device": "pendant-1", "subject": "resident/thief", "ward": "h/1"}]}
    assert client.put("/v1/registry", json=registry).status_code == 401
    assert client.get("/v1/registry").status_code == 401
    assert client.post("/v1/bindings", json={"device": "pendant-1", "subject": "resident/thief"}).status_code == 401
    assert service.vigil.core.engine.registry.data == before


FOREIGN = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "content-type": "text/plain"}


def test_a_web_page_elsewhere_can_neither_bind_nor_ring(open_house: Service) -> None:
    bind = b'{"device": "x", "subject": "resident/a", "by": "head nurse"}'
    press = msgspec.json.encode(chunk("x"))
    assert httpx.post(open_house.url + "/v1/bindings", content=bind, headers=FOREIGN).status_code == 415
    for headers in (FOREIGN, {**FOREIGN, "content-type": "application/json"}, {"origin": "https://evil.example"}):
        assert httpx.post(open_house.url + "/v1/chunks", content=press, headers=headers).status_code == 403
        assert httpx.post(open_house.url + "/v1/bindings", content=bind, headers=headers).status_code in {403, 415}
    rebound = {"host": "evil.example", "content-type": "application/json"}
    for method, path in (("GET", "/v1/registry"), ("GET", "/v1/unbound"), ("POST", "/v1/chunks"), ("POST", "/v1/bindings")):
        assert httpx.request(method, open_house.url + path, content=bind, headers=rebound).status_code == 421
    assert open_house.vigil.core.messages == 0
    assert open_house.vigil.core.engine.registry.data == RegistryData()
    # What belongs to this machine is let in, as the README shows it.
    assert httpx.post(open_house.url + "/v1/chunks", content=press).status_code == 202
    assert httpx.post(open_house.url + "/v1/bindings", content=bind, headers={"content-type": "application/json"}).status_code == 200


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (b"{}", "binds no device"),
        (b'{"bindings": []}', "binds no device"),
        (b'{"binding": [{"device": "a", "subject": "resident/a", "ward": "h/1"}]}', "no field binding"),
        (b'{"bindings": [{"device": "a", "subject": "resident/a", "ward": "h/1", "until_ns": 5}]}', "no field bindings.until_ns"),
        (b'{"bindings": [{"device": "a"}]}', "no registry"),
        (b"[", "no registry"),
    ],
)
def test_half_a_registry_is_refused(service: Service, office: httpx.Client, sent: bytes, word: str) -> None:
    before = service.vigil.core.engine.registry.data
    answer = office.put("/v1/registry", content=sent, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert word in answer.json()["error"]
    assert service.vigil.core.engine.registry.data == before


def test_the_registry_that_was_read_can_be_sent_back(service: Service, office: httpx.Client) -> None:
    read = office.get("/v1/registry").json()
    read["places"] = [{"subject": "resident/a", "room": "201", "ward": "h/1"}]
    assert office.put("/v1/registry", json=read).status_code == 200
    assert office.get("/v1/registry").json() == read
    assert service.vigil.core.engine.registry.data.places[0].room == "201"


def test_too_large_a_registry_is_said_to_be_so(office: httpx.Client) -> None:
    big = b'{"bindings": [' + b" " * (5 * 2**20) + b"]}"
    for method, path in (("PUT", "/v1/registry"), ("POST", "/v1/bindings")):
        assert office.request(method, path, content=big, headers={"content-type": "application/json"}).status_code == 413


def test_a_large_message_is_not_decoded_on_the_event_loop(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def watched(payload: bytes) -> object:
        threads.append(threading.current_thread().name)
        return decode(payload)

    monkeypatch.setattr("streams.intake.http_api.decode", watched)
    client.post("/v1/chunks", json=[chunk("pendant-1", i) for i in range(1000)])
    client.post("/v1/chunks", json=chunk("pendant-1", 2000))
    assert threads[0] != "console"
    assert threads[1] == "console"


def test_a_stamp_beyond_all_times_is_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    running = Service(VigilConfig(data_dir=tmp_path, listen=Listen(port=0)), live=False)
    running.start()
    for stamp, status in (("1" + "0" * 30, 422), ("9" * 5000, 422), ("²", 422), ("5", 202)):
        headers = [(b"vigil-arrival-ns", stamp.encode())]
        assert httpx.post(running.url + "/v1/chunks", content=msgspec.json.encode(chunk()), headers=headers).status_code == status
    running.stop()


def test_too_large_a_message_is_said_to_be_so(client: httpx.Client) -> None:
    assert client.post("/v1/chunks", content=b"x" * (5 * 2**20)).status_code == 413


def test_the_registry_file_is_taken_over_while_running(service: Service, office: httpx.Client) -> None:
    path = service.config.data_dir / "registry.json"
    path.write_bytes(msgspec.json.encode(RegistryData(bindings=(Binding("pendant-1", "resident/new", "h/1"),))))
    until(lambda: service.vigil.core.engine.registry.data.bindings[0].subject == "resident/new")
    path.write_text("{broken", encoding="utf-8")
    time.sleep(1.5)
    assert office.get("/v1/registry").json()["bindings"][0]["subject"] == "resident/new"


def test_a_slow_engine_does_not_end_hot_reload(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.embedded.service.ANSWER_S", 0.1)
    real, slow = service.vigil.core.set_registry, threading.Event()

    def sleepy(*arguments: Any) -> Any:
        slow.wait(10)
        return real(*arguments)

    monkeypatch.setattr(service.vigil.core, "set_registry", sleepy)
    path = service.config.data_dir / "registry.json"
    for name in ("first", "second"):
        path.write_bytes(msgspec.json.encode(RegistryData(bindings=(Binding("pendant-1", f"resident/{name}", "h/1"),))))
        time.sleep(1.5)
        slow.set()
        until(lambda name=name: service.vigil.core.engine.registry.data.bindings[0].subject == f"resident/{name}")  # type: ignore[misc]
    assert service.vigil.running


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


@pytest.mark.services
def test_mqtt_goes_on_after_the_disk_did_not_keep_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mosquitto(tmp_path / "broker") as port:
        service = Service(VigilConfig(data_dir=tmp_path / "data", listen=Listen(port=0), mqtt=MqttConfig(host="127.0.0.1", port=port)))
        service.start()
        until(lambda: service.mqtt is not None and service.mqtt.view().health == "ok")
        time.sleep(0.3)
        sender = paho.Client(CallbackAPIVersion.VERSION2, "gateway")
        sender.connect("127.0.0.1", port)
        sender.loop_start()

        def publish(count: int, payload: bytes = b"{}") -> None:
            for _ in range(count):
                sender.publish("vigil/v1/ward", payload, qos=1).wait_for_publish(10)

        monkeypatch.setattr("streams.storage.journal.PENDING_BYTES_MAX", 0)
        publish(40)  # more than the broker keeps in flight
        until(lambda: service.mqtt is not None and service.mqtt.view().health == "waiting")
        assert service.vigil.journal.synced == 0
        monkeypatch.undo()
        publish(60)
        until(lambda: service.vigil.core.messages == 100)
        publish(1, b"[" * (MESSAGE_BYTES_MAX + 100))
        publish(1)
        until(lambda: service.vigil.core.messages == 102)
        assert service.vigil.rejected[Reason.TOO_LARGE][0] == 1
        assert service.mqtt is not None
        assert service.mqtt.view().health == "ok"
        sender.loop_stop()
        service.stop()


def test_a_broken_identity_file_costs_names_not_the_watch(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text("{oops", encoding="utf-8")
    running = Service(VigilConfig(data_dir=tmp_path, listen=Listen(port=0)))
    running.start()
    assert httpx.get(f"{running.url}/api/board").json()["people"] == {}
    running.stop()


def test_a_secret_too_short_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="console_password"):
        Listen(console_password=SecretStr("short"))
    with pytest.raises(ValueError, match="device_token"):
        Listen(device_token=SecretStr("short"))
