"""`vigil sink run` beside `vigil worker` on a real Kafka: kills, targets that hang, backlogs, records that cannot be read."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

import pytest

from streams.kafka import topics
from streams.ops.warm_up import warm_up
from streams.recordings.replay import Replayed
from tests.integration.kafka_sinks import SinkRun, influx, storm, wait_settled, webhook, written
from tests.integration.kafka_wards import Bench, Ward, config_for, expected, wards
from tests.services import kafka
from tests.services.influx import Influx
from tests.services.receiver import receiving

KILLS: Final = 6
SEED: Final = 31

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture(scope="module")
def streams() -> list[tuple[Ward, Replayed]]:
    warm_up()
    return [(ward, expected(ward)) for ward in wards()]


def test_no_alert_is_lost_or_doubled_through_random_kills(
    broker: kafka.Cluster, database: Influx, streams: list[tuple[Ward, Replayed]], tmp_path: Path
) -> None:
    bench = Bench(config_for(broker.bootstrap, tmp_path / "snapshots", "storm-"))
    for ward, _ in streams:
        bench.send_registry(ward)
    with receiving() as receiver:
        config_file = written(tmp_path, bench.config, {"oncall": webhook(receiver), "wall": influx(database)})
        wall = SinkRun(config_file, "influx", tmp_path / "wall.log")
        try:
            done = storm(bench, streams, tmp_path, receiver, kills=KILLS, chance=Random(SEED), more=[wall])
            print(done)
            wait_settled(wall, bench.config, "wall", 60, topics.EVENTS, topics.ALERTS, topics.MEASUREMENTS)
            assert wall.stop() == 0, wall.tail()
        finally:
            wall.kill()
    assert (done.calls.missing, done.calls.unknown, done.calls.out_of_order) == (0, 0, 0)
    # A death between the receiver's answer and the note of it repeats that one call, under its key.
    assert done.calls.repeats <= done.sink_kills, done
    assert done.worker_kills >= KILLS // 2
    events = {row["id"] for row in database.query("SELECT id FROM events")}
    assert events == {event.id for _, wanted in streams for event in wanted.events}
    bench.close()
