"""A day of one ward waits in Kafka; it is read while other wards are being watched: how fast, with what memory, and who waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks.soak.commits import Commits
from benchmarks.soak.load import COMPRESSION, START_NS, batches, publish, registries, ward_names
from benchmarks.soak.presses import Presses
from benchmarks.soak.processes import resident_mb
from engine.frame import NS_PER_S
from streams.kafka import topic_admin, topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import headers
from tests.integration.kafka_wards import PARTITIONS, config_for, partition_of
from tests.services.worker import OWNING, WorkerProcess

RESIDENTS: Final = 10
PRESS_EVERY_S: Final = 0.25
REST_S: Final = 5.0
TIMEOUT_S: Final = 1_800.0
LIVE_S_MAX: Final = 3_600
WARM_S: Final = 1.0


async def _register(config: KafkaConfig, names: Sequence[str]) -> None:
    """Everybody's registry, with the buttons. Before the worker starts: then it holds from the first record on."""
    producer = AIOKafkaProducer(**config.connection.client(), acks="all", max_request_size=topics.RECORD_BYTES_MAX)
    await producer.start()
    try:
        data = Presses.with_buttons(registries(len(names), RESIDENTS), int(LIVE_S_MAX / PRESS_EVERY_S))
        for name, registry in zip(names, data, strict=True):
            await producer.send_and_wait(config.prefix + topics.REGISTRY, msgspec.json.encode(registry), name.encode())
    finally:
        await producer.stop()


async def _live(config: KafkaConfig, names: Sequence[str], seconds: int, caught_up: Callable[[], bool]) -> tuple[Presses, float]:
    """The other wards in real time, with presses, until the backlog is read; then when that was (time.time())."""
    producer = AIOKafkaProducer(
        **config.connection.client(), acks="all", max_request_size=topics.RECORD_BYTES_MAX, compression_type=COMPRESSION
    )
    await producer.start()
    presses = Presses(config, producer)
    try:
        presses.listen()
        began_s, number, caught_up_s = time.monotonic(), 0, 0.0
        live = (batch for batch in batches(len(names), LIVE_S_MAX, RESIDENTS) if batch.ward > 0)
        for batch in live:
            due_s = began_s + (batch.arrival_ns - START_NS) / NS_PER_S
            while (now_s := time.monotonic()) < due_s or not number:
                if now_s - began_s >= number * PRESS_EVERY_S:
                    ward = number % len(names)
                    # In the ward of the backlog a press is later than all of it, in the others it is now.
                    behind_ns = (seconds if ward == 0 else 0) * NS_PER_S
                    presses.press(number, names[ward], START_NS + behind_ns + round((now_s - began_s) * NS_PER_S))
                    number += 1
                    if number % 2 == 0 and await asyncio.to_thread(caught_up):
                        caught_up_s = time.time()
                await asyncio.sleep(min(PRESS_EVERY_S, max(0.0, due_s - now_s)))
            await producer.send(
                config.prefix + topics.TELEMETRY, batch.payload, names[batch.ward].encode(), headers=headers(batch.arrival_ns)
            )
            if caught_up_s or time.monotonic() - began_s > TIMEOUT_S:
                break
        await presses.stop(REST_S)
    finally:
        await producer.stop()
    if not caught_up_s:
        raise TimeoutError(f"the backlog is not read after {TIMEOUT_S:.0f} s")
    return presses, caught_up_s


def measure(bootstrap: str, root: Path, *, seconds: int) -> dict[str, Any]:
    """`seconds` of a ward of ten as backlog, three more wards live."""
    config = config_for(bootstrap, root / "snapshots", "backlog-", checkpoint_every_s=2.0, session_timeout_s=10.0)
    topic_admin.create(config)
    names = ward_names(PARTITIONS, PARTITIONS)
    records, size = asyncio.run(publish(config, names[:1], batches(1, seconds, RESIDENTS), RESIDENTS))
    asyncio.run(_register(config, names))
    worker = WorkerProcess(config, root / "backlog.log", warm=True)
    commits = Commits(config, [partition_of(names[0])], records, [worker.process.pid])
    memory: list[float] = []

    def caught_up() -> bool:
        memory.append(resident_mb(worker.process.pid))
        return commits.look() >= records

    try:
        worker.wait_logged(OWNING, TIMEOUT_S)
        presses, caught_up_s = asyncio.run(_live(config, names, seconds, caught_up))
        if worker.process.poll() is not None:
            raise RuntimeError(f"the worker ended:\n{worker.tail()}")
    finally:
        commits.close()
        worker.kill()
    took_s, used_s = commits.took()
    return {
        "residents": RESIDENTS,
        "hours": round(seconds / 3_600, 1),
        "gb": round(size / 1e9, 2),
        "seconds": round(took_s, 1),
        "times_real_time": round(seconds / took_s),
        "mb_a_second": round(size / 1e6 / took_s, 1),
        "resident_seconds_a_second": round(seconds * RESIDENTS / took_s),
        "cpu_us_a_resident_second": round(used_s / seconds / RESIDENTS * 1e6, 1),
        "rss_mb": {"at_start": round(memory[0]), "max": round(max(memory)), "at_end": round(memory[-1])},
        "live_wards_meanwhile": presses.figures(names[1:], after_s=WARM_S, until_s=caught_up_s),
        "the_wards_own_presses_behind_its_backlog": presses.figures(names[:1]),
    }
