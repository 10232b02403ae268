"""How fast one ingest is on this machine: `python -m tests.services.ingest_rate`. Prints a line for each way in."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from aiokafka import AIOKafkaConsumer
from kafka.admin import KafkaAdminClient, NewTopic

from engine.registry import Binding, RegistryData
from simulator.scenario import Scenario
from simulator.simulation import Simulation
from tests.integration.kafka_wards import Bench, Ward, config_for, ward_names
from tests.services import kafka
from tests.services.ingest import IngestProcess

READINGS: Final = 400_000
DEVICES: Final = 1_000
TOPIC: Final = "rate"
SENDERS: Final = 8
RESIDENTS: Final = 50
SECONDS: Final = 60


def cpu_s(ingest: IngestProcess) -> float:
    """CPU seconds the process has had (proc(5), fields 14 and 15): on a machine with other work this is the figure to trust."""
    fields = Path(f"/proc/{ingest.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def bare(bootstrap: str) -> float:
    """Records a second of an aiokafka consumer that does nothing with them."""
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=4 * 2**20)
    await consumer.start()
    seen, began_s = 0, 0.0
    while seen < READINGS:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            began_s = began_s or time.perf_counter()
            seen += len(records)
    await consumer.stop()
    return seen / (time.perf_counter() - began_s)


def readings(bench: Bench, folder: Path) -> None:
    """Small readings from a backlog."""
    admin = KafkaAdminClient(**bench.config.connection.client())
    admin.create_topics([NewTopic(TOPIC, 4, 1)], wait_for_metadata=True)
    admin.close()
    start_ms = time.time_ns() // 1_000_000 - READINGS // DEVICES * 1_000
    for number in range(READINGS):
        at_ms = start_ms + number // DEVICES * 1_000
        value = {"id": f"m-{number % DEVICES}", "metric": "hr", "ts": at_ms, "val": 70 + number % 9}
        bench.producer.send(TOPIC, key=b"%d" % (number % DEVICES), value=msgspec.json.encode(value))
    bench.producer.flush()
    print(f"bare aiokafka consumer: {asyncio.run(bare(bench.config.connection.brokers)):,.0f} records/s", flush=True)
    mapping: dict[str, Any] = {"topics": [TOPIC], "device": "id", "kind": "metric", "time": "ts", "time_unit": "ms", "value": "val"}
    ingest = IngestProcess(bench.config, folder / "readings.log", readings=mapping | {"kinds": {"hr": "vitals.heart_rate_bpm"}})
    ingest.wait_counted("vigil_ingest_readings_total", 1)
    began_s, had_s, first = time.perf_counter(), cpu_s(ingest), ingest.counted("vigil_ingest_readings_total")
    ingest.wait_counted("vigil_ingest_readings_total", READINGS, 300)
    rate = (READINGS - first) / (time.perf_counter() - began_s)
    each_us = (cpu_s(ingest) - had_s) / (READINGS - first) * 1e6
    print(f"readings of a foreign topic into ward batches: {rate:,.0f} records/s, {each_us:.1f} us CPU each", flush=True)
    ingest.stop()


async def _post(url: str, payloads: list[bytes]) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        for payload in payloads:
            (await client.post(f"{url}/v1/chunks", content=payload)).raise_for_status()


def wards(bench: Bench, folder: Path) -> None:
    """Gateways' batches of a ward each second, as fast as HTTP takes them."""
    name = ward_names()[0]
    made = Simulation(Scenario(ward=name, residents=RESIDENTS, seconds=SECONDS, start_ns=time.time_ns() - (SECONDS + 30) * 10**9))
    ward = Ward(name, 0, list(made.records()), made.registry())
    bench.send_registry(ward)
    ingest = IngestProcess(bench.config, folder / "wards.log")
    payloads = [record.payload for record in ward.records]

    async def send() -> None:
        await asyncio.gather(*(_post(ingest.url, payloads[part::SENDERS]) for part in range(SENDERS)))

    began_s, had_s = time.perf_counter(), cpu_s(ingest)
    asyncio.run(send())
    answered_s = time.perf_counter() - began_s
    ingest.drained()
    took_s = time.perf_counter() - began_s
    size = sum(map(len, payloads)) / 1e6
    print(
        f"{len(payloads)} messages of a ward of {RESIDENTS} ({size:.0f} MB): answered at {size / answered_s:.1f} MB/s, "
        f"in Kafka at {size / took_s:.1f} MB/s, {RESIDENTS * SECONDS / took_s:,.0f} resident-seconds/s, "
        f"{(cpu_s(ingest) - had_s) / len(payloads) * 1e3:.2f} ms CPU a message",
        flush=True,
    )
    ingest.stop()


def main() -> None:
    """Both, one after the other."""
    with tempfile.TemporaryDirectory() as root, kafka.running(Path(root) / "kafka") as cluster:
        bench = Bench(config_for(cluster.bootstrap, Path(root) / "snapshots", "", live=True))
        bound = tuple(Binding(f"m-{number}", f"resident/{number}", "") for number in range(DEVICES))
        bench.send_registry(Ward(ward_names()[1], 1, [], RegistryData(bindings=bound)))
        readings(bench, Path(root))
        wards(bench, Path(root))
        bench.close()


if __name__ == "__main__":
    main()
