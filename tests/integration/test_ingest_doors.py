"""`vigil ingest` live: MQTT and HTTP side by side, senders held to their wards, readings of other programs."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from engine.frame import NS_PER_S
from engine.registry import Binding, RegistryData
from schemas.codec import decode
from schemas.wire import MESSAGE_BYTES_MAX
from simulator.scenario import Incident, Scenario, Trouble
from simulator.simulation import Simulation
from sinks.items import Item, ItemKind, Quarantined
from streams.ingest.batcher import FOREIGN_WARD
from streams.ingest.senders import token_hash
from streams.kafka import topics
from streams.kafka.records import items_in
from streams.pipeline.partition import Partition
from streams.pipeline.records import Input, Kind
from tests.integration.ingested import replayed
from tests.integration.kafka_wards import PARTITIONS, Bench, Ward, accounts, by_id, config_for, partition_of, ward_names
from tests.services import kafka
from tests.services.ingest import IngestProcess
from tests.services.mosquitto import mosquitto
from tests.services.worker import OWNING, WorkerProcess

SECONDS: Final = 12.0
READINGS: Final = 6_000

pytestmark = [pytest.mark.services, pytest.mark.slow]


def simulated(name: str, seed: int) -> Ward:
    start_ns = time.time_ns() - 15 * NS_PER_S
    ward = Simulation(
        Scenario(
            ward=name,
            seed=seed,
            residents=3,
            seconds=SECONDS,
            start_ns=start_ns,
            incidents=(Incident("sos", at_s=2.0, who=0), Incident("sos", at_s=6.0, who=1)),
            troubles=(Trouble("unknown_device"),),
        )
    )
    return Ward(name, partition_of(name), list(ward.records()), ward.registry())


def readings_of(ward: Ward) -> Counter[tuple[str, str]]:
    """How many readings of each device and kind were sent."""
    found: Counter[tuple[str, str]] = Counter()
    for record in ward.records:
        for block in decode(record.payload).blocks:
            for device in block.devices:
                found[device, block.kind] += block.samples.shape[1]
    return found


def quarantined(bench: Bench) -> list[Quarantined]:
    """What ingest itself set aside."""
    consumer = KafkaConsumer(**bench.config.connection.client(), enable_auto_commit=False)
    tps = [TopicPartition(bench.topic(topics.QUARANTINE), number) for number in range(PARTITIONS)]
    found: list[Item] = []
    try:
        consumer.assign(tps)
        consumer.seek_to_beginning(*tps)
        ends = consumer.end_offsets(tps)
        while any(consumer.position(tp) < ends[tp] for tp in tps):
            for records in consumer.poll(timeout_ms=500).values():
                found += [item for record in records for item in items_in(topics.QUARANTINE, record.value)]
    finally:
        consumer.close()
    return [item.body for item in found if isinstance(item.body, Quarantined)]


def test_two_doors_and_senders_that_keep_to_their_ward(broker: kafka.Cluster, tmp_path: Path) -> None:
    names = ward_names()
    by_mqtt, by_http = simulated(names[0], 1), simulated(names[1], 2)
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "doors-", live=True))
    for ward in (by_mqtt, by_http):
        bench.send_registry(ward)
    one = Ward("home/private", partition_of("home/private"), [], RegistryData(bindings=(Binding("cuff", "resident/p", ""),)))
    bench.send_registry(one)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{token_hash('first')} gateway-1 {by_mqtt.name}\n{token_hash('second')} gateway-2 {by_http.name}\n")
    with mosquitto(tmp_path / "mosquitto") as port:
        mqtt = {"host": "127.0.0.1", "port": port, "topic": "vigil/v1/#"}
        ingest = IngestProcess(bench.config, tmp_path / "ingest.log", mqtt=mqtt, mqtt_names=True, tokens_file=str(tokens))
        gateway = paho.Client(CallbackAPIVersion.VERSION2, "gateway")
        gateway.connect("127.0.0.1", port)
        gateway.loop_start()
        ingest.wait_counted("vigil_ingest_mqtt_connected", 1)
        ingest.wait_counted("vigil_ingest_wards", 3)  # before, nothing is known to be another ward's

        def publish(name: str, payload: bytes) -> None:
            gateway.publish(f"vigil/v1/{name}/telemetry", payload, qos=1).wait_for_publish(30)

        client = httpx.Client(timeout=30, headers={"authorization": "Bearer second"})
        for over_mqtt, over_http in zip(by_mqtt.records, by_http.records, strict=False):
            publish("gateway-1", over_mqtt.payload)
            assert client.post(f"{ingest.url}/v1/chunks", content=over_http.payload).status_code == 202
        longer = by_mqtt if len(by_mqtt.records) > len(by_http.records) else by_http
        shared = min(len(by_mqtt.records), len(by_http.records))
        for record in longer.records[shared:]:
            if longer is by_mqtt:
                publish("gateway-1", record.payload)
            else:
                client.post(f"{ingest.url}/v1/chunks", content=record.payload)

        foreign = {"v": 1, "device": "cuff", "kind": "button", "t0_ns": time.time_ns(), "samples": [[1]]}
        assert client.post(f"{ingest.url}/v1/chunks", json=foreign).status_code == 403
        assert client.post(f"{ingest.url}/v1/chunks", json=foreign, headers={"authorization": "Bearer nobody's"}).status_code == 401
        publish("gateway-1", msgspec.json.encode(foreign))
        publish("stranger", msgspec.json.encode(foreign))
        publish("gateway-1", b"[" * (MESSAGE_BYTES_MAX + 100))
        answer = client.post(f"{ingest.url}/v1/chunks", json={**foreign, "device": "stray"}).json()
        assert [warning["reason"] for warning in answer["warnings"]] == ["unknown_device"]
        refused = client.post(f"{ingest.url}/v1/chunks", content=b"noise")
        assert refused.status_code == 422
        assert refused.json()["why"][0]["reason"] == "malformed"
        ingest.drained()
        metrics = client.get(f"{ingest.url}/metrics").text
        assert 'vigil_ingest_rejected_messages_total{status="403"} 1.0' in metrics
        assert 'vigil_ingest_quarantined_chunks_total{reason="foreign_ward"} 2.0' in metrics
        assert 'vigil_ingest_quarantined_chunks_total{reason="malformed"} 1.0' in metrics
        assert ingest.stop() == 0, ingest.tail()
        gateway.loop_stop()

    aside = quarantined(bench)
    assert [(body.reason, body.device) for body in aside] == [(FOREIGN_WARD, "cuff")] * 2
    assert not [record for record in bench.log(one.partition) if record.message_key == one.name]
    for ward in (by_mqtt, by_http):
        said = replayed(bench, ward)
        pressed = Counter(item.id for item in said if item.kind is ItemKind.EVENT and b"sos.pressed" in msgspec.json.encode(item.body))
        assert len(pressed) == 2
        found = Counter({(a.device, a.kind): a.processed + a.quarantined for a in accounts(said).values()})
        wanted = readings_of(ward)
        if ward is by_http:
            wanted["stray", "button"] += 1
        assert found == wanted
        reasons = Counter(item.body.reason for item in said if isinstance(item.body, Quarantined))
        assert set(reasons) == {"unknown_device", "malformed" if ward is by_http else "too_large"}
        assert all(record.arrival_ns is not None and record.arrival_ns <= record.stamp_ns for record in bench.log(ward.partition))
    bench.close()


def test_readings_of_another_program(broker: kafka.Cluster, tmp_path: Path) -> None:
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "readings-", live=True))
    name = ward_names()[0]
    devices = [f"monitor-{number}" for number in range(20)]
    bindings = tuple(Binding(device, f"resident/r-{device}", name) for device in devices)
    ward = Ward(name, partition_of(name), [], RegistryData(bindings=bindings))
    bench.send_registry(ward)
    admin = KafkaAdminClient(**bench.config.connection.client())
    admin.create_topics([NewTopic("monitors", 2, 1)], wait_for_metadata=True)
    admin.close()
    start_ms = time.time_ns() // 1_000_000 - 400_000

    def reading(number: int) -> dict[str, Any]:
        at_ms = start_ms + number // len(devices) * 1_000
        return {"id": devices[number % len(devices)], "metric": "hr", "ts": at_ms, "val": 70}

    def send(numbers: range) -> None:
        for number in numbers:
            found = reading(number)
            bench.producer.send("monitors", key=found["id"].encode(), value=msgspec.json.encode(found))
        bench.producer.flush()

    mapping = {"topics": ["monitors"], "device": "id", "kind": "metric", "time": "ts", "time_unit": "ms", "value": "val"}
    settings = {"readings": {**mapping, "kinds": {"hr": "vitals.heart_rate_bpm"}, "batch_records": 500}}
    send(range(READINGS // 2))
    ingest = IngestProcess(bench.config, tmp_path / "ingest.log", **settings)
    ingest.wait_counted("vigil_ingest_readings_total", 500)
    ingest.kill()
    ingest = IngestProcess(bench.config, tmp_path / "ingest.log", **settings)
    send(range(READINGS // 2, READINGS))
    for bad in ({**reading(0), "val": 9_000}, {**reading(0), "id": "stray"}, {"id": 7}):
        bench.producer.send("monitors", value=msgspec.json.encode(bad))
    bench.producer.flush()

    def totals() -> tuple[int, Counter[str], list[Item]]:
        said = replayed(bench, ward)
        return (
            sum(a.processed for a in accounts(said).values()),
            Counter(i.body.reason for i in said if isinstance(i.body, Quarantined)),
            said,
        )

    give_up = time.monotonic() + 60
    while totals()[0] < READINGS and time.monotonic() < give_up:
        time.sleep(0.5)
    time.sleep(1.0)
    assert ingest.stop() == 0, ingest.tail()
    processed, reasons, said = totals()
    assert processed == READINGS
    assert reasons["out_of_range"] == 1
    assert set(reasons) <= {"out_of_range", "late"}
    elsewhere = Partition(partition_of("vigil/unbound"), live=True)
    unbound = [i.body for r in bench.log(elsewhere.number) for i in elsewhere.apply(r).items if r.message_key == "vigil/unbound"]
    assert sorted(body.reason for body in unbound if isinstance(body, Quarantined)) == ["unknown_device", "wrong_type"]
    assert by_id(said, ItemKind.MEASUREMENTS)
    bench.close()


def test_a_device_that_moves_is_not_unknown_where_it_comes(broker: kafka.Cluster, tmp_path: Path) -> None:
    names = ward_names()
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "moves-", live=True))

    def bind(name: str, *devices: str) -> None:
        bindings = tuple(Binding(device, f"resident/{name}-{device}", "") for device in devices)
        bench.send_registry(Ward(name, partition_of(name), [], RegistryData(bindings=bindings)))

    bind(names[0], "cuff", "belt")
    bind(names[1], "door")
    ingest = IngestProcess(bench.config, tmp_path / "ingest.log")
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    worker.wait_logged(OWNING, 90)

    def press() -> None:
        chunk = {"v": 1, "device": "cuff", "kind": "button", "t0_ns": time.time_ns(), "samples": [[1]]}
        assert httpx.post(f"{ingest.url}/v1/chunks", json=chunk).status_code == 202

    def log() -> list[Input]:
        return [record for record in bench.log(partition_of(names[1])) if record.kind is not Kind.TIME]

    press()
    bind(names[0], "belt")
    bind(names[1], "door", "cuff")
    give_up = time.monotonic() + 60
    while log()[-1].kind is not Kind.TELEMETRY:
        press()
        assert time.monotonic() < give_up, ingest.tail()
        time.sleep(0.2)
    while not by_id(bench.said()[partition_of(names[1])], ItemKind.EVENT):
        assert time.monotonic() < give_up, worker.tail()
        time.sleep(0.2)
    assert worker.stop() == 0, worker.tail()
    assert ingest.stop() == 0, ingest.tail()
    kinds = [record.kind for record in log()]
    assert kinds.index(Kind.TELEMETRY) > max(index for index, kind in enumerate(kinds) if kind is Kind.REGISTRY)
    assert not [item for item in bench.said()[partition_of(names[1])] if isinstance(item.body, Quarantined)]
    bench.close()


def test_without_kafka_it_takes_what_fits_and_says_so(tmp_path: Path) -> None:
    (nobody,) = kafka.free_ports(1)
    config = tmp_path / "vigil.toml"
    config.write_text(
        f'[kafka.connection]\nbrokers = "127.0.0.1:{nobody}"\n'
        f'[ingest]\nport = 0\ntoken = "a token of sixteen"\nspool_bytes_max = {2**20}\nspool = "{tmp_path / "spool"}"\n'
    )
    ingest = IngestProcess(config, tmp_path / "ingest.log")
    client = httpx.Client(timeout=30, base_url=ingest.url, headers={"authorization": "Bearer a token of sixteen"})
    sent = 0
    while (answer := client.post("/v1/chunks", content=b"x" * 100_000)).status_code == 422:  # kept, for quarantine
        sent += 1
        time.sleep(0.1)
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    health = client.get("/healthz")
    assert (health.status_code, health.json()["state"], health.json()["spooled"]) == (503, "full", sent)
    assert sent >= 10
    assert ingest.stop() == 0, ingest.tail()
