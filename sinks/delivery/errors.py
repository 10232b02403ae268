"""What went wrong in a delivery: counted, logged, and the last one kept for the system page."""

from __future__ import annotations

import logging
import threading
from typing import Final

_log: Final = logging.getLogger(__name__)


class ErrorLog:
    """Thread-safe. `last` is one sentence; it is also set by what the target says, which is not counted as an error of ours."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0
        self.last = ""

    def record(self, error: str) -> None:
        """Count and log an error."""
        with self._lock:
            self.count += 1
            self.last = error
        _log.error("%s", error)
