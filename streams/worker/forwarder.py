"""Commands, registry changes and the passing of time, forwarded into the one log of their partition."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from faust.types import TP

from schemas.wire import TEXT_BYTES_MAX
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import ARRIVAL_HEADER, CANARY, KIND_HEADER, OFFSET_HEADER, headers
from streams.pipeline.partition import BYTES_MAX
from streams.pipeline.records import Kind
from streams.worker.assigned_partition import AssignedPartition

IDLE_S: Final = 1.0
"""A partition idle for so long gets a time record: the engine ticks every whole second."""


class Forwarder:
    """`producer` and `consumer` are those of the worker, once it has started."""

    def __init__(self, config: KafkaConfig) -> None:
        self._telemetry = config.prefix + topics.TELEMETRY
        self.producer: Any = None

    async def forward(self, message: Any, kind: Kind, consumer: Any) -> None:
        """Records of the commands or registry topic; committed when the telemetry topic has stored them."""
        waiting = []
        for record in message.value:
            if kind is Kind.COMMAND and record.key == CANARY.encode():
                continue  # for the canary's alarm, which no partition knows
            given = [(key, value) for key, value in record.headers or () if key == ARRIVAL_HEADER and len(value or b"") <= TEXT_BYTES_MAX]
            given += [(KIND_HEADER, kind.encode()), (OFFSET_HEADER, b"%d" % record.offset)]
            # Cut where the partition sees that it was too long: what no record can hold must not stop everything behind it.
            key, value = (record.key or b"")[: TEXT_BYTES_MAX + 1], (record.value or b"")[: BYTES_MAX[kind] + 1]
            waiting.append(await self.producer.send(self._telemetry, value, key, record.partition, headers=given))
        await asyncio.gather(*waiting)
        await consumer.commit_exactly({message.tp: message.offset + 1})

    async def tick_if_idle(self, number: int, owned: AssignedPartition, consumer: Any) -> None:
        """Put a time record into the log of a partition that has been read to its end and is idle."""
        now_s = time.monotonic()
        if now_s - max(owned.applied_s, owned.ticked_s) < IDLE_S:
            return
        end = consumer.highwater(TP(self._telemetry, number))
        if end is not None and owned.partition.next_offset >= end:
            owned.ticked_s = now_s
            await self.producer.send(self._telemetry, b"", None, number, headers=headers(kind=Kind.TIME))
