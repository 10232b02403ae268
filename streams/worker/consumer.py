"""The Faust consumer as Vigil holds it: positions and commits are the snapshots', never Faust's own acknowledgements.

Faust 0.15.3 commits past records in flight, forgets gaps and loses the record an agent failed on (decision 0100 and the
contract test name the reports). Five hooks of its consumer are replaced here; they are pinned by version and by that test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

Positions = Callable[[], Mapping[TP, int]]
"""Where partitions whose state is loaded go on."""

FETCH_WAIT_MS: Final = 50
"""How long a broker may hold back the answer to a request for partitions that have nothing new.

A broker is asked for one answer at a time. Faust's 1,500 ms make a busy partition wait that long when it was read to its end just
after the quiet ones had been asked for: measured as stalls of 1.5 s in the middle of a backlog.
"""

TOGETHER_MAX: Final = 8
"""Records in a message. Partitions take turns by messages: more, and a fresh record waits longer behind another partition's backlog."""


def _together(records: Sequence[Any]) -> Any:
    """One record that holds `records`, at the offset of the last: what Faust counts is read by then."""
    return dataclasses.replace(records[-1], value=records)


class ReaderThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread with a shorter wait."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class Unopened(faust.Schema):  # type: ignore[misc]
    """Messages as the consumer made them: `value` is a list of Kafka's records."""

    def loads_key(self, _app: Any, message: Any, **_: Any) -> Any:
        """The key as it came."""
        return message.key

    def loads_value(self, _app: Any, message: Any, **_: Any) -> Any:
        """The records as they came."""
        return message.value


class SnapshotConsumer(driver.Consumer):  # type: ignore[misc]
    """Reads from where the loaded state stands; commits what a snapshot covers."""

    positions: Positions = staticmethod(dict)

    def _new_consumer_thread(self) -> ReaderThread:
        return ReaderThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - theirs
        """One message for all records of a partition that came together: Faust's cost of 0.25 ms falls on the message."""
        found = await super()._getmany(active_partitions=active_partitions, timeout=timeout)
        return {
            tp: [_together(records[i : i + TOGETHER_MAX]) for i in range(0, len(records), TOGETHER_MAX)]
            for tp, records in (found or {}).items()
        }

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
