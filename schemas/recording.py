"""What a recording is made of: shapes only. streams/recordings/format.py reads and writes them, the simulator and importers make them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from engine.frame import NS_PER_S
from engine.registry import RegistryData

START_NS: Final = 1_767_571_200 * NS_PER_S
"""2026-01-05T00:00:00Z, a Monday: where a recording without a date of its own begins."""


class Record(NamedTuple):
    """One received message: when Vigil received it, and its bytes as they were on the wire. `retained`: a broker had kept it."""

    arrival_ns: int
    payload: bytes
    retained: bool = False


class Truth(msgspec.Struct, frozen=True, omit_defaults=True):
    """What really happened: `code` (an event code, e.g. "falls.fall") held for `subject` from start_ns to end_ns."""

    subject: str
    code: str
    start_ns: int
    end_ns: int
    note: str = ""


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a recording comes from. `labelled`: somebody said what happened in it, and what is not in its truth did not happen; None:
    it is when it has a truth at all."""

    name: str
    source: str
    version: int = 1
    licence: str = ""
    notes: str = ""
    labelled: bool | None = None


class Recording(NamedTuple):
    """A recording, in memory or streamed from its folder (`records` may be read once)."""

    meta: Meta
    registry: RegistryData
    truth: tuple[Truth, ...]
    records: Iterator[Record]

    @property
    def labelled(self) -> bool:
        """Whether it is known what happened: without that, an alert can be neither right nor false."""
        return bool(self.truth) if self.meta.labelled is None else self.meta.labelled
