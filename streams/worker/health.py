"""What a worker answers at `/healthz`: whether its own partitions move, not whether its process exists."""

from __future__ import annotations

import time
from typing import Any

from streams.kafka.config import WorkerOperations
from streams.worker.metrics import WorkerMetrics
from streams.worker.watchdog import Standing, Watchdog


class Health:
    """Called from the operations server's thread. `live`: time records move every partition each second, also a silent one."""

    def __init__(self, config: WorkerOperations, watchdog: Watchdog, metrics: WorkerMetrics, *, live: bool) -> None:
        self._config = config
        self._watchdog = watchdog
        self._metrics = metrics
        self._live = live

    def __call__(self) -> tuple[bool, dict[str, Any]]:
        """joining, idle, working, degraded: well; stalled: not. With the reason, and where each partition stands."""
        now_s = time.monotonic()
        turned_s, standing = self._watchdog.standing()
        refused = dict(self._metrics.refused_since_s)
        details: dict[str, Any] = {
            "partitions": {
                number: {"next_offset": where.next_offset, "lag": where.lag, "stands_s": round(now_s - where.moved_s, 1)}
                for number, where in sorted(standing.items())
            }
        }
        if not self._metrics.joined:
            return True, {"state": "joining", **details}
        if (why := self._stalled(now_s, turned_s, standing)) is not None:
            return False, {"state": "stalled", "why": why, **details}
        late = {number: round(now_s - since_s) for number, since_s in refused.items() if now_s - since_s > self._config.degraded_s}
        if late:
            return True, {"state": "degraded", "why": "the snapshot store refuses", "refused_s": late, **details}
        return True, {"state": "working" if standing else "idle", **details}

    def _stalled(self, now_s: float, turned_s: float, standing: dict[int, Standing]) -> str | None:
        limit_s = self._config.unhealthy_s
        if now_s - turned_s > limit_s:
            return f"the event loop has not turned for {now_s - turned_s:.0f} s"
        for number, where in sorted(standing.items()):
            since_s = where.moved_s if self._live else where.behind_s
            if (self._live or where.lag) and now_s - since_s > limit_s:
                return f"partition {number} has stood at offset {where.next_offset} for {now_s - since_s:.0f} s"
        return None
