"""What the worker holds of Faust, mode and aiokafka below their public surface; when they change, this fails before anything else does."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import time
from pathlib import Path

import faust
import pytest
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.kafka.config import Connection, KafkaConfig
from streams.storage.snapshots import DirectoryStore
from streams.worker.app import create_app
from streams.worker.consumer import FETCH_WAIT_MS, ReaderThread, SnapshotConsumer
from streams.worker.owner import Progress
from streams.worker.watchdog import EXIT_STALLED, Watchdog


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_versions_are_the_ones_that_were_studied() -> None:
    assert importlib.metadata.version("faust-streaming") == "0.15.3"
    assert importlib.metadata.version("mode-streaming") == "0.7.1"
    assert importlib.metadata.version("aiokafka").startswith("0.14.")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("_add_gap", ["self", "tp", "offset_from", "offset_to"]),
        ("_getmany", ["self", "active_partitions", "timeout"]),
        ("_new_consumer_thread", ["self"]),
        ("_commit", ["self", "offsets"]),
        ("on_buffer_full", ["self", "tp"]),
        ("on_buffer_drop", ["self", "tp"]),
        ("seek_to_committed", ["self"]),
        ("seek_wait", ["self", "partitions"]),
        ("earliest_offsets", ["self", "partitions"]),
        ("highwaters", ["self", "partitions"]),
        ("highwater", ["self", "tp"]),
        ("assignment", ["self"]),
    ],
)
def test_the_hooks_have_the_shape_that_is_relied_on(name: str, wanted: list[str]) -> None:
    theirs = getattr(driver.Consumer, name)
    assert parameters(theirs) == wanted
    assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(getattr(SnapshotConsumer, name))


def test_a_request_for_quiet_partitions_does_not_hold_up_the_busy_ones(tmp_path: Path) -> None:
    app = create_app(KafkaConfig(connection=Connection(brokers="127.0.0.1:1")), DirectoryStore(tmp_path))

    async def made() -> int:
        thread = app.consumer._new_consumer_thread()
        assert isinstance(thread, ReaderThread)
        consumer = thread._create_worker_consumer(app.transport)
        wait_ms = int(consumer._fetch_max_wait_ms)
        assert "self._fetch_max_wait_ms" in inspect.getsource(type(consumer).start)  # read when it starts, not before
        await consumer.stop()
        return wait_ms

    assert asyncio.run(made()) == FETCH_WAIT_MS


def test_the_order_of_a_rebalance_is_the_one_that_is_relied_on() -> None:
    from faust.tables.recovery import Recovery

    resume = inspect.getsource(Recovery._resume_streams)
    assert resume.index("on_rebalance_complete.send") < resume.index("perform_seek") < resume.index("resume_flow()")
    assert "self.seek_to_committed()" in inspect.getsource(base.Consumer.perform_seek)
    revoked = inspect.getsource(faust.App._on_partitions_revoked)
    assert revoked.index("flow_control.clear") < revoked.index("on_partitions_revoked.send")


def test_faust_still_commits_past_a_record_in_flight() -> None:
    """faust-streaming #606: 10 is committed and in flight, 11 is acknowledged. When this fails it was repaired: look again at consumer.py."""
    tp = TP("t", 0)
    theirs = object.__new__(driver.Consumer)
    theirs._acked, theirs._acked_index = {tp: [11]}, {tp: {11}}
    theirs._gap, theirs._committed_offset = {tp: None}, {tp: 10}
    assert theirs._new_offset(tp) == 12


def test_the_app_is_made_as_the_study_says(tmp_path: Path) -> None:
    app = create_app(KafkaConfig(connection=Connection(brokers="127.0.0.1:1")), DirectoryStore(tmp_path))
    conf = app.conf
    assert app.transport.Consumer is SnapshotConsumer
    assert conf.agent_supervisor.__name__ == "CrashingSupervisor"
    assert (conf.stream_wait_empty, conf.topic_disable_leader, conf.web_enabled, conf.producer_threaded) == (False, True, False, False)
    assert conf.table_standby_replicas == 1
    assert conf.consumer_auto_offset_reset == "earliest"
    assert sorted(app.agents) == ["commands", "registry", "telemetry"]
    assert all(agent.concurrency == 1 for agent in app.agents.values())


def test_the_watchdog_exits_on_a_rebalance_without_progress_only() -> None:
    dog = Watchdog(0.2)
    for step in range(4):
        dog.seen([], step)
        time.sleep(0.1)
        assert dog.stalled(time.monotonic()) is None
    for _ in range(3):
        time.sleep(0.1)
        dog.seen([], 3)
    assert "rebalance has made no progress" in str(dog.stalled(time.monotonic()))
    dog.seen([])
    assert dog.stalled(time.monotonic()) is None


def test_the_watchdog_ends_a_worker_that_stands_still_and_no_other() -> None:
    ended: list[int] = []
    dog = Watchdog(0.5, ended.append)
    now_s = time.monotonic()
    dog.seen([Progress(0, 5, 5), Progress(1, 5, 9)])
    assert dog.stalled(now_s + 0.4) is None
    dog.seen([Progress(0, 5, 5), Progress(1, 6, 9)])
    time.sleep(0.3)
    dog.seen([Progress(0, 5, 5), Progress(1, 6, 9)])
    assert dog.stalled(time.monotonic()) is None
    time.sleep(0.3)
    dog.seen([Progress(0, 5, 5), Progress(1, 6, 9)])
    why = dog.stalled(time.monotonic())
    assert why is not None
    assert "partition 1" in why
    dog.start()  # and from now on nobody turns the loop
    deadline = time.monotonic() + 5
    while not ended and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended == [EXIT_STALLED]
