"""How fast a backlog goes through one worker and through two, beside a bare aiokafka consumer of the same topic."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.soak.commits import Commits
from benchmarks.soak.load import batches, publish, ward_names
from simulator.standard import WARD_RESIDENTS
from streams.kafka import topic_admin, topics
from streams.kafka.config import KafkaConfig
from tests.integration.kafka_wards import PARTITIONS, config_for
from tests.services.worker import OWNING, WorkerProcess

MB: Final = 1_000_000
TIMEOUT_S: Final = 300.0
LOOK_EVERY_S: Final = 0.02
CHECKPOINT_S: Final = 5.0
"""Half of what is usual, so that enough commits tell the pace."""
CHECKPOINTS: Final = 150
"""A short load is read in a second or two: progress is told by commits, so there must be some."""


async def bare(config: KafkaConfig, records: int) -> float:
    """Seconds in which plain aiokafka reads `records` records and does nothing with them."""
    consumer = AIOKafkaConsumer(
        **config.connection.client(), auto_offset_reset="earliest", max_partition_fetch_bytes=topics.RECORD_BYTES_MAX
    )
    await consumer.start()
    try:
        tps = [TopicPartition(config.prefix + topics.TELEMETRY, p) for p in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        started_s, seen = time.monotonic(), 0
        while seen < records:
            seen += sum(map(len, (await consumer.getmany(timeout_ms=1_000, max_records=64)).values()))
        return time.monotonic() - started_s
    finally:
        await consumer.stop()


def through(config: KafkaConfig, records: int, workers: int, folder: Path) -> tuple[float, float]:
    """(seconds, CPU seconds of the workers) for all `records`."""
    folder.mkdir(parents=True)
    processes = [WorkerProcess(config, folder / f"worker-{number}.log", warm=True) for number in range(workers)]
    commits = Commits(config, range(PARTITIONS), records, [process.process.pid for process in processes])
    try:
        commits.look()  # of a load that is read before anybody looks, the start counts too
        for process in processes:
            process.wait_logged(OWNING, TIMEOUT_S)
        give_up = time.monotonic() + TIMEOUT_S
        while (done := commits.look()) < records:
            if time.monotonic() > give_up or any(process.process.poll() is not None for process in processes):
                raise TimeoutError(f"{done} of {records} records committed:\n{processes[0].tail()}")
            time.sleep(LOOK_EVERY_S)
    finally:
        commits.close()
        for process in processes:
            process.kill()
    return commits.took()


def measure(bootstrap: str, root: Path, *, wards: int, seconds: int) -> dict[str, Any]:
    """Figures of one topic read by a bare consumer, by one worker, by two."""
    config = config_for(
        bootstrap, root / "snapshots-1", "throughput-", checkpoint_every_s=min(CHECKPOINT_S, seconds / CHECKPOINTS), session_timeout_s=10.0
    )
    topic_admin.create(config)
    records, size = asyncio.run(publish(config, ward_names(wards, PARTITIONS), batches(wards, seconds)))
    resident_seconds = wards * seconds * WARD_RESIDENTS
    found: dict[str, Any] = {"records": records, "record_kb": round(size / records / 1_000, 1), "resident_seconds": resident_seconds}
    for name in ("bare_before", "bare_after"):
        if name == "bare_after":
            for workers in (1, 2):
                own = config.model_copy(update={"group": f"throughput-{workers}", "snapshots": root / f"snapshots-{workers}"})
                took_s, used_s = through(own, records, workers, root / f"workers-{workers}")
                found[f"workers_{workers}"] = {
                    "mb_a_second": round(size / MB / took_s, 1),
                    "resident_seconds_a_second": round(resident_seconds / took_s),
                    "cpu_us_a_resident_second": round(used_s / resident_seconds * 1e6, 2),
                    "seconds": round(took_s, 2),
                }
        took_s = asyncio.run(bare(config, records))
        found[name] = {"mb_a_second": round(size / MB / took_s, 1), "seconds": round(took_s, 2)}
    best = max(found["bare_before"]["mb_a_second"], found["bare_after"]["mb_a_second"])
    for workers in (1, 2):
        found[f"workers_{workers}"]["share_of_bare"] = round(found[f"workers_{workers}"]["mb_a_second"] / best, 3)
    return found
