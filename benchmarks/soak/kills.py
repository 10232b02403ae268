"""Two workers and a webhook's sink process, one or more of which die at random moments again and again; afterwards everything is as
replay says, and a real receiver has every call, each under its key.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

from sinks.items import ItemKind
from tests.integration.kafka_sinks import FINISH_S, storm, webhook, written
from tests.integration.kafka_wards import Bench, compare, config_for, expected, wards
from tests.services.receiver import receiving
from tests.services.worker import OWNING, WorkerProcess

SEED: Final = 50


def measure(bootstrap: str, root: Path, *, kills: int, seconds: float) -> dict[str, Any]:
    """`kills` random deaths while the wards' `seconds` go through. AssertionError names the first difference from replay."""
    streams = [(ward, expected(ward)) for ward in wards(seconds)]
    bench = Bench(config_for(bootstrap, root / "snapshots", "kills-"))
    for ward, _ in streams:
        bench.send_registry(ward)
    with receiving() as receiver:
        written(root, bench.config, {"oncall": webhook(receiver)})
        done = storm(bench, streams, root, receiver, kills=kills, chance=Random(SEED), workers=2)
    # One more life says the last accounts whoever owned what.
    last = WorkerProcess(bench.config, root / "last.log")
    last.wait_logged(OWNING, FINISH_S)
    last.stop(FINISH_S)
    said = bench.said()
    bench.close()
    for ward, wanted in streams:
        compare(ward, wanted, said[ward.partition])
    calls = done.calls
    if calls.missing or calls.unknown or calls.out_of_order or calls.repeats > done.sink_kills:
        raise AssertionError(f"the receiver was not called as it should have been: {done}")
    items = [item for partition in said for item in partition]
    distinct = {kind: len({item.id for item in items if item.kind is kind}) for kind in ItemKind}
    total = Counter(item.kind for item in items)
    return {
        "kills": kills,
        "worker_kills": done.worker_kills,
        "sink_kills": done.sink_kills,
        "seconds": round(done.seconds),
        "records": sum(len(ward.records) for ward, _ in streams),
        "readings": sum(a.received for _, wanted in streams for a in wanted.accounts),
        "distinct": {kind.value: distinct[kind] for kind in ItemKind},
        "said_again_with_the_same_id_and_content": {kind.value: total[kind] - distinct[kind] for kind in ItemKind},
        "lost": 0,
        "differing_from_replay": 0,
        "takings_over": done.takings_over,
        "webhook": calls._asdict(),
    }
