"""What can be set about a delivery, and what it says about itself."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from sinks.base import ItemKind, SinkConfig


class DeliverySettings(SinkConfig):
    """How hard one sink is tried, and how much may wait for it."""

    batch_max: int = Field(default=500, ge=1, le=100_000, description="items given to the sink at once")
    linger_s: float = Field(default=0.0, ge=0.0, le=3600.0, description="seconds to gather a batch of measurements; other kinds never wait")
    backoff_first_s: float = Field(default=0.5, gt=0.0, le=60.0, description="seconds to the first retry; doubles with every failure")
    backoff_max_s: float = Field(
        default=30.0, gt=0.0, le=3600.0, description="longest seconds between retries, unless the target asks for more"
    )
    wait_max_s: float = Field(default=300.0, gt=0.0, le=86_400.0, description="longest wait a target may ask for (Retry-After)")
    spool_max_bytes: int = Field(
        default=256 << 20, ge=1 << 10, description="bytes that may wait; beyond, measurements are shed first, alerts never"
    )
    memory_max_items: int = Field(default=10_000, ge=1, description="waiting items kept decoded; the rest is read from the spool when due")
    remembered_max: int = Field(default=10_000, ge=0, description="delivered ids of alerts, audit entries and events kept against repeats")
    sync_s: float = Field(default=0.2, gt=0.0, le=60.0, description="longest seconds between write and fsync")
    dead_max_bytes: int = Field(
        default=64 << 20, ge=1 << 10, description="bytes of dead letters per kind before the older half goes; alerts' never"
    )


class Figures(NamedTuple):
    """Counts since start (queued, unsaved: now), for metrics.

    `failures`: batches in a row that did not get through at all; at least 1 while the spool's disk refuses writes. `unsaved`: items in
    memory alone for that reason. `shed` has alerts and audit entries only when even that memory was full.
    """

    queued: int
    queued_bytes: int
    spool_bytes: int
    accepted: int
    retried: int
    dead: int
    dead_dropped: int
    duplicates: int
    shed: dict[ItemKind, int]
    over_bound: int
    damaged_bytes: int
    errors: int
    failures: int
    last_error: str
    unsaved: int
