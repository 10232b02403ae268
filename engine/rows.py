"""Frames split: by occurrence of a slot, and into rows for storage."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.frame import NS_PER_S, Float64, Frame
from engine.outputs import Measurements


def apart(frame: Frame, subjects: tuple[str, ...], rates_hz: Float64) -> Iterable[tuple[Frame, tuple[str, ...], float]]:
    """Split a frame into frames in which no slot occurs twice and all rows run at one rate (k,), keeping each slot's order."""
    seen: dict[int, int] = {}
    turn = []
    for slot in frame.slot:
        seen[int(slot)] = seen.get(int(slot), -1) + 1
        turn.append(seen[int(slot)])
    groups = {
        key: [i for i, own in enumerate(zip(turn, rates_hz, strict=True)) if own == key]
        for key in sorted(set(zip(turn, rates_hz, strict=True)))
    }
    for (_, rate_hz), rows in groups.items():
        part = frame._replace(
            slot=frame.slot[rows], t0_ns=frame.t0_ns[rows], samples=frame.samples[rows], gap_ns=frame.gap_ns[rows], valid=frame.valid[rows]
        )
        yield part, tuple(subjects[i] for i in rows), float(rate_hz)


def measured(frame: Frame, subjects: tuple[str, ...], columns: tuple[str, ...]) -> Measurements:
    """Samples of a slow kind or a feature as rows: one per sample, dated by the rate."""
    size, n, c = frame.samples.shape
    if n == 1:
        return Measurements(frame.kind, subjects, frame.t0_ns, columns, frame.samples.reshape(size, c))
    steps = (np.arange(n) * (NS_PER_S / frame.rate_hz if frame.rate_hz else 0.0)).astype(np.int64)
    times = (frame.t0_ns[:, None] + steps[None, :]).reshape(-1)
    return Measurements(frame.kind, tuple(s for s in subjects for _ in range(n)), times, columns, frame.samples.reshape(size * n, c))
