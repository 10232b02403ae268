"""`vigil sink`: one configured place for results as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from streams.cli.common import ConfigOption, example, fail, loaded

if TYPE_CHECKING:
    from streams.config import Sink

sink_app = typer.Typer(help="Places for results, each a process of its own beside the workers.", no_args_is_help=True)
log = structlog.get_logger("vigil.sink")


def chosen(sinks: tuple[Sink, ...], name: str) -> Sink:
    """The sink called `name`, or the only one of type `name`. ValueError when there is none, or more than one."""
    for sink in sinks:
        if sink.name == name:
            return sink
    found = [sink for sink in sinks if sink.to.type == name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sink.name for sink in found or sinks) or "none: add [[sinks]] to the configuration"
    raise ValueError(f"{'there are several sinks of type' if found else 'there is no sink'} {name}; choose one of: {names}")


@sink_app.command("list", epilog=example("vigil sink list --config vigil.toml"))
def sink_list(config: ConfigOption = None) -> None:
    """The configured sinks: name, type, topics, consumer group."""
    from sinks.catalogue import build
    from streams.pipeline.assembly import TEXTS
    from streams.sink_process.process import group_of
    from streams.sink_process.reading import TOPIC_OF

    settings = loaded(config)
    if not settings.sinks:
        typer.echo("the configuration has no [[sinks]]", err=True)
    for sink in settings.sinks:
        built = build(sink.to, TEXTS)
        topics = ", ".join(sorted(settings.kafka.prefix + TOPIC_OF[kind] for kind in built.takes))
        built.close()
        typer.echo(f"{sink.name}: {sink.to.type}, reads {topics} as {group_of(settings.kafka, sink.name)}")


@sink_app.command("run", epilog=example("vigil sink run copy --config vigil.toml --port 0"))
def sink_run(
    name: Annotated[str, typer.Argument(help="Name of a sink of the configuration, or its type where there is only one of it.")],
    config: ConfigOption = None,
    instance: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Name of this process where several deliver for one sink on one machine: each has a folder of its own.",
        ),
    ] = "",
    port: Annotated[int | None, typer.Option(help="Port of /metrics and /healthz; 0: off.")] = None,
) -> None:
    """Deliver to one sink until SIGTERM. Start as many as are wanted; the partitions are divided among them."""
    from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

    from sinks.catalogue import SINKS, build
    from sinks.declaration import Runs
    from sinks.delivery.spool import SpoolBusyError
    from streams.kafka.preflight import ensure_reachable
    from streams.ops import logs
    from streams.pipeline.assembly import TEXTS
    from streams.sink_process.people import People
    from streams.sink_process.process import SinkProcess, StalledError, UnsafeError

    logs.configure()
    settings = loaded(config)
    own = settings.sink_process
    if port is not None:
        own = own.model_copy(update={"operations": own.operations.model_copy(update={"port": port})})

    async def deliver(sink: Sink) -> None:
        folder = own.folder / "-".join(filter(None, (sink.name, instance)))
        spec = SINKS[sink.to.type]
        target = build(sink.to.for_instance(instance), TEXTS, People(settings.data_dir / "identity.json"), where=Runs.BESIDE_WORKERS)
        delivery = spec.delivery(sink.delivery)
        process = SinkProcess(settings.kafka, own, sink.name, target, folder, settings=delivery, leave_out=spec.leave_out)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, process.stop)
        await process.run()

    try:
        sink = chosen(settings.sinks, name)
        ensure_reachable(settings.kafka.connection)
        asyncio.run(deliver(sink))
    except (ValueError, SpoolBusyError) as error:
        raise fail(str(error)) from error
    except (OSError, KafkaError, StalledError, UnsafeError) as error:
        missing = "a topic is missing: run `vigil topics create`" if isinstance(error, UnknownTopicOrPartitionError) else ""
        log.critical("the sink process ends", sink=name, why=missing or str(error))
        raise typer.Exit(1) from error
