"""From the broker's clock on a button press to its alert on the alerts topic, while the wards' load runs; and what memory does.

Two ends are measured: the worker hands the alert to Kafka, and a consumer of the alerts topic has it. The consumer shares its
process with the load, so under a heavy one it says more about the benchmark than about Vigil.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.soak.load import Batch, batches, registries, ward_names
from engine.registry import Binding
from sinks.base import AlertChange
from streams import topics
from streams.worker.config import KafkaConfig
from streams.worker.records import headers
from tests.integration.kafka_wards import PARTITIONS, config_for
from tests.services.worker import OWNING, WorkerProcess

PROBE_EVERY_S: Final = 0.25
WARM_S: Final = 5.0
"""Probes of the first seconds do not count: the worker is still taking over."""
REST_S: Final = 5.0
TIMEOUT_S: Final = 120.0


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1_000


async def _heard(config: KafkaConfig, seen: dict[str, tuple[float, float]], stop: asyncio.Event) -> None:
    consumer = AIOKafkaConsumer(config.prefix + topics.ALERTS, **config.connection.client(), auto_offset_reset="earliest")
    await consumer.start()
    try:
        while not stop.is_set():
            for records in (await consumer.getmany(timeout_ms=50)).values():
                now_s = time.time()
                for record in records:
                    subject = msgspec.json.decode(record.value, type=AlertChange).alert.subject
                    seen.setdefault(subject, (record.timestamp / 1_000, now_s))
    finally:
        await consumer.stop()


async def _paced(
    config: KafkaConfig, names: Sequence[str], made: Sequence[Batch], rate: float, seen: dict[str, tuple[float, float]], pid: int
) -> tuple[dict[str, float], list[float]]:
    """Send `made` at `rate` records a second with probes between; (subject -> when the broker had the press, memory by the second)."""
    producer = AIOKafkaProducer(**config.connection.client(), acks="all", max_request_size=topics.RECORD_BYTES_MAX)
    await producer.start()
    sent: dict[str, float] = {}
    memory: list[float] = []
    telemetry = config.prefix + topics.TELEMETRY
    stop = asyncio.Event()
    listening = asyncio.create_task(_heard(config, seen, stop))

    async def probe(number: int, arrival_ns: int) -> None:
        chunk = {"v": 1, "device": f"call-{number}", "kind": "button", "t0_ns": arrival_ns, "unit": "state", "samples": [[1.0]]}
        key = names[number % len(names)].encode()
        done = await producer.send_and_wait(telemetry, json.dumps(chunk).encode(), key, headers=headers(arrival_ns))
        sent[f"resident/call-{number}"] = done.timestamp / 1_000

    try:
        for name, data in zip(names, _with_buttons(len(names), len(made) / rate), strict=True):
            await producer.send_and_wait(config.prefix + topics.REGISTRY, msgspec.json.encode(data), name.encode())
        await asyncio.sleep(REST_S)
        started_s, probes, number = time.monotonic(), [], 0
        for index, batch in enumerate(made):
            await asyncio.sleep(max(0.0, started_s + index / rate - time.monotonic()))
            await producer.send(telemetry, batch.payload, names[batch.ward].encode(), headers=headers(batch.arrival_ns))
            if time.monotonic() - started_s >= number * PROBE_EVERY_S:
                probes.append(asyncio.create_task(probe(number, batch.arrival_ns)))
                number += 1
            if time.monotonic() - started_s >= len(memory):
                memory.append(resident_mb(pid))
        await asyncio.gather(*probes)
        await asyncio.sleep(REST_S)
    finally:
        stop.set()
        await listening
        await producer.stop()
    return sent, memory


def _with_buttons(wards: int, duration_s: float) -> list[Any]:
    """The wards' registries, each with its share of call buttons, one for each probe."""
    count = int(duration_s / PROBE_EVERY_S) + 2
    found = []
    for ward, data in enumerate(registries(wards)):
        calls = tuple(Binding(f"call-{n}", f"resident/call-{n}", "") for n in range(ward, count, wards))
        found.append(msgspec.structs.replace(data, bindings=data.bindings + calls))
    return found


def measure(bootstrap: str, root: Path, *, wards: int, seconds: int, rate: float) -> dict[str, Any]:
    """Latency and memory of one worker at `rate` ward batches a second."""
    config = config_for(bootstrap, root / "snapshots", "latency-", checkpoint_every_s=10.0, session_timeout_s=10.0)
    topics.create(config)
    made = list(batches(wards, seconds))
    worker = WorkerProcess(config, root / "latency.log")
    seen: dict[str, tuple[float, float]] = {}
    try:
        worker.wait_logged(OWNING, TIMEOUT_S)
        names = ward_names(wards, PARTITIONS)
        sent, memory = asyncio.run(_paced(config, names, made, rate, seen, worker.process.pid))
        if worker.process.poll() is not None:
            raise RuntimeError(f"the worker ended:\n{worker.tail()}")
    finally:
        worker.kill()
    first_s = min(sent.values())
    counted = [subject for subject, at_s in sent.items() if at_s - first_s >= WARM_S]
    said_ms = [(seen[subject][0] - sent[subject]) * 1_000 for subject in counted if subject in seen]
    heard_ms = [(seen[subject][1] - sent[subject]) * 1_000 for subject in counted if subject in seen]
    half = len(memory) // 2
    return {
        "records_a_second": round(rate, 1),
        "presses": len(counted),
        "missed": len(counted) - len(said_ms),
        "worker_said_it": _figures(said_ms),
        "consumer_of_alerts_heard_it": _figures(heard_ms),
        "rss_mb": {"at_half": round(memory[half]), "at_end": round(memory[-1]), "max": round(max(memory))},
        "seconds": round(len(made) / rate),
    }


def _figures(took_ms: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(took_ms, [50, 99])
    return {"p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1), "max_ms": round(max(took_ms), 1)}
