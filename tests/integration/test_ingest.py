"""`vigil ingest` on a real Kafka: what the doors acknowledge reaches the cores, once, in order, under its ward."""

from __future__ import annotations

import hashlib
import heapq
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx
import pytest

from schemas.codec import decode, encode_chunk_json
from schemas.recording import Record
from sinks.items import Item, ItemKind, Quarantined
from streams.ingest.senders import token_hash
from streams.kafka.config import KafkaConfig
from streams.ops.warm_up import warm_up
from streams.recordings.replay import Replayed
from tests.conftest import missing_service
from tests.integration.ingested import replayed
from tests.integration.kafka_wards import Bench, Ward, accounts, by_id, config_for, expected, wards
from tests.services import kafka
from tests.services.ingest import IngestProcess
from tests.services.worker import OWNING, WorkerProcess

SECONDS: Final = 45.0
TWO: Final = 2
"""Wards are enough where it is not about their number."""
TOKEN: Final = "token-of-gateway-{}"

pytestmark = [pytest.mark.services, pytest.mark.slow]

Streams = list[tuple[Ward, Replayed]]


@pytest.fixture(scope="module")
def streams() -> Streams:
    warm_up()
    return [(ward, expected(ward)) for ward in wards(SECONDS)]


@pytest.fixture
def tokens(streams: Streams, tmp_path: Path) -> Path:
    """Each ward's gateway has a token for that ward only: in this house devices of different wards bear the same names."""
    path = tmp_path / "tokens"
    path.write_text("".join(f"{token_hash(token(ward))} gateway-{ward.partition} {ward.name}\n" for ward, _ in streams))
    return path


def token(ward: Ward) -> str:
    return TOKEN.format(ward.partition)


def prepared(config: KafkaConfig, streams: Streams) -> Bench:
    bench = Bench(config)
    for ward, _ in streams:
        bench.send_registry(ward)
    return bench


def in_order(streams: Streams) -> list[tuple[Ward, Record]]:
    """All wards' records by arrival, as one ingest gets them."""
    queues = [[(record.arrival_ns, number, record) for record in ward.records] for number, (ward, _) in enumerate(streams)]
    return [(streams[number][0], record) for _, number, record in heapq.merge(*queues, key=lambda entry: entry[:2])]


def post(url: str, ward: Ward, record: Record, client: httpx.Client, key: str = "") -> None:
    """One message, on the sender's clock; some as JSON, where only a key can tell that a message is sent again."""
    digest = hashlib.blake2b(record.payload, digest_size=8).hexdigest()
    payload = as_json(record.payload) if int(digest, 16) % 4 == 0 else record.payload
    key = key if payload is record.payload else digest
    given = {"vigil-arrival-ns": str(record.arrival_ns), "authorization": f"Bearer {token(ward)}", "idempotency-key": key}
    answer = client.post(f"{url}/v1/chunks", content=payload, headers=given)
    assert answer.status_code in {202, 422}, answer.text


def as_json(payload: bytes) -> bytes:
    """A ward batch as an array of JSON chunks; anything else as it is."""
    decoded = decode(payload)
    if decoded.rejects or not decoded.ward:
        return payload
    chunks = [encode_chunk_json(block, row) for block in decoded.blocks for row in range(len(block.devices))]
    return b"[" + b",".join(chunks) + b"]"


def check(said: Sequence[Item], wanted: Replayed) -> None:
    """The same events and alerts as without ingest, and every reading accounted for in the same way."""
    assert list(by_id(said, ItemKind.EVENT)) == [event.id for event in wanted.events]
    assert list(by_id(said, ItemKind.ALERT)) == [transition.id for transition, _ in wanted.transitions]
    reasons = Counter(item.body.reason for item in said if isinstance(item.body, Quarantined))
    assert reasons == Counter(reject.reason for reject in wanted.rejects) + Counter({"late": len(wanted.late)})
    assert accounts(said) == {(a.device, a.kind, a.hour_ns): a for a in wanted.accounts}


