"""`vigil import`."""

from __future__ import annotations

import shutil
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
    from streams.recordings.format import RecordingError, write
    from streams.recordings.importers.catalogue import IMPORTERS
    from streams.recordings.refusals import Refusals

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
    except Exception as error:  # readers of foreign formats raise whatever they like on a damaged file
        raise fail(f"{path} cannot be imported as {source}: {sentence(error)}") from error
    where = target if target is not None else Path(f"{made.meta.name.replace('/', '-')}.vigil")
    new = not where.exists()
    refused = Refusals()
    try:
        write(where, made._replace(records=refused.checked(made.records)))
    except RecordingError as error:
        raise fail(str(error)) from error
    except Exception as error:  # the records are made as they are written
        if new:
            shutil.rmtree(where, ignore_errors=True)
        raise fail(f"{path} cannot be imported as {source}: {sentence(error)}") from error
    for line in [*made.meta.notes.splitlines(), *refused.sentences()]:
        out.print(line, markup=False, soft_wrap=True)
    if not refused.accepted:
        shutil.rmtree(where)
        raise fail(f"{path} has no reading that Vigil could play{': see the reasons above' if refused else ''}")
    out.print(f"written: {where}, {refused.accepted} readings", soft_wrap=True)


def sentence(error: Exception) -> str:
    """What is wrong: readers of Vigil say it in a sentence, those of others also by the name of their error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}"
    if isinstance(error, ValueError | FileNotFoundError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
