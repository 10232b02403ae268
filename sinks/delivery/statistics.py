"""What a delivery says about itself."""

from __future__ import annotations

from typing import NamedTuple

from sinks.delivery.dead_letters import OpenLetters
from sinks.items import ItemKind


class DeliveryStatistics(NamedTuple):
    """Counts since start (queued, unsaved: now), for metrics and the system page.

    `failures`: batches in a row that did not get through at all, or attempts on the waiting item that failed most, whichever is more; at
    least 1 while the spool's disk refuses writes. `last_error`: one sentence about the last thing that went wrong. `since_accepted_s`:
    seconds since the target last accepted something, None when it has not since the start. `unsaved`: items in memory alone because the
    spool's disk refuses. `shed` has alerts and audit entries only when even that memory was full. `given_up`: dead letters of alerts and
    audit entries that nobody has acknowledged or had delivered again. `oldest_alert_s`: how long the alert that has waited longest for this
    target has waited, 0 when none waits.
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
    since_accepted_s: float | None
    given_up: OpenLetters
    oldest_alert_s: float
