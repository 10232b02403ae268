"""What an MQTT broker says about a message it hands over, and the recognition of a second try at the same one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

REMEMBERED: Final = 1024
"""Messages by packet number: a broker tries again what had no acknowledgement when the connection broke, and that is a handful."""

Mark = tuple[int, int, int]
"""Packet number, length and checksum of a message."""


class Handover(NamedTuple):
    """How a broker handed a message over. `retained`: a retained message, kept and given to a new subscriber, so when it was sent is unknown.
    `again`: it had no acknowledgement of its first try. `packet`: the number under which it tries, the same at each try; 0: none."""

    retained: bool = False
    again: bool = False
    packet: int = 0


DIRECT: Final = Handover()
"""From a sender itself."""


class SecondTries:
    """Remembers what was handed over. Only what the broker itself calls a second try is one: packet numbers come round again, and so does
    what a button without a clock says."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._marks: dict[Mark, None] = dict.fromkeys(marks)

    def is_one(self, handover: Handover, payload: bytes) -> bool:
        """Whether `payload` was taken before; else it is taken now."""
        if not handover.packet:
            return False
        mark = (handover.packet, len(payload), zlib.crc32(payload))
        if handover.again and mark in self._marks:
            return True
        self._marks.pop(mark, None)
        self._marks[mark] = None
        if len(self._marks) > REMEMBERED:
            del self._marks[next(iter(self._marks))]
        return False

    def marks(self) -> list[Mark]:
        """For the snapshot."""
        return list(self._marks)
