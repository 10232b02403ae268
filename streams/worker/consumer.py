"""The Faust consumer as Vigil holds it: positions and commits are the snapshots', never Faust's own acknowledgements.

Faust 0.15.3 commits past records in flight, forgets gaps and loses the record an agent failed on (decision 0100 and the
contract test name the reports). Four hooks of its consumer are replaced here; they are pinned by version and by that test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

Positions = Callable[[], Mapping[TP, int]]
"""Where partitions whose state is loaded go on."""


class SnapshotConsumer(driver.Consumer):  # type: ignore[misc]
    """Reads from where the loaded state stands; commits what a snapshot covers."""

    positions: Positions = staticmethod(dict)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing is acknowledged record by record, so there are no gaps to remember."""

    def on_buffer_full(self, tp: TP) -> None:
        """A full buffer blocks the reader, which is back-pressure enough; parking a partition starves it."""

    def on_buffer_drop(self, tp: TP) -> None:
        """See on_buffer_full."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Committed positions, but where state is loaded the position that the state stands at."""
        found = dict(await super().seek_to_committed())
        mine = self.assignment()
        wanted = {tp: offset for tp, offset in self.positions().items() if tp in mine}
        if wanted:
            await self.seek_wait(wanted)
        return found | wanted

    async def commit_exactly(self, offsets: Mapping[TP, int]) -> bool:
        """Commit these next offsets of partitions that are still assigned; False when the group has moved on meanwhile."""
        mine = self.assignment()
        kept = {tp: offset for tp, offset in offsets.items() if tp in mine}
        if not kept or not await self._commit(kept):
            return False
        self._committed_offset.update(kept)
        return True


class SnapshotTransport(driver.Transport):  # type: ignore[misc]
    """Kafka through SnapshotConsumer."""

    Consumer: Any = SnapshotConsumer
