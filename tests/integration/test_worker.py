"""`vigil worker` on a real Kafka says what replay says, whatever happens to the process."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from alerts.model import Action, Alert, Command, State
from engine.frame import NS_PER_S
from schemas.wire import MESSAGE_BYTES_MAX
from simulator.scenario import Incident, Scenario
from simulator.simulation import Simulation
from sinks.items import AlertChange, AuditEntry, ItemKind, Quarantined
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.ops.warm_up import warm_up
from streams.pipeline.partition import COMMAND_BYTES_MAX, Partition
from streams.pipeline.records import Kind
from streams.pipeline.registries import Registries
from streams.recordings.replay import Replayed
from streams.worker.watchdog import EXIT_STALLED
from tests.conftest import missing_service
from tests.integration.kafka_wards import PARTITIONS, Bench, Ward, by_id, compare, config_for, expected, ward_names, wards
from tests.services import kafka, s3
from tests.services.worker import DEADLY, OWNING, POISON, STARTED, STEPS, WorkerProcess

LIVES: Final = 5
OUTAGE_S: Final = 4.0
TICKS: Final = 4
STALLED_S: Final = 3.0
T = TypeVar("T")

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture(scope="module")
def streams() -> list[tuple[Ward, Replayed]]:
    warm_up()  # here once, so that no worker's time is spent on it
    return [(ward, expected(ward)) for ward in wards()]


def registered(bench: Bench, streams: list[tuple[Ward, Replayed]]) -> Bench:
    for ward, _ in streams:
        bench.send_registry(ward)
    return bench


def test_worker_and_replay_say_the_same(broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    bench = registered(Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "plain-")), streams)
    send_part(bench, streams, 0, 1)
    finish(bench, streams, tmp_path)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3Server]:
    if (why := s3.missing()) is not None:
        missing_service(why)
    with s3.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


def in_objects(objects: s3.S3Server, monkeypatch: pytest.MonkeyPatch, prefix: str) -> dict[str, object]:
    """Settings of a worker with an object store; its credentials are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET_KEY)
    store = objects.config(prefix=prefix, access_key_id=None, secret_access_key=None, timeout_s=0.5, deadline_s=3.0)
    return {"snapshots_s3": store}


@pytest.mark.parametrize("store", ["directory", "s3"])
def test_killed_at_every_step_of_a_checkpoint(
    broker: kafka.Cluster,
    streams: list[tuple[Ward, Replayed]],
    tmp_path: Path,
    store: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = in_objects(request.getfixturevalue("objects"), monkeypatch, "steps") if store == "s3" else {}
    bench = registered(Bench(config_for(broker.bootstrap, tmp_path / "snapshots", f"steps-{store}-", **more)), streams)
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
        worker.wait_logged(OWNING, 60)
        bench.wait_committed(60)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    said = bench.said()
    for ward, wanted in streams:
        compare(ward, wanted, said[ward.partition])
    bench.close()


def test_two_workers_join_and_leave(broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    bench = registered(Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "two-")), streams)
    first = WorkerProcess(bench.config, tmp_path / "first.log")
    send_part(bench, streams, 0, 4)
    bench.wait_committed(120)
    second = WorkerProcess(bench.config, tmp_path / "second.log")
    second.wait_logged(OWNING, 60)
    send_part(bench, streams, 1, 4)
    bench.wait_committed(60)
    assert first.stop() == 0, first.tail()
    send_part(bench, streams, 2, 4)
    bench.wait_committed(60)
    third = WorkerProcess(bench.config, tmp_path / "third.log")
    third.wait_logged(OWNING, 60)
    second.kill()
    send_part(bench, streams, 3, 4)
    bench.wait_committed(60)
    assert third.stop() == 0, third.tail()
    finish(bench, streams, tmp_path)


def test_random_kills(broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    chance = random.Random(20)
    bench = registered(Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "random-")), streams)
    for life in range(LIVES):
        worker = WorkerProcess(bench.config, tmp_path / f"worker-{life}.log")
        worker.wait_logged(STARTED, 60)
        send_part(bench, streams, life, LIVES)
        time.sleep(chance.uniform(0.3, 4.0))
        worker.kill()
    finish(bench, streams, tmp_path)


