"""Half an hour of four wards, simulated and recorded, through `vigil run` and through `vigil worker`: the same is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.quality.data import unpacked
from tests.integration.kafka_wards import Bench, config_for
from tests.integration.one_stream import recorded, same, stream


def measure(bootstrap: str, root: Path, *, seconds: float) -> dict[str, Any]:
    """Figures of what was equal; AssertionError names the first difference."""
    data_root = unpacked()
    bench = Bench(config_for(bootstrap, root / "snapshots", "same-"))
    try:
        figures = same(bench, stream(seconds, data_root), root)
    finally:
        bench.close()
    sources = [f"{played.meta.name} ({played.meta.source})" for played in recorded(data_root)]
    return {"seconds": seconds, "partitions": bench.config.partitions, "recordings": sources, **figures, "differing": 0}
