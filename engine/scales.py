"""Streams whose numbers are in another unit than the one they say: seen from a few seconds of them, refused from then on.

The ranges of a kind (`engine.kinds`) catch what is out of all proportion. Two mistakes stay inside them, and silence a detector for ever:

- acceleration in m/s² taken for g: 9.8 at rest, a fall drowned in it. A person is at rest at 1 g, in free fall at 0 for under 2 s, and
  above 8 g for the 20 to 100 ms of an impact (the falls detector's sources). No chunk of a second is at 8.3 to 11.3 g for most of it. The
  reverse, g taken for m/s², is 0.102 g in every position: a sensor that takes gravity away has an offset of that size in one only, and not for
  minutes without a second of anything else;
- an ECG in mV taken for µV (or V for mV): 1 µV from peak to peak, where electrodes alone make 10; or in µV taken for mV: above 20 mV, where
  R waves end at 5. A flat line, drift and noise are small as well: so only what has a few peaks a second counts, and a stream that once had
  the amplitude of an ECG is never doubted again, least of all when the heart stops.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.block import Block, take
from engine.clocks import Streams
from engine.frame import NS_PER_S, Float64, Int64, Samples, UInt8
from engine.jit import kernel
from engine.outputs import Reason, Reject
from engine.state import grown, pack, unpack

RIGHT: Final = 0
M_PER_S2_AS_G: Final = 1
G_AS_M_PER_S2: Final = 2
MV_AS_UV: Final = 3
UV_AS_MV: Final = 4

LOOKS: Final = {
    M_PER_S2_AS_G: "accel is at {level:.2f} g for most of a second, where a person is at 1: it looks like m/s2, say unit m/s2",
    G_AS_M_PER_S2: "accel is at {level:.3f} g in every position, which is 1/9.8: it looks like g that was sent as m/s2, say unit g",
    MV_AS_UV: "ecg has {level:.5f} mV from peak to peak, less than electrodes alone: it looks like mV sent as uV, or V sent as mV",
    UV_AS_MV: "ecg has {level:.0f} mV from peak to peak, which no heart makes: it looks like uV that was sent as mV, say unit uV",
}

# The columns of a stream's state; X to Z of an accelerometer, KNOWN to LENGTH_S of an ECG.
VERDICT, LEVEL, FIRST_DOUBT, SECOND_DOUBT = range(4)
X, Y, Z, STEADY_S = range(4, 8)
KNOWN, LOW, HIGH, PATH, LAST, LENGTH_S = range(4, 10)
FIELDS: Final = 10

WATCHED: Final = frozenset({"accel", "ecg"})
"""Kinds whose scale is watched."""

_GRAVITY: Final = 9.80665
_BAND: Final = 0.15
"""MEMS sensors are within some percent of their sensitivity and 80 mg of zero; 15 % is far from anything else."""
_MOST: Final = 0.8
_PROBES: Final = 16
"""Samples of a chunk that are looked at, evenly apart."""
_CALM_G: Final = 4.0
"""What lies mostly below this is in g."""
_STILL_G: Final = 0.05
_UPRIGHT_G: Final = 0.4
"""Below the one gravity has been taken away, above the other it is there: neither is g taken for m/s²."""
_SURE_S: Final = 1.0
_KEPT_S: Final = 3.0
"""Seconds of evidence kept at most: so long the right unit has to be seen before it is believed."""
_TURNED_S: Final = 5.0
_STEADY_S: Final = 300.0
_STEADY_BAND: Final = 0.08
"""Or so long in one position at so nearly the same, and never anything else for most of a chunk."""
_TURNED_COS: Final = 0.8
"""Another position: turned by 37° at least."""

_WINDOW_S: Final = 2.0
_ECG_S: Final = 10.0
_ECG_MV: Final = (0.1, 20.0)
_TINY_MV: Final = (0.0002, 0.02)
_HUGE_MV: Final = 100.0
_PATH_PER_S: Final = (1.3, 20.0)
"""Length of the curve in heights a second: 2.5 to 4 for each beat, so 1.3 at 30 bpm; breathing has 1 or less, white noise 20 at 100 Hz and 50 at 250."""


class Scales(NamedTuple):
    """Per stream (s, FIELDS): the verdict, seconds of evidence for each doubt, and the first position or the open window."""

    columns: Float64


def initial_scales(size: int) -> Scales:
    """Streams of which nothing is known."""
    return Scales(np.zeros((size, FIELDS)))


@kernel
def weigh_accel(state: Float64, index: Int64, samples: Samples, rate_hz: float, found: UInt8) -> bool:
    """Judge k chunks (k, n, 3) in g; writes the verdict on each into `found`, and returns whether any is not RIGHT."""
    any_wrong = False
    n = samples.shape[1]
    step = max(1, n // _PROBES)
    seconds = n / rate_hz
    for i in range(index.shape[0]):
        own = state[index[i]]
        if own[VERDICT] == RIGHT and own[FIRST_DOUBT] == 0.0:
            # Nearly every chunk: one sample in the middle is as gravity has it.
            x, y, z = float(samples[i, n // 2, 0]), float(samples[i, n // 2, 1]), float(samples[i, n // 2, 2])
            square = x * x + y * y + z * z
            if _UPRIGHT_G * _UPRIGHT_G < square < _CALM_G * _CALM_G:
                continue
        measured = in_g = large = small = other = 0
        x_sum = y_sum = z_sum = total = 0.0
        for j in range(0, n, step):
            x, y, z = float(samples[i, j, 0]), float(samples[i, j, 1]), float(samples[i, j, 2])
            norm = np.sqrt(x * x + y * y + z * z)
            if norm != norm:  # noqa: PLR0124 - NaN
                continue
            measured += 1
            in_g += norm < _CALM_G
            large += abs(norm - _GRAVITY) <= _BAND * _GRAVITY
            small += abs(norm * _GRAVITY - 1.0) <= _BAND
            other += (norm < _STILL_G) | (norm > _UPRIGHT_G)
            x_sum, y_sum, z_sum, total = x_sum + x, y_sum + y, z_sum + z, total + norm
        if measured > 0:
            own[LEVEL] = total / measured
            if large >= _MOST * measured:
                own[FIRST_DOUBT] = min(_KEPT_S, own[FIRST_DOUBT] + seconds)
            elif in_g >= _MOST * measured:
                own[FIRST_DOUBT] = max(0.0, own[FIRST_DOUBT] - seconds)
            if small >= _MOST * measured:
                length = np.sqrt(x_sum * x_sum + y_sum * y_sum + z_sum * z_sum)
                if own[X] == 0.0 and own[Y] == 0.0 and own[Z] == 0.0 and length > 0.0:
                    own[X], own[Y], own[Z] = x_sum / length, y_sum / length, z_sum / length
                if x_sum * own[X] + y_sum * own[Y] + z_sum * own[Z] < _TURNED_COS * length:
                    own[SECOND_DOUBT] = min(_KEPT_S + _TURNED_S, own[SECOND_DOUBT] + seconds)
                if abs(own[LEVEL] * _GRAVITY - 1.0) <= _STEADY_BAND:
                    own[STEADY_S] += seconds
            elif other >= _MOST * measured:
                own[SECOND_DOUBT] = max(0.0, own[SECOND_DOUBT] - seconds)
                own[STEADY_S] = 0.0
            if own[STEADY_S] >= _STEADY_S:
                own[STEADY_S] = 0.0
                own[SECOND_DOUBT] = _KEPT_S + _TURNED_S
            if own[VERDICT] == RIGHT:
                if own[FIRST_DOUBT] >= _SURE_S:
                    own[VERDICT] = M_PER_S2_AS_G
                elif own[SECOND_DOUBT] >= _TURNED_S:
                    own[VERDICT] = G_AS_M_PER_S2
            elif own[FIRST_DOUBT if own[VERDICT] == M_PER_S2_AS_G else SECOND_DOUBT] <= 0.0:
                own[VERDICT] = RIGHT
        found[i] = int(own[VERDICT])
        any_wrong |= own[VERDICT] != RIGHT
    return any_wrong


@kernel
def weigh_ecg(state: Float64, index: Int64, samples: Samples, rate_hz: float, found: UInt8) -> bool:
    """Judge k chunks (k, n, leads) in mV by their first lead; writes the verdict on each into `found`, and returns whether any is not RIGHT."""
    any_wrong = False
    for i in range(index.shape[0]):
        own = state[index[i]]
        if own[KNOWN] != 0.0:
            continue
        for j in range(samples.shape[1]):
            value = float(samples[i, j, 0])
            if value != value:  # noqa: PLR0124 - NaN
                continue
            if own[LENGTH_S] == 0.0:
                own[LOW] = own[HIGH] = own[LAST] = value
                own[PATH] = 0.0
            own[LOW] = min(own[LOW], value)
            own[HIGH] = max(own[HIGH], value)
            own[PATH] += abs(value - own[LAST])
            own[LAST] = value
            own[LENGTH_S] += 1.0 / rate_hz
            if own[LENGTH_S] < _WINDOW_S:
                continue
            height = own[HIGH] - own[LOW]
            per_s = own[PATH] / (height * own[LENGTH_S]) if height > 0.0 else 0.0
            own[LENGTH_S] = 0.0
            own[LEVEL] = height
            if _ECG_MV[0] <= height <= _ECG_MV[1]:
                own[KNOWN] = 1.0
                own[VERDICT] = RIGHT
                break
            peaks = _PATH_PER_S[0] <= per_s <= _PATH_PER_S[1]
            tiny = peaks and _TINY_MV[0] <= height <= _TINY_MV[1]
            huge = peaks and _ECG_MV[1] < height <= _HUGE_MV
            own[FIRST_DOUBT] = min(2.0 * _ECG_S, max(0.0, own[FIRST_DOUBT] + (_WINDOW_S if tiny else -_WINDOW_S)))
            own[SECOND_DOUBT] = min(2.0 * _ECG_S, max(0.0, own[SECOND_DOUBT] + (_WINDOW_S if huge else -_WINDOW_S)))
            if own[FIRST_DOUBT] >= _ECG_S:
                own[VERDICT] = MV_AS_UV
            elif own[SECOND_DOUBT] >= _ECG_S:
                own[VERDICT] = UV_AS_MV
            elif own[FIRST_DOUBT] == 0.0 and own[SECOND_DOUBT] == 0.0:
                own[VERDICT] = RIGHT
        found[i] = int(own[VERDICT])
        any_wrong |= own[VERDICT] != RIGHT
    return any_wrong


class ScaleWatch:
    """The verdicts on all streams, by their row in the stream table."""

    def __init__(self) -> None:
        self.state = initial_scales(64)

    def sift(self, block: Block, index: Int64, streams: Streams) -> tuple[Block | None, list[Reject]]:
        """`block` (of a kind in WATCHED, streams `index`) without the chunks that are in another unit, and those as rejects; None: nothing is
        left. Streams of nobody are refused for that. A stream of which nothing was ever used counts as silent all the same, in its time.
        """
        if streams.slot.shape[0] > self.state.columns.shape[0]:
            self.state = grown(self.state, initial_scales(streams.slot.shape[0]))
        found = np.zeros(index.shape[0], np.uint8)
        weigh = weigh_accel if block.kind == "accel" else weigh_ecg
        if not weigh(self.state.columns, index, block.samples, block.rate_hz, found):
            return block, []
        wrong = (found != RIGHT) & (streams.slot[index] >= 0)
        streams.period_ns[index[wrong]] = int(NS_PER_S / block.rate_hz)
        return None if wrong.all() else take(block, np.flatnonzero(~wrong)), [
            Reject(
                Reason.BAD_UNIT,
                LOOKS[int(found[i])].format(level=float(self.state.columns[index[i], LEVEL])),
                block.devices[i],
                block.kind,
                block.samples.shape[1],
                block.samples[i].tobytes(),
            )
            for i in np.flatnonzero(wrong).tolist()
        ]

    def save(self) -> bytes:
        """For the snapshot."""
        return pack(self.state)

    def load(self, data: bytes) -> None:
        """Inverse of `save`; nothing is known where `data` is empty, as in a snapshot of before."""
        self.state = unpack(self.state, data) if data else initial_scales(64)
