"""Sink processes beside workers on a real Kafka, and a storm of kills over both; the soak runs the same storm for longer."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

from kafka import KafkaConsumer, TopicPartition

from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.recordings.replay import Replayed
from streams.sink_process.process import group_of
from tests.integration.kafka_wards import PARTITIONS, Bench, Ward
from tests.services.influx import Influx
from tests.services.receiver import Receiver
from tests.services.worker import OWNING, STARTED, Child, WorkerProcess

SECRET: Final = "a-secret-nobody-may-read"
SINK_STARTED: Final = "partitions assigned"
"""What a sink's log says when it begins to read."""
START_S: Final = 120.0
FINISH_S: Final = 180.0
LIFE_S: Final = (0.0, 4.0)
"""From a process's start of work to its death: before it has joined its group, while it loads, in the middle of records."""
VICTIMS: Final = (("worker",), ("sink",), ("worker", "sink"))
T = TypeVar("T")

Streams = Sequence[tuple[Ward, Replayed]]


def eventually(ask: Callable[[], T], timeout_s: float, what: str = "it") -> T:
    """The first answer that is true. TimeoutError with the last answer otherwise."""
    give_up = time.monotonic() + timeout_s
    while not (answer := ask()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what} never came true, at last {answer!r}")
        time.sleep(0.2)
    return answer


class SinkRun(Child):
    """`vigil sink run NAME`."""

    def __init__(self, config_file: Path, name: str, log: Path, *more: str) -> None:
        super().__init__(["streams.cli", "sink", "run", name, "--config", str(config_file), *more], log)


def written(folder: Path, kafka: KafkaConfig, sinks: Mapping[str, Mapping[str, Any]], **process: Any) -> Path:
    """A configuration file with these sinks (name -> to), quick to try again."""
    rows = ["[kafka]", *(f"{name} = {json.dumps(getattr(kafka, name))}" for name in ("prefix", "group", "partitions", "session_timeout_s"))]
    rows += ["[kafka.connection]", f"brokers = {json.dumps(kafka.connection.brokers)}"]
    process = {"folder": str(folder / "sinks"), "drain_s": 5.0} | process
    port = process.pop("port", 0)
    rows += ["[sink_process]", *(f"{name} = {json.dumps(value)}" for name, value in process.items())]
    rows += ["[sink_process.operations]", f"port = {port}"]
    for name, to in sinks.items():
        delivery = {"backoff_first_s": 0.1, "backoff_max_s": 0.5, "sync_s": 0.05, **to.get("delivery", {})}
        rows += ["[[sinks]]", f'name = "{name}"', "[sinks.to]"]
        rows += [f"{key} = {json.dumps(value)}" for key, value in to.items() if key != "delivery"]
        rows += ["[sinks.delivery]", *(f"{key} = {json.dumps(value)}" for key, value in delivery.items())]
    path = folder / "vigil.toml"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def webhook(receiver: Receiver, **more: Any) -> dict[str, Any]:
    """`to` of a webhook."""
    return {"type": "webhook", "url": receiver.url, "secret": SECRET, "timeout_s": 2.0, **more}


def influx(database: Influx, **more: Any) -> dict[str, Any]:
    """`to` of an InfluxDB."""
    return {"type": "influx", "url": database.url, "token": SECRET, "org": "home", "bucket": f"{database.bucket}/autogen", **more}


def lag(kafka: KafkaConfig, name: str, *wanted: str) -> dict[str, int]:
    """Records of each of these partitions that a sink's group has not committed; empty when there are none."""
    consumer = KafkaConsumer(**kafka.connection.client(), group_id=group_of(kafka, name), enable_auto_commit=False)
    try:
        tps = [TopicPartition(kafka.prefix + topic, p) for topic in wanted for p in range(PARTITIONS)]
        ends = consumer.end_offsets(tps)
        behind = {f"{tp.topic}/{tp.partition}": ends[tp] - (consumer.committed(tp) or 0) for tp in tps}
        return {partition: count for partition, count in behind.items() if count}
    finally:
        consumer.close()


