"""`vigil worker` and `vigil topics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.config import ConfigError, VigilConfig, load
from streams.worker.config import KafkaConfig

worker_app = typer.Typer(help="The distributed Vigil: wards from Kafka, over as many workers as it takes.", no_args_is_help=True)
topics_app = typer.Typer(help="Kafka's topics: create what is missing, check what is there.", no_args_is_help=True)


def _load(path: Path | None) -> VigilConfig:
    try:
        return load(path)
    except ConfigError as error:
        typer.echo(f"vigil: {error}", err=True)
        raise typer.Exit(2) from error


ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; see `vigil config sample`.")]


@worker_app.command("run")
def worker_run(config: ConfigOption = None) -> None:
    """Work until SIGTERM. Start as many as there are cores; the partitions are divided among them."""
    from streams.warmup import warm_up
    from streams.worker.app import run

    settings = _load(config)
    _checked(settings.kafka)
    warm_up()
    run(settings.kafka, parameters=settings.parameters, policy=settings.policy)


@topics_app.command("create")
def topics_create(config: ConfigOption = None) -> None:
    """Create the topics that are missing."""
    from streams.topics import create

    for name in create(_load(config).kafka):
        typer.echo(f"created {name}")


@topics_app.command("check")
def topics_check(config: ConfigOption = None) -> None:
    """Say how the cluster's topics differ from what Vigil needs; exit status 1 when a worker must not run like this."""
    _checked(_load(config).kafka)


def _checked(kafka: KafkaConfig) -> None:
    from streams.topics import check

    faults = check(kafka)
    for fault in faults:
        typer.echo(f"{'FATAL' if fault.fatal else 'warning'}: {fault.topic} {fault.what}", err=True)
    if any(fault.fatal for fault in faults):
        raise typer.Exit(1)
