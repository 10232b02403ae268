"""Posture from one pressure map: eight horizontal slices of the body, their bend, tail and width.

A person on the back lies symmetrically about the body's axis, with two legs; on the side the axis bends at hip and knee
towards the front, and arms, knees or a wedge draw the load out to one side. All features are ratios, so neither the gain of
the mattress nor the number of its cells matters, and the axis' own tilt and place on the mattress are taken out.
Mirroring a map exactly swaps right and left: the two sides share their coefficients.

Orientation (every importer and gateway must deliver it): row 0 at the head, column 0 at the right hand of a person lying supine.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.pressure_injury.coefficients import SIDE_WEIGHTS, SUPINE_BIAS, SUPINE_WEIGHTS
from engine.frame import Float32, Float64, Int64
from engine.jit import kernel
from engine.kinds import MISSING_MAP

EMPTY: Final = 0
SUPINE: Final = 1
RIGHT: Final = 2
LEFT: Final = 3
UNSEEN: Final = 4
"""In bed, posture not known."""
NO_DATA: Final = -1

BANDS: Final = 8
"""Slices of equal load, head to foot: about one per body segment (head, shoulders, chest, waist, hips, thighs, knees, feet)."""
SIDE_FEATURES: Final = 2 * BANDS
FEATURES: Final = 6 * BANDS
"""bend and tail of each band (change sign in the mirror), then width, kurtosis, |skew|*width and |bend| (do not)."""

ROWS_MIN: Final = 24
COLUMNS_MIN: Final = 12
"""Below this resolution (cells about 8 cm) legs cannot be told apart: posture stays UNSEEN."""

FLOOR_RATIO: Final = 0.5
CEILING_RATIO: Final = 4.0
"""Cells count from half the mean load (below: mattress creep) up to four times it (above: bones, folds, stuck cells)."""
SKEW_MAX: Final = 1.5
KURTOSIS_MAX: Final = 6.0
"""A single hot cell must not rule a band: the shape figures are bounded at what bodies show."""
WEDGE_WIDTH: Final = 0.3
"""Width (standard deviation in half-mattress units) at which a tail changes its meaning: in a narrower slice it is an arm or
knee in front of the body, in a wider one the wedge behind it."""
LENGTH_PER_WIDTH: Final = 2.0
"""A care mattress is about twice as long as wide (0.9 x 2.0 m)."""

COVER_MAX: Final = 0.9
"""Above this share of loaded cells the map is saturated, not loaded by a body."""

# columns of the summary that `describe` writes
CONTACT: Final = 0
PEAK: Final = 1
MEAN: Final = 2
COHERENCE: Final = 3
MISSING: Final = 4
SUMMARY: Final = 5


class Scratch(NamedTuple):
    """Work space of `describe` for one shape of map."""

    excess: Float32
    row_min: Int64
    column_min: Int64
    row_sum: Float64
    band: Float64


def scratch(rows: int, columns: int) -> Scratch:
    """Work space for maps (rows, columns)."""
    return Scratch(
        np.zeros((rows, columns), np.float32),
        np.zeros(rows, np.int64),
        np.zeros(columns, np.int64),
        np.zeros(rows),
        np.zeros((BANDS, columns)),
    )


@kernel
def middle(values: Int64, size: int) -> int:
    """Median of the first `size` values, which are sorted in place (insertion: they are few and nearly sorted)."""
    for i in range(1, size):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
    return int(values[size // 2])


@kernel
def describe(cells: NDArray[np.uint16], rows: int, columns: int, work: Scratch, summary: Float64, features: Float64) -> int:
    """Fill `summary` (SUMMARY,) and `features` (FEATURES,) from one map; returns a checksum of the raw cells.

    cells: uint16 (rows * columns), row-major, MISSING_MAP = not measured. The baseline (electronic offset, tare) is the
    larger of the median row minimum and the median column minimum, so that neither a dead row nor a dead column sets it.
    """
    excess, row_min, column_min, row_sum = work.excess, work.row_min, work.column_min, work.row_sum
    column_min[:columns] = MISSING_MAP
    total = np.int64(0)
    missing = np.int64(0)
    checksum = np.int64(0)
    peak = np.int64(0)
    for r in range(rows):
        offset = r * columns
        low = np.int32(MISSING_MAP)
        subtotal = np.int32(0)
        absent = np.int32(0)
        high = np.int32(0)
        for c in range(columns):
            value = np.int32(cells[offset + c])
            gone = np.int32(value == MISSING_MAP)
            present = value * (np.int32(1) - gone)
            low = min(low, value)
            high = max(high, present)
            subtotal += present
            absent += gone
            column_min[c] = min(column_min[c], value)
        row_min[r] = low
        total += subtotal
        missing += absent
        peak = max(peak, np.int64(high))
        checksum += subtotal * (2 * r + 1) + high
    count = rows * columns
    measured = count - missing
    summary[:] = 0.0
    features[:] = 0.0
    summary[MISSING] = missing / count
    if measured == 0:
        return int(checksum)
    base = max(middle(row_min, rows), middle(column_min, columns))
    if base == MISSING_MAP:
        base = 0
    mean = max(total / measured - base, 0.0)
    summary[MEAN] = mean
    if mean <= 0.0:
        return int(checksum)
    floor = np.float32(base + FLOOR_RATIO * mean)
    span = np.float32((CEILING_RATIO - FLOOR_RATIO) * mean)
    loaded = 0
    whole = 0.0
    squares = 0.0
    products = 0.0
    for r in range(rows):
        offset = r * columns
        subtotal_x = np.float32(0.0)
        square = np.float32(0.0)
        touched = np.int32(0)
        for c in range(columns):
            value = np.int32(cells[offset + c])
            value = value * np.int32(value != MISSING_MAP)
            x = min(max(np.float32(value) - floor, np.float32(0.0)), span)
            excess[r, c] = x
            subtotal_x += x
            square += x * x
            touched += np.int32(x > 0)
        row_sum[r] = subtotal_x
        whole += float(subtotal_x)
        squares += float(square)
        loaded += int(touched)
        if r:
            product = np.float32(0.0)
            for c in range(columns):
                product += excess[r, c] * excess[r - 1, c]
            products += float(product)
    summary[CONTACT] = loaded / measured
    if whole <= 0.0:
        return int(checksum)
    summary[PEAK] = (peak - base) * loaded / (whole + loaded * (floor - base))
    level = (whole / count) ** 2
    variance = squares / count - level
    if variance > 0.0 and rows > 1:
        summary[COHERENCE] = (products / (count - columns) - level) / variance
    _shape(rows, columns, work, whole, features)
    return int(checksum)


@kernel
def _shape(rows: int, columns: int, work: Scratch, whole: float, features: Float64) -> None:
    """The FEATURES of a map whose excess loads, row sums and total are known."""
    excess, row_sum, band = work.excess, work.row_sum, work.band
    load = np.zeros(BANDS)
    height = np.zeros(BANDS)
    centre = np.zeros(BANDS)
    band[:, :columns] = 0.0
    below = 0.0
    for r in range(rows):
        index = min(int((below + 0.5 * row_sum[r]) / whole * BANDS), BANDS - 1)
        below += row_sum[r]
        load[index] += row_sum[r]
        height[index] += row_sum[r] * ((r + 0.5) / rows * 2.0 - 1.0) * LENGTH_PER_WIDTH
        for c in range(columns):
            band[index, c] += excess[r, c]
    mean_x = 0.0
    mean_y = 0.0
    for b in range(BANDS):
        first = 0.0
        for c in range(columns):
            first += band[b, c] * ((c + 0.5) / columns * 2.0 - 1.0)
        mean_x += first / whole
        mean_y += height[b] / whole
        if load[b] > 0.0:
            centre[b] = first / load[b]
            height[b] /= load[b]
    across = 0.0
    along = 0.0
    for b in range(BANDS):
        across += load[b] * (height[b] - mean_y) * (centre[b] - mean_x)
        along += load[b] * (height[b] - mean_y) ** 2
    tilt = across / along if along > 0.0 else 0.0
    for b in range(BANDS):
        if load[b] <= 0.0:
            continue
        second = 0.0
        third = 0.0
        fourth = 0.0
        for c in range(columns):
            distance = (c + 0.5) / columns * 2.0 - 1.0 - centre[b]
            weight = band[b, c] * distance * distance
            second += weight
            third += weight * distance
            fourth += weight * distance * distance
        variance = second / load[b]
        width = np.sqrt(variance)
        skew = 0.0
        kurtosis = 0.0
        if variance > 0.0:
            skew = min(max(third / load[b] / (variance * width), -SKEW_MAX), SKEW_MAX)
            kurtosis = min(fourth / load[b] / (variance * variance), KURTOSIS_MAX)
        bend = centre[b] - mean_x - tilt * (height[b] - mean_y)
        features[b] = bend
        features[BANDS + b] = skew * (width - WEDGE_WIDTH)
        features[2 * BANDS + b] = width
        features[3 * BANDS + b] = kurtosis
        features[4 * BANDS + b] = abs(skew) * width
        features[5 * BANDS + b] = abs(bend)


@kernel
def classify(features: Float64) -> tuple[int, float]:
    """The most probable posture (SUPINE, RIGHT or LEFT) and its probability, by multinomial logistic regression."""
    side = 0.0
    for i in range(SIDE_FEATURES):
        side += SIDE_WEIGHTS[i] * features[i]
    supine = SUPINE_BIAS
    for i in range(FEATURES - SIDE_FEATURES):
        supine += SUPINE_WEIGHTS[i] * features[SIDE_FEATURES + i]
    lateral = abs(side)
    top = max(supine, lateral)
    norm = np.exp(supine - top) + np.exp(lateral - top) + np.exp(-lateral - top)
    if supine >= lateral:
        return SUPINE, np.exp(supine - top) / norm
    return (RIGHT if side > 0.0 else LEFT), np.exp(lateral - top) / norm
