"""`vigil worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.common import ConfigOption, example, fail, loaded
from streams.cli.topics import check_topics

worker_app = typer.Typer(help="The distributed Vigil: wards from Kafka, over as many workers as it takes.", no_args_is_help=True)


@worker_app.command("run", epilog=example("vigil worker run --config vigil.toml --port 0"))
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
    check_topics(kafka)
    warm_up()
    try:
        run(kafka, parameters=settings.parameters, policy=settings.policy)
    except OSError as error:
        raise fail(f"the worker cannot start: {error}") from error
