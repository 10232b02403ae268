"""`vigil registry` on a real Kafka, with a worker and without; ingest waits for its topic."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
import structlog
from kafka import KafkaProducer
from typer.testing import CliRunner

from engine.registry import Binding, RegistryData
from streams.cli.registry import registry_app
from streams.ingest.registry_follower import RegistryFollower
from streams.ingest.wards import Wards
from streams.kafka import registry_topic, topic_admin
from streams.kafka.registry_reader import REFUSED
from tests.integration.kafka_wards import config_for
from tests.services import kafka
from tests.services.worker import OWNING, WorkerProcess

pytestmark = pytest.mark.services

EAST, WEST = "home/east", "home/west"
DATA = RegistryData(bindings=(Binding("wb-1", "resident/r-1", EAST, "wrist"), Binding("wb-2", "resident/r-2", WEST, "wrist")))


def run(config: Path, *words: str, stdin: bytes | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(registry_app, [*words, "--config", str(config)], input=stdin)
    return done.exit_code, done.output  # log lines come first, where something in this process has switched them on


def test_a_registry_is_published_shown_and_withdrawn(broker: kafka.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_topic, "IN_FORCE_S", 0.5)
    settings = config_for(broker.bootstrap, tmp_path / "snapshots", "who-")
    config = tmp_path / "vigil.toml"
    config.write_text(
        f'[kafka]\nprefix = "who-"\ngroup = "who-vigil"\npartitions = {settings.partitions}\nreplication = 1\n'
        f'[kafka.connection]\nbrokers = "{broker.bootstrap}"\n'
    )
    file = tmp_path / "registry.json"
    file.write_bytes(msgspec.json.encode(DATA))
    topic_admin.create(settings)

    status, said = run(config, "publish", str(file), "--ward", EAST)  # no worker runs
    assert status == 0
    assert f"note: {EAST}: nothing says what 1 devices send (" in said
    assert said.splitlines()[-1].startswith(f"{EAST}: stored; in force as soon as a worker of partition ")
    status, said = run(config, "show")
    assert status == 0
    assert said.endswith(f"{EAST}: 1 devices, 1 residents, beds and rooms\n")

    producer = KafkaProducer(**settings.connection.client())
    try:
        producer.send("who-registry", key=EAST.encode(), value=b"no registry").get()
    finally:
        producer.close()

    monkeypatch.undo()
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    try:
        worker.wait_logged(OWNING, 60)
        status, said = run(config, "publish", "-", stdin=file.read_bytes())
        assert (status, said.count(REFUSED)) == (0, 1)
        assert said.endswith(f"{EAST}: in force\n{WEST}: in force\n")
    finally:
        assert worker.stop() == 0
    status, said = run(config, "show", WEST)
    assert status == 0
    assert msgspec.json.decode(said[said.index("{\n") :], type=RegistryData).bindings == DATA.bindings[1:]

    monkeypatch.setattr(registry_topic, "IN_FORCE_S", 0.5)
    assert run(config, "withdraw", EAST)[0] == 0  # no worker runs again
    assert [sorted(r.wards) for r in registry_topic.registries_in_force(settings) if r.wards] == [[WEST]]
    status, said = run(config, "withdraw", EAST)
    assert status == 2
    assert said.endswith(f"vigil: there is no registry of ward {EAST}; there are: {WEST}\n")


def test_what_cannot_be_published_is_told_and_not_sent(broker: kafka.Cluster, tmp_path: Path) -> None:
    settings = config_for(broker.bootstrap, tmp_path / "snapshots", "odd-")
    config = tmp_path / "vigil.toml"
    config.write_text(f'[kafka]\nprefix = "odd-"\npartitions = 4\n[kafka.connection]\nbrokers = "{broker.bootstrap}"\n')
    topic_admin.create(settings)
    twice = msgspec.structs.replace(DATA, bindings=(*DATA.bindings, Binding("wb-1", "resident/r-3", EAST)))
    for raw, why in (
        (b"{}", "binds no device"),
        (b'{"bindigns": []}', "no field bindigns"),
        (msgspec.json.encode(twice), "device wb-1 is bound twice at one time"),
    ):
        status, said = run(config, "publish", "-", stdin=raw)
        assert status == 2
        assert why in said
    assert run(config, "publish", str(tmp_path / "none.json"))[0] == 2
    assert [r.wards for r in registry_topic.registries_in_force(settings)] == [{}] * 4


def test_ingest_waits_for_a_topic_that_is_missing_and_says_so(broker: kafka.Cluster, tmp_path: Path) -> None:
    settings = config_for(broker.bootstrap, tmp_path / "snapshots", "late-")

    async def follow() -> bool:
        follower = RegistryFollower(settings, Wards())
        task = asyncio.create_task(follower.run())
        await asyncio.sleep(3.0)
        early = follower.ready.is_set()
        await asyncio.to_thread(topic_admin.create, settings)
        await asyncio.wait_for(follower.ready.wait(), 30.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return early

    with structlog.testing.capture_logs() as said:
        assert not asyncio.run(follow())
    warnings = [entry["why"] for entry in said if entry["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "late-registry is missing: run `vigil topics create`" in warnings[0]
