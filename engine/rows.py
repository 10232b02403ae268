"""Frames taken apart: by occurrence of a slot, and into rows for storage."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.frame import NS_PER_S, Frame
from engine.outputs import Measurements


def apart(frame: Frame, subjects: tuple[str, ...]) -> Iterable[tuple[Frame, tuple[str, ...]]]:
    """Split a frame in which a slot occurs more than once into frames in which none does, keeping the order."""
    seen: dict[int, int] = {}
    turn = np.array([_count(seen, int(slot)) for slot in frame.slot])
    for number in range(int(turn.max()) + 1):
        rows = np.flatnonzero(turn == number)
        part = frame._replace(
            slot=frame.slot[rows], t0_ns=frame.t0_ns[rows], samples=frame.samples[rows], gap_ns=frame.gap_ns[rows], valid=frame.valid[rows]
        )
        yield part, tuple(subjects[i] for i in rows)


def _count(seen: dict[int, int], slot: int) -> int:
    seen[slot] = seen.get(slot, -1) + 1
    return seen[slot]


def measured(frame: Frame, subjects: tuple[str, ...], columns: tuple[str, ...]) -> Measurements:
    """Samples of a slow kind or a feature as rows: one per sample, dated by the rate."""
    size, n, c = frame.samples.shape
    if n == 1:
        return Measurements(frame.kind, subjects, frame.t0_ns, columns, frame.samples.reshape(size, c))
    steps = (np.arange(n) * (NS_PER_S / frame.rate_hz if frame.rate_hz else 0.0)).astype(np.int64)
    times = (frame.t0_ns[:, None] + steps[None, :]).reshape(-1)
    return Measurements(frame.kind, tuple(s for s in subjects for _ in range(n)), times, columns, frame.samples.reshape(size * n, c))
