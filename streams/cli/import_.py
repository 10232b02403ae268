"""`vigil import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from streams.cli.common import example, fail, out

import_app = typer.Typer()


@import_app.command("import", epilog=example("vigil import rr night.rr --out night.vigil"))
def import_(
    source: Annotated[str, typer.Argument(help="What it is; `vigil import list` names the kinds.")],
    path: Annotated[Path | None, typer.Argument(help="File or folder of one record, trial or experiment.")] = None,
    record: Annotated[str, typer.Option(help="Which trial, person or experiment of it.")] = "",
    target: Annotated[Path | None, typer.Option("--out", help="Folder to write (NAME.vigil).")] = None,
) -> None:
    """Recordings made by others into Vigil's form."""
    from streams.recordings.format import write
    from streams.recordings.importers.catalogue import IMPORTERS

    if source == "list" or source not in IMPORTERS:
        for name, importer in IMPORTERS.items():
            out.print(f"[bold]{name}[/]  {escape(importer.help)}", soft_wrap=True)
        if source != "list":
            raise fail(f"unknown source {source!r}; the known ones are above")
        return
    if path is None:
        raise fail(f"say which one: {IMPORTERS[source].help}")
    try:
        made = IMPORTERS[source].load(path, record)
    except (ValueError, FileNotFoundError, KeyError) as error:
        raise fail(f"{path} cannot be imported as {source}: {error}") from error
    where = target if target is not None else Path(f"{made.meta.name.replace('/', '-')}.vigil")
    write(where, made)
    out.print(f"written: {where}")
