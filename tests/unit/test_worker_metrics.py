"""What a worker counts and answers, without Kafka: canaries are nobody's events, and each state of health has its cause."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from typing import Any

import pytest
import structlog
from prometheus_client import generate_latest

from alerts.book import AlertBook
from alerts.policy import CANARY_PREFIX
from engine.events import Event, Priority, event_id
from sinks.items import Item, alert_item, event_item
from streams.kafka.config import WorkerOperations
from streams.kafka.records import NS_PER_MS, parse
from streams.ops import logs
from streams.pipeline.assembly import HomePolicy
from streams.worker.health import Health
from streams.worker.metrics import WorkerMetrics
from streams.worker.owner import Progress
from streams.worker.watchdog import Watchdog

LIMIT_S = 1.0


def fell(subject: str, onset_ns: int, arrival_ns: int) -> list[Item]:
    """Event and alert of a fall."""
    key = event_id("falls", "falls.fall", subject, onset_ns, "onset")
    event = Event(key, "falls", "falls.fall", subject, "onset", int(Priority.HIGH), onset_ns, arrival_ns, arrival_ns, 0.9, {})
    book = AlertBook(HomePolicy())
    steps = book.apply(event)
    return [event_item(event), *(alert_item(step, book.open()[0]) for step in steps)]


def said(metrics: WorkerMetrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_a_canary_is_a_record_and_nobodys_event() -> None:
    metrics, now_ns = WorkerMetrics(), time.time_ns()
    record = parse(0, now_ns // NS_PER_MS * NS_PER_MS, b"ward", b"12345", ())
    metrics.applied(record, fell(f"{CANARY_PREFIX}0", now_ns - 3_000_000_000, now_ns), 0.001)
    text = said(metrics)
    assert 'vigil_worker_records_total{kind="telemetry"} 1.0' in text
    assert "vigil_worker_bytes_total 5.0" in text
    assert "falls.fall" not in text
    assert "vigil_worker_detection_seconds_count 0.0" in text
    metrics.applied(record, fell("resident/r-1", now_ns - 3_000_000_000, now_ns), 0.001)
    text = said(metrics)
    assert 'vigil_worker_events_total{code="falls.fall",phase="onset"} 1.0' in text
    assert 'vigil_worker_alert_transitions_total{code="falls.fall",priority="high",state="firing"} 1.0' in text
    assert 'vigil_worker_onset_to_alert_seconds_sum{code="falls.fall"} 3.0' in text
    assert "vigil_worker_detection_seconds_count 1.0" in text
    assert "resident/" not in text


def test_readings_of_a_partition_that_comes_back_are_not_counted_twice() -> None:
    metrics = WorkerMetrics()
    metrics.assigned({0: 1}, {0: (100, 5, 0, 2)})
    metrics.counted(0, (150, 5, 1, 2))
    metrics.assigned({1: 2}, {1: (7, 0, 0, 0)})
    assert 'partition="0"' not in said(metrics).replace('vigil_worker_snapshot_failures_total{partition="0"}', "").replace(
        'vigil_worker_snapshot_failures_created{partition="0"}', ""
    )
    metrics.assigned({0: 3}, {0: (150, 5, 1, 2)})
    metrics.counted(0, (160, 5, 1, 2))
    text = said(metrics)
    assert 'vigil_worker_readings_total{outcome="processed"} 60.0' in text
    assert 'vigil_worker_readings_total{outcome="late"} 1.0' in text
    assert 'vigil_worker_readings_total{outcome="duplicate"} 0.0' in text


def asked(*, live: bool = True) -> tuple[WorkerMetrics, Watchdog, Health]:
    metrics, watchdog = WorkerMetrics(), Watchdog(60.0)
    return metrics, watchdog, Health(WorkerOperations(unhealthy_s=LIMIT_S, degraded_s=LIMIT_S), watchdog, metrics, live=live)


def state(health: Health) -> tuple[bool, str]:
    ok, details = health()
    return ok, details["state"]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves the monotonic clock on."""
    ahead_s = [0.0]
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead_s[0])

    def move(seconds: float) -> None:
        ahead_s[0] += seconds

    return move


def test_joining_idle_working(later: Any) -> None:
    metrics, watchdog, health = asked()
    later(100)
    assert state(health) == (True, "joining")
    metrics.assigned({}, {})
    watchdog.seen([])
    assert state(health) == (True, "idle")
    metrics.assigned({0: 1}, {0: (0, 0, 0, 0)})
    watchdog.seen([Progress(0, 5, 5)])
    assert state(health) == (True, "working")


@pytest.mark.parametrize(("live", "end", "well"), [(True, 5, False), (False, 5, True), (True, 9, False), (False, 9, False)])
def test_a_partition_that_does_not_move_while_it_should(later: Any, live: bool, end: int, well: bool) -> None:
    metrics, watchdog, health = asked(live=live)
    metrics.assigned({0: 1, 1: 1}, {})
    for second in range(4):
        watchdog.seen([Progress(0, 5, end), Progress(1, second, second)])
        later(0.5)
    assert health()[0] is well
    assert well or "partition 0 has stood at offset 5" in health()[1]["why"]
    watchdog.seen([Progress(0, 6, end), Progress(1, 9, 9)])
    assert state(health) == (True, "working")


def test_a_loop_that_does_not_turn(later: Any) -> None:
    metrics, watchdog, health = asked()
    metrics.assigned({}, {})
    watchdog.seen([])
    later(LIMIT_S + 0.1)
    ok, details = health()
    assert (ok, details["state"]) == (False, "stalled")
    assert "event loop" in details["why"]


def test_refused_snapshots_are_degraded_until_one_is_stored(later: Any) -> None:
    metrics, watchdog, health = asked()
    metrics.assigned({0: 1}, {})
    metrics.not_saved(0)
    watchdog.seen([Progress(0, 1, 1)])
    assert state(health) == (True, "working")
    later(LIMIT_S + 0.5)
    metrics.not_saved(0)
    watchdog.seen([Progress(0, 2, 2)])
    assert state(health) == (True, "degraded")
    metrics.saved(0, 100, 0.1)
    assert state(health) == (True, "working")
    assert 'vigil_worker_snapshot_failures_total{partition="0"} 2.0' in said(metrics)


def test_every_line_of_the_log_is_json_whoever_speaks_and_no_local_variable_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    root, before = logging.root, (logging.root.handlers[:], logging.root.level)
    try:
        logs.configure()
        structlog.get_logger("vigil.test").info("takes over", partitions=[1], zh="跌倒")
        logging.getLogger("aiokafka.consumer").warning("Heartbeat failed for %s", "group")
        logging.getLogger("aiokafka.consumer").info("chatter")
        try:
            secret = "a resident's name"  # noqa: F841 - it must not be printed
            raise ValueError("why")  # noqa: TRY301 - its traceback is what is looked at
        except ValueError:
            logging.getLogger("mode").exception("a task died")
            structlog.get_logger("vigil.test").exception("we died")
    finally:
        root.handlers[:], root.level = before
        structlog.reset_defaults()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["takes over", "Heartbeat failed for group", "a task died", "we died"]
    assert [line["level"] for line in lines] == ["info", "warning", "error", "error"]
    assert (lines[0]["zh"], lines[1]["logger"]) == ("跌倒", "aiokafka.consumer")
    assert "ValueError: why" in lines[2]["exception"]
    assert "ValueError: why" in lines[3]["exception"]
    assert "跌倒" in out.getvalue()
    assert "a resident's name" not in out.getvalue().replace('secret = "a resident\'s name"', "")
