"""`make bench`: microseconds a resident-second of the standard sensor set, all detectors and models on, on one core.

Beside it, in the same run: (a) copying the same bytes once, (b) the same sensors one sample at a time in Python + river, and (c) the very
same detectors interpreted, by chunk and by sample. Writes build/bench.json and build/bench.html.
"""

from __future__ import annotations

import gc
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.speed import naive
from engine.block import Block
from engine.engine import Engine
from engine.frame import NS_PER_S
from engine.registry import Registry
from schemas.codec import decode, encode_batch
from simulator.standard import standard_blocks, standard_registry
from streams.ops.warm_up import warm_up
from streams.pipeline.assembly import detectors

RESIDENTS: Final = (100, 1_000, 20_000)
SECONDS: Final = {100: 240, 1_000: 60, 20_000: 10}
"""Stream seconds measured per size, after WARM of them; the resident-seconds are alike, the memory stays in bounds."""
WARM: Final = 12
ROUNDS: Final = 5
NAIVE_RESIDENTS: Final = 10
NAIVE_SECONDS: Final = 3
REPORT: Final = Path("build/bench.json")
PAGE: Final = Path("build/bench.html")


def _bytes(seconds: list[list[Block]]) -> int:
    return sum(block.samples.nbytes for blocks in seconds for block in blocks)


