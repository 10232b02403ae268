"""Prometheus metrics of a sink process, and its answer to /healthz."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.frame import NS_PER_S
from sinks.contract import Sink
from sinks.delivery import Delivery
from sinks.items import AlertChange, Item, ItemKind
from sinks.outcome import Accepted, Outcome

AGES_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0)
"""From an alert delivered at once to one that is a day late."""

KAFKA_UNANSWERED_S: Final = 5.0
"""Kafka answers in milliseconds; without an answer for this long it counts as down."""
ATTEMPT_HUNG_S: Final = 900.0
"""Longer than any batch takes within its sink's timeouts: a thread that hangs for so long ends only with its process."""


class SinkMetrics:
    """Written by the loop and the delivering thread, read by the operations server; single values, so no lock."""

    def __init__(self, name: str, late_after_s: float, topics: Sequence[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self.name, self.topics = name, tuple(topics)
        self.loop_s = self.progress_s = self.accepted_s = time.monotonic()
        self.attempt_since_s: float | None = None
        self.kafka_asked_s: float | None = None
        self.lag: dict[str, int] = {}
        self.paused: frozenset[str] = frozenset()
        self._late_after_s = late_after_s
        more: dict[str, Any] = {"registry": self.registry}
        self.records = Counter("vigil_sink_records", "Records read, by topic", ["topic"], **more)
        self.undecodable = Counter(
            "vigil_sink_undecodable_records",
            "Parts of records that cannot be decoded, by topic; they become dead letters",
            ["topic"],
            **more,
        )
        self.filtered = Counter("vigil_sink_filtered_items", "Items that are not meant for this sink, by kind", ["kind"], **more)
        self.expired = Counter(
            "vigil_sink_expired_records", "Records that passed their retention before they were read, by topic", ["topic"], **more
        )
        self.delivered = Counter("vigil_sink_delivered_items", "Items that the target accepted, by kind", ["kind"], **more)
        self.late = Counter("vigil_sink_late_alerts", "Alert transitions delivered later than late_after_s", **more)
        self.age = Histogram(
            "vigil_sink_alert_age_seconds", "Seconds from an alert's transition to the target's answer", buckets=AGES_S, **more
        )

    def attempt_s(self) -> float:
        """How long the current attempt has lasted; 0 between attempts."""
        since_s = self.attempt_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def kafka_unanswered_s(self) -> float:
        """How long Kafka has not answered; 0 while no answer is awaited."""
        since_s = self.kafka_asked_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def record_delivered(self, item: Item) -> None:
        """Count an item that the target accepted."""
        self.delivered.labels(item.kind.value).inc()
        if isinstance(item.body, AlertChange):
            age_s = (time.time_ns() - item.body.transition.at_ns) / NS_PER_S
            self.age.observe(age_s)
            if age_s > self._late_after_s:
                self.late.inc()


class CountingSink:
    """A sink whose outcomes are counted."""

    def __init__(self, sink: Sink, metrics: SinkMetrics) -> None:
        self._sink = sink
        self._metrics = metrics

    @property
    def name(self) -> str:
        """The sink's own."""
        return self._sink.name

    @property
    def takes(self) -> frozenset[ItemKind]:
        """The sink's own."""
        return self._sink.takes

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """As the sink."""
        self._metrics.attempt_since_s = time.monotonic()
        try:
            outcomes = self._sink.deliver(items)
        finally:
            self._metrics.attempt_since_s = None
        for item, outcome in zip(items, outcomes, strict=False):  # the delivery handles a wrong number of outcomes
            if isinstance(outcome, Accepted):
                self._metrics.record_delivered(item)
                self._metrics.accepted_s = time.monotonic()
        return outcomes

    def close(self) -> None:
        """As the sink."""
        self._sink.close()


class DeliveryCollector(Collector):
    """Metrics that are read at each request: lag, queue, and the delivery's own statistics."""

    def __init__(self, metrics: SinkMetrics, delivery: Delivery) -> None:
        self._metrics, self._delivery = metrics, delivery

    def collect(self) -> Iterator[Metric]:
        """Called at every request for metrics."""
        now_s, known, metrics = time.monotonic(), self._delivery.statistics(), self._metrics
        yield _gauge("vigil_sink_lag_records", "Records that are neither delivered nor dead letters yet, by topic", "topic", metrics.lag)
        queue = {kind.value: count for kind, count in self._delivery.queue().items() if kind in self._delivery.sink.takes}
        yield _gauge("vigil_sink_queue_items", "Items that wait for delivery, by kind", "kind", queue)
        paused = {topic: int(topic in metrics.paused) for topic in metrics.topics}
        yield _gauge("vigil_sink_paused", "1 while a topic is paused by back-pressure", "topic", paused)
        for name, text, seconds in (
            ("vigil_sink_since_progress_seconds", "Since an offset advanced", now_s - metrics.progress_s),
            ("vigil_sink_since_delivery_seconds", "Since the target accepted an item", now_s - metrics.accepted_s),
            ("vigil_sink_kafka_unanswered_seconds", "How long Kafka has not answered", metrics.kafka_unanswered_s()),
            ("vigil_sink_attempt_seconds", "How long the current delivery attempt has lasted", metrics.attempt_s()),
        ):
            yield GaugeMetricFamily(name, text, seconds)
        yield GaugeMetricFamily("vigil_sink_consecutive_failures", "Batches in a row that failed as a whole", known.failures)
        yield GaugeMetricFamily(
            "vigil_sink_undelivered_items", "Alerts and audit entries given up, and seen to by nobody yet", known.given_up.open
        )
        yield GaugeMetricFamily("vigil_sink_spool_bytes", "Bytes on disk: queued items and the ids of delivered ones", known.spool_bytes)
        for name, text, count in (
            ("vigil_sink_retried_items", "Items whose delivery is tried again", known.retried),
            ("vigil_sink_dead_letters", "Items and records that became dead letters", known.dead),
            ("vigil_sink_duplicate_items", "Repeated items dropped: delivered before, or queued already", known.duplicates),
            ("vigil_sink_shed_items", "Items shed for lack of disk and memory", sum(known.shed.values())),
        ):
            yield CounterMetricFamily(name, text, count)


def _gauge(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def health(metrics: SinkMetrics, delivery: Delivery, stalled_s: float) -> Callable[[], tuple[bool, dict[str, Any]]]:
    """The answer to /healthz. A target that is down is reported but stays 200: it is tried on, and restarting this process would not bring it
    back. An alert that was given up is not tried any more: 503 until somebody has seen to it.
    """

    def answer() -> tuple[bool, dict[str, Any]]:
        known, now_s = delivery.statistics(), time.monotonic()
        loop_s = now_s - metrics.loop_s
        details: dict[str, Any] = {
            "sink": metrics.name,
            "state": "failing" if known.failures else "delivering" if known.queued else "idle",
            "lag": dict(metrics.lag),
            "queued": known.queued,
            "since_progress_s": round(now_s - metrics.progress_s, 1),
            "since_delivery_s": round(now_s - metrics.accepted_s, 1),
        }
        if known.given_up.open:
            details |= {"state": "undelivered", "undelivered": known.given_up.open, "why": known.given_up.sentence()}
        elif known.failures:
            details["why"] = known.last_error
        elif (kafka_unanswered_s := metrics.kafka_unanswered_s()) > KAFKA_UNANSWERED_S:
            details |= {"state": "degraded", "why": f"Kafka has not answered for {kafka_unanswered_s:.0f} s"}
        if loop_s > stalled_s:
            return False, {**details, "state": "stalled", "why": f"the loop has stalled for {loop_s:.0f} s"}
        if (attempt_s := metrics.attempt_s()) > ATTEMPT_HUNG_S:
            return False, {**details, "state": "stalled", "why": f"a delivery attempt has lasted {attempt_s:.0f} s"}
        return not known.given_up.open, details

    return answer
