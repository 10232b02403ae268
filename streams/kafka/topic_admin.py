"""Creates the topics of a distributed Vigil, and checks whether a cluster has them as streams.kafka.topics wants them."""

from __future__ import annotations

from typing import Any, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

from streams.kafka import clients
from streams.kafka.config import KafkaConfig
from streams.kafka.preflight import ensure_reachable
from streams.kafka.topics import TOPICS


class Fault(NamedTuple):
    """A difference between a topic and its specification; `fatal`: a worker refuses to start with it."""

    topic: str
    what: str
    fatal: bool


def _admin(config: KafkaConfig) -> KafkaAdminClient:
    ensure_reachable(config.connection)
    return clients.admin(config)


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
