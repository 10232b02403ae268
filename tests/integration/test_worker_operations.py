"""What a real worker process tells whoever runs it, while wards are sent to it, while it stands, and when it is told to end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from alerts.model import Reason
from engine.events import Priority
from streams.ops.warm_up import warm_up
from streams.recordings.replay import Replayed
from streams.worker.watchdog import EXIT_STALLED
from tests.integration.kafka_wards import PARTITIONS, Bench, Ward, compare, config_for, expected, wards
from tests.services import kafka
from tests.services.worker import OWNING, STARTED, WorkerProcess

UNHEALTHY_S: Final = 2.0

pytestmark = [pytest.mark.services]


@pytest.fixture(scope="module")
def streams() -> list[tuple[Ward, Replayed]]:
    warm_up()
    return [(ward, expected(ward)) for ward in wards()]


def bench_on(broker: kafka.Cluster, folder: Path, prefix: str, **more: object) -> Bench:
    (port,) = kafka.free_ports(1)
    operations = {"port": port, "unhealthy_s": UNHEALTHY_S, "degraded_s": 1.0}
    return Bench(config_for(broker.bootstrap, folder / "snapshots", prefix, operations=operations, **more))


def health(bench: Bench) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"http://127.0.0.1:{bench.config.operations.port}/healthz", timeout=5)
    return answer.status_code, answer.json()


def until(ask: Callable[[], bool], timeout_s: float, worker: WorkerProcess) -> None:
    give_up = time.monotonic() + timeout_s
    while not ask():
        assert time.monotonic() < give_up, worker.tail()
        time.sleep(0.1)


def is_state(bench: Bench, state: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return bool(health(bench)[1]["state"] == state)
        except httpx.TransportError:
            return False

    return ask


class Metrics:
    """What /metrics says, by sample name and labels."""

    def __init__(self, bench: Bench) -> None:
        text = httpx.get(f"http://127.0.0.1:{bench.config.operations.port}/metrics", timeout=5).text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def by(self, name: str, *labels: str) -> dict[Any, float]:
        """Value by the labels given, those of them alone."""
        found: Counter[Any] = Counter()
        for sample in self.samples:
            if sample.name == name:
                key = tuple(sample.labels[label] for label in labels)
                found[key[0] if len(key) == 1 else key] += sample.value
        return {key: value for key, value in found.items() if value}


def test_figures_are_what_replay_counts(broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path) -> None:
    bench = bench_on(broker, tmp_path, "figures-")
    for ward, _ in streams:
        bench.send_registry(ward)
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        until(is_state(bench, "joining"), 60, worker)
        assert health(bench)[0] == 200
        until(is_state(bench, "working"), 60, worker)
        for ward, _ in streams:
            bench.send(ward, ward.records)
        bench.wait_committed(90)
        until(lambda: set(Metrics(bench).by("vigil_worker_lag_records", "partition").values()) <= {0.0}, 10, worker)
        time.sleep(1.5)  # the next look
        metrics, (status, details) = Metrics(bench), health(bench)
        assert (status, details["state"]) == (200, "working")
        assert {int(number) for number in details["partitions"]} == set(range(PARTITIONS))
        replays = [replayed for _, replayed in streams]
        assert metrics.by("vigil_worker_records_total", "kind")["telemetry"] == sum(len(ward.records) for ward, _ in streams)
        sent = sum(len(record.payload) for ward, _ in streams for record in ward.records)
        assert sum(metrics.by("vigil_worker_bytes_total").values()) >= sent
        accounts = [account for replayed in replays for account in replayed.accounts]
        readings = {name: float(sum(getattr(a, name) for a in accounts)) for name in ("processed", "duplicate", "late", "quarantined")}
        assert metrics.by("vigil_worker_readings_total", "outcome") == {name: value for name, value in readings.items() if value}
        events = Counter((event.code, event.phase) for replayed in replays for event in replayed.events)
        assert metrics.by("vigil_worker_events_total", "code", "phase") == events
        changes = [change for replayed in replays for change in replayed.transitions]
        steps = Counter((alert.code, Priority(alert.priority).name.lower(), step.to_state.value) for step, alert in changes)
        assert metrics.by("vigil_worker_alert_transitions_total", "code", "priority", "state") == steps
        onsets = Counter(alert.code for step, alert in changes if step.reason is Reason.ONSET)
        assert metrics.by("vigil_worker_onset_to_alert_seconds_count", "code") == onsets
        at_once = sum(step.reason in {Reason.ONSET, Reason.REPEATED} for step, _ in changes)
        assert metrics.by("vigil_worker_detection_seconds_count") == {(): at_once}
        reasons = Counter(reject.reason.value for replayed in replays for reject in replayed.rejects)
        assert metrics.by("vigil_worker_quarantined_total", "reason") == reasons
        ages = metrics.by("vigil_worker_snapshot_timestamp_seconds", "partition")
        assert all(time.time() - at_s < 30 for at_s in ages.values())
        assert set(ages) == set(metrics.by("vigil_worker_snapshot_bytes", "partition")) == {str(n) for n in range(PARTITIONS)}
        for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "python_gc_collections_total", "vigil_build_info"):
            assert metrics.by(name), name
        named = " ".join(value for sample in metrics.samples for value in sample.labels.values())
        assert not any(mark in named for mark in ("resident/", "room/", "bed/", "wb-", "ward-")), "a label names somebody"
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    said = bench.said()
    for ward, wanted in streams:
        compare(ward, wanted, said[ward.partition])
    bench.close()


def test_a_worker_that_stands_says_so_and_one_that_moves_again_too(broker: kafka.Cluster, tmp_path: Path) -> None:
    bench = bench_on(broker, tmp_path, "stands-", live=True)
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        until(is_state(bench, "working"), 90, worker)
        time.sleep(UNHEALTHY_S + 1.5)
        assert health(bench)[0] == 200, "nothing is sent, and the passing of time alone keeps every partition moving"
        broker.brokers[0].pause()
        try:
            until(lambda: health(bench)[0] == 503, UNHEALTHY_S + 8, worker)
            status, details = health(bench)
            assert (status, details["state"]) == (503, "stalled")
            assert "has stood at offset" in details["why"]
        finally:
            broker.brokers[0].resume()
        until(lambda: health(bench)[0] == 200, 30, worker)
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(httpx.TransportError):
            health(bench)
        os.kill(worker.process.pid, signal.SIGCONT)
        until(lambda: health(bench)[0] == 200, 30, worker)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
        bench.close()


def test_refused_snapshots_are_degraded_not_dead(broker: kafka.Cluster, tmp_path: Path) -> None:
    bench = bench_on(broker, tmp_path, "refused-", live=True)
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        until(is_state(bench, "working"), 90, worker)
        for folder in (tmp_path / "snapshots").iterdir():  # root ignores permissions: a file in the folder's place refuses everybody
            folder.rename(folder.with_suffix(".away"))
            folder.write_bytes(b"")
        until(is_state(bench, "degraded"), 30, worker)
        status, details = health(bench)
        assert status == 200
        assert set(details["refused_s"]) <= {str(n) for n in range(PARTITIONS)}
        assert sum(Metrics(bench).by("vigil_worker_snapshot_failures_total").values()) >= 1
        for folder in (tmp_path / "snapshots").glob("*.away"):
            folder.with_suffix("").unlink()
            folder.rename(folder.with_suffix(""))
        until(is_state(bench, "working"), 30, worker)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
        bench.close()


def test_told_to_end_twice_it_saves_commits_and_ends_well(
    broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path
) -> None:
    bench = bench_on(broker, tmp_path, "twice-", checkpoint_every_s=300.0)
    for ward, _ in streams:
        bench.send_registry(ward)
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        worker.wait_logged(OWNING, 60)
        for ward, _ in streams:
            bench.send(ward, ward.records)
        bench.producer.flush()
        until(lambda: sum(Metrics(bench).by("vigil_worker_records_total").values()) > 100, 30, worker)
        worker.process.terminate()
        time.sleep(0.2)
        worker.process.terminate()
        began_s = time.monotonic()
        assert worker.wait(30) == 0, worker.tail()
        assert time.monotonic() - began_s < 15
        second = WorkerProcess(bench.config, tmp_path / "second.log")
        try:
            second.wait_logged(OWNING, 60)
            positions = json.loads(owning(second))["positions"]
            assert sum(positions.values()) > 100, "what the first had done was not saved"
            until(lambda: all(w["lag"] == 0 for w in health(bench)[1]["partitions"].values()), 60, second)
            assert second.stop() == 0, second.tail()
        finally:
            second.kill()
    finally:
        worker.kill()
    said = bench.said()
    for ward, wanted in streams:
        compare(ward, wanted, said[ward.partition])
    bench.close()


def owning(worker: WorkerProcess) -> str:
    """The line of the log with the positions."""
    return next(line for line in worker.log.read_text().splitlines() if OWNING in line)


def test_told_to_end_while_kafka_is_away_it_ends_all_the_same(
    broker: kafka.Cluster, streams: list[tuple[Ward, Replayed]], tmp_path: Path
) -> None:
    bench = bench_on(broker, tmp_path, "away-", stalled_s=5.0)
    for ward, _ in streams:
        bench.send_registry(ward)
        bench.send(ward, ward.records)
    bench.producer.flush()
    worker = WorkerProcess(bench.config, tmp_path / "worker.log")
    try:
        worker.wait_logged(OWNING, 60)
        until(lambda: sum(Metrics(bench).by("vigil_worker_records_total").values()) > 100, 30, worker)
        broker.brokers[0].pause()
        try:
            worker.process.terminate()
            assert worker.wait(30) in {0, EXIT_STALLED}, worker.tail()
        finally:
            broker.brokers[0].resume()
        broker.wait()
        second = WorkerProcess(bench.config, tmp_path / "second.log")
        try:
            second.wait_logged(OWNING, 60)
            bench.wait_committed(60)
            assert second.stop() == 0, second.tail()
            for line in second.log.read_text().splitlines():
                assert line == STARTED or json.loads(line)["event"], "every line of the log is JSON"
        finally:
            second.kill()
    finally:
        worker.kill()
    said = bench.said()
    for ward, wanted in streams:
        compare(ward, wanted, said[ward.partition])
    bench.close()
