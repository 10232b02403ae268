"""From items to Kafka: alerts and events at once, everything else in frames; what was handed over is known to be stored."""

from __future__ import annotations

import asyncio
import time
from asyncio import Future
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sinks.codec import encode
from sinks.items import Item, ItemKind
from streams.kafka.records import FRAMED, SINGLE, frame, single

FRAME_BYTES: Final = 100_000
"""A record costs about 0.25 ms in whoever reads it, whatever its size up to some 100 kB."""
FRAME_S: Final = 0.25
"""A measurement waits at most this long for company."""


class Out(NamedTuple):
    """A record to send."""

    topic: str
    key: bytes | None
    value: bytes


class _Gathering:
    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        self.bytes = 0
        self.items: list[bytes] = []


class Outbox:
    """What one partition has to say, in order. `producer` is an aiokafka producer; results go to the same partition number."""

    def __init__(self, producer: Any, prefix: str, partition: int) -> None:
        self._producer = producer
        self._prefix = prefix
        self._partition = partition
        self._gathering: dict[ItemKind, _Gathering] = {}
        self._ready: deque[Out] = deque()
        self._sent: deque[Future[Any]] = deque()
        self._lock = asyncio.Lock()

    def put(self, items: Iterable[Item]) -> None:
        """Take items; nothing is sent yet."""
        for item in items:
            if item.kind in SINGLE:
                self._ready.append(Out(SINGLE[item.kind], *single(item)))
                continue
            data = encode(item)
            gathering = self._gathering.get(item.kind)
            if gathering is not None and gathering.bytes + len(data) > FRAME_BYTES:
                self._close(item.kind)
                gathering = None
            if gathering is None:
                gathering = self._gathering[item.kind] = _Gathering(time.monotonic())
            gathering.items.append(data)
            gathering.bytes += len(data)

    def close_frames(self, *, older_than_s: float = 0.0) -> None:
        """Make records of the frames that have been open for `older_than_s`."""
        now_s = time.monotonic()
        for kind in [kind for kind, gathering in self._gathering.items() if now_s - gathering.since_s >= older_than_s]:
            self._close(kind)

    def _close(self, kind: ItemKind) -> None:
        self._ready.append(Out(FRAMED[kind], None, frame(self._gathering.pop(kind).items)))

    async def pump(self) -> None:
        """Hand what is ready to the producer, in order. KafkaError when something handed over before could not be stored: also to
        everybody who asks later, for until the process has ended a checkpoint may be under way, and none may pass over it.
        """
        while self._sent and self._sent[0].done():
            self._sent[0].result()
            self._sent.popleft()
        if not self._ready:
            return
        async with self._lock:
            while self._ready:
                out = self._ready[0]
                self._sent.append(await self._producer.send(self._prefix + out.topic, out.value, out.key, self._partition))
                self._ready.popleft()

    async def stored(self) -> None:
        """Everything put so far is on the brokers' disks. KafkaError when it could not be."""
        self.close_frames()
        await self.pump()
        async with self._lock:  # a pump that was under way has handed over what it had taken
            waiting: Sequence[Future[Any]] = tuple(self._sent)
        await asyncio.gather(*map(asyncio.shield, waiting))  # who stops waiting does not stop the sending