def wait_settled(sink: Child, kafka: KafkaConfig, name: str, timeout_s: float, *wanted: str) -> None:
    """Until a sink's group has committed the end of these topics. TimeoutError says where it stands, with the end of the sink's log."""
    give_up = time.monotonic() + timeout_s
    while behind := lag(kafka, name, *wanted):
        if time.monotonic() > give_up or sink.process.poll() is not None:
            raise TimeoutError(f"{name} is behind by {behind}\n{sink.tail()}")
        time.sleep(0.2)


def announced(streams: Streams) -> set[str]:
    """Idempotency keys that must reach a receiver."""
    return {transition.id for _, wanted in streams for transition, _ in wanted.transitions if transition.notify}


class Calls(NamedTuple):
    """What a receiver got."""

    requests: int
    distinct_keys: int
    repeats: int
    missing: int
    unknown: int
    out_of_order: int


def calls(receiver: Receiver, wanted: set[str]) -> Calls:
    """Requests against the keys that must have come. Order: of one alert, a new step never comes after a later one."""
    keys = list(receiver.keys)
    latest: dict[str, int] = {}
    turned = 0
    for key in dict.fromkeys(keys):
        alert, _, sequence = key.rpartition("-")
        turned += int(sequence) < latest.get(alert, -1)
        latest[alert] = max(int(sequence), latest.get(alert, -1))
    seen = Counter(keys)
    return Calls(len(keys), len(seen), len(keys) - len(seen), len(wanted - set(seen)), len(set(seen) - wanted), turned)


class Storm(NamedTuple):
    """How a storm ended. `sink_kills`: deaths of the webhook's process, each of which may cost one repeat."""

    calls: Calls
    worker_kills: int
    sink_kills: int
    takings_over: int
    seconds: float


def storm(
    bench: Bench,
    streams: Streams,
    root: Path,
    receiver: Receiver,
    *,
    kills: int,
    chance: Random,
    workers: int = 1,
    more: Sequence[Child] = (),
) -> Storm:
    """Feed `streams` while workers and the sink "oncall" are killed at random; everything has been taken and called when it returns.

    `more` are other sinks that share the storm and are only watched: they must not die.
    """
    config_file = root / "vigil.toml"
    worker_logs = [root / f"worker-{number}.log" for number in range(workers + kills)]
    alive = [WorkerProcess(bench.config, log) for log in worker_logs[:workers]]
    sink = SinkRun(config_file, "oncall", root / "oncall.log")
    worker_kills = sink_kills = 0
    started_s = time.monotonic()
    try:
        for death in range(kills):
            for ward, _ in streams:
                size = len(ward.records)
                bench.send(ward, ward.records[size * death // kills : size * (death + 1) // kills])
            bench.producer.flush()
            victims = VICTIMS[death % len(VICTIMS)]
            number = death % workers
            if "worker" in victims:
                alive[number].wait_logged(STARTED, START_S)
            if "sink" in victims and chance.random() < 0.8:  # else while it starts
                sink.wait_logged(SINK_STARTED, START_S)
            time.sleep(chance.uniform(*LIFE_S))
            if "worker" in victims:
                alive[number].kill()
                worker_kills += 1
            if "sink" in victims:
                sink.kill()
                sink_kills += 1
            if "worker" in victims:
                alive[number] = WorkerProcess(bench.config, worker_logs[workers + death])
            if "sink" in victims:
                sink = SinkRun(config_file, "oncall", root / "oncall.log")
        bench.wait_committed(FINISH_S)
        for worker in alive:
            worker.wait_logged(OWNING, FINISH_S)
            if worker.stop(FINISH_S) != 0:
                raise RuntimeError(f"a worker did not end well:\n{worker.tail()}")
        wait_settled(sink, bench.config, "oncall", FINISH_S, topics.ALERTS)
        for other in (sink, *more):
            if other.process.poll() is not None:
                raise RuntimeError(f"a sink ended:\n{other.tail()}")
        if sink.stop(FINISH_S) != 0:
            raise RuntimeError(f"the sink did not end well:\n{sink.tail()}")
    finally:
        for child in (*alive, sink):
            child.kill()
    takings_over = sum(log.read_text().count(OWNING) for log in worker_logs if log.exists())
    return Storm(calls(receiver, announced(streams)), worker_kills, sink_kills, takings_over, time.monotonic() - started_s)
