"""From the broker's clock on a button press to its alert on the alerts topic, while the wards' load runs; and what memory does.

Two ends are measured: the worker hands the alert to Kafka, and a consumer of the alerts topic has it. The consumer shares its
process with the load, so under a heavy one it says more about the benchmark than about Vigil.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks.soak.load import COMPRESSION, Batch, batches, registries, ward_names
from benchmarks.soak.presses import Presses
from benchmarks.soak.processes import cpu_s, resident_mb
from streams.kafka import topic_admin, topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import headers
from tests.integration.kafka_wards import PARTITIONS, config_for
from tests.services.worker import OWNING, WorkerProcess

PRESS_EVERY_S: Final = 0.25
WARM_S: Final = 10.0
"""Presses of the first seconds do not count: the worker meets its residents, which costs it more than to know them."""
REST_S: Final = 5.0
TIMEOUT_S: Final = 120.0


async def _paced(
    config: KafkaConfig, names: Sequence[str], made: Sequence[Batch], rate: float, pid: int
) -> tuple[Presses, list[float], float, float]:
    """Send `made` at `rate` records a second with presses between; (presses, memory by the second, the worker's share of a core, seconds it took)."""
    producer = AIOKafkaProducer(
        **config.connection.client(), acks="all", max_request_size=topics.RECORD_BYTES_MAX, compression_type=COMPRESSION
    )
    await producer.start()
    memory: list[float] = []
    presses = Presses(config, producer)
    try:
        count = 2 * int(len(made) / rate / PRESS_EVERY_S)  # a load that falls behind its plan takes longer, and more presses
        for name, data in zip(names, presses.with_buttons(registries(len(names)), count), strict=True):
            await producer.send_and_wait(config.prefix + topics.REGISTRY, msgspec.json.encode(data), name.encode())
        presses.listen()
        await asyncio.sleep(REST_S)
        started_s, used_s, number = time.monotonic(), cpu_s(pid), 0
        for index, batch in enumerate(made):
            await asyncio.sleep(max(0.0, started_s + index / rate - time.monotonic()))
            await producer.send(
                config.prefix + topics.TELEMETRY, batch.payload, names[batch.ward].encode(), headers=headers(batch.arrival_ns)
            )
            if number < count and time.monotonic() - started_s >= number * PRESS_EVERY_S:
                presses.press(number, names[number % len(names)], batch.arrival_ns)
                number += 1
            if time.monotonic() - started_s >= len(memory):
                memory.append(resident_mb(pid))
        took_s = time.monotonic() - started_s
        share = (cpu_s(pid) - used_s) / took_s
        await presses.stop(REST_S)
    finally:
        await producer.stop()
    return presses, memory, share, took_s


def measure(bootstrap: str, root: Path, *, wards: int, seconds: float, rate: float) -> dict[str, Any]:
    """Latency and memory of one worker at `rate` ward batches a second for `seconds`."""
    config = config_for(bootstrap, root / "snapshots", "latency-", checkpoint_every_s=10.0, session_timeout_s=10.0)
    topic_admin.create(config)
    made = list(batches(wards, math.ceil(seconds * rate / wards)))
    worker = WorkerProcess(config, root / "latency.log", warm=True)
    try:
        worker.wait_logged(OWNING, TIMEOUT_S)
        names = ward_names(wards, PARTITIONS)
        presses, memory, share, took_s = asyncio.run(_paced(config, names, made, rate, worker.process.pid))
        if worker.process.poll() is not None:
            raise RuntimeError(f"the worker ended:\n{worker.tail()}")
    finally:
        worker.kill()
    half = len(memory) // 2
    return {
        "records_a_second_wanted": round(rate, 1),
        "records_a_second": round(len(made) / took_s, 1),
        "mb_a_second": round(len(made) / took_s * sum(len(batch.payload) for batch in made) / len(made) / 1e6, 1),
        "worker_share_of_a_core": round(share, 2),
        **presses.figures(names, after_s=WARM_S),
        "rss_mb": {"at_half": round(memory[half]), "at_end": round(memory[-1]), "max": round(max(memory))},
        "seconds": round(took_s),
    }
