"""`vigil config`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.common import example, loaded, out

config_app = typer.Typer(help="The configuration: sample file, JSON Schema, reference page.", no_args_is_help=True)


@config_app.command("sample", epilog=example("vigil config sample > vigil.toml"))
def config_sample() -> None:
    """A commented sample file with every default."""
    from streams.config import sample

    typer.echo(sample(), nl=False)


@config_app.command("reference", epilog=example("vigil config reference > configuration.md"))
def config_reference() -> None:
    """The reference page."""
    from streams.config import reference

    typer.echo(reference(), nl=False)


@config_app.command("schema", epilog=example("vigil config schema > vigil.schema.json"))
def config_schema() -> None:
    """JSON Schema of the file."""
    from streams.config import VigilConfig

    typer.echo(json.dumps(VigilConfig.model_json_schema(), indent=1, ensure_ascii=False))


@config_app.command("check", epilog=example("vigil config check vigil.toml"))
def config_check(path: Annotated[Path, typer.Argument(help="The file.")]) -> None:
    """Whether a file can be used, and if not, why."""
    loaded(path)
    out.print(f"{path} is fine")
