"""The topics of a distributed Vigil: what is in them, and how long it is kept. streams.kafka.topic_admin creates and checks them."""

from __future__ import annotations

from typing import Final, NamedTuple

from aiokafka.partitioner import murmur2

from schemas.wire import MESSAGE_BYTES_MAX

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
RECORD_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64 * 1024
"""The largest record: a wire message with its Kafka headers and batch overhead."""
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
    TopicSpec(COMMANDS, 30 * DAY_MS, "commands of staff, JSON; key: ward", append_time=True),
    TopicSpec(REGISTRY, DAY_MS, "a ward's bindings, JSON; key: ward", compacted=True, append_time=True),
    TopicSpec(EVENTS, 90 * DAY_MS, "events, JSON; key: subject"),
    TopicSpec(ALERTS, 30 * DAY_MS, "transition and alert, JSON; key: alert id", compacted=True),
    TopicSpec(MEASUREMENTS, 7 * DAY_MS, "frames of measurements, MessagePack"),
    TopicSpec(QUARANTINE, 30 * DAY_MS, "frames of refused input with its reason, MessagePack"),
    TopicSpec(ACCOUNTS, 90 * DAY_MS, "frames of accounts (what became of the readings), MessagePack"),
    TopicSpec(AUDIT, None, "audit entries (who did what), JSON; key: target"),
)


def partition_of(ward: str, partitions: int) -> int:
    """The partition to which Kafka's default partitioner maps the ward's key (murmur2, its sign bit cleared)."""
    return int((murmur2(ward.encode()) & 0x7FFFFFFF) % partitions)
