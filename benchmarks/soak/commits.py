"""How far the workers are, told by what they commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition

from benchmarks.soak.processes import cpu_s
from streams.kafka import topics
from streams.kafka.config import KafkaConfig


class Look(NamedTuple):
    """What was seen: records done, when (monotonic), CPU seconds the workers had used."""

    done: int
    at_s: float
    used_s: float


class Commits:
    """Of `partitions` of telemetry, which hold `records` that count; `pids` are the workers."""

    def __init__(self, config: KafkaConfig, partitions: Sequence[int], records: int, pids: Sequence[int]) -> None:
        self._consumer = KafkaConsumer(**config.connection.client(), group_id=config.group, enable_auto_commit=False)
        self._tps = [TopicPartition(config.prefix + topics.TELEMETRY, number) for number in partitions]
        self.records, self._pids = records, pids
        self._seen: list[Look] = []

    def look(self) -> int:
        """Records done."""
        done = min(sum(self._consumer.committed(tp) or 0 for tp in self._tps), self.records)
        if not self._seen or done > self._seen[-1].done:
            self._seen.append(Look(done, time.monotonic(), sum(map(cpu_s, self._pids))))
        return done

    def took(self) -> tuple[float, float]:
        """(seconds, CPU seconds) for all records at the pace seen: from the first commit, so that joining the group does not count, or,
        where that is most of it already, from the first look."""
        first, last = self._seen[0], self._seen[-1]
        begun = next((look for look in self._seen if look.done), last)
        if begun.done <= self.records / 2:
            first = begun
        share = (last.done - first.done) / self.records
        return (last.at_s - first.at_s) / share, (last.used_s - first.used_s) / share

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()
