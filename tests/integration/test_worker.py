"""`vigil worker` on a real Kafka says what replay says, whatever happens to the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.frame import NS_PER_S
from streams.replay import Replayed
from tests.conftest import missing_service
from tests.integration.kafka_wards import Bench, Ward, compare, config_for, expected, wards
from tests.services import kafka
from tests.services.worker import STEPS, WorkerProcess

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Cluster]:
    if (why := kafka.missing()) is not None:
        missing_service(why)
    with kafka.running(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def streams() -> list[tuple[Ward, Replayed]]:
    return [(ward, expected(ward)) for ward in wards()]


def fed(bench: Bench, streams: list[tuple[Ward, Replayed]]) -> None:
    for ward, _ in streams:
        bench.send_registry(ward)
    for ward, _ in streams:
        bench.send(ward, ward.records)
    bench.producer.flush()


def test_worker_and_replay_say_the_same(broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "plain-"))
    fed(bench, streams)
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        bench.wait_committed(90)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    said = bench.said()
    for ward, wanted in streams:
        compare(ward, wanted, said[ward.partition])
    bench.close()
