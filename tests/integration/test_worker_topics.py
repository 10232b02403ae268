"""Topics on a real Kafka: created as they should be, and seen when they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from typer.testing import CliRunner

from streams.cli.topics import topics_app
from streams.kafka import topic_admin, topics
from streams.kafka.config import Connection, KafkaConfig
from tests.services import kafka

pytestmark = pytest.mark.services


def config(broker: kafka.Cluster, prefix: str) -> KafkaConfig:
    return KafkaConfig(connection=Connection(brokers=broker.bootstrap), prefix=prefix, partitions=2, replication=1)


def test_created_topics_are_as_they_should_be_and_creating_again_changes_nothing(broker: kafka.Cluster) -> None:
    wanted = config(broker, "home-")
    assert {fault.what.split(":")[0] for fault in topic_admin.check(wanted)} == {"is missing"}
    assert topic_admin.create(wanted) == [f"home-{spec.name}" for spec in topics.TOPICS]
    assert topic_admin.check(wanted) == []
    assert topic_admin.create(wanted) == []


def test_topics_that_differ_are_named_with_what_differs(broker: kafka.Cluster) -> None:
    wanted = config(broker, "odd-")
    admin = KafkaAdminClient(**wanted.connection.client())
    try:
        admin.create_topics([NewTopic("odd-telemetry", 3, 1)], wait_for_metadata=True)
        topic_admin.create(wanted)
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "odd-alerts", configs={"cleanup.policy": "delete"})])
    finally:
        admin.close()
    faults = topic_admin.check(wanted)
    assert any(f.topic == "odd-telemetry" and f.fatal and "3 partitions" in f.what for f in faults)
    assert any(f.topic == "odd-telemetry" and not f.fatal and "LogAppendTime is wanted" in f.what for f in faults)
    assert any(f.topic == "odd-alerts" and f.fatal and "cleanup.policy=delete" in f.what for f in faults)


def test_the_commands_say_what_they_did(broker: kafka.Cluster, tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text(f'[kafka]\nprefix = "cli-"\npartitions = 2\nreplication = 1\n[kafka.connection]\nbrokers = "{broker.bootstrap}"\n')
    run = CliRunner()
    assert run.invoke(topics_app, ["check", "--config", str(path)]).exit_code == 1
    made = run.invoke(topics_app, ["create", "--config", str(path)])
    assert made.exit_code == 0
    assert "created cli-telemetry" in made.output
    assert run.invoke(topics_app, ["check", "--config", str(path)]).exit_code == 0
    path.write_text("[kafka]\npartitions = 0\n")
    assert run.invoke(topics_app, ["check", "--config", str(path)]).exit_code == 2
