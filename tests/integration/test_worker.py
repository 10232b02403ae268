"""`vigil worker` on a real Kafka says what replay says, whatever happens to the process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.replay import Replayed
from streams.warmup import warm_up
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
    warm_up()  # here once, so that no worker's time is spent on it
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
    finish(bench, streams, tmp_path)


def test_killed_at_every_step_of_a_checkpoint(broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "steps-"))
    for ward, _ in streams:
        bench.send_registry(ward)
    for life, step in enumerate(STEPS):
        send_part(bench, streams, life, len(STEPS) + 1)
        # The cold start of four partitions takes four checkpoints.
        worker = WorkerProcess(bench.config, tmp_path / "worker.log", die=(step, 6 if life == 0 else 2))
        assert worker.wait(60) == -signal.SIGKILL, worker.tail()
    send_part(bench, streams, len(STEPS), len(STEPS) + 1)
    finish(bench, streams, tmp_path)


def send_part(bench: Bench, streams: list[tuple[Ward, Replayed]], part: int, parts: int) -> None:
    """The `part`-th of `parts` equal stretches of every ward."""
    for ward, _ in streams:
        size = len(ward.records)
        bench.send(ward, ward.records[size * part // parts : size * (part + 1) // parts])
    bench.producer.flush()


def finish(bench: Bench, streams: list[tuple[Ward, Replayed]], folder: Path) -> None:
    """A last worker brings it to the end; then everything is as replay says."""
    worker = WorkerProcess(bench.config, folder / "worker.log")
    try:
        bench.wait_committed(60)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    said = bench.said()
    for ward, wanted in streams:
        compare(ward, wanted, said[ward.partition])
    bench.close()
