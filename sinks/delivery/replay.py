"""Dead letters that are delivered again, because somebody repaired what the target objected to.

`replay` moves them to `replay.jsonl`; the process that delivers takes them up from there and keeps them in `replay-taken.jsonl` until all
are settled, so that neither its end nor a queue that is read anew from Kafka loses one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import msgspec

from sinks.delivery.dead_letters import Letter, append, lines_of, locked, take
from sinks.items import BODIES, NEVER_SHED, AlertChange, Item, ItemKind

_ASKED: Final = "replay.jsonl"
_TAKEN: Final = "replay-taken.jsonl"
_LOOK_EVERY_S: Final = 1.0


def replay(folder: Path, ids: Collection[str] | None = None) -> list[Letter]:
    """Have these letters (None: all that are open and can be read) delivered again, by the process that delivers or the next one."""
    return take(folder, _ASKED, lambda letter: (ids is None or letter.id in ids) and _item(letter.line) is not None, lambda line: line)


class Replay:
    """What a delivery is asked to deliver again. `waits` says whether an item is in its queue. Calls must not overlap."""

    def __init__(self, folder: Path, waits: Callable[[Item], bool]) -> None:
        self._folder, self._waits = folder, waits
        self._looked_s: float | None = None

    def due(self, now_s: float) -> list[Item]:
        """What is to be queued now, looked for once a second. Call `queued` when it is."""
        if self._looked_s is not None and now_s - self._looked_s < _LOOK_EVERY_S:
            return []
        begins, self._looked_s = self._looked_s is None, now_s
        taken = _items(self._folder / _TAKEN)
        if taken and not begins and not any(map(self._waits, taken)):
            (self._folder / _TAKEN).unlink()
        return [item for item in [*(taken if begins else ()), *_items(self._folder / _ASKED)] if not self._waits(item)]

    def queued(self) -> None:
        """What was due is in the queue."""
        with locked(self._folder):
            if asked := lines_of(self._folder / _ASKED):
                append(self._folder / _TAKEN, [line for line in asked if (item := _item(line)) is not None and self._waits(item)])
                (self._folder / _ASKED).unlink()


def _items(path: Path) -> list[Item]:
    if not path.exists():  # nearly always; it takes no descriptor, of which there may be none
        return []
    return [item for line in lines_of(path) if (item := _item(line)) is not None]


def _item(line: bytes) -> Item | None:
    """The item in a letter; None where it cannot be read, or is of a kind that is not delivered again."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
        kind = ItemKind(fields["kind"])
        if kind not in NEVER_SHED:
            return None
        body = msgspec.convert(fields["body"], BODIES[kind])
        return Item(kind, fields["id"], body, body.alert.id if isinstance(body, AlertChange) else "")
    except (KeyError, ValueError):
        return None
