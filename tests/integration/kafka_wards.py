"""Four simulated wards on a real Kafka, what replay says about them, and what workers said."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from engine.outputs import Account
from engine.registry import RegistryData
from schemas.recording import Meta, Record, Recording
from simulator.scenario import Incident, Scenario, Trouble
from simulator.simulation import Simulation
from sinks.items import AlertChange, Item, ItemKind
from streams.kafka import topic_admin, topics
from streams.kafka.config import Connection, KafkaConfig
from streams.kafka.records import NS_PER_MS, headers, items_in, parse
from streams.pipeline.records import Input
from streams.recordings.replay import Replayed, replay

PARTITIONS: Final = 4
SECONDS: Final = 150.0


class Ward(NamedTuple):
    """A ward, the partition its key falls on, what it sent and who is who in it."""

    name: str
    partition: int
    records: list[Record]
    registry: RegistryData


def partition_of(ward: str) -> int:
    """Kafka's default partitioner."""
    return topics.partition_of(ward, PARTITIONS)


def ward_names() -> list[str]:
    """A ward for each partition, in the order of partitions."""
    found: dict[int, str] = {}
    number = 1
    while len(found) < PARTITIONS:
        name = f"home/ward-{number}"
        found.setdefault(partition_of(name), name)
        number += 1
    return [found[p] for p in range(PARTITIONS)]


def scenario(name: str, seed: int, seconds: float = SECONDS) -> Scenario:
    """A small ward in which much happens and much goes wrong."""
    return Scenario(
        name=name,
        ward=name,
        seed=seed,
        residents=4,
        seconds=seconds,
        incidents=(
            Incident("tachycardia", at_s=5, who=0, duration_s=60, level=158),
            Incident("sos", at_s=15.0 + seed, who=1),
            Incident("fall", at_s=25.0 + seed, who=2, duration_s=60, variant="forward"),
            Incident("smoulder", at_s=40, who=1, duration_s=40),
            Incident("sos", at_s=seconds - 20, who=3),
        ),
        troubles=(
            Trouble("duplicate", probability=0.05),
            Trouble("late", probability=0.05, offset_s=1.2),
            Trouble("unknown_device"),
            Trouble("garbage", at_s=30, duration_s=5),
            Trouble("outage", at_s=70, duration_s=6),
        ),
    )


def wards(seconds: float = SECONDS) -> list[Ward]:
    """One ward a partition."""
    made = []
    for seed, name in enumerate(ward_names()):
        ward = Simulation(scenario(name, seed, seconds))
        made.append(Ward(name, partition_of(name), list(ward.records()), ward.registry()))
    return made


def expected(ward: Ward) -> Replayed:
    """What replay says about a ward."""
    recording = Recording(Meta(ward.name, "simulated"), ward.registry, (), iter(ward.records))
    return replay(recording, settle_s=0, measurements=True)


def config_for(bootstrap: str, snapshots: Path, prefix: str, **more: object) -> KafkaConfig:
    """A configuration for tests: short sessions, frequent checkpoints, the recording's own time."""
    settings: dict[str, object] = {
        "connection": Connection(brokers=bootstrap),
        "prefix": prefix,
        "group": f"{prefix}vigil",
        "partitions": PARTITIONS,
        "replication": 1,
        "snapshots": snapshots,
        "checkpoint_every_s": 0.5,
        "session_timeout_s": 2.0,
        "stalled_s": 30.0,
        "live": False,
    }
    return KafkaConfig.model_validate(settings | more)


