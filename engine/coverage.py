"""The books of the watch: for each subject and hazard the time it was watched and the time it was not; together they are the time it was bound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
import numpy as np

from engine.clocks import NEVER_NS
from engine.frame import NS_PER_S, Bool, Int64
from engine.jit import kernel
from engine.outputs import Measurements
from engine.state import grown, pack, unpack
from engine.watch import Blind, Hazard, WatchChange

HAZARDS: Final = tuple(Hazard)
DAY_NS: Final = 86_400 * NS_PER_S
COVERAGE: Final = "coverage"
"""Name of the measurement: how much of a day (UTC) each hazard was watched, of the time in which it was bound, and how long that was."""
COVERAGE_COLUMNS: Final = (*(f"{hazard}_percent" for hazard in HAZARDS), *(f"{hazard}_bound_h" for hazard in HAZARDS))
_S_PER_H: Final = 3600.0


class Rows(NamedTuple):
    """State; axis 0 = subject and hazard. Times are arrival time."""

    since_ns: Int64  # from when on it is as it is
    watching_ns: Int64  # of the current day
    blind_ns: Int64
    bound: Bool
    watched: Bool


def _rows(size: int) -> Rows:
    zeros = np.zeros(size, np.int64)
    return Rows(zeros, zeros.copy(), zeros.copy(), np.zeros(size, np.bool_), np.zeros(size, np.bool_))


@kernel
def _note(all_rows: Rows, bound: Bool, watched: Bool, judged_ns: Int64, elapsed_ns: int, now_ns: int, changed: Int64) -> int:
    """`Coverage.note` for the first rows, as many as `bound` has; writes which changed into `changed`, and returns how many."""
    count = 0
    for r in range(bound.shape[0]):
        since_ns = all_rows.since_ns[r]
        other = all_rows.bound[r] != bound[r] or (bound[r] and all_rows.watched[r] != watched[r])
        if other:
            changed[count] = r
            count += 1
            all_rows.since_ns[r] = now_ns
        if all_rows.bound[r] and bound[r]:
            if watched[r]:
                all_rows.watching_ns[r] += elapsed_ns
            else:
                all_rows.blind_ns[r] += elapsed_ns
                if all_rows.watched[r]:  # lost, at some time since the last look
                    begin_ns = max(judged_ns[r], since_ns)
                    back_ns = min(max(now_ns - elapsed_ns - begin_ns, 0), all_rows.watching_ns[r])
                    all_rows.watching_ns[r] -= back_ns
                    all_rows.blind_ns[r] += back_ns
                    all_rows.since_ns[r] = now_ns - elapsed_ns - back_ns
        all_rows.bound[r] = bound[r]
        all_rows.watched[r] = watched[r] and bound[r]
    return count


class CoverageSaved(msgspec.Struct, array_like=True):
    """As stored."""

    keys: list[tuple[str, Hazard]] = []
    why: list[tuple[str, Blind | None]] = []
    rows: bytes = b""
    looked_ns: int = NEVER_NS


class Coverage:
    """What has been watched since midnight, and what is watched now."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, Hazard]] = []
        self.why: list[tuple[str, Blind | None]] = []
        """For each row: what decides (a source), and why it is blind (None: it is watched)."""
        self._index: dict[tuple[str, Hazard], int] = {}
        self._all = _rows(64)
        self.looked_ns = NEVER_NS

    @property
    def rows(self) -> Rows:
        """The rows there are."""
        return Rows._make(column[: len(self.keys)] for column in self._all)

    def row(self, subject: str, hazard: Hazard) -> int:
        """The row of a hazard; a new one, not bound, if it has none."""
        found = self._index.get((subject, hazard))
        if found is None:
            found = self._index[(subject, hazard)] = len(self.keys)
            self.keys.append((subject, hazard))
            self.why.append(("", Blind.WARMING_UP))
            if found >= self._all.since_ns.shape[0]:
                self._all = grown(self._all, _rows(2 * found))
        return found

    def leap(self, now_ns: int) -> None:
        """The clock was set: the time in between was lived by nobody."""
        self.looked_ns = now_ns

    def note(self, bound: Bool, watched: Bool, judged_ns: Int64, now_ns: int) -> Int64:
        """Count the time since the last look; returns the rows that changed. `judged_ns`: up to when each row could be judged."""
        elapsed_ns = now_ns - self.looked_ns if self.looked_ns != NEVER_NS else 0
        changed = np.empty(bound.shape[0], np.int64)
        count = _note(self._all, bound, watched, judged_ns, elapsed_ns, now_ns, changed)
        self.looked_ns = now_ns
        return changed[:count]

    def change(self, r: int, now_ns: int) -> WatchChange:
        """Row `r` as it is now."""
        subject, hazard = self.keys[r]
        source, reason = self.why[r]
        return WatchChange(subject, hazard, source, reason, int(self._all.since_ns[r]), now_ns)

    def close_day(self, now_ns: int) -> list[Measurements]:
        """The coverage of the day that is over, when `now_ns` is in a later one; subjects that are no longer bound are forgotten."""
        if self.looked_ns == NEVER_NS or now_ns // DAY_NS == self.looked_ns // DAY_NS:
            return []
        closed = self.measured()
        rows = self.rows
        rows.watching_ns[:], rows.blind_ns[:] = 0, 0
        if not rows.bound.all():
            self._keep(np.flatnonzero(rows.bound))
        return closed

    def measured(self) -> list[Measurements]:
        """Percent watched of the time bound since midnight, and the hours bound, a row for each subject; NaN where a hazard was not bound."""
        rows = self.rows
        total = rows.watching_ns + rows.blind_ns
        subjects = {key[0]: i for i, key in enumerate(dict.fromkeys((self.keys[r][0], "") for r in np.flatnonzero(total)))}
        if not subjects:
            return []
        values = np.full((len(subjects), len(COVERAGE_COLUMNS)), np.nan, np.float32)
        for r in np.flatnonzero(total):
            subject, hazard = self.keys[r]
            column = HAZARDS.index(hazard)
            values[subjects[subject], column] = 100.0 * rows.watching_ns[r] / total[r]
            values[subjects[subject], len(HAZARDS) + column] = total[r] / NS_PER_S / _S_PER_H
        day_ns = self.looked_ns // DAY_NS * DAY_NS
        return [Measurements(COVERAGE, tuple(subjects), np.full(len(subjects), day_ns, np.int64), COVERAGE_COLUMNS, values)]

    def not_watched(self) -> Iterable[WatchChange]:
        """What is bound and blind now."""
        rows = self.rows
        return [self.change(int(r), self.looked_ns) for r in np.flatnonzero(rows.bound & ~rows.watched)]

    def seconds(self) -> dict[tuple[str, Hazard], tuple[float, float]]:
        """Seconds of the current day watched and blind, by subject and hazard."""
        rows = self.rows
        return {key: (float(rows.watching_ns[r] / NS_PER_S), float(rows.blind_ns[r] / NS_PER_S)) for r, key in enumerate(self.keys)}

    @staticmethod
    def seconds_of(measured: Measurements) -> dict[tuple[str, Hazard], tuple[float, float]]:
        """As `seconds`, of a day that is over (`close_day`)."""
        found = {}
        for subject, values in zip(measured.subjects, measured.values.astype(float).tolist(), strict=True):
            for hazard, percent, bound_h in zip(HAZARDS, values[: len(HAZARDS)], values[len(HAZARDS) :], strict=True):
                if bound_h > 0:  # NaN: not bound
                    watched_s = percent / 100 * bound_h * _S_PER_H
                    found[subject, hazard] = watched_s, bound_h * _S_PER_H - watched_s
        return found

    def _keep(self, index: Int64) -> None:
        kept = Rows._make(column[index] for column in self._all)
        self.keys, self.why = [self.keys[r] for r in index], [self.why[r] for r in index]
        self._index = {key: r for r, key in enumerate(self.keys)}
        self._all = grown(kept, _rows(max(64, 2 * len(self.keys))))

    def save(self) -> CoverageSaved:
        """For the snapshot."""
        return CoverageSaved(self.keys, self.why, pack(self.rows), self.looked_ns)

    def load(self, saved: CoverageSaved) -> None:
        """Inverse of `save`."""
        self.keys, self.why = list(saved.keys), list(saved.why)
        self._index = {key: r for r, key in enumerate(self.keys)}
        rows = unpack(_rows(0), saved.rows) if saved.rows else _rows(0)
        self._all = grown(rows, _rows(max(64, 2 * len(self.keys))))
        self.looked_ns = saved.looked_ns
