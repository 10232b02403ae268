"""Compile every kernel before the first resident is watched: a fall must not wait for a compiler."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np

from engine.frame import NS_PER_S
from streams.assembly import CLASSES
from streams.recording import START_NS, Builder
from streams.replay import replay

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
    builder = Builder("warm-up", "warm-up")
    builder.bind("d", "resident/warm-up")
    builder.add("d", "vitals", START_NS, 1.0, np.full((2, 6), 70.0 / 2, np.float32))
    replay(builder.build())