class Bench:
    """A prefix on a broker: sends wards to it and reads what workers say."""

    def __init__(self, config: KafkaConfig) -> None:
        self.config = config
        topic_admin.create(config)
        self.producer = KafkaProducer(**config.connection.client(), acks="all", linger_ms=5, max_request_size=topics.RECORD_BYTES_MAX)

    def close(self) -> None:
        """Let go of the broker."""
        self.producer.close()

    def topic(self, name: str) -> str:
        """With the prefix."""
        return self.config.prefix + name

    def send_registry(self, ward: Ward) -> None:
        """Its bindings."""
        self.producer.send(self.topic(topics.REGISTRY), key=ward.name.encode(), value=msgspec.json.encode(ward.registry))
        self.producer.flush()

    def send(self, ward: Ward, records: Sequence[Record]) -> None:
        """Telemetry with the arrival of the recording."""
        for record in records:
            self.producer.send(
                self.topic(topics.TELEMETRY), key=ward.name.encode(), value=record.payload, headers=headers(record.arrival_ns)
            )

    def wait_committed(self, timeout_s: float) -> None:
        """Until the group has committed the end of every telemetry partition. TimeoutError says how far it is."""
        self.producer.flush()
        consumer = KafkaConsumer(**self.config.connection.client(), group_id=self.config.group, enable_auto_commit=False)
        tps = [TopicPartition(self.topic(topics.TELEMETRY), p) for p in range(PARTITIONS)]
        try:
            give_up = time.monotonic() + timeout_s
            while True:
                ends = consumer.end_offsets(tps)
                committed = {tp: consumer.committed(tp) or 0 for tp in tps}
                if all(committed[tp] >= ends[tp] for tp in tps):
                    return
                if time.monotonic() > give_up:
                    raise TimeoutError(f"committed {committed} of {ends}")
                time.sleep(0.2)
        finally:
            consumer.close()

    def log(self, partition: int) -> list[Input]:
        """The telemetry topic's partition as a worker reads it."""
        consumer = KafkaConsumer(**self.config.connection.client(), enable_auto_commit=False)
        tp = TopicPartition(self.topic(topics.TELEMETRY), partition)
        found: list[Input] = []
        try:
            consumer.assign([tp])
            consumer.seek_to_beginning(tp)
            end = consumer.end_offsets([tp])[tp]
            while consumer.position(tp) < end:
                taken = consumer.poll(timeout_ms=500).get(tp, [])
                found += [parse(r.offset, r.timestamp * NS_PER_MS, r.key, r.value, r.headers) for r in taken]
        finally:
            consumer.close()
        return found

    def said(self) -> list[list[Item]]:
        """Everything on the output topics, by partition, in order, repeats and all."""
        return said_on(self.config, [topics.EVENTS, topics.ALERTS, topics.MEASUREMENTS, topics.QUARANTINE, topics.ACCOUNTS, topics.AUDIT])


def said_on(config: KafkaConfig, names: Sequence[str]) -> list[list[Item]]:
    """Everything on these output topics, by partition, in order."""
    consumer = KafkaConsumer(**config.connection.client(), enable_auto_commit=False, max_partition_fetch_bytes=topics.RECORD_BYTES_MAX)
    tps = [TopicPartition(config.prefix + name, p) for name in names for p in range(config.partitions)]
    found: list[list[Item]] = [[] for _ in range(config.partitions)]
    try:
        consumer.assign(tps)
        consumer.seek_to_beginning(*tps)
        ends = consumer.end_offsets(tps)
        while any(consumer.position(tp) < ends[tp] for tp in tps):
            for tp, records in consumer.poll(timeout_ms=500).items():
                for record in records:
                    found[tp.partition] += items_in(tp.topic.removeprefix(config.prefix), record.value)
    finally:
        consumer.close()
    return found


def by_id(items: Sequence[Item], kind: ItemKind) -> dict[str, bytes]:
    """id -> content, in order of first appearance; AssertionError when one id came with two contents."""
    found: dict[str, bytes] = {}
    for item in items:
        if item.kind is kind:
            content = msgspec.json.encode(item.body) if kind is not ItemKind.MEASUREMENTS else item.id.encode()
            assert found.setdefault(item.id, content) == content, f"{kind} {item.id} was said in two versions"
    return found


def accounts(items: Sequence[Item]) -> dict[tuple[str, str, int], Account]:
    """The last word on each device, kind and hour."""
    bodies = [item.body for item in items if isinstance(item.body, Account)]
    return {(a.device, a.kind, a.hour_ns): a for a in bodies}


def compare(ward: Ward, wanted: Replayed, said: Sequence[Item]) -> None:
    """Events, transitions with their alerts, measurements, quarantine and accounts are replay's, by id and content."""
    events = by_id(said, ItemKind.EVENT)
    assert list(events.values()) == [msgspec.json.encode(e) for e in wanted.events]
    changes = by_id(said, ItemKind.ALERT)
    assert list(changes.values()) == [msgspec.json.encode(AlertChange(t, a)) for t, a in wanted.transitions]
    from sinks.items import measurements_item

    assert set(by_id(said, ItemKind.MEASUREMENTS)) == {measurements_item(rows).id for rows in wanted.measurements}
    assert len(by_id(said, ItemKind.QUARANTINE)) == len(wanted.rejects) + len(wanted.late)
    wanted_accounts = {(a.device, a.kind, a.hour_ns): a for a in wanted.accounts}
    assert accounts(said) == wanted_accounts
    assert len(events) >= 4, f"{ward.name} was too quiet to show anything"