@pytest.mark.parametrize(("payload", "lives", "more"), [(POISON, 2, 2), (DEADLY, 5, 3)], ids=["with-an-exception", "without-a-word"])
def test_records_that_kill_are_passed_over_and_kept(
    broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path, payload: bytes, lives: int, more: int
) -> None:
    """Two of them, between which no checkpoint is: what the first did must not be forgotten over the second.

    The other wards have done nothing, and nothing of theirs is skipped.
    """
    bench = registered(
        Bench(config_for(broker.bootstrap, tmp_path / "snapshots", f"{payload.decode()}-", checkpoint_every_s=300.0)), streams
    )
    ward, wanted = streams[0]
    half = len(ward.records) // 2
    bad = [ward.records[half]._replace(payload=payload + number) for number in (b"1", b"2")]
    bench.send(ward, [*ward.records[:half], *bad, *ward.records[half:]])
    for other, _ in streams[1:]:
        bench.send(other, other.records)
    for life in range(lives + more):  # from the second record on everybody is warned
        worker = WorkerProcess(bench.config, tmp_path / "dying.log")
        assert worker.wait(90) == (-signal.SIGKILL if payload == DEADLY else 1), f"life {life}: {worker.tail()}"
    bench = Bench(bench.config.model_copy(update={"checkpoint_every_s": 0.5}))
    worker = WorkerProcess(bench.config, tmp_path / "living.log")
    bench.wait_committed(90)
    assert worker.stop() == 0, worker.tail()
    everything = bench.said()
    said = everything[ward.partition]
    kept = {item.id: item.body for item in said if isinstance(item.body, Quarantined) and item.body.reason == "internal"}
    assert [body.payload for body in kept.values()] == [record.payload for record in bad]
    compare(ward, wanted, [item for item in said if item.id not in kept])
    for other, all_of_it in streams[1:]:
        compare(other, all_of_it, everything[other.partition])
    bench.close()


def test_a_full_snapshot_store_does_not_stop_detection(broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    bench = registered(Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "full-")), streams)
    send_part(bench, streams, 0, 2)
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    bench.wait_committed(90)
    for folder in (tmp_path / "snapshots").iterdir():  # root ignores permissions: a file in the folder's place refuses everybody
        folder.rename(folder.with_suffix(".away"))
        folder.write_bytes(b"")
    send_part(bench, streams, 1, 2)
    worker.wait_logged("snapshot not stored", 60)
    eventually(lambda: sum(len(by_id(said, ItemKind.EVENT)) for said in bench.said()) == sum(len(w.events) for _, w in streams), 60)
    for folder in (tmp_path / "snapshots").glob("*.away"):
        folder.with_suffix("").unlink()
        folder.rename(folder.with_suffix(""))
    bench.wait_committed(60)
    assert worker.stop() == 0, worker.tail()
    finish(bench, streams, tmp_path)


