"""Records on which the process died, counted across its lives, so that one of them cannot stop the ward."""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from streams.storage.snapshots import SnapshotStore

log = structlog.get_logger("vigil")

CRASHES_MAX: Final = 2
"""A record on which the process died this often is quarantined unread."""
REMEMBERED_MAX: Final = 100
"""Records remembered; the oldest gives way. Only those since the oldest snapshot can come again."""


class Poison:
    """Crashes by offset, noted in the store beside the snapshots of this journal."""

    def __init__(self, store: SnapshotStore, journal: int) -> None:
        self._store = store
        self._journal = journal
        self._crashes: dict[int, int] = {}
        noted = store.marked(journal)
        if noted is None:
            return
        try:
            self._crashes = msgspec.json.decode(noted, type=dict[int, int])
        except msgspec.DecodeError as error:
            log.warning("the note about records that kill cannot be read: counting afresh", why=str(error))

    def crashes(self, offset: int) -> int:
        """How often the process died on this record."""
        return self._crashes.get(offset, 0)

    def died_on(self, offset: int) -> None:
        """Count a death, on disk. OSError when the disk refuses."""
        self._crashes[offset] = self.crashes(offset) + 1
        while len(self._crashes) > REMEMBERED_MAX:
            del self._crashes[min(self._crashes)]
        self._store.mark(self._journal, msgspec.json.encode(self._crashes).decode())
