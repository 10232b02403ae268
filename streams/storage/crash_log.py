"""On which records the process crashed, so that none of them can keep its wards down.

An exception is noted as it happens. A process that is simply gone (a fault in compiled code, no memory left, a record it never comes
back from) notes nothing; but then the next start begins at the same record. After RESTARTS_MAX such starts each record is noted before
it is applied, until a checkpoint has been reached. A record that crashed the process CRASHES_MAX times is quarantined unread, or one at which
it was gone GONE_MAX times: a process may also be killed from outside, and be at the same record twice by chance.

The notes are kept beside the snapshots (`SnapshotStore.set_note`), by `vigil worker` for each of its partitions and by `vigil run` for its
journal.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

CRASHES_MAX: Final = 2
"""A record on which the process crashed this often, with an exception, is quarantined unread."""
GONE_MAX: Final = 3
"""The same of a record that was noted as being applied when the process was gone without a word."""
RESTARTS_MAX: Final = 2
"""Starts that came no further than to where they began; from then on a note is written before each record, which takes milliseconds."""
REMEMBERED_MAX: Final = 100
"""Records remembered; the oldest gives way."""

log = structlog.get_logger("vigil.crash_log")


class CrashLog(msgspec.Struct, frozen=True):
    """What is noted of one partition. Offsets are those of its log. Every method gives the note after the event.

    The names in the stored note are those of earlier versions, whose notes are read.
    """

    from_offset: int = -1
    """Where the present process began."""
    restarts: int = msgspec.field(default=0, name="lives")
    """How many processes in a row began there, the present one included."""
    crashes_at: dict[int, int] = msgspec.field(default_factory=dict, name="died")
    """How often the process crashed with an exception, by record."""
    gone_at: dict[int, int] = msgspec.field(default_factory=dict, name="gone")
    """How often it was gone without a word, by record."""
    applying: int = msgspec.field(default=-1, name="trying")
    """The record that is being applied, where that is noted."""

    @property
    def notes_each_record(self) -> bool:
        """Whether to note each record before it is applied."""
        return self.restarts > RESTARTS_MAX

    def crashes(self, offset: int) -> int:
        """How often the process crashed on this record, or was gone."""
        return self.crashes_at.get(offset, 0) + self.gone_at.get(offset, 0)

    def is_poison(self, offset: int) -> bool:
        """Whether this record is to be skipped."""
        return self.crashes_at.get(offset, 0) >= CRASHES_MAX or self.crashes(offset) >= GONE_MAX

    def started(self, offset: int) -> CrashLog:
        """A process begins at `offset`, after whatever ended the one before."""
        gone_at = dict(self.gone_at)
        if self.applying >= 0:
            gone_at[self.applying] = gone_at.get(self.applying, 0) + 1
        restarts = self.restarts + 1 if self.from_offset == offset else 1
        return CrashLog(offset, restarts, _since(self.crashes_at, offset), _since(gone_at, offset))

    def before(self, offset: int) -> CrashLog:
        """This record is applied next."""
        return CrashLog(self.from_offset, self.restarts, self.crashes_at, self.gone_at, offset)

    def after(self) -> CrashLog:
        """The record is applied: whatever happens now is not its fault."""
        return CrashLog(self.from_offset, self.restarts, self.crashes_at, self.gone_at)

    def crashed(self, offset: int) -> CrashLog:
        """The process ends with an exception on this record."""
        crashes_at = {**self.crashes_at, offset: self.crashes_at.get(offset, 0) + 1}
        return CrashLog(self.from_offset, self.restarts, _since(crashes_at, self.from_offset), self.gone_at)

    def checkpointed(self, offset: int) -> CrashLog:
        """No record before `offset` is read again."""
        return CrashLog(offset, 0, _since(self.crashes_at, offset), _since(self.gone_at, offset))


def read(text: str | None, partition: int) -> CrashLog:
    """What was noted. A note that cannot be read stops nothing: counting begins afresh."""
    if text is None:
        return CrashLog()
    try:
        return msgspec.json.decode(text, type=CrashLog)
    except msgspec.DecodeError as error:
        log.warning("crash log cannot be read: counting afresh", partition=partition, why=str(error))
        return CrashLog()


def written(crash_log: CrashLog) -> str | None:
    """As it is noted; None when there is nothing to note."""
    return msgspec.json.encode(crash_log).decode() if crash_log.restarts or crash_log.crashes_at or crash_log.gone_at else None


def skipped_because(crashes: int) -> str:
    """Why a poison record was quarantined unread."""
    return f"the process crashed {crashes} times on this record; it was skipped"


def _since(crashes_at: dict[int, int], offset: int) -> dict[int, int]:
    return dict(sorted((at, times) for at, times in crashes_at.items() if at >= offset)[-REMEMBERED_MAX:])
