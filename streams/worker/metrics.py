"""What a worker counts, for Prometheus. No label names a resident, a room or a device: they are many, and they are people.

Counts are this process's since it started; canaries (`vigil canary`) count as records, not as events or alerts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from alerts.model import Reason
from alerts.policy import is_canary
from engine.events import Event, Priority
from engine.frame import NS_PER_S
from sinks.items import AlertChange, Item, Quarantined
from streams.ops.metrics import process_registry
from streams.pipeline.records import Input

OUTCOMES: Final = ("processed", "duplicate", "late", "quarantined")
"""Where readings go, in the order of `Engine.totals`."""
DETECTION_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
"""Half a second is promised for 99 of 100; the long end is a backlog."""
ONSET_S: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""A fall is settled in about 3 s, a heart rhythm in some 10 s."""
APPLY_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
CHECKPOINT_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OF_THE_CONDITION: Final = frozenset({Reason.ONSET, Reason.REPEATED})
"""Transitions that a record of telemetry caused at once: the others wait for a clock or for staff."""


class WorkerMetrics:
    """Fed by the owner from the event loop; read by the operations server's thread."""

    def __init__(self) -> None:
        self.registry = registry = process_registry()
        self.joined = False
        """Whether partitions were ever assigned."""
        self.refused_since_s: dict[int, float] = {}
        """Since when (monotonic) a partition's snapshots have not been stored."""
        self._totals: dict[int, tuple[int, ...]] = {}
        self._records = Counter("vigil_worker_records", "Records applied.", ["kind"], registry=registry)
        self._bytes = Counter("vigil_worker_bytes", "Bytes of records applied.", registry=registry)
        self._readings = Counter("vigil_worker_readings", "Where readings went.", ["outcome"], registry=registry)
        self._quarantined = Counter("vigil_worker_quarantined", "Chunks and messages set aside, by reason.", ["reason"], registry=registry)
        self._events = Counter("vigil_worker_events", "What detectors found.", ["code", "phase"], registry=registry)
        self._alerts = Counter("vigil_worker_alert_transitions", "Steps of alerts.", ["code", "priority", "state"], registry=registry)
        self._apply = Histogram("vigil_worker_apply_seconds", "Detection time of one record.", buckets=APPLY_S, registry=registry)
        self._detection = Histogram(
            "vigil_worker_detection_seconds",
            "From a record's arrival at the broker (its clock) to its alert's being handed to Kafka.",
            buckets=DETECTION_S,
            registry=registry,
        )
        self._onset = Histogram(
            "vigil_worker_onset_to_alert_seconds",
            "From the onset of the condition (the device's clock) to the arrival of the data that settled it.",
            ["code"],
            buckets=ONSET_S,
            registry=registry,
        )
        self._lag = Gauge("vigil_worker_lag_records", "Records that wait.", ["partition"], registry=registry)
        self._epoch = Gauge("vigil_worker_epoch", "Generation under which a partition is owned.", ["partition"], registry=registry)
        self._assigned = Counter("vigil_worker_assigned", "Partitions assigned.", registry=registry)
        self._saved = Gauge(
            "vigil_worker_snapshot_timestamp_seconds", "When the newest snapshot was stored or loaded.", ["partition"], registry=registry
        )
        self._size = Gauge("vigil_worker_snapshot_bytes", "Size of the newest snapshot.", ["partition"], registry=registry)
        self._refused = Counter("vigil_worker_snapshot_failures", "Snapshots the store refused.", ["partition"], registry=registry)
        self._checkpoint = Histogram(
            "vigil_worker_checkpoint_seconds", "Outputs stored, snapshot stored, offset committed.", buckets=CHECKPOINT_S, registry=registry
        )
        for outcome in OUTCOMES:
            self._readings.labels(outcome)

    def applied(self, record: Input, items: Iterable[Item], apply_s: float) -> None:
        """A record was applied in `apply_s`, and what it gave is handed to Kafka."""
        self._records.labels(record.kind.value).inc()
        self._bytes.inc(len(record.value))
        self._apply.observe(apply_s)
        for item in items:
            body = item.body
            if isinstance(body, Quarantined):
                self._quarantined.labels(body.reason).inc()
            elif isinstance(body, Event) and not is_canary(body.subject):
                self._events.labels(body.code, body.phase).inc()
            elif isinstance(body, AlertChange) and not is_canary(body.alert.subject):
                self._alert(body, record.stamp_ns)

    def _alert(self, change: AlertChange, stamp_ns: int) -> None:
        step, alert = change.transition, change.alert
        self._alerts.labels(alert.code, Priority(alert.priority).name.lower(), step.to_state.value).inc()
        if step.reason in _OF_THE_CONDITION:
            self._detection.observe(max(0.0, (time.time_ns() - stamp_ns) / NS_PER_S))
        if step.reason is Reason.ONSET:
            self._onset.labels(alert.code).observe(max(0.0, (alert.arrival_ns - alert.onset_ns) / NS_PER_S))

    def assigned(self, epochs: Mapping[int, int], totals: Mapping[int, tuple[int, ...]]) -> None:
        """These partitions, and no others, are owned from now on; `totals` are the readings their states have counted already."""
        self.joined = True
        for number in set(self._totals) - set(epochs):
            self._revoke(number)
        self._totals = dict(totals)
        self._assigned.inc(len(epochs))
        for number, epoch in epochs.items():
            self._epoch.labels(str(number)).set(epoch)
            self._saved.labels(str(number)).set_to_current_time()
            self._refused.labels(str(number))

    def counted(self, number: int, totals: tuple[int, ...]) -> None:
        """What a partition's engine has counted until now."""
        before = self._totals.get(number, totals)
        for outcome, now, then in zip(OUTCOMES, totals, before, strict=True):
            self._readings.labels(outcome).inc(max(0, now - then))
        self._totals[number] = totals

    def waits(self, number: int, lag: int) -> None:
        """So many records of a partition wait."""
        self._lag.labels(str(number)).set(lag)

    def saved(self, number: int, size_bytes: int, checkpoint_s: float) -> None:
        """A checkpoint is complete."""
        self.covered(number)
        self._size.labels(str(number)).set(size_bytes)
        self._checkpoint.observe(checkpoint_s)
        self.refused_since_s.pop(number, None)

    def covered(self, number: int) -> None:
        """The newest snapshot covers everything a partition has taken."""
        self._saved.labels(str(number)).set_to_current_time()

    def not_saved(self, number: int) -> None:
        """The store refused a snapshot."""
        self._refused.labels(str(number)).inc()
        self.refused_since_s.setdefault(number, time.monotonic())

    def _revoke(self, number: int) -> None:
        self.refused_since_s.pop(number, None)
        for gauge in (self._lag, self._epoch, self._saved, self._size):
            gauge.remove(str(number))
