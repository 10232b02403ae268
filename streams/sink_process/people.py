"""Names for pseudonyms, read again when somebody edits the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog

from streams.storage.identity import Person, load_people

log = structlog.get_logger("vigil.sink")


class People:
    """What staff may read about a subject: name, room, bed; empty without a file. A slip in the file leaves the names as they were."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._people: Mapping[str, Person] = {}
        self._changed_ns = 0

    def __call__(self, subject: str) -> Mapping[str, str]:
        """Of one subject."""
        self._look()
        person = self._people.get(subject)
        return {} if person is None else {"name": person.name, "room": person.room, "bed": person.bed}

    def _look(self) -> None:
        try:
            changed_ns = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns == self._changed_ns:
            return
        self._changed_ns = changed_ns
        try:
            self._people = load_people(self._path)
        except ValueError as error:
            log.error("names stay as they were", file=self._path.name, why=str(error))  # noqa: TRY400 - the reason is the message
