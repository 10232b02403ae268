"""Two workers, one of which dies at a random moment again and again; afterwards everything is as replay says."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from sinks.base import ItemKind
from tests.integration.kafka_wards import Bench, compare, config_for, expected, wards
from tests.services.worker import OWNING, STARTED, WorkerProcess

SEED: Final = 50
LIFE_S: Final = (0.0, 4.0)
"""From a worker's start of work to its death: before it has joined the group, while it loads, in the middle of records."""
START_S: Final = 120.0
FINISH_S: Final = 180.0


def measure(bootstrap: str, root: Path, *, kills: int, seconds: float) -> dict[str, Any]:
    """`kills` random deaths while the wards' `seconds` go through. AssertionError names the first difference from replay."""
    chance = random.Random(SEED)
    streams = [(ward, expected(ward)) for ward in wards(seconds)]
    bench = Bench(config_for(bootstrap, root / "snapshots", "kills-"))
    for ward, _ in streams:
        bench.send_registry(ward)
    logs = [root / f"worker-{number}.log" for number in range(kills + 2)]
    workers = [WorkerProcess(bench.config, log) for log in logs[:2]]
    started_s = time.monotonic()
    for death in range(kills):
        for ward, _ in streams:
            size = len(ward.records)
            bench.send(ward, ward.records[size * death // kills : size * (death + 1) // kills])
        bench.producer.flush()
        workers[death % 2].wait_logged(STARTED, START_S)
        time.sleep(chance.uniform(*LIFE_S))
        workers[death % 2].kill()
        workers[death % 2] = WorkerProcess(bench.config, logs[death + 2])
    try:
        bench.wait_committed(FINISH_S)
        for worker in workers:
            worker.wait_logged(OWNING, FINISH_S)
            if worker.stop(FINISH_S) != 0:
                raise RuntimeError(f"a worker did not end well:\n{worker.tail()}")
    finally:
        for worker in workers:
            worker.kill()
    took_s = time.monotonic() - started_s
    # One more life says the last accounts whoever owned what.
    last = WorkerProcess(bench.config, root / "last.log")
    last.wait_logged(OWNING, FINISH_S)
    last.stop(FINISH_S)
    said = bench.said()
    for ward, wanted in streams:
        compare(ward, wanted, said[ward.partition])
    items = [item for partition in said for item in partition]
    distinct = {kind: len({item.id for item in items if item.kind is kind}) for kind in ItemKind}
    total = Counter(item.kind for item in items)
    bench.close()
    return {
        "kills": kills,
        "seconds": round(took_s),
        "records": sum(len(ward.records) for ward, _ in streams),
        "readings": sum(a.received for _, wanted in streams for a in wanted.accounts),
        "distinct": {kind.value: distinct[kind] for kind in ItemKind},
        "said_again_with_the_same_id_and_content": {kind.value: total[kind] - distinct[kind] for kind in ItemKind},
        "lost": 0,
        "differing_from_replay": 0,
        "takings_over": sum(log.read_text().count(OWNING) for log in logs),
    }
