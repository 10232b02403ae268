"""When a failed attempt is made again: exponential back-off with jitter, for the target as a whole and for a single item.

Failures of the target pause everything; an item that fails alone waits by itself, so that it keeps no other from being tried.
"""

from __future__ import annotations

from random import Random
from typing import Final

from sinks.delivery.settings import DeliverySettings

DOUBTFUL_ATTEMPTS: Final = 6
"""Attempts, over 8 to 16 s by default, before an item that the target refuses while it takes others becomes a dead letter."""


class RetryTimer:
    """The retries of one delivery. Times are seconds of the delivery's monotonic clock.

    `failures` counts batches in a row that did not get through at all; until `paused_until_s` nothing is tried. `accepted_s`: when the target
    last accepted something, None when it has not yet.

    >>> settings = DeliverySettings(backoff_first_s=1, backoff_max_s=8, wait_max_s=100)
    >>> timer = RetryTimer(settings, Random(1), now_s=0.0)
    >>> [0.5 * longest_s <= timer.delay_s(attempts) <= longest_s for attempts, longest_s in ((1, 1), (2, 2), (3, 4), (9, 8))]
    [True, True, True, True]
    >>> timer.target_failed(now_s=10.0, after_s=50.0)  # as the target asked (Retry-After)
    >>> timer.failures, timer.paused_until_s
    (1, 60.0)
    """

    def __init__(self, settings: DeliverySettings, rng: Random, now_s: float) -> None:
        self._settings, self._rng = settings, rng
        self.failures = 0
        self.paused_until_s = now_s
        self.accepted_s: float | None = None

    def delay_s(self, attempts: int, after_s: float | None = None) -> float:
        """Seconds until the next attempt after `attempts` (1 or more) that failed.

        `backoff_first_s`, doubled with every failure up to `backoff_max_s`, with jitter in the upper half: never sooner than the target
        asked (`after_s`), of which at most `wait_max_s` counts.
        """
        longest_s = min(self._settings.backoff_max_s, self._settings.backoff_first_s * 2.0 ** min(attempts - 1, 30))
        own_s = longest_s * (0.5 + 0.5 * self._rng.random())
        return max(own_s, min(after_s or 0.0, self._settings.wait_max_s))

    def target_failed(self, now_s: float, after_s: float | None = None) -> None:
        """Nothing got through: pause everything."""
        self.failures += 1
        self.paused_until_s = now_s + self.delay_s(self.failures, after_s)

    def target_answered(self) -> None:
        """Something was accepted or rejected: the target is there."""
        self.failures = 0
