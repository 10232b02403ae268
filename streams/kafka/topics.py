"""The topics of a distributed Vigil: what is in them, how long it is kept, and whether a cluster has them so."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from aiokafka.partitioner import murmur2
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

from schemas.wire import MESSAGE_BYTES_MAX
from streams.kafka.config import KafkaConfig
from streams.kafka.preflight import ensure

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
RECORD_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64 * 1024
"""A wire message with its Kafka headers and batch overhead."""
SEGMENT_BYTES: Final = 128 * 1024 * 1024
"""Retention and compaction act on whole closed segments; Kafka's 1 GiB would keep a small home's topics for ever."""

TELEMETRY: Final = "telemetry"
COMMANDS: Final = "commands"
REGISTRY: Final = "registry"
EVENTS: Final = "events"
ALERTS: Final = "alerts"
MEASUREMENTS: Final = "measurements"
QUARANTINE: Final = "quarantine"
ACCOUNTS: Final = "accounts"
AUDIT: Final = "audit"


class TopicSpec(NamedTuple):
    """A topic. All have the same number of partitions and the same partition for the same ward.

    `retention_ms` None: for ever. `compacted`: the newest record of a key is kept for ever, older ones at least `retention_ms`.
    """

    name: str
    retention_ms: int | None
    why: str
    compacted: bool = False
    append_time: bool = False

    def settings(self, replication: int) -> dict[str, str]:
        """Kafka's topic configuration."""
        kept = "-1" if self.retention_ms is None or self.compacted else str(self.retention_ms)
        settings = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": kept,
            "segment.bytes": str(SEGMENT_BYTES),
            "max.message.bytes": str(RECORD_BYTES_MAX),
            "min.insync.replicas": str(max(1, replication - 1)),
            "message.timestamp.type": "LogAppendTime" if self.append_time else "CreateTime",
        }
        if self.compacted:
            settings["min.compaction.lag.ms"] = str(self.retention_ms or 0)
        return settings


TOPICS: Final = (
    TopicSpec(TELEMETRY, 3 * DAY_MS, "all inputs of a partition in their one order; key: ward", append_time=True),
    TopicSpec(COMMANDS, 30 * DAY_MS, "what staff say, JSON; key: ward", append_time=True),
    TopicSpec(REGISTRY, DAY_MS, "a ward's bindings, JSON; key: ward", compacted=True, append_time=True),
    TopicSpec(EVENTS, 90 * DAY_MS, "events, JSON; key: subject"),
    TopicSpec(ALERTS, 30 * DAY_MS, "transition and alert, JSON; key: alert id", compacted=True),
    TopicSpec(MEASUREMENTS, 7 * DAY_MS, "frames of measurements, MessagePack"),
    TopicSpec(QUARANTINE, 30 * DAY_MS, "frames of refused input with its reason, MessagePack"),
    TopicSpec(ACCOUNTS, 90 * DAY_MS, "frames of where the readings went, MessagePack"),
    TopicSpec(AUDIT, None, "who did what, JSON; key: target"),
)


def partition_of(ward: str, partitions: int) -> int:
    """Where Kafka's default partitioner puts the ward's key (murmur2, its sign bit cleared)."""
    return int((murmur2(ward.encode()) & 0x7FFFFFFF) % partitions)


class Fault(NamedTuple):
    """What is not as it should be on a cluster; `fatal` when a worker must not run like this."""

    topic: str
    what: str
    fatal: bool


def _admin(config: KafkaConfig) -> KafkaAdminClient:
    ensure(config.connection)
    return KafkaAdminClient(**config.connection.client())


def create(config: KafkaConfig) -> list[str]:
    """Create the topics that are missing; returns their names. KafkaError when the cluster refuses (too few brokers, no
    right); KafkaUnreachable when it cannot be reached as configured."""
    admin = _admin(config)
    created = []
    try:
        for spec in TOPICS:
            name = config.prefix + spec.name
            topic = NewTopic(name, config.partitions, config.replication, topic_configs=spec.settings(config.replication))
            try:
                admin.create_topics([topic], wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue
            created.append(name)
    finally:
        admin.close()
    return created


def check(config: KafkaConfig) -> list[Fault]:
    """How the cluster's topics differ from what they should be; empty when they do not. Errors as for `create`."""
    admin = _admin(config)
    faults = []
    try:
        names = [config.prefix + spec.name for spec in TOPICS]
        here = {topic["name"]: topic for topic in admin.describe_topics() if topic["name"] in names}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in here]
        described = admin.describe_configs(resources, config_filter="all") if resources else {}
        values: dict[str, Any] = next(iter(described.values()), {})
        for spec, name in zip(TOPICS, names, strict=True):
            if name not in here:
                faults.append(Fault(name, "is missing: run `vigil topics create`", fatal=True))
                continue
            partitions = here[name]["partitions"]
            if len(partitions) != config.partitions:
                what = f"has {len(partitions)} partitions, {config.partitions} are wanted: wards would be split between two orders"
                faults.append(Fault(name, what, fatal=True))
            copies = min(len(partition["replica_nodes"]) for partition in partitions)
            if copies < config.replication:
                faults.append(Fault(name, f"has {copies} copies, {config.replication} are wanted", fatal=False))
            for key, wanted in spec.settings(config.replication).items():
                got = str(values.get(name, {}).get(key, {}).get("value"))
                if got != wanted:
                    faults.append(Fault(name, f"has {key}={got}, {wanted} is wanted", fatal=key == "cleanup.policy"))
    finally:
        admin.close()
    return faults
