"""`vigil canary`."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Annotated

import typer

from streams.cli.common import ConfigOption, example, fail, loaded

canary_app = typer.Typer(help="A simulated fall now and then on every partition: does Vigil report it?", no_args_is_help=True)


@canary_app.command("run", epilog=example("vigil canary run --config vigil.toml --port 0"))
def canary_run(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="Port of /metrics and /healthz (overrides the configuration).")] = None,
) -> None:
    """Watch Vigil until SIGTERM. One process for the whole of it, best on a machine of its own."""
    from sinks.catalogue import SINKS, build
    from sinks.declaration import Audience
    from sinks.delivery import Delivery
    from sinks.delivery.spool import SpoolBusyError
    from streams.canary.process import Canary
    from streams.ops import logs
    from streams.pipeline.assembly import TEXTS

    logs.configure()
    settings = loaded(config)
    own = settings.canary
    if port is not None:
        own = own.model_copy(update={"operations": own.operations.model_copy(update={"port": port})})

    async def watch() -> None:
        spool = own.folder / "spool"
        on_call = [(sink, spec) for sink in settings.sinks if (spec := SINKS[sink.to.type]).audience is Audience.ON_CALL]
        deliveries = [
            Delivery(build(sink.to, TEXTS), spool / sink.name, spec.delivery(sink.delivery), name=sink.name) for sink, spec in on_call
        ]
        canary = Canary(settings.kafka, own, deliveries, settings.policy)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, canary.stop)
        await canary.run()

    try:
        asyncio.run(watch())
    except (OSError, ValueError, SpoolBusyError) as error:
        raise fail(f"the canary cannot start: {error}") from error


@canary_app.command("acknowledge", epilog=example("vigil canary acknowledge --config vigil.toml --by night-shift"))
def canary_acknowledge(
    by: Annotated[str, typer.Option(help="Who has seen the alarm.")],
    config: ConfigOption = None,
    note: Annotated[str, typer.Option(help="What it was.")] = "",
) -> None:
    """Say that the canary's alarm has been seen; on the canary's own machine, with or without Kafka."""
    from alerts.model import Action, Command
    from streams.canary.monitor import FallMonitor
    from streams.canary.state_folder import StateFolder

    folder = StateFolder(loaded(config).canary.folder)
    monitor = FallMonitor((), bound_s=0.0)
    try:
        if (saved := folder.load()) is not None:
            monitor.restore(saved.monitor)
    except ValueError as error:
        raise fail(f"the canary's state cannot be read: {error}") from error
    open_alarms = [alert for alert in monitor.open() if not alert.acknowledged]
    if not open_alarms:
        raise fail("there is no alarm that nobody has seen")
    for alert in open_alarms:
        at_ns = time.time_ns()
        folder.leave_command(Command(f"canary-{alert.id}-{at_ns}", Action.ACKNOWLEDGE, alert.id, by, at_ns, None, note))
        typer.echo(f"said to the canary: {by} has seen {alert.id}")
