"""Slots: the rows of the detectors' arrays, numbered without gaps.

A slot is one (subject, lane). The first device of a kind on a subject feeds lane 0, a second one of the same kind lane 1,
so samples of two sensors never interleave in one filter; signals of different kinds meet in lane 0.
"""

from __future__ import annotations

from typing import Final

import msgspec

LANES_MAX: Final = 8
"""Devices of one kind on one subject; one more gets no slot until another is unbound."""


class SlotsSaved(msgspec.Struct, array_like=True):
    """Slots as stored."""

    subjects: list[tuple[str, int] | None]
    lanes: list[tuple[str, str, list[str | None]]]


class Slots:
    """Assigns slots and frees them."""

    def __init__(self) -> None:
        self.subjects: list[str] = []  # slot -> subject, "" when free
        self._lane: list[int] = []
        self._slot: dict[tuple[str, int], int] = {}
        self._lanes: dict[tuple[str, str], list[str | None]] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        """How many slots exist, free ones included: the capacity detectors need."""
        return len(self.subjects)

    def assign(self, subject: str, kind: str, device: str) -> tuple[int, bool] | None:
        """The slot that `device` shall feed with `kind` about `subject`, and whether it is new; None beyond LANES_MAX."""
        lanes = self._lanes.setdefault((subject, kind), [])
        if device in lanes:
            lane = lanes.index(device)
        elif None in lanes:
            lane = lanes.index(None)
            lanes[lane] = device
        elif len(lanes) < LANES_MAX:
            lane = len(lanes)
            lanes.append(device)
        else:
            return None
        slot = self._slot.get((subject, lane))
        if slot is not None:
            return slot, False
        if self._free:
            slot = self._free.pop()
            self.subjects[slot], self._lane[slot] = subject, lane
        else:
            slot = len(self.subjects)
            self.subjects.append(subject)
            self._lane.append(lane)
        self._slot[(subject, lane)] = slot
        return slot, True

    def release(self, subject: str, kind: str, device: str) -> None:
        """`device` no longer feeds `kind` about `subject`; its lane is open to the next device."""
        lanes = self._lanes.get((subject, kind), [])
        if device in lanes:
            lanes[lanes.index(device)] = None

    def of(self, subject: str) -> list[int]:
        """All slots of `subject`, by lane."""
        return [slot for lane in range(LANES_MAX) if (slot := self._slot.get((subject, lane))) is not None]

    def drop(self, subject: str) -> list[int]:
        """Forget `subject`; its slots become free. Returns them."""
        gone = self.of(subject)
        for slot in gone:
            del self._slot[(subject, self._lane[slot])]
            self.subjects[slot] = ""
            self._free.append(slot)
        self._free.sort(reverse=True)  # the lowest goes first, also after a restore
        for key in [key for key in self._lanes if key[0] == subject]:
            del self._lanes[key]
        return gone

    def save(self) -> SlotsSaved:
        """For the snapshot."""
        subjects = [(name, lane) if name else None for name, lane in zip(self.subjects, self._lane, strict=True)]
        return SlotsSaved(subjects, [(subject, kind, lanes) for (subject, kind), lanes in self._lanes.items()])

    def load(self, saved: SlotsSaved) -> None:
        """Inverse of `save`."""
        self.subjects = [entry[0] if entry else "" for entry in saved.subjects]
        self._lane = [entry[1] if entry else 0 for entry in saved.subjects]
        self._slot = {(entry[0], entry[1]): slot for slot, entry in enumerate(saved.subjects) if entry}
        self._free = [slot for slot, entry in reversed(list(enumerate(saved.subjects))) if entry is None]
        self._lanes = {(subject, kind): list(lanes) for subject, kind, lanes in saved.lanes}
