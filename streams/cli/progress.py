"""What a command waits for, told all the time: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console

from streams.cli.common import progress_bar

LINE_EVERY_S: Final = 4.0
BAR_CELLS: Final = 20

Tell = Callable[[int, int, str], None]
"""Called with (done, total, what is being waited for); a total of 0 is not known yet."""


@contextmanager
def waiting(console: Console, what: str, *, line_every_s: float = LINE_EVERY_S) -> Iterator[Tell]:
    """Say `what` is being waited for, then whatever the caller tells, until the block ends.

    Without a terminal the lines come whether the caller tells anything new or not, the first of them after `line_every_s`.
    """
    if console.is_terminal:
        with progress_bar(console) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total, now: progress.update(task, completed=done, total=total or None, description=now)
        return
    begun_s = time.monotonic()
    latest = (0, 0, what)
    over = threading.Event()

    def tell(done: int, total: int, now: str) -> None:
        nonlocal latest
        latest = (done, total, now)

    def lines() -> None:
        while not over.wait(line_every_s):
            console.print(line(*latest, time.monotonic() - begun_s), markup=False, soft_wrap=True)

    thread = threading.Thread(target=lines, name="progress", daemon=True)
    thread.start()
    try:
        yield tell
    finally:
        over.set()
        thread.join()


def line(done: int, total: int, what: str, waited_s: float) -> str:
    """How far it is, for a log.

    >>> line(15, 60, "compiling heart", 8.2)
    '[#####...............] 15/60 compiling heart  8 s'
    """
    filled = round(BAR_CELLS * done / total) if total else 0
    count = f" {done}/{total}" if total else ""
    return f"[{'#' * filled}{'.' * (BAR_CELLS - filled)}]{count} {what}  {waited_s:.0f} s"
