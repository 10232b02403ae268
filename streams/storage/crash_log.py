"""On which records workers died, so that none of them can keep its wards down.

An exception is noted as it happens. A process that is simply gone (a fault in compiled code, no memory left, a record it never comes
back from) notes nothing; but then its successors begin where it began. After LIVES_MAX such lives the record that is about to be
taken is noted before each, until a checkpoint has been reached.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

CRASHES_MAX: Final = 2
"""A record on which workers died this often is quarantined unread."""
LIVES_MAX: Final = 2
"""Lives that came no further than to where they began; from then on a note is written before each record, which takes milliseconds."""
REMEMBERED_MAX: Final = 100
"""Records remembered; the oldest gives way."""

log = structlog.get_logger("vigil.worker")


class Deaths(msgspec.Struct):
    """What is noted of one partition. Offsets are those of its telemetry."""

    from_offset: int = -1
    """Where the present life began."""
    lives: int = 0
    """How many began there, the present one included."""
    died: dict[int, int] = {}
    """How often on which record."""
    trying: int = -1
    """The record that is being taken, where that is noted."""
    offset: int = -1
    crashes_then: int = msgspec.field(default=0, name="crashes")
    why: str = ""
    """What the version before looks for, to which somebody may go back: nothing has died."""

    @property
    def careful(self) -> bool:
        """Whether to note each record before it is taken."""
        return self.lives > LIVES_MAX

    def crashes(self, offset: int) -> int:
        """How often workers died on this record."""
        return self.died.get(offset, 0)

    def begun(self, offset: int) -> Deaths:
        """A life begins at `offset`, after whatever ended the one before."""
        died = dict(self.died)
        if self.trying >= 0:
            died[self.trying] = died.get(self.trying, 0) + 1
        return Deaths(offset, self.lives + 1 if self.from_offset == offset else 1, _since(died, offset))

    def on(self, offset: int) -> Deaths:
        """The worker dies on this record."""
        return Deaths(self.from_offset, self.lives, _since({**self.died, offset: self.crashes(offset) + 1}, self.from_offset))

    def about_to(self, offset: int) -> Deaths:
        """This record is taken next."""
        return Deaths(self.from_offset, self.lives, self.died, offset)

    def done(self) -> Deaths:
        """The record that was being taken is taken: whatever happens now is not its fault."""
        return Deaths(self.from_offset, self.lives, self.died)

    def saved(self, offset: int) -> Deaths:
        """Everything before `offset` is behind us for good."""
        return Deaths(offset, 0, _since(self.died, offset))


def read(text: str | None, partition: int) -> Deaths:
    """What was noted. A note that cannot be read keeps nobody down: counting begins afresh."""
    if text is None:
        return Deaths()
    try:
        found = msgspec.json.decode(text, type=Deaths)
    except msgspec.DecodeError as error:
        log.warning("the note about records that kill cannot be read: counting afresh", partition=partition, why=str(error))
        return Deaths()
    if found.offset >= 0:  # written by the version before
        found.died[found.offset] = found.crashes_then
    return Deaths(found.from_offset, found.lives, found.died, found.trying)


def written(deaths: Deaths) -> str | None:
    """As it is noted; None when there is nothing to note."""
    return msgspec.json.encode(deaths).decode() if deaths.lives or deaths.died else None


def _since(died: dict[int, int], offset: int) -> dict[int, int]:
    return dict(sorted((at, times) for at, times in died.items() if at >= offset)[-REMEMBERED_MAX:])
