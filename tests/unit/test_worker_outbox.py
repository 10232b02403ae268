"""What a partition has to say is stored, or nobody believes that it is."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Coroutine
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from sinks.items import AuditEntry, Item, audit_item
from streams.worker.outbox import Outbox


class Broker:
    """Takes records; the test says of each when it is stored, or that it is not. `full`: takes none."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, Future[None]]] = []
        self.full = False

    async def send(self, _topic: str, value: bytes, _key: bytes | None, _partition: int) -> Future[None]:
        await asyncio.sleep(0)
        if self.full:
            raise KafkaTimeoutError
        self.taken.append((value, asyncio.get_running_loop().create_future()))
        return self.taken[-1][1]


def entry(number: int) -> Item:
    return audit_item(AuditEntry(str(number), 0, "", "", ""))


async def ends(work: Coroutine[Any, Any, None]) -> bool:
    """Whether `work` ends within a moment."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=0.05)
    if not done:
        task.cancel()
        return False
    await task
    return True


def test_stored_waits_for_what_was_handed_over() -> None:
    async def story() -> None:
        broker = Broker()
        outbox = Outbox(broker, "", 0)
        outbox.put([entry(1), entry(2)])
        assert not await ends(outbox.stored())
        for _, stored in broker.taken:
            stored.set_result(None)
        assert await ends(outbox.stored())
        assert len(broker.taken) == 2

    asyncio.run(story())


def test_a_failure_is_not_forgotten_once_somebody_has_heard_of_it() -> None:
    async def story() -> None:
        broker = Broker()
        outbox = Outbox(broker, "", 0)
        outbox.put([entry(1), entry(2)])
        await outbox.pump()
        broker.taken[0][1].set_exception(KafkaTimeoutError())
        broker.taken[1][1].set_result(None)
        for _ in range(2):
            with pytest.raises(KafkaTimeoutError):
                await outbox.pump()
            with pytest.raises(KafkaTimeoutError):
                await outbox.stored()

    asyncio.run(story())


def test_what_was_not_taken_is_still_there() -> None:
    async def story() -> None:
        broker = Broker()
        outbox = Outbox(broker, "", 0)
        outbox.put([entry(1), entry(2)])
        broker.full = True
        for _ in range(2):
            with pytest.raises(KafkaTimeoutError):
                await outbox.stored()
        broker.full = False
        await outbox.pump()
        assert [b'"id":"1"' in value for value, _ in broker.taken] == [True, False]

    asyncio.run(story())


def test_a_cancelled_pump_loses_nothing() -> None:
    async def story() -> None:
        broker = Broker()
        outbox = Outbox(broker, "", 0)
        outbox.put([entry(1)])
        pump = asyncio.ensure_future(outbox.pump())
        await asyncio.sleep(0)
        pump.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pump
        await outbox.pump()
        assert len(broker.taken) == 1

    asyncio.run(story())
