"""`vigil topics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from streams.cli.common import ConfigOption, example, loaded, refusals

if TYPE_CHECKING:
    from streams.kafka.config import KafkaConfig

topics_app = typer.Typer(help="Kafka's topics: create what is missing, check what is there.", no_args_is_help=True)


@topics_app.command("create", epilog=example("vigil topics create --config vigil.toml"))
def topics_create(config: ConfigOption = None) -> None:
    """Create the topics that are missing."""
    from streams.kafka.topic_admin import create

    kafka = loaded(config).kafka
    with refusals():
        for name in create(kafka):
            typer.echo(f"created {name}")


@topics_app.command("check", epilog=example("vigil topics check --config vigil.toml"))
def topics_check(config: ConfigOption = None) -> None:
    """Say how the cluster's topics differ from what Vigil needs; exit status 1 when a worker must not run like this."""
    check_topics(loaded(config).kafka)
    typer.echo("the topics are as they should be")


def check_topics(kafka: KafkaConfig) -> None:
    """Say what is wrong with the topics; end the command with 1 when a worker must not run like this."""
    from streams.kafka.topic_admin import check

    with refusals():
        faults = check(kafka)
    for fault in faults:
        typer.echo(f"{'FATAL' if fault.fatal else 'warning'}: {fault.topic} {fault.what}", err=True)
    if any(fault.fatal for fault in faults):
        raise typer.Exit(1)