def test_an_object_store_that_goes_away_does_not_stop_detection(
    broker: kafka.Cluster,
    streams: list[tuple[Ward, Replayed]],
    tmp_path: Path,
    objects: s3.S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = registered(Bench(config_for(broker.bootstrap, tmp_path, "away-", **in_objects(objects, monkeypatch, "away"))), streams)
    send_part(bench, streams, 0, 3)
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    bench.wait_committed(90)
    objects.hang(True)
    send_part(bench, streams, 1, 3)
    worker.wait_logged("is the store up and reachable?", 60)
    objects.stop()
    send_part(bench, streams, 2, 3)
    worker.wait_logged("the store cannot be reached", 60)
    eventually(lambda: sum(len(by_id(said, ItemKind.EVENT)) for said in bench.said()) == sum(len(w.events) for _, w in streams), 60)
    objects.start()
    bench.wait_committed(60)
    assert worker.stop() == 0, worker.tail()
    finish(bench, streams, tmp_path)


def test_time_goes_on_while_an_object_store_hangs(
    broker: kafka.Cluster, tmp_path: Path, objects: s3.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = in_objects(objects, monkeypatch, "hung")
    patient = objects.config(prefix="hung", access_key_id=None, secret_access_key=None, timeout_s=60.0, deadline_s=300.0)
    bench = Bench(config_for(broker.bootstrap, tmp_path, "hung-", **more | {"snapshots_s3": patient, "live": True}))
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        worker.wait_logged(OWNING, 60)
        eventually(lambda: len(bench.log(0)) > 2, 30)
        objects.hang(True)
        time.sleep(2 * bench.config.checkpoint_every_s)  # now a checkpoint hangs, for longer than we wait below
        before = [len(bench.log(partition)) for partition in range(PARTITIONS)]
        eventually(lambda: min(len(bench.log(partition)) - before[partition] for partition in range(PARTITIONS)) >= TICKS, 45)
        objects.hang(False)
        assert worker.stop() == 0, worker.tail()
    finally:
        objects.hang(False)
        worker.kill()
    bench.close()


def test_nobody_takes_wards_over_without_their_state(
    broker: kafka.Cluster,
    streams: list[tuple[Ward, Replayed]],
    tmp_path: Path,
    objects: s3.S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = registered(
        Bench(config_for(broker.bootstrap, tmp_path, "stateless-", **in_objects(objects, monkeypatch, "stateless"))), streams
    )
    send_part(bench, streams, 0, 2)
    workers = [WorkerProcess(bench.config, tmp_path / f"{number}.log") for number in range(2)]
    for worker in workers:
        worker.wait_logged(OWNING, 60)
    bench.wait_committed(90)
    objects.stop()
    workers[0].kill()
    send_part(bench, streams, 1, 2)
    assert workers[1].wait(60) not in {0, -signal.SIGKILL}  # it would be a cold start in the middle of its wards' lives
    third = WorkerProcess(bench.config, tmp_path / "third.log")
    assert third.wait(60) not in {0, -signal.SIGKILL}
    assert "the store cannot be reached" in third.tail()
    objects.start()
    finish(bench, streams, tmp_path)


@pytest.mark.parametrize("asked_to_stop", [False, True])
def test_a_store_that_hangs_does_not_hold_partitions_for_ever(broker: kafka.Cluster, tmp_path: Path, *, asked_to_stop: bool) -> None:
    """A network folder may block a read for ever: as a pipe does into which nobody writes."""
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", f"pipe-{asked_to_stop}-", stalled_s=STALLED_S))
    pipe = piped(tmp_path / "snapshots", 2)
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    with pipe.open("wb"):  # waits for the reader, and then leaves it waiting
        if asked_to_stop:
            worker.process.terminate()
        assert worker.wait(60) == EXIT_STALLED, worker.tail()
    bench.close()


def piped(snapshots: Path, partition: int) -> Path:
    """A snapshot that cannot be read to its end before somebody writes it."""
    pipe = snapshots / f"{partition:05d}" / "0000000001-0000000000000001.snap"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    return pipe


def test_loading_may_take_longer_than_a_stall(broker: kafka.Cluster, tmp_path: Path) -> None:
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "slow-", stalled_s=STALLED_S))
    pipes = [piped(tmp_path / "snapshots", partition) for partition in range(PARTITIONS)]
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        for pipe in pipes:
            with pipe.open("wb") as file:  # waits for the reader
                time.sleep(STALLED_S / 2)
                file.write(b"half a snapshot")
        worker.wait_logged(OWNING, 60)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    bench.close()


def test_what_no_record_can_hold_stops_nothing(broker: kafka.Cluster, tmp_path: Path) -> None:
    """Whoever publishes commands and registries may compress: what is short on its way is long when it is read."""
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "long-", live=True))
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    worker.wait_logged(OWNING, 60)
    producer = KafkaProducer(**bench.config.connection.client(), compression_type="gzip", max_request_size=16 * 2**20)
    try:
        name = ward_names()[0].encode()
        for topic in (topics.COMMANDS, topics.REGISTRY):
            producer.send(bench.topic(topic), key=name, value=b" " * (8 * 2**20), headers=[("trace", b"x" * 10**5)])
            producer.send(bench.topic(topic), key=b"w" * 10**6, value=b" ", headers=[("arrival_ns", b"1" * 10**5)])
        producer.flush()
        refused = eventually(lambda: found if len(found := quarantined(bench, 0)) >= 2 else [], 60)
        assert {len(body.payload) for body in refused} == {COMMAND_BYTES_MAX + 1, MESSAGE_BYTES_MAX}
        assert worker.stop() == 0, worker.tail()
    finally:
        producer.close()
        worker.kill()
    bench.close()


def quarantined(bench: Bench, partition: int) -> list[Quarantined]:
    return [item.body for item in bench.said()[partition] if isinstance(item.body, Quarantined)]


