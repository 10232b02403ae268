"""A partition with what its worker knows about it, and how far it is."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from streams.pipeline.partition import Partition
from streams.storage import crash_log
from streams.worker.outbox import Outbox


class AssignedPartition:
    """`epoch` fences its snapshots; `noted` is the crash log as the store has it. Times are monotonic seconds."""

    def __init__(self, partition: Partition, outbox: Outbox, epoch: int, noted: str | None) -> None:
        self.partition = partition
        self.outbox = outbox
        self.epoch = epoch
        self.crash_log = crash_log.read(noted, partition.number)
        self.noted = noted
        self.saved_offset = -1
        now_s = time.monotonic()
        self.saved_s = self.accounts_s = self.applied_s = self.ticked_s = now_s
        self.lock, self.noting = asyncio.Lock(), asyncio.Lock()


class Progress(NamedTuple):
    """How far a partition is: next_offset of `end` records."""

    partition: int
    next_offset: int
    end: int
    at_ns: int = 0
    """How far its time is: it moves also within a record, through a long silence."""
