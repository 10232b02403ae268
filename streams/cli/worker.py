"""`vigil worker` and `vigil topics`."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.common import ConfigOption, loaded, refusals
from streams.kafka.config import KafkaConfig

worker_app = typer.Typer(help="The distributed Vigil: wards from Kafka, over as many workers as it takes.", no_args_is_help=True)
topics_app = typer.Typer(help="Kafka's topics: create what is missing, check what is there.", no_args_is_help=True)


@worker_app.command("run")
def worker_run(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="Port of /metrics and /healthz (overrides the configuration).")] = None,
) -> None:
    """Work until SIGTERM. Start as many as there are cores; the partitions are divided among them."""
    from streams.ops import logs
    from streams.ops.warm_up import warm_up
    from streams.worker.app import run

    logs.configure()
    settings = loaded(config)
    kafka = settings.kafka
    if port is not None:
        kafka = kafka.model_copy(update={"operations": kafka.operations.model_copy(update={"port": port})})
    _checked(kafka)
    warm_up()
    try:
        run(kafka, parameters=settings.parameters, policy=settings.policy)
    except OSError as error:
        typer.echo(f"vigil: the worker cannot start: {error}", err=True)
        raise typer.Exit(2) from error


@topics_app.command("create")
def topics_create(config: ConfigOption = None) -> None:
    """Create the topics that are missing."""
    from streams.kafka.topic_admin import create

    kafka = loaded(config).kafka
    with refusals():
        for name in create(kafka):
            typer.echo(f"created {name}")


@topics_app.command("check")
def topics_check(config: ConfigOption = None) -> None:
    """Say how the cluster's topics differ from what Vigil needs; exit status 1 when a worker must not run like this."""
    _checked(loaded(config).kafka)
    typer.echo("the topics are as they should be")


def _checked(kafka: KafkaConfig) -> None:
    from streams.kafka.topic_admin import check

    with refusals():
        faults = check(kafka)
    for fault in faults:
        typer.echo(f"{'FATAL' if fault.fatal else 'warning'}: {fault.topic} {fault.what}", err=True)
    if any(fault.fatal for fault in faults):
        raise typer.Exit(1)
