"""Compile every kernel before the first resident is watched: a fall must not wait for a compiler."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from typing import Final

import numpy as np

from engine.frame import NS_PER_S
from engine.kinds import KINDS
from schemas.recording import START_NS, Recording
from streams.pipeline.assembly import CLASSES
from streams.recordings.format import Builder
from streams.recordings.replay import replay

SECONDS: Final = 12

Progress = Callable[[int, int, str], None]


def warm_up(progress: Progress | None = None) -> None:
    """Run every detector and model over its own examples, and one message through the whole core. Cached on disk by numba."""
    total = len(CLASSES) + 1
    for number, cls in enumerate(CLASSES):
        if progress is not None:
            progress(number, total, cls.spec.name)
        examples = importlib.import_module(cls.__module__.rpartition(".")[0] + ".examples")
        detector = cls(capacity=1)
        for frame in examples.positive():
            detector.step(frame)
            detector.tick(int(frame.t0_ns[0]) + NS_PER_S)
    if progress is not None:
        progress(total - 1, total, "core")
    replay(_everything())
    # What the compiler has left behind stays for good: 200,000 objects through which a full collection went for 0.2 s, while alerts waited.
    gc.collect()
    gc.freeze()


def _everything() -> Recording:
    """A few seconds of every kind of sensor, so that every kernel is met as the engine calls it."""
    builder = Builder("warm-up", "warm-up")
    for kind in KINDS.values():
        device = f"warm-{kind.name}"
        builder.bind(device, "room/warm-up" if kind.space == "room" else "resident/warm-up")
        rate_hz = min(max(kind.rate_hz_min, 1.0), kind.rate_hz_max)
        channels = len(kind.channels) or (64 * 32 if kind.name == "pressure_map" else 1)
        shape = (64, 32) if kind.name == "pressure_map" else None
        count = 1 if kind.timing == "irregular" else max(2, round(SECONDS * rate_hz))
        low = np.array([c.low for c in kind.channels]) if kind.channels else np.zeros(channels)
        samples = np.tile(np.maximum(low, 0.0), (count, 1))
        builder.add(device, kind.name, START_NS, rate_hz, samples, shape=shape)
    return builder.build()
