"""`vigil record`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.common import example, fail, out

record_app = typer.Typer()


@record_app.command(epilog=example("vigil record captured.vigil --data vigil-data"))
def record(
    target: Annotated[Path, typer.Argument(help="Folder to write (NAME.vigil).")],
    data: Annotated[Path, typer.Option(help="Data folder of an embedded Vigil, running or not.")],
    minutes: Annotated[float | None, typer.Option(help="Only the last so many minutes.")] = None,
) -> None:
    """Capture what an embedded Vigil received (its journal) into a recording."""
    from streams.recordings.capture import capture
    from streams.recordings.format import RecordingError

    try:
        count = capture(data, target, minutes)
    except (RecordingError, FileNotFoundError) as error:
        raise fail(str(error)) from error
    out.print(f"{count} records written to {target}")
