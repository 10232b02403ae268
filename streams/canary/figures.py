"""What the canary counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from sinks.delivery import Delivery
from streams.canary.watch import Seen
from streams.ops.metrics import process_registry

LATENCY_S: Final = (2.1, 2.25, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""The last of a fall's data is sent 2 s after balance is lost (detectors.falls: settling and stillness): nothing can be below."""


class Figures:
    """Fed from the canary's event loop."""

    def __init__(self, partitions: Sequence[int], deliveries: Iterable[Delivery]) -> None:
        self.registry = registry = process_registry()
        self._latency = Histogram(
            "vigil_canary_latency_seconds",
            "From a simulated fall to its alert's being read from Kafka.",
            buckets=LATENCY_S,
            registry=registry,
        )
        self._falls = Counter("vigil_canary_falls", "Simulated falls that were due.", ["result"], registry=registry)
        self._missing = Gauge("vigil_canary_missing", "1 while a partition does not report its falls.", ["partition"], registry=registry)
        self._seen = Gauge(
            "vigil_canary_seen_timestamp_seconds", "When a partition last reported its fall in time.", ["partition"], registry=registry
        )
        self._open = Gauge("vigil_canary_alarm_open", "1 from the first missed fall until a person has seen it.", registry=registry)
        self._lost = Counter("vigil_canary_lost_messages", "Seconds of simulated data that Kafka did not take.", registry=registry)
        waiting = Gauge("vigil_canary_delivery_waiting", "Steps of the alarm that a webhook has not taken.", ["sink"], registry=registry)
        for delivery in deliveries:
            waiting.labels(delivery.name).set_function(partial(_queued, delivery))
        for partition in partitions:
            self._missing.labels(str(partition)).set(0)
        for result in ("in_time", "late", "missed"):
            self._falls.labels(result)

    def saw(self, seen: Seen, now_s: float) -> None:
        """A fall was reported. A late one was counted as missed before."""
        self._latency.observe(seen.latency_s)
        self._falls.labels("in_time" if seen.in_time else "late").inc()
        if seen.in_time:
            self._seen.labels(str(seen.partition)).set(now_s)

    def missed(self) -> None:
        """A fall was not reported in time."""
        self._falls.labels("missed").inc()

    def stands(self, partitions: Iterable[int], missing: Iterable[int], open_alarms: int) -> None:
        """What is missing now, and whether the alarm is on."""
        absent = set(missing)
        for partition in partitions:
            self._missing.labels(str(partition)).set(partition in absent)
        self._open.set(open_alarms)

    def lost(self, messages: int) -> None:
        """Simulated data that did not get through."""
        self._lost.inc(messages)


def _queued(delivery: Delivery) -> float:
    return delivery.statistics().queued