def _timed(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _engine(residents: int, chosen: list[Any] | None = None) -> Engine:
    engine = Engine(detectors() if chosen is None else chosen, Registry(standard_registry(residents)))
    for detector in engine.detectors:
        detector.grow(1 << (2 * residents).bit_length())
    return engine


def _feed(engine: Engine, seconds: list[list[Block]]) -> int:
    events = 0
    for blocks in seconds:
        for block in blocks:
            arrival_ns = int(block.t0_ns[0]) + NS_PER_S
            events += len(engine.step(block, arrival_ns).events)
    return events


def _decode_and_feed(engine: Engine, payloads: list[tuple[bytes, int]]) -> None:
    for payload, arrival_ns in payloads:
        for block in decode(payload).blocks:
            engine.step(block, arrival_ns)


def _copy(seconds: list[list[Block]]) -> None:
    for blocks in seconds:
        for block in blocks:
            np.array(block.samples, copy=True)


def measure(residents: int, say: Callable[[str], None]) -> dict[str, float]:
    """Figures of one ward size; times are CPU time of this one thread, the median of ROUNDS pieces."""
    total = SECONDS[residents]
    say(f"{residents} residents: simulating {total} s")
    stream = list(islice(standard_blocks(residents, total + WARM), total + WARM))
    warm, rest = stream[:WARM], stream[WARM:]
    size = max(1, len(rest) // ROUNDS)
    pieces = [rest[i : i + size] for i in range(0, len(rest), size)]
    engine = _engine(residents)
    _feed(engine, warm)
    gc.collect()
    say(f"{residents} residents: engine")
    spent, copied = [], []
    for piece in pieces:
        lived = residents * len(piece)
        copied.append(_timed(lambda piece=piece: _copy(piece)) / lived * 1e6)  # type: ignore[misc]
        spent.append(_timed(lambda piece=piece: _feed(engine, piece)) / lived * 1e6)  # type: ignore[misc]
    whole = _engine(residents)
    say(f"{residents} residents: wire bytes to events")
    wired: list[float] = []
    for number, piece in enumerate([warm, *pieces]):
        payloads = [
            (encode_batch("h/w", [block], gateway="g", seq=number * 10_000 + i, sent_ns=0), int(block.t0_ns[0]) + NS_PER_S)
            for i, block in enumerate(b for blocks in piece for b in blocks)
        ]
        took = _timed(lambda payloads=payloads: _decode_and_feed(whole, payloads))  # type: ignore[misc]
        if number:
            wired.append(took / (residents * len(piece)) * 1e6)
    per_detector = {}
    for detector in detectors():
        alone = _engine(residents, [detector])
        _feed(alone, warm)
        piece = pieces[0]
        per_detector[detector.spec.name] = _timed(lambda alone=alone, piece=piece: _feed(alone, piece)) / (residents * len(piece)) * 1e6  # type: ignore[misc]
    bare = _engine(residents, [])
    _feed(bare, warm)
    none = _timed(lambda: _feed(bare, pieces[0])) / (residents * len(pieces[0])) * 1e6
    figures = {
        "us_per_resident_second": statistics.median(spent),
        "us_per_resident_second_worst_piece": max(spent),
        "us_per_resident_second_from_wire_bytes": statistics.median(wired),
        "us_copy": statistics.median(copied),
        "ratio_to_copy": statistics.median(spent) / statistics.median(copied),
        "bytes_per_resident_second": _bytes(rest) / (residents * len(rest)),
        "us_engine_without_detectors": none,
    }
    return figures | {f"us_{name}_alone_above_engine": max(0.0, took - none) for name, took in per_detector.items()}


def measure_naive() -> float:
    """Microseconds a resident-second of the naive program (Python + river)."""
    seconds = list(islice(standard_blocks(NAIVE_RESIDENTS, NAIVE_SECONDS), NAIVE_SECONDS))
    return _timed(lambda: naive.run(seconds)) / (NAIVE_RESIDENTS * NAIVE_SECONDS) * 1e6


def by_sample(blocks: list[Block]) -> list[Block]:
    """The same second with every sample in a block of its own, in time order."""
    pieces = []
    for block in blocks:
        for n in range(block.samples.shape[1]):
            t0_ns = block.t0_ns + round(n / block.rate_hz * NS_PER_S)
            one = np.ascontiguousarray(block.samples[:, n : n + 1])
            pieces.append(block._replace(t0_ns=t0_ns, seq=block.seq * block.samples.shape[1] + n, samples=one))
    return sorted(pieces, key=lambda piece: int(piece.t0_ns[0]))


def interpreted(*, each: bool) -> float:
    """Microseconds a resident-second of Vigil's own engine in this process; `each`: one resident and one sample a call."""
    residents = 1 if each else NAIVE_RESIDENTS
    stream = list(islice(standard_blocks(residents, NAIVE_SECONDS + 1), NAIVE_SECONDS + 1))
    if each:
        stream = [by_sample(blocks) for blocks in stream]
    engine = _engine(residents)
    _feed(engine, stream[:1])
    return _timed(lambda: _feed(engine, stream[1:])) / (residents * NAIVE_SECONDS) * 1e6


def measure_interpreted(*, each: bool) -> float:
    """The same, kernels as plain Python, in a process of its own."""
    program = f"from benchmarks.speed.__main__ import interpreted; print(interpreted(each={each}))"
    environment = {**os.environ, "VIGIL_PYTHON_KERNELS": "1"}
    answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return float(answer.stdout)


def main() -> int:
    """Measure, print, write."""
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(f"[dim]{text}")

    say("compiling")
    warm_up()
    flat: dict[str, float] = {}
    for residents in RESIDENTS:
        for key, value in measure(residents, say).items():
            flat[f"standard.{residents}.{key}"] = value
    say("naive: one sample at a time in Python + river")
    flat["naive.us_per_resident_second"] = measure_naive()
    say("the same detectors interpreted, by chunk and by sample")
    flat["interpreted.us_per_resident_second"] = measure_interpreted(each=False)
    flat["interpreted_by_sample.us_per_resident_second"] = measure_interpreted(each=True)
    smallest, largest = RESIDENTS[0], RESIDENTS[-1]
    for residents in RESIDENTS:
        own = flat[f"standard.{residents}.us_per_resident_second"]
        flat[f"standard.{residents}.times_naive"] = flat["naive.us_per_resident_second"] / own
        flat[f"standard.{residents}.times_interpreted"] = flat["interpreted.us_per_resident_second"] / own
        flat[f"standard.{residents}.times_interpreted_by_sample"] = flat["interpreted_by_sample.us_per_resident_second"] / own
    flat["standard.flatness"] = flat[f"standard.{largest}.us_per_resident_second"] / flat[f"standard.{smallest}.us_per_resident_second"]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps({key: round(value, 4) for key, value in flat.items()}, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(_page(flat), encoding="utf-8")
    table = Table("µs a resident-second", *(f"{r:,} residents" for r in RESIDENTS), title="standard sensor set, all detectors, one core")
    for key in [k.removeprefix(f"standard.{smallest}.") for k in flat if k.startswith(f"standard.{smallest}.")]:
        table.add_row(key, *(f"{flat[f'standard.{r}.{key}']:,.2f}" for r in RESIDENTS))
    out = Console(width=140)
    out.print(table)
    out.print(
        f"Python + river, one sample at a time: {flat['naive.us_per_resident_second']:,.0f} µs; Vigil's own detectors interpreted: "
        f"{flat['interpreted.us_per_resident_second']:,.0f} µs by chunk, {flat['interpreted_by_sample.us_per_resident_second']:,.0f} µs by sample"
    )
    out.print(f"flatness (20,000 over 100 residents): {flat['standard.flatness']:.2f}; written to {REPORT} and {PAGE}")
    return 0


def _page(flat: dict[str, float]) -> str:
    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4))
    rows = {f"Vigil, {r:,} residents": flat[f"standard.{r}.us_per_resident_second"] for r in RESIDENTS}
    rows |= {
        "copying the bytes once": flat[f"standard.{RESIDENTS[1]}.us_copy"],
        "Python + river, one sample at a time": flat["naive.us_per_resident_second"],
        "Vigil's detectors interpreted, by chunk": flat["interpreted.us_per_resident_second"],
        "Vigil's detectors interpreted, by sample": flat["interpreted_by_sample.us_per_resident_second"],
    }
    names, values = list(rows), list(rows.values())
    bars = axes.barh(names[::-1], values[::-1], color=["#9aa7b8"] * 4 + ["#1f5fbf"] * 3)
    axes.bar_label(bars, fmt="%.3g µs", padding=4)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 8)
    axes.set_xlabel("µs of one core for a resident-second of the standard sensor set (log)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(figure)
    svg = buffer.getvalue().partition("<!DOCTYPE")[2].partition(">")[2]
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>Vigil: speed</title><body style='font:15px system-ui;margin:2rem'><h1>Speed</h1>{svg}</html>"


if __name__ == "__main__":
    sys.exit(main())
