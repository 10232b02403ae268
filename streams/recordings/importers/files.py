"""Many files of a data set, some of which may be damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

Unreadable = Callable[[Path, Exception], None]
"""Told about a file that could not be read, and why."""


def each_file(paths: Iterable[Path], read: Callable[[Path], Iterable[T]], unreadable: Unreadable | None = None) -> Iterator[T]:
    """What `read` finds in every file. With `unreadable`, a file that cannot be read is told to it and the others go on;
    without it the error is raised.

    >>> damaged: list[str] = []
    >>> def numbers(path: Path) -> list[int]:
    ...     return [int(path.stem)]
    >>> list(each_file([Path("1.txt"), Path("two.txt"), Path("3.txt")], numbers, lambda path, error: damaged.append(path.name)))
    [1, 3]
    >>> damaged
    ['two.txt']
    """
    for path in paths:
        try:
            yield from read(path)
        except Exception as error:  # readers of foreign formats raise whatever they like on a damaged file
            if unreadable is None:
                raise
            unreadable(path, error)