def test_the_broker_restarts(streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    if (why := kafka.missing()) is not None:
        missing_service(why)
    with kafka.running(tmp_path / "kafka") as cluster:
        through_an_outage(cluster, config_for(cluster.bootstrap, tmp_path / "snapshots", "restart-"), streams, tmp_path, back=True)


def test_a_cluster_loses_a_broker(streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    if (why := kafka.missing()) is not None:
        missing_service(why)
    with kafka.running(tmp_path / "kafka", brokers=3) as cluster:
        config = config_for(cluster.bootstrap, tmp_path / "snapshots", "lost-", replication=3)
        through_an_outage(cluster, config, streams, tmp_path, back=False)


def through_an_outage(
    cluster: kafka.Cluster, config: KafkaConfig, streams: list[tuple[Ward, Replayed]], folder: Path, *, back: bool
) -> None:
    """A broker dies in the middle; a worker that ends because of it is started again, as whoever runs workers would."""
    bench = registered(Bench(config), streams)
    send_part(bench, streams, 0, 2)
    lives = [WorkerProcess(config, folder / "life.log")]
    lives[0].wait_logged(OWNING, 90)
    cluster.brokers[0].kill()
    time.sleep(OUTAGE_S)
    if back:
        cluster.brokers[0].start()
        cluster.wait()
    send_part(bench, streams, 1, 2)

    def done() -> bool:
        if lives[-1].process.poll() is not None:
            assert len(lives) < LIVES, lives[-1].tail()
            lives.append(WorkerProcess(config, folder / "life.log"))
        try:
            bench.wait_committed(1)
        except (TimeoutError, KafkaError):
            return False
        return True

    eventually(done, 200)
    lives[-1].stop()
    finish(bench, streams, folder)


def test_live_commands_registry_and_time_are_in_the_log(broker: kafka.Cluster, tmp_path: Path) -> None:
    name = ward_names()[0]
    start_ns = time.time_ns() - 8 * NS_PER_S
    made = Scenario(ward=name, residents=2, seconds=6, start_ns=start_ns, incidents=(Incident("sos", at_s=1.0, who=0),))
    ward = Ward(name, 0, list(Simulation(made).records()), Simulation(made).registry())
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "live-", live=True))
    bench.send_registry(ward)
    worker = WorkerProcess(bench.config, tmp_path / "first.log")
    bench.send(ward, ward.records)
    (alert,) = eventually(lambda: [a for a in alerts(bench, 0) if a.code == "sos.pressed"], 120)
    command = Command("c1", Action.ACKNOWLEDGE, alert.id, "li", 0)
    bench.producer.send(bench.topic(topics.COMMANDS), key=name.encode(), value=msgspec.json.encode(command)).get(10)
    eventually(lambda: [a for a in alerts(bench, 0) if a.id == alert.id and a.state is State.ACKNOWLEDGED], 30)
    worker.kill()  # what it said since its last checkpoint is said again by the next
    fewer = msgspec.structs.replace(ward.registry, bindings=ward.registry.bindings[:-1])
    bench.send_registry(ward._replace(registry=fewer))
    bench.producer.send(bench.topic(topics.REGISTRY), key=name.encode(), value=b"{nonsense").get(10)
    worker = WorkerProcess(bench.config, tmp_path / "second.log")
    eventually(lambda: len([i for i in bench.said()[0] if i.kind is ItemKind.AUDIT and "registry" in i.id]) >= 2, 60)
    eventually(lambda: bench.log(0)[-1].kind is Kind.TIME, 60)
    assert worker.stop() == 0, worker.tail()
    said = bench.said()[0]
    audit = {i.id: i.body for i in said if isinstance(i.body, AuditEntry)}
    assert [audit["c1"].action, audit["c1"].by, audit["c1"].detail] == ["acknowledge", "li", ""]
    assert audit["registry-0-1"].detail == f"{len(fewer.bindings)} bindings"
    assert audit["registry-0-2"].detail.startswith("refused: ")
    log = bench.log(0)
    assert {record.kind for record in log} == set(Kind) - {Kind.REGISTRY_CHANGE}
    # The log alone says it all: read again by anybody, it gives what the two workers said.
    again = Partition(0, live=True, registries=Registries({name: ward.registry}, 1))
    wanted = [item for record in log for item in again.apply(record).items]
    for kind in set(ItemKind) - {ItemKind.ACCOUNT}:
        assert by_id(said, kind) == by_id(wanted, kind)
    bench.close()


def alerts(bench: Bench, partition: int) -> list[Alert]:
    """Alerts as they were after each transition."""
    return [item.body.alert for item in bench.said()[partition] if isinstance(item.body, AlertChange)]


def eventually(ask: Callable[[], T], timeout_s: float) -> T:
    """The first answer that is true."""
    give_up = time.monotonic() + timeout_s
    while not (answer := ask()):
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.3)
    return answer