def test_what_came_by_http_is_what_replay_says(broker: kafka.Cluster, streams: Streams, tokens: Path, tmp_path: Path) -> None:
    bench = prepared(config_for(broker.bootstrap, tmp_path / "snapshots", "http-"), streams)
    ingest = IngestProcess(bench.config, tmp_path / "ingest.log", tokens_file=str(tokens))
    with httpx.Client(timeout=30) as client:
        for ward, record in in_order(streams):
            post(ingest.url, ward, record, client)
    ingest.drained()
    assert ingest.stop() == 0, ingest.tail()
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        worker.wait_logged(OWNING, 60)
        bench.wait_committed(60)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    said = bench.said()
    for ward, wanted in streams:
        check(said[ward.partition], wanted)
        assert {r.message_key for r in bench.log(ward.partition)} == {ward.name}
    bench.close()


def test_killed_at_any_moment(broker: kafka.Cluster, streams: Streams, tokens: Path, tmp_path: Path) -> None:
    bench = prepared(config_for(broker.bootstrap, tmp_path / "snapshots", "killed-"), streams)
    deaths = iter([("stored", 1), ("sent", 30), ("position saved", 2), ("sent", 1), ("stored", 2)])
    ingest = IngestProcess(bench.config, tmp_path / "ingest.log", next(deaths), tokens_file=str(tokens))
    lives = 1
    with httpx.Client(timeout=30) as client:
        for number, (ward, record) in enumerate(in_order(streams[:TWO])):
            time.sleep(0.04)  # spread over many windows, or there is nothing left to be killed in
            while True:
                try:
                    post(ingest.url, ward, record, client, key=f"message-{number}")
                    break
                except httpx.TransportError:  # a gateway tries again
                    assert ingest.wait(10) == -signal.SIGKILL, ingest.tail()
                    ingest = IngestProcess(bench.config, tmp_path / "ingest.log", next(deaths, None), tokens_file=str(tokens))
                    lives += 1
    assert lives > 3
    ingest.drained()
    ingest.kill()
    for ward, wanted in streams[:TWO]:
        keys = Counter(record.key for record in bench.log(ward.partition))
        check(replayed(bench, ward), wanted)
        assert "" not in keys
    bench.close()


def test_kafka_away_is_a_spool_on_disk(streams: Streams, tokens: Path, tmp_path: Path) -> None:
    if (why := kafka.missing()) is not None:
        missing_service(why)
    records = in_order(streams[:TWO])
    with kafka.running(tmp_path / "kafka") as cluster, httpx.Client(timeout=30) as client:
        bench = prepared(config_for(cluster.bootstrap, tmp_path / "snapshots", "away-"), streams)
        ingest = IngestProcess(bench.config, tmp_path / "ingest.log", tokens_file=str(tokens))
        third = len(records) // 3
        for ward, record in records[:third]:
            post(ingest.url, ward, record, client)
        ingest.drained()
        cluster.brokers[0].kill()
        for ward, record in records[third : 2 * third]:
            post(ingest.url, ward, record, client)
        give_up_s = time.monotonic() + 60
        while (health := client.get(f"{ingest.url}/healthz")).json()["state"] != "degraded":
            assert time.monotonic() < give_up_s, health.text
            time.sleep(0.1)
        assert health.status_code == 200
        assert health.json()["spooled"] > third // 2
        ingest.kill()  # and while Kafka is away it dies, too
        ingest = IngestProcess(bench.config, tmp_path / "ingest.log", tokens_file=str(tokens))
        cluster.brokers[0].start()
        cluster.wait()
        for ward, record in records[2 * third :]:
            post(ingest.url, ward, record, client)
        ingest.drained(90)
        assert client.get(f"{ingest.url}/healthz").json()["state"] == "ok"
        assert ingest.stop() == 0, ingest.tail()
        for ward, wanted in streams[:TWO]:
            check(replayed(bench, ward), wanted)
        bench.close()
