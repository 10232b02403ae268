"""Presses of call buttons among other telemetry, and when their alerts were said: the clock of an alert from end to end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer

from engine.registry import Binding, RegistryData
from sinks.items import AlertChange
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import headers


class Presses:
    """Sends presses, each of its own button, and listens for their alerts."""

    def __init__(self, config: KafkaConfig, producer: Any) -> None:
        self._config, self._producer = config, producer
        self._heard: dict[str, tuple[float, float]] = {}
        self._sent: dict[str, tuple[str, float]] = {}
        self._stopping = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._pressing: set[asyncio.Task[None]] = set()

    @staticmethod
    def with_buttons(registries: Sequence[RegistryData], count: int) -> list[RegistryData]:
        """The wards' registries with `count` call buttons dealt out among them: press n belongs to ward n % wards."""
        found = []
        for ward, data in enumerate(registries):
            calls = tuple(Binding(f"call-{n}", f"resident/call-{n}", "") for n in range(ward, count, len(registries)))
            found.append(msgspec.structs.replace(data, bindings=data.bindings + calls))
        return found

    def listen(self) -> None:
        """Read the alerts topic from now on."""
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        consumer = AIOKafkaConsumer(
            self._config.prefix + topics.ALERTS, **self._config.connection.client(), auto_offset_reset="earliest", fetch_max_wait_ms=20
        )
        await consumer.start()
        try:
            while not self._stopping.is_set():
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    now_s = time.time()
                    for record in records:
                        subject = msgspec.json.decode(record.value, type=AlertChange).alert.subject
                        self._heard.setdefault(subject, (record.timestamp / 1_000, now_s))
        finally:
            await consumer.stop()

    def press(self, number: int, ward: str, arrival_ns: int) -> None:
        """Press button `number`, of `ward`; the broker's append time is when it arrived."""
        task = asyncio.create_task(self._press(number, ward, arrival_ns))
        self._pressing.add(task)
        task.add_done_callback(self._pressing.discard)

    async def _press(self, number: int, ward: str, arrival_ns: int) -> None:
        chunk = {"v": 1, "device": f"call-{number}", "kind": "button", "t0_ns": arrival_ns, "unit": "state", "samples": [[1.0]]}
        topic = self._config.prefix + topics.TELEMETRY
        done = await self._producer.send_and_wait(topic, json.dumps(chunk).encode(), ward.encode(), headers=headers(arrival_ns))
        self._sent[f"resident/call-{number}"] = ward, done.timestamp / 1_000

    async def stop(self, rest_s: float) -> None:
        """Wait for presses under way, listen `rest_s` longer, then no more."""
        while self._pressing:
            await asyncio.gather(*self._pressing)
        await asyncio.sleep(rest_s)
        self._stopping.set()
        if self._listening is not None:
            await self._listening

    def figures(self, wards: Sequence[str], *, after_s: float = 0.0, until_s: float = float("inf")) -> dict[str, Any]:
        """Of the presses in `wards`, from `after_s` after the first of all until the moment `until_s` (time.time())."""
        if not self._sent:
            raise ValueError("no button was pressed")
        first_s = min(at_s for _, at_s in self._sent.values())
        counted = {s: at_s for s, (ward, at_s) in self._sent.items() if ward in wards and at_s >= first_s + after_s and at_s < until_s}
        said_ms = [(self._heard[s][0] - at_s) * 1_000 for s, at_s in counted.items() if s in self._heard]
        heard_ms = [(self._heard[s][1] - at_s) * 1_000 for s, at_s in counted.items() if s in self._heard]
        return {
            "presses": len(counted),
            "missed": len(counted) - len(said_ms),
            "worker_said_it": _spread(said_ms),
            "consumer_of_alerts_heard_it": _spread(heard_ms),
        }


def _spread(took_ms: list[float]) -> dict[str, float]:
    if not took_ms:
        return {}
    p50, p99 = np.percentile(took_ms, [50, 99])
    return {"p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1), "max_ms": round(max(took_ms), 1)}
