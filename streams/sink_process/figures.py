"""What a sink process counts, and how it answers when asked whether it is well."""

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
"""From a prompt call to one that comes a day late."""

SILENT_S: Final = 5.0
"""Kafka answers in milliseconds; one that owes an answer for longer is away."""
HUNG_S: Final = 900.0
"""Longer than any batch takes within its sink's timeouts: a thread that hangs for so long is only got rid of with its process."""


class Figures:
    """Written by the loop and the delivering thread, read by the operations server; single values, so no lock."""

    def __init__(self, name: str, late_after_s: float, topics: Sequence[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self.name, self.topics = name, tuple(topics)
        self.turned_s = self.moved_s = self.accepted_s = time.monotonic()
        self.trying_since_s: float | None = None
        self.asked_s: float | None = None
        self.lag: dict[str, int] = {}
        self.paused: frozenset[str] = frozenset()
        self._late_after_s = late_after_s
        more: dict[str, Any] = {"registry": self.registry}
        self.records = Counter("vigil_sink_records", "Records read, by topic", ["topic"], **more)
        self.bad = Counter(
            "vigil_sink_bad_records", "Parts of records that are no items, by topic; kept as dead letters", ["topic"], **more
        )
        self.left_out = Counter("vigil_sink_left_out_items", "Items this sink is not given, by kind", ["kind"], **more)
        self.expired = Counter(
            "vigil_sink_expired_records", "Records that Kafka dropped before they were read, by topic", ["topic"], **more
        )
        self.delivered = Counter("vigil_sink_delivered_items", "Items the target took, by kind", ["kind"], **more)
        self.late = Counter("vigil_sink_late_alerts", "Alert steps delivered later than late_after_s", **more)
        self.age = Histogram("vigil_sink_alert_age_seconds", "From an alert's step to the target's answer", buckets=AGES_S, **more)

    def trying_s(self) -> float:
        """How long the attempt under way has lasted; 0 between attempts."""
        since_s = self.trying_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def silent_s(self) -> float:
        """How long Kafka has owed an answer; 0 when it owes none."""
        since_s = self.asked_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def took(self, item: Item) -> None:
        """The target took `item`."""
        self.delivered.labels(item.kind.value).inc()
        if isinstance(item.body, AlertChange):
            age_s = (time.time_ns() - item.body.transition.at_ns) / NS_PER_S
            self.age.observe(age_s)
            if age_s > self._late_after_s:
                self.late.inc()


class Counted:
    """A sink whose answers are counted."""

    def __init__(self, sink: Sink, figures: Figures) -> None:
        self._sink = sink
        self._figures = figures

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
        self._figures.trying_since_s = time.monotonic()
        try:
            outcomes = self._sink.deliver(items)
        finally:
            self._figures.trying_since_s = None
        for item, outcome in zip(items, outcomes, strict=False):  # a wrong number of answers is the delivery's to judge
            if isinstance(outcome, Accepted):
                self._figures.took(item)
                self._figures.accepted_s = time.monotonic()
        return outcomes

    def close(self) -> None:
        """As the sink."""
        self._sink.close()


class Collected(Collector):
    """What is not counted but looked up: lag, queue, and the delivery's own figures."""

    def __init__(self, figures: Figures, delivery: Delivery) -> None:
        self._figures, self._delivery = figures, delivery

    def collect(self) -> Iterator[Metric]:
        """Called at every request for metrics."""
        now_s, known, figures = time.monotonic(), self._delivery.statistics(), self._figures
        yield _gauge("vigil_sink_lag_records", "Records not settled yet, by topic", "topic", figures.lag)
        queue = {kind.value: count for kind, count in self._delivery.queue().items() if kind in self._delivery.sink.takes}
        yield _gauge("vigil_sink_queue_items", "Items that wait for the target, by kind", "kind", queue)
        paused = {topic: int(topic in figures.paused) for topic in figures.topics}
        yield _gauge("vigil_sink_paused", "1 while a topic is not read because enough of it waits", "topic", paused)
        for name, text, seconds in (
            ("vigil_sink_seconds_since_progress", "Since a record was settled", now_s - figures.moved_s),
            ("vigil_sink_seconds_since_delivery", "Since the target took something", now_s - figures.accepted_s),
            ("vigil_sink_seconds_without_kafka", "How long Kafka has owed an answer", figures.silent_s()),
            ("vigil_sink_seconds_in_attempt", "How long the attempt under way has lasted", figures.trying_s()),
        ):
            yield GaugeMetricFamily(name, text, seconds)
        yield GaugeMetricFamily("vigil_sink_target_failures", "Batches in a row that did not get through at all", known.failures)
        yield GaugeMetricFamily("vigil_sink_spool_bytes", "Bytes on disk: what waits, and delivered ids", known.spool_bytes)
        for name, text, count in (
            ("vigil_sink_retried_items", "Attempts that have to be made again", known.retried),
            ("vigil_sink_dead_letters", "Items and records set aside for good", known.dead),
            ("vigil_sink_repeats_not_sent", "Items said again that had been delivered, or wait already", known.duplicates),
            ("vigil_sink_shed_items", "Items given up for lack of disk and memory", sum(known.shed.values())),
        ):
            yield CounterMetricFamily(name, text, count)


def _gauge(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def health(figures: Figures, delivery: Delivery, stalled_s: float) -> Callable[[], tuple[bool, dict[str, Any]]]:
    """The answer to /healthz. A target that is down is told and is no reason to restart this process: that would not bring it back."""

    def answer() -> tuple[bool, dict[str, Any]]:
        known, now_s = delivery.statistics(), time.monotonic()
        turned_s = now_s - figures.turned_s
        details: dict[str, Any] = {
            "sink": figures.name,
            "state": "failing" if known.failures else "delivering" if known.queued else "idle",
            "lag": dict(figures.lag),
            "queued": known.queued,
            "since_progress_s": round(now_s - figures.moved_s, 1),
            "since_delivery_s": round(now_s - figures.accepted_s, 1),
        }
        if known.failures:
            details["why"] = known.last_error
        elif (silent_s := figures.silent_s()) > SILENT_S:
            details |= {"state": "degraded", "why": f"Kafka has not answered for {silent_s:.0f} s"}
        if turned_s > stalled_s:
            return False, {**details, "state": "stalled", "why": f"the loop has not turned for {turned_s:.0f} s"}
        if (trying_s := figures.trying_s()) > HUNG_S:
            return False, {**details, "state": "stalled", "why": f"an attempt has lasted for {trying_s:.0f} s"}
        return True, details

    return answer
