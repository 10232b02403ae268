"""Who is blamed when a worker is gone, and what a store that hangs does to detection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.pipeline.core import CoreOutput
from streams.pipeline.partition import Applied, Partition
from streams.pipeline.records import Input
from streams.storage.crash_log import CRASHES_MAX, GONE_MAX, RESTARTS_MAX, CrashLog, written
from streams.storage.snapshots import DirectoryStore
from streams.worker.assigned_partition import AssignedPartition
from streams.worker.checkpointer import NOTE_S
from streams.worker.outbox import Outbox
from streams.worker.owner import Owner

RECORDS = 16
BEGIN = {0: 100, 1: 200}
DEADLY = {1: 203, 0: 0}


class Gone(BaseException):
    """The process is: nothing after this runs, nothing catches it."""


class Taking(Partition):
    """A partition that takes anything at no cost; on one record the process is gone."""

    def __init__(self, number: int) -> None:
        super().__init__(number, next_offset=BEGIN[number])
        self.over: list[int] = []

    def apply(self, record: Input) -> Applied:
        if record.offset == DEADLY[self.number]:
            raise Gone
        self.next_offset = record.offset + 1
        return Applied(CoreOutput.nothing(), [], "", 0, record.offset)

    def advance_before(self, record: Input) -> Iterator[Applied]:
        del record
        return iter(())

    def skip_poison(self, record: Input, why: str) -> Applied:
        assert f"{GONE_MAX} times" in why or f"{CRASHES_MAX} times" in why
        self.over.append(record.offset)
        self.next_offset = record.offset + 1
        return Applied(CoreOutput.nothing(), [], "", 0, record.offset)


async def owned_by(owner: Owner, store: DirectoryStore, number: int) -> AssignedPartition:
    """As when a partition is assigned."""
    found = AssignedPartition(Taking(number), Outbox(None, "", number), 1, store.note(number))
    await owner.checkpointer.note(found, found.crash_log.started(BEGIN[number]))
    owner.owned[number] = found
    return found


async def live(store: DirectoryStore) -> dict[int, list[int]] | None:
    """A worker's life, partitions in turn; the records it skipped, or None when it is gone."""
    owner = Owner(KafkaConfig(), store)
    owned = [await owned_by(owner, store, number) for number in BEGIN]
    try:
        for index in range(RECORDS):
            for one in owned:
                record = SimpleNamespace(
                    offset=BEGIN[one.partition.number] + index, timestamp=0, key=b"ward", value=b"batch", headers=(), partition=0
                )
                await owner.apply(one, record)
    except Gone:
        return None
    return {one.partition.number: cast("Taking", one.partition).over for one in owned}


def test_only_the_record_on_which_it_was_gone_is_passed_over(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for _ in range(RESTARTS_MAX + GONE_MAX):
        assert asyncio.run(live(store)) is None
    assert asyncio.run(live(store)) == {0: [], 1: [203]}


def test_a_checkpoint_is_due_when_a_record_was_passed_over(tmp_path: Path) -> None:
    async def life() -> float:
        store = DirectoryStore(tmp_path)
        store.set_note(1, written(CrashLog(BEGIN[1], RESTARTS_MAX, {BEGIN[1]: 2})))
        owner = Owner(KafkaConfig(), store)
        owned = await owned_by(owner, store, 1)
        await owner.apply(owned, SimpleNamespace(offset=BEGIN[1], timestamp=0, key=b"ward", value=b"batch", headers=(), partition=1))
        return owned.saved_s

    assert asyncio.run(life()) == -float("inf")


def test_a_store_that_hangs_does_not_hold_up_the_records_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def life() -> tuple[int, int]:
        store = DirectoryStore(tmp_path)
        store.set_note(0, written(CrashLog(BEGIN[0], RESTARTS_MAX)))
        owner = Owner(KafkaConfig(), store)
        owned = await owned_by(owner, store, 0)
        assert owned.crash_log.notes_each_record
        release, asked = threading.Event(), []

        def hang(*given: Any) -> None:
            asked.append(given)
            release.wait()

        monkeypatch.setattr(store, "set_note", hang)
        monkeypatch.setattr("streams.worker.checkpointer.NOTE_S", NOTE_S / 10)
        try:
            for index in range(RECORDS):
                await owner.apply(owned, SimpleNamespace(offset=BEGIN[0] + index, timestamp=0, key=b"", value=b"", headers=(), partition=0))
            return owned.partition.next_offset, len(asked)
        finally:
            release.set()

    assert asyncio.run(life()) == (BEGIN[0] + RECORDS, 1)


class Stale:
    """aiokafka's own consumer, not connected; the assignment is what it was when somebody looked, as in another thread."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.highwater = consumer.highwater
        self._seen: set[TopicPartition] = set(consumer.assignment())

    def assignment(self) -> set[TopicPartition]:
        """As it was."""
        return self._seen


def test_a_rebalance_between_two_questions_does_not_end_the_worker(tmp_path: Path) -> None:
    """A partition that is not assigned, or whose end is not known yet, is left out; the others are reported."""

    async def life() -> None:
        store, consumer = DirectoryStore(tmp_path), AIOKafkaConsumer(bootstrap_servers="127.0.0.1:9")
        owner = Owner(KafkaConfig(), store)
        for number in BEGIN:
            await owned_by(owner, store, number)
        zero, one = (TopicPartition(owner.config.prefix + topics.TELEMETRY, number) for number in BEGIN)

        def assigned(**ends: int) -> None:
            consumer.unsubscribe()
            consumer.assign([partition for partition in (zero, one) if f"p{partition.partition}" in ends])
            for name, end in ends.items():  # as a fetch notes it
                partition = zero if name == "p0" else one
                consumer._subscription.subscription.assignment.state_value(partition).highwater = end or None

        def reported() -> list[tuple[int, int, int]]:
            return [(p.partition, p.next_offset, p.end) for p in owner.progress()]

        assigned(p0=0, p1=220)
        owner.app = SimpleNamespace(consumer=Stale(consumer))
        assert reported() == [(1, 200, 220)], "the end of partition 0 is not known yet"
        assigned(p0=110, p1=220)
        assert reported() == [(0, 100, 110), (1, 200, 220)]
        assigned(p1=230)
        assert reported() == [(1, 200, 230)]
        consumer.unsubscribe()
        assert reported() == []
        await consumer.stop()

    asyncio.run(life())
