"""Prometheus metrics of the canary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from sinks.delivery import Delivery
from streams.canary.monitor import Detection
from streams.ops.metrics import process_registry

LATENCY_S: Final = (2.1, 2.25, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""The last data of a fall is sent 2 s after balance is lost (detectors.falls: settling and stillness): no latency is below that."""


class CanaryMetrics:
    """Written by the canary's event loop."""

    def __init__(self, partitions: Sequence[int], deliveries: Iterable[Delivery]) -> None:
        self.registry = registry = process_registry()
        self._latency = Histogram(
            "vigil_canary_latency_seconds",
            "Seconds from a simulated fall until its alert is read from Kafka.",
            buckets=LATENCY_S,
            registry=registry,
        )
        self._falls = Counter("vigil_canary_falls", "Simulated falls that were due.", ["result"], registry=registry)
        self._missing = Gauge("vigil_canary_missing", "1 while a partition does not report its falls.", ["partition"], registry=registry)
        self._last_detection = Gauge(
            "vigil_canary_last_detection_timestamp_seconds",
            "When a partition last reported its fall in time.",
            ["partition"],
            registry=registry,
        )
        self._open = Gauge(
            "vigil_canary_alarm_open",
            "1 from the first missed fall until a person has acknowledged the alarm and no fall is missing.",
            registry=registry,
        )
        self._lost = Counter("vigil_canary_lost_messages", "Seconds of simulated data that Kafka did not store.", registry=registry)
        waiting = Gauge(
            "vigil_canary_delivery_queue_items", "Transitions of the alarm that a webhook has not accepted.", ["sink"], registry=registry
        )
        for delivery in deliveries:
            waiting.labels(delivery.name).set_function(partial(_queued, delivery))
        for partition in partitions:
            self._missing.labels(str(partition)).set(0)
        for result in ("in_time", "late", "missed"):
            self._falls.labels(result)

    def detected(self, detection: Detection, now_s: float) -> None:
        """A fall was reported. A late one was counted as missed before."""
        self._latency.observe(detection.latency_s)
        self._falls.labels("in_time" if detection.in_time else "late").inc()
        if detection.in_time:
            self._last_detection.labels(str(detection.partition)).set(now_s)

    def missed(self) -> None:
        """A fall was not reported in time."""
        self._falls.labels("missed").inc()

    def set_state(self, partitions: Iterable[int], missing: Iterable[int], open_alarms: int) -> None:
        """Set which partitions miss their fall now, and the number of open alarms."""
        absent = set(missing)
        for partition in partitions:
            self._missing.labels(str(partition)).set(partition in absent)
        self._open.set(open_alarms)

    def lost(self, messages: int) -> None:
        """Simulated data was dropped before Kafka stored it."""
        self._lost.inc(messages)


def _queued(delivery: Delivery) -> float:
    return delivery.statistics().queued
