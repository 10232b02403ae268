"""Arrival times: strictly a clock that never goes back, also when the system clock is set back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from engine.frame import NS_PER_S

CATCH_UP: Final = 0.9
"""Seconds that pass in a second while the stamps are ahead of the clock: alarms come a tenth late at most, and a clock that was 8 h
ahead is caught up with in 80 h. At 1 the stamps would stay ahead for ever."""
AHEAD_LOGGED_NS: Final = 60 * NS_PER_S
"""Stamps this far ahead of the clock are logged; smaller steps are NTP at work."""
STAMP_NS_MAX: Final = 2**62
"""The year 2116. Sums and differences of such times fit 64 bits."""


class ArrivalClock:
    """`clock` gives UTC ns; None: time is what the records say, and passes only with them. Not for several threads at once.

    A clock that is set back (after it was wrong) leaves the stamps ahead: they then follow `monotonic`, a little slower than time.
    """

    def __init__(self, clock: Callable[[], int] | None, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._asked_ns = monotonic()
        self.last_ns = 0
        self.ahead_ns = 0

    def now(self) -> int:
        """The present."""
        if self._clock is not None:
            clock_ns, asked_ns = self._clock(), self._monotonic()
            self.last_ns = max(clock_ns, self.last_ns + int(CATCH_UP * (asked_ns - self._asked_ns)))
            self.ahead_ns = self.last_ns - clock_ns
            self._asked_ns = asked_ns
        return self.last_ns

    def at(self, arrival_ns: int) -> int:
        """The stamp of something that says when it came: that time, or the last stamp if that is later."""
        self.last_ns = max(self.last_ns, arrival_ns)
        return self.last_ns
