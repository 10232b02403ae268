"""`vigil backup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.common import ConfigOption, example, fail, loaded

backup_app = typer.Typer()


@backup_app.command(epilog=example("vigil backup vigil-backup.tar.gz --data vigil-data"))
def backup(
    target: Annotated[Path, typer.Argument(help="File to write, of a name that is not there yet: NAME.tar.gz.")],
    config: ConfigOption = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder of an embedded Vigil, running or not (overrides the configuration).")
    ] = None,
) -> None:
    """Back up the data folder while Vigil runs; nobody is unwatched meanwhile. To restore, unpack it and start Vigil on it."""
    from streams.intake.http_server import raise_descriptor_limit
    from streams.storage.backup import BackupError, back_up

    folder = data if data is not None else loaded(config).data_dir
    raise_descriptor_limit()
    try:
        count = back_up(folder, target)
    except BackupError as error:
        raise fail(str(error), 1) from error
    typer.echo(f"{count} files, {target.stat().st_size / 1e6:.1f} MB in {target}")
