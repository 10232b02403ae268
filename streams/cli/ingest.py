"""`vigil ingest`."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

import typer

from streams.cli.common import ConfigOption, example, fail, loaded

ingest_app = typer.Typer(
    help="The process between devices and Kafka: MQTT, HTTP and small readings in, ward batches out.", no_args_is_help=True
)

TOKEN_BYTES: Final = 32


@ingest_app.command("run", epilog=example("vigil ingest run --config vigil.toml"))
def ingest_run(
    config: ConfigOption = None,
) -> None:
    """Take measurements until SIGTERM. Start as many as are wanted, each with a spool folder of its own."""
    from streams.ingest.service import run
    from streams.ops import logs
    from streams.storage.journal import JournalError

    logs.configure()
    settings = loaded(config)
    try:
        run(settings.kafka, settings.ingest)
    except (OSError, ValueError, JournalError) as error:
        raise fail(f"ingest cannot go on: {error}", 1) from error


@ingest_app.command("token", epilog=example("vigil ingest token gateway-1 home/east"))
def ingest_token(
    name: Annotated[str, typer.Argument(help="Name of the gateway or device, without spaces.")],
    wards: Annotated[list[str] | None, typer.Argument(help="Wards it may send for; none: all.")] = None,
) -> None:
    """Draw a token. The first line is for the gateway and is shown only now; the second one is for ingest.tokens_file."""
    from streams.ingest.senders import token_hash

    if len(name.split()) != 1 or any(len(ward.split()) != 1 for ward in wards or ()):
        raise fail("the name and the wards must be without spaces")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    typer.echo(token)
    typer.echo(" ".join([token_hash(token), name, *(wards or ())]))
