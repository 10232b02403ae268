"""What every `vigil` command shares: its configuration, and how it says that it cannot go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from streams.config import ConfigError, VigilConfig, load

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; see `vigil config sample`.")]


def fail(message: str, status: int = 2) -> typer.Exit:
    """Say why on stderr and give the exit to raise."""
    typer.echo(f"{typer.style('vigil:', fg='red', bold=True)} {message}", err=True)
    return typer.Exit(status)


def loaded(path: Path | None) -> VigilConfig:
    """The configuration; what is wrong with it is said, and the command ends with 2."""
    try:
        return load(path)
    except ConfigError as error:
        raise fail(str(error)) from error


@contextmanager
def refusals() -> Iterator[None]:
    """What Kafka refuses is said in a sentence, and the command ends with 1."""
    from aiokafka.errors import KafkaError
    from kafka.errors import KafkaError as AdminError  # topics are created and described by kafka-python

    try:
        yield
    except (OSError, KafkaError, AdminError) as error:
        raise fail(str(error), 1) from error
