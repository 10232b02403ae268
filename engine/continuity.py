"""How much of the time a stream could be judged: data full of holes is not a measurement, even if something usable comes every second.

A detector that needs half a minute of beats, or the second in which somebody hits the floor, sees nothing in data of which half is
missing. So for each signal that names a share (`Signal.share_min`) the device time that was judged is held against the time that passed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np

from engine import judged as columns
from engine.clocks import HOLES, NEVER_NS, PAUSES, RESTARTS, Streams
from engine.frame import NS_PER_S, Bool, Float64, Int64
from engine.jit import kernel
from engine.state import pack, unpack
from engine.watch import SIGNALS_MAX, Blind, Signal

WINDOW_NS: Final = 120 * NS_PER_S
WINDOW_GAPS: Final = 10
"""The share is that of so long, or of so many of the usual times between messages: one message more or less must not decide."""
FLOWS_NS: Final = 10 * NS_PER_S
FLOWS_GAPS: Final = 2
"""Data flows while something usable came within so long, or within so many of the usual times between messages."""
BETTER: Final = 0.1
"""So much above the least share it must be for the stream to be watched again."""
FAST_SHARE: Final = 1.3
"""More device time than that came in the time that passed: the samples are declared slower than they are taken. Twice in a row, and not of
stored data, which makes up for a delay."""
FAST_WINDOWS: Final = 2

PAUSE_MESSAGES: Final = 4
PAUSE_NS: Final = 5 * NS_PER_S
"""A wrong rate leaves a little time missing after each message. Where more than PAUSE_NS is, after fewer than one of PAUSE_MESSAGES, the
device pauses. Both, because of messages that come in bursts the usual time between them is not known."""

# Columns of a window; axis 2.
BEGAN: Final = 0  # arrival time; 0: none
JUDGED: Final = 1  # what was judged by then, ns
COVERED: Final = 2
HELD: Final = 3  # holes by then
PAUSED: Final = 4
UNUSABLE: Final = 5  # messages without a usable value by then
LAG: Final = 6  # of the newest data behind its arrival, ns
FAST: Final = 7  # windows in a row with too much device time
LOW_NS: Final = 8  # since when the share is too low; 0: it is not
REASON: Final = 9
COLUMNS: Final = 10

_REASONS: Final = (
    Blind.INCOMPLETE,
    Blind.NO_VALUE,
    Blind.POOR_QUALITY,
    Blind.NO_SIGNAL,
    Blind.RATE_UNUSABLE,
    Blind.VALUES_UNUSABLE,
)
"""By the number in REASON; 1 to 3 as in engine/judged.py."""
_RATE: Final = 4
_VALUES: Final = 5
"""Intervals have no rate: more of them than time passes are in another unit, or stand still."""


class Shares(NamedTuple):
    """What the signals of all bound streams ask for, (n,)."""

    least: Float64
    hole_ns: Int64
    restart_ns: Int64


def shares_of(signals: list[Signal]) -> Shares:
    """Of each signal."""
    holes = np.array([round(one.hole_s * NS_PER_S) for one in signals], np.int64)
    restarts = np.array([round(one.restart_s * NS_PER_S) for one in signals], np.int64)
    return Shares(np.array([one.share_min for one in signals]), holes, restarts)


class ContinuitySaved(msgspec.Struct, array_like=True):
    """As stored."""

    windows: bytes = b""


class _Windows(NamedTuple):
    table: Int64  # (s, SIGNALS_MAX, COLUMNS)


def _windows(size: int) -> _Windows:
    return _Windows(np.zeros((size, SIGNALS_MAX, COLUMNS), np.int64))


@kernel
def _rests(pauses: int, passed_ns: int, came_ns: int, usual_ns: int) -> bool:
    """Whether a device that leaves no number out now and then sends nothing for a while."""
    return PAUSE_MESSAGES * pauses * usual_ns < passed_ns and passed_ns - came_ns > pauses * PAUSE_NS


@kernel
def _close(row: Int64, now: Int64, passed_ns: int, least: float, why: int, usual_ns: int, rated: bool) -> None:
    """A window is over: is the share too low, and why? `usual_ns`: the usual time between messages; not `rated`: a kind that has no rate."""
    came_ns = now[COVERED] - row[COVERED]
    share = (now[JUDGED] - row[JUDGED]) / passed_ns
    surplus_ns = came_ns - passed_ns
    fast = came_ns > FAST_SHARE * passed_ns and row[LAG] - now[LAG] < surplus_ns // 2
    row[FAST] = row[FAST] + 1 if fast else 0
    if not fast and share >= least + (BETTER if row[LOW_NS] != 0 else 0.0):
        row[LOW_NS] = 0
        return
    if fast and share >= least and row[FAST] < FAST_WINDOWS:
        return
    holes, pauses = now[HELD] - row[HELD], now[PAUSED] - row[PAUSED]
    if not fast and 2 * (now[UNUSABLE] - row[UNUSABLE]) >= max(1, holes):
        reason = why
    elif fast and not rated:
        reason = _VALUES
    elif fast or (came_ns < least * passed_ns and rated and 2 * pauses >= holes and not _rests(pauses, passed_ns, came_ns, usual_ns)):
        reason = _RATE  # no message is missing, and yet they do not make up the time, or make up more of it
    else:
        reason = 0
    if row[LOW_NS] == 0:
        row[LOW_NS] = row[BEGAN]
    row[REASON] = reason


@kernel
def _look(
    table: Int64,
    stream: Int64,
    signal: Int64,
    least: Float64,
    hole_ns: Int64,
    restart_ns: Int64,
    covered_ns: Int64,
    breaks: Int64,
    next_ns: Int64,
    rate_hz: Float64,
    judged: Int64,
    usual_ns: Int64,
    usable: Bool,
    now_ns: int,
    up_to_ns: Int64,
) -> int:
    """`Continuity.look` over all lines: writes `up_to_ns` where the share is too low, and returns how many those are."""
    low = 0
    fresh = np.zeros(COLUMNS, np.int64)
    for i in range(stream.shape[0]):
        if not least[i] > 0.0:
            continue
        s, m = stream[i], signal[i]
        row = table[s, m]
        if not usable[i]:
            row[BEGAN] = row[LOW_NS] = row[FAST] = 0  # when it comes again, it is judged anew
            continue
        passed_ns = now_ns - row[BEGAN]
        renewed = row[BEGAN] == 0
        over = False
        if not renewed:
            # what has just stopped is silent, not incomplete: the window stays open until more comes
            flows = now_ns - judged[s, columns.AT + m] <= max(FLOWS_NS, FLOWS_GAPS * usual_ns[i])
            over = flows and passed_ns >= max(WINDOW_NS, WINDOW_GAPS * usual_ns[i])
        if renewed or over:
            fresh[BEGAN] = now_ns
            fresh[COVERED] = covered_ns[s]
            holes_ns = breaks[s, HOLES] * hole_ns[i] + breaks[s, RESTARTS] * restart_ns[i]
            fresh[JUDGED] = covered_ns[s] - judged[s, columns.BAD + m] - holes_ns
            fresh[HELD] = breaks[s, HOLES]
            fresh[PAUSED] = breaks[s, PAUSES]
            fresh[UNUSABLE] = judged[s, columns.BADS + m]
            fresh[LAG] = now_ns - next_ns[s]
            if over:
                _close(row, fresh, passed_ns, least[i], judged[s, columns.BAD_WHY + m], usual_ns[i], rate_hz[s] > 0.0)
            row[:FAST] = fresh[:FAST]
        if row[LOW_NS] != 0:
            up_to_ns[i] = row[LOW_NS]
            low += 1
    return low


class Continuity:
    """Windows over all streams; axis 0 = stream."""

    def __init__(self) -> None:
        self._table = _windows(64).table

    def grow(self, size: int) -> None:
        """Room for `size` streams."""
        if size > self._table.shape[0]:
            self._table = np.concatenate([self._table, _windows(size - self._table.shape[0]).table])

    def forget(self, streams: list[int]) -> None:
        """These are about somebody else from now on."""
        self._table[streams] = 0

    def leap(self) -> None:
        """The clock was set: the time in between was lived by nobody."""
        self._table[:, :, BEGAN] = 0

    def look(
        self, stream: Int64, signal: Int64, asked: Shares, streams: Streams, judged: Int64, usual_ns: Int64, usable: Bool, now_ns: int
    ) -> tuple[dict[int, Blind], Int64]:
        """Which lines have too low a share, with the reason, and up to when each (n,) was judged well enough (NEVER_NS: it is).

        `stream`, `signal` (n,) number the lines; `judged` is the table of engine.judged; `usual_ns` (n,) the usual time between messages;
        `usable` (n,) whether something usable came of late: what does not is no matter of shares.
        """
        up_to_ns = np.full(stream.shape[0], NEVER_NS, np.int64)
        low = _look(
            self._table,
            stream,
            signal,
            asked.least,
            asked.hole_ns,
            asked.restart_ns,
            streams.covered_ns,
            streams.breaks,
            streams.next_ns,
            streams.rate_hz,
            judged,
            usual_ns,
            usable,
            now_ns,
            up_to_ns,
        )
        if not low:
            return {}, up_to_ns
        lines = np.flatnonzero(up_to_ns != NEVER_NS).tolist()
        return {i: _REASONS[int(self._table[stream[i], signal[i], REASON])] for i in lines}, up_to_ns

    def save(self) -> ContinuitySaved:
        """For the snapshot."""
        return ContinuitySaved(pack(_Windows(self._table)))

    def load(self, saved: ContinuitySaved, size: int) -> None:
        """Inverse of `save`, for `size` rows of the stream table."""
        self._table = unpack(_windows(0), saved.windows).table if saved.windows else _windows(size).table
