"""Sink processes whose targets hang, are down for long, or whose topics hold nonsense; and several processes of one sink."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from kafka import KafkaConsumer, TopicPartition

from benchmarks.soak.latency import resident_mb
from sinks.codec import encode
from sinks.examples import item
from sinks.items import ItemKind
from streams.kafka import topics
from streams.kafka.records import frame, single
from streams.ops.warm_up import warm_up
from streams.recordings.replay import Replayed
from tests.integration.kafka_sinks import SINK_STARTED, SinkRun, announced, calls, eventually, lag, wait_settled, webhook, written
from tests.integration.kafka_wards import PARTITIONS, Bench, Ward, config_for, expected, wards
from tests.services import kafka
from tests.services.receiver import Answer, Got, receiving
from tests.services.worker import OWNING, Child, WorkerProcess

DELAY_S_MAX: Final = 3.0
"""What another sink may need beside one that hangs; far less than the hanging one's timeout would cost it, far more than a busy machine."""
ITEMS_A_FRAME: Final = 400
FRAMES: Final = 300
WAITING_MAX: Final = 2_000
SPOOL_BYTES: Final = 4 << 20
GROWTH_MB: Final = 60.0
"""The backlog is larger; a process that took it in would grow by several times as much."""

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
def bench(broker: kafka.Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", f"{request.node.name[5:30]}-"))
    yield made
    made.close()


def say_alerts(bench: Bench, numbers: range) -> list[str]:
    """Alerts of different residents on the alerts topic, as a worker says them; their ids."""
    found = [item(ItemKind.ALERT, number) for number in numbers]
    for number, one in zip(numbers, found, strict=True):
        key, value = single(one)
        bench.producer.send(bench.topic(topics.ALERTS), value, key, partition=number % PARTITIONS)
    bench.producer.flush()
    return [one.id for one in found]


def say_raw(bench: Bench, topic: str, value: bytes | None, partition: int = 0) -> None:
    """Any bytes on an output topic."""
    bench.producer.send(bench.topic(topic), value, b"x", partition=partition).get(10)


def started(*sinks: Child) -> None:
    for sink in sinks:
        sink.wait_logged(SINK_STARTED, 90)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# -- targets --------------------------------------------------------------------------------------------------------------


def test_a_hanging_target_delays_neither_detection_nor_another_sink(bench: Bench, tmp_path: Path) -> None:
    warm_up()
    streams: list[tuple[Ward, Replayed]] = [(ward, expected(ward)) for ward in wards(60.0)]
    wanted = announced(streams)
    healed = threading.Event()
    heard: dict[str, float] = {}

    def hang(_: Got) -> Answer:
        healed.wait(300)
        return 204, {}

    def note(got: Got) -> Answer:
        heard.setdefault(got.headers["idempotency-key"], time.time())
        return 204, {}

    with receiving(hang) as hung, receiving(note) as well:
        config_file = written(tmp_path, bench.config, {"hung": webhook(hung, timeout_s=1.0), "well": webhook(well)}, drain_s=1.0)
        worker = WorkerProcess(bench.config, tmp_path / "worker.log")
        sinks = [SinkRun(config_file, name, tmp_path / f"{name}.log") for name in ("hung", "well")]
        try:
            for ward, _ in streams:
                bench.send_registry(ward)
            worker.wait_logged(OWNING, 90)
            started(*sinks)
            started_s = time.monotonic()
            for ward, _ in streams:
                bench.send(ward, ward.records)
            bench.wait_committed(90)
            worker_s = time.monotonic() - started_s
            eventually(lambda: set(well.keys) == wanted, 30, "every call at the receiver that is well")
            said = said_at(bench)
            delays = sorted(heard[key] - said[key] for key in wanted)
            print(f"worker {worker_s:.1f} s; other sink: median {delays[len(delays) // 2]:.3f} s, longest {delays[-1]:.3f} s")
            assert delays[-1] < DELAY_S_MAX
            eventually(lambda: len(hung.keys) >= 2, 60, "a second try at the receiver that hangs")
            assert lag(bench.config, "hung", topics.ALERTS)
            tried = len(hung.keys)
            healed.set()
            wait_settled(sinks[0], bench.config, "hung", 60, topics.ALERTS)
            got = calls(hung, wanted)
            assert (got.missing, got.unknown) == (0, 0)
            assert got.repeats <= tried, "only what was never answered is called again"
            assert in_order(hung.keys[tried:])
            assert calls(well, wanted)[2:] == (0, 0, 0, 0)
            for process in (*sinks, worker):
                assert process.stop() == 0, process.tail()
        finally:
            healed.set()
            for process in (*sinks, worker):
                process.kill()


def said_at(bench: Bench) -> dict[str, float]:
    """When the worker first said each transition, by the record's own time."""
    consumer = KafkaConsumer(**bench.config.connection.client(), enable_auto_commit=False)
    tps = [TopicPartition(bench.topic(topics.ALERTS), p) for p in range(PARTITIONS)]
    found: dict[str, float] = {}
    try:
        consumer.assign(tps)
        consumer.seek_to_beginning(*tps)
        ends = consumer.end_offsets(tps)
        while any(consumer.position(tp) < ends[tp] for tp in tps):
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    found.setdefault(json.loads(record.value)["transition"]["id"], record.timestamp / 1_000)
    finally:
        consumer.close()
    return found


def in_order(keys: list[str]) -> bool:
    """Whether the steps of each alert came one after the other."""
    latest: dict[str, int] = {}
    for key in keys:
        alert, _, sequence = key.rpartition("-")
        if int(sequence) < latest.get(alert, -1):
            return False
        latest[alert] = int(sequence)
    return True


def test_a_long_backlog_stays_in_kafka_and_alerts_go_first(bench: Bench, tmp_path: Path) -> None:
    blocked = tmp_path / "away"
    blocked.write_bytes(b"")  # a file where a folder must be: the target is down
    out = blocked / "vigil.jsonl"
    delivery = {"memory_max_items": WAITING_MAX, "spool_max_bytes": SPOOL_BYTES, "backoff_max_s": 0.2}
    to = {"type": "jsonl", "path": str(out), "kinds": ["measurements", "alert", "audit"], "delivery": delivery}
    (port,) = kafka.free_ports(1)
    config_file = written(tmp_path, bench.config, {"copy": to}, port=port)
    for number in range(FRAMES):
        pieces = [encode(item(ItemKind.MEASUREMENTS, number * ITEMS_A_FRAME + n)) for n in range(ITEMS_A_FRAME)]
        say_raw(bench, topics.MEASUREMENTS, frame(pieces), number % PARTITIONS)
    sink = SinkRun(config_file, "copy", tmp_path / "copy.log")
    try:
        started(sink)
        before_mb = resident_mb(sink.process.pid)
        sink.wait_logged("back-pressure: topic paused, its records wait in Kafka", 60)
        alerts = say_alerts(bench, range(300))  # behind the whole backlog
        figures = eventually(lambda: asked(port, 'vigil_sink_queue_items{kind="alert"} 300.0'), 30, "300 alerts in the queue")
        assert 'vigil_sink_paused{topic="measurements"} 1.0' in figures
        assert 'vigil_sink_paused{topic="alerts"} 0.0' in figures
        grown_mb = resident_mb(sink.process.pid) - before_mb
        spool = sum(path.stat().st_size for path in (tmp_path / "sinks" / "copy").iterdir())
        waiting = sum(lag(bench.config, "copy", topics.MEASUREMENTS).values())
        print(f"target down: {waiting} of {FRAMES} frames left in Kafka, memory +{grown_mb:.0f} MB, spool {spool / 1e6:.1f} MB")
        assert waiting > FRAMES // 2
        assert grown_mb < GROWTH_MB
        assert spool < 2 * SPOOL_BYTES
        assert "vigil_sink_shed_items_total 0.0" in figures
        health = json.loads(asked(port, "", path="/healthz"))
        assert (health["ok"], health["state"]) == (True, "failing"), health
        blocked.unlink()
        started_s = time.monotonic()
        wait_settled(sink, bench.config, "copy", 120, topics.MEASUREMENTS, topics.ALERTS)
        took_s = time.monotonic() - started_s
        print(f"target back: {FRAMES * ITEMS_A_FRAME / took_s:.0f} items/s")
        assert sink.stop() == 0, sink.tail()
    finally:
        sink.kill()
    written_ = lines(out)
    assert [line["kind"] for line in written_[:300]] == ["alert"] * 300
    assert {line["id"] for line in written_[:300]} == set(alerts)
    assert len({line["id"] for line in written_}) == len(written_) == 300 + FRAMES * ITEMS_A_FRAME


def asked(port: int, wanted: str, path: str = "/metrics") -> str:
    """What the sink process answers, "" while `wanted` is not in it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text = answer.read().decode()
    return text if wanted in text else ""


def test_records_that_cannot_be_read_become_dead_letters_and_stop_nothing(bench: Bench, tmp_path: Path) -> None:
    with receiving() as receiver:
        config_file = written(
            tmp_path,
            bench.config,
            {"oncall": webhook(receiver), "copy": {"type": "jsonl", "path": str(tmp_path / "copy.jsonl"), "kinds": ["measurements"]}},
        )
        first = say_alerts(bench, range(4))
        for value in (b"", None, b"{nonsense", b'{"transition": {}, "alert": {}}', b"\xff" * 100):
            say_raw(bench, topics.ALERTS, value)
        second = say_alerts(bench, range(4, 8))
        good = [encode(item(ItemKind.MEASUREMENTS, n)) for n in range(2)]
        say_raw(bench, topics.MEASUREMENTS, frame([good[0], b"\xc1", good[1]]))
        say_raw(bench, topics.MEASUREMENTS, b"no frame")
        for life in range(2):
            sinks = [SinkRun(config_file, name, tmp_path / f"{name}.log") for name in ("oncall", "copy")]
            try:
                eventually(lambda: set(receiver.keys) == set(first + second), 90, "every alert")
                wait_settled(sinks[0], bench.config, "oncall", 30, topics.ALERTS)
                wait_settled(sinks[1], bench.config, "copy", 30, topics.MEASUREMENTS)
                started(*sinks)
                for sink in sinks:
                    assert sink.stop() == 0, f"life {life}: {sink.tail()}"
            finally:
                for sink in sinks:
                    sink.kill()
    assert len(receiver.keys) == 8
    letters = lines(tmp_path / "sinks" / "oncall" / "dead-unreadable.jsonl")
    assert len(letters) == 5
    assert all("alerts, partition 0, offset " in letter["why"] for letter in letters)
    letters = lines(tmp_path / "sinks" / "copy" / "dead-unreadable-measurements.jsonl")
    assert ["this is no measurements item" in letters[0]["why"], "this is no frame" in letters[1]["why"]] == [True, True]
    assert {line["id"] for line in lines(tmp_path / "copy.jsonl")} == {item(ItemKind.MEASUREMENTS, n).id for n in range(2)}


# -- several processes ----------------------------------------------------------------------------------------------------


def test_two_processes_of_one_sink_share_the_work_and_take_over_from_each_other(bench: Bench, tmp_path: Path) -> None:
    with receiving() as receiver:
        config_file = written(tmp_path, bench.config, {"oncall": webhook(receiver)})
        first, second = (SinkRun(config_file, "oncall", tmp_path / f"{n}.log", "--instance", n) for n in ("a", "b"))
        third = None
        try:
            started(first, second)
            eventually(lambda: '"count": 2' in first.tail() and '"count": 2' in second.tail(), 60, "two partitions each")
            said = say_alerts(bench, range(40))
            wait_settled(first, bench.config, "oncall", 30, topics.ALERTS)
            assert sorted(receiver.keys) == sorted(said)
            second.kill()
            said += say_alerts(bench, range(40, 80))
            eventually(lambda: set(receiver.keys) == set(said), 60, "every alert after a death")
            third = SinkRun(config_file, "oncall", tmp_path / "c.log", "--instance", "c")
            started(third)
            said += say_alerts(bench, range(80, 120))
            eventually(lambda: set(receiver.keys) == set(said), 60, "every alert after one more joined")
            busy = SinkRun(config_file, "oncall", tmp_path / "busy.log", "--instance", "a")
            assert busy.wait(60) == 2
            assert "is used by another process: stop it, or give each its own folder" in busy.tail()
            for process in (first, third):
                assert process.stop() == 0, process.tail()
        finally:
            for process in filter(None, (first, second, third)):
                process.kill()
        assert len(receiver.keys) - len(set(receiver.keys)) <= 1, "a death and two divisions of the group called again"


def test_what_a_worker_says_again_is_not_called_again_whoever_called_it(bench: Bench, tmp_path: Path) -> None:
    with receiving() as receiver:
        config_file = written(tmp_path, bench.config, {"oncall": webhook(receiver)})
        said = say_alerts(bench, range(60))
        for life in ("at once", "after a restart", "on another machine"):
            if life == "on another machine":
                shutil.rmtree(tmp_path / "sinks")
            sink = SinkRun(config_file, "oncall", tmp_path / "oncall.log")
            try:
                wait_settled(sink, bench.config, "oncall", 90, topics.ALERTS)
                started(sink)
                say_alerts(bench, range(60))  # the worker was killed and replays
                said += say_alerts(bench, range(len(said), len(said) + 4))
                wait_settled(sink, bench.config, "oncall", 30, topics.ALERTS)
                assert sorted(receiver.keys) == sorted(said), f"{life}: repeats were called"
                assert sink.stop() == 0, sink.tail()
            finally:
                sink.kill()
        late = [json.loads(got.body) for got in receiver.got]
        sent_s = [int(got.headers["vigil-timestamp"]) for got in receiver.got]
    # Alerts of long ago are called all the same, and whoever hears them can see how old they are.
    assert all(stamp - message["transition"]["at_ns"] / 1e9 > 86_400 for stamp, message in zip(sent_s, late, strict=True))
