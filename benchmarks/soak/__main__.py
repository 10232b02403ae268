"""python -m benchmarks.soak: the distributed Vigil on a real Kafka, long form; figures in build/soak.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.soak import kills, latency, throughput
from streams.warmup import warm_up
from tests.services import kafka

PARTS: Final = ("throughput", "latency", "kills")
LOAD: Final = 0.5
"""Share of one worker's throughput at which latency is measured."""


def main() -> None:
    """Run the parts asked for; earlier figures of other parts are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--ward-seconds", type=float, default=1800.0, help="length of the stream that is killed upon")
    parser.add_argument("--wards", type=int, default=12, help="wards of 50 residents of the load")
    parser.add_argument("--load-seconds", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("build/soak.json"))
    wanted = parser.parse_args()
    if unknown := set(wanted.parts) - set(PARTS):
        parser.error(f"unknown part {sorted(unknown)}; there are {', '.join(PARTS)}")
    if (why := kafka.missing()) is not None:
        raise SystemExit(why)
    found: dict[str, Any] = json.loads(wanted.out.read_text()) if wanted.out.exists() else {}
    warm_up()
    for part in wanted.parts:
        with tempfile.TemporaryDirectory(prefix="vigil-soak-") as folder, kafka.running(Path(folder) / "kafka") as cluster:
            root = Path(folder)
            if part == "throughput":
                figures = throughput.measure(cluster.bootstrap, root, wards=wanted.wards, seconds=wanted.load_seconds)
            elif part == "latency":
                rate = _rate(found)
                figures = latency.measure(cluster.bootstrap, root, wards=wanted.wards, seconds=wanted.load_seconds, rate=rate)
            else:
                figures = kills.measure(cluster.bootstrap, root, kills=wanted.kills, seconds=wanted.ward_seconds)
        found[part] = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "load_average": round(os.getloadavg()[0], 1), **figures}
        print(json.dumps({part: found[part]}, indent=1), flush=True)
        wanted.out.parent.mkdir(parents=True, exist_ok=True)
        wanted.out.write_text(json.dumps(found, indent=1) + "\n")


def _rate(found: dict[str, Any]) -> float:
    """Half of what one worker took in the throughput part. SystemExit when that has not been run."""
    if "throughput" not in found:
        raise SystemExit("latency is measured at half of the throughput: run the part throughput first")
    figures = found["throughput"]
    return float(LOAD * figures["records"] / figures["workers_1"]["seconds"])


if __name__ == "__main__":
    main()
