"""The identity file: who the pseudonyms are. It stays on the machine that shows the console; the engine never reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Person(msgspec.Struct, frozen=True):
    """Who or what a pseudonym stands for: the only place where a name meets a measurement."""

    name: str = ""
    room: str = ""
    bed: str = ""


def load_people(path: Path) -> dict[str, Person]:
    """Subject -> Person from a JSON file such as {"resident/r-017": {"name": "王秀英", "room": "201", "bed": "A"}}.

    A missing file is no error: the board then shows pseudonyms. ValueError when the file is there and cannot be used.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        people = msgspec.json.decode(raw, type=dict[str, Person])
    except msgspec.DecodeError as error:
        raise ValueError(f'{path.name} must map subjects to {{"name", "room", "bed"}}, but: {error}') from error
    strange = sorted(subject for subject in people if subject.partition("/")[0] not in {"resident", "bed", "room"})
    if strange:
        raise ValueError(f"{path.name} names {strange[0]!r}; a subject is resident/<id>, bed/<id> or room/<id>")
    return people
