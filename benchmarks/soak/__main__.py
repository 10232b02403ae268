"""python -m benchmarks.soak: the distributed Vigil on a real Kafka; figures in build/soak.json, a page with plots in build/soak.html."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.soak import backlog, hour, kills, latency, same, throughput
from benchmarks.soak.page import page
from streams.ops.warm_up import warm_up
from tests.services import kafka

LOAD: Final = 0.5
"""Share of one worker's throughput at which latency is measured."""
SHORT_RATE: Final = 20.0
"""Ward batches a second where no throughput was measured before."""

Figures = dict[str, Any]


class Sizes(NamedTuple):
    """How much of everything."""

    stream_s: float
    kills: int
    killed_stream_s: float
    wards: int
    load_s: int
    latency_s: float
    backlog_s: int
    hour_s: int
    hour_wards: int


LONG: Final = Sizes(
    stream_s=1_800,
    kills=50,
    killed_stream_s=1_800,
    wards=12,
    load_s=900,
    latency_s=60,
    backlog_s=86_400,
    hour_s=5_000,
    hour_wards=12,
)
SHORT: Final = Sizes(stream_s=180, kills=6, killed_stream_s=180, wards=4, load_s=60, latency_s=14, backlog_s=3_600, hour_s=30, hour_wards=1)


def parts(sizes: Sizes, found: Figures) -> dict[str, Callable[[str, Path], Figures]]:
    """What is measured, by name: (broker, folder) -> figures. `found` are the figures so far."""
    return {
        "same": lambda broker, root: same.measure(broker, root, seconds=sizes.stream_s),
        "kills": lambda broker, root: kills.measure(broker, root, kills=sizes.kills, seconds=sizes.killed_stream_s),
        "throughput": lambda broker, root: throughput.measure(broker, root, wards=sizes.wards, seconds=sizes.load_s),
        "latency": lambda broker, root: latency.measure(broker, root, wards=sizes.wards, seconds=sizes.latency_s, rate=rate(found)),
        "backlog": lambda broker, root: backlog.measure(broker, root, seconds=sizes.backlog_s),
        "hour": lambda broker, root: hour.measure(broker, root, wards=sizes.hour_wards, seconds=sizes.hour_s),
    }


def rate(found: Figures) -> float:
    """Ward batches a second: half of what one worker took in the throughput part."""
    if "throughput" not in found:
        return SHORT_RATE
    figures = found["throughput"]
    return float(LOAD * figures["records"] / figures["workers_1"]["seconds"])


def main() -> None:
    """Run the parts asked for; earlier figures of other parts are kept."""
    names = list(parts(LONG, {}))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=names, help=f"any of {', '.join(names)}")
    parser.add_argument("--short", action="store_true", help="minutes instead of hours: do the parts work at all")
    parser.add_argument("--out", type=Path, default=Path("build/soak.json"))
    wanted = parser.parse_args()
    if unknown := set(wanted.parts) - set(names):
        parser.error(f"unknown part {sorted(unknown)}; there are {', '.join(names)}")
    if (why := kafka.missing()) is not None:
        raise SystemExit(why)
    found: Figures = json.loads(wanted.out.read_text()) if wanted.out.exists() else {}
    sizes = SHORT if wanted.short else LONG
    warm_up()
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(wanted.parts, 1):
        print(f"[{number}/{len(wanted.parts)}] {part} …", flush=True)
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="vigil-soak-") as folder, kafka.running(Path(folder) / "kafka") as cluster:
            figures = parts(sizes, found)[part](cluster.bootstrap, Path(folder))
        about = {
            "short": wanted.short,
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "load_average_at_end": round(os.getloadavg()[0], 1),
            "minutes_in_all": round((time.monotonic() - began_s) / 60, 1),
        }
        found[part] = {**about, **figures}
        print(json.dumps({part: {k: v for k, v in found[part].items() if k != "memory"}}, indent=1), flush=True)
        wanted.out.write_text(json.dumps(found, indent=1) + "\n")
        wanted.out.with_suffix(".html").write_text(page(found), encoding="utf-8")
    print(f"written: {wanted.out}, {wanted.out.with_suffix('.html')}")


if __name__ == "__main__":
    main()
