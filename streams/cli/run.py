"""`vigil run`."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streams.cli.common import ConfigOption, alert_line, example, fail, loaded, out
from streams.cli.progress import waiting

if TYPE_CHECKING:
    from streams.embedded.service import Service
    from streams.pipeline.core import CoreOutput
    from streams.storage.identity import Person

run_app = typer.Typer()

DEMO_FOLDER: Final = "demo"
LOOK_EVERY_S: Final = 0.5
HUNG_S: Final = 60.0
"""No record takes so long, and no snapshot on a disk that works."""
HUNG_LOOKS: Final = 4
"""In a row: after a pause of the whole machine the engine gets its turn first."""
EXIT_HUNG: Final = 70
"""EX_SOFTWARE of sysexits.h."""


@run_app.command(epilog=example("vigil run --recording examples/fall.vigil --data vigil-data --port 0"))
def run(
    config: ConfigOption = None,
    data: Annotated[Path | None, typer.Option(help="Data folder (overrides the configuration).")] = None,
    port: Annotated[int | None, typer.Option(help="Port of console and HTTP API; 0 takes a free one.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Live through the simulated demo ward, from a fresh folder.")] = False,
    recording: Annotated[Path | None, typer.Option(help="Feed a recording, in its own time, then stay up.")] = None,
    sender_clock: Annotated[
        bool,
        typer.Option(
            "--sender-clock", help="Time is what senders say (header Vigil-Arrival-Ns): for accelerated simulations, not for a ward."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the demo ward.")] = 7,
) -> None:
    """The embedded Vigil: one process, no broker. Sources: HTTP, MQTT, a recording, or the demo ward."""
    with waiting(out, "loading Vigil") as tell:
        from streams.embedded.service import Service
        from streams.intake.http_server import raise_descriptor_limit
        from streams.ops import logs
        from streams.ops.service_manager import ServiceManager
        from streams.ops.warm_up import warm_up

        logs.configure()
        # A watchdog that ends a hung process does it by SIGABRT: then the log says where every thread hung.
        faulthandler.enable()
        raise_descriptor_limit()
        manager = ServiceManager()
        settings = loaded(config)
        warm_up(tell)
    folder = data if data is not None else settings.data_dir
    if demo:
        folder /= DEMO_FOLDER
        shutil.rmtree(folder, ignore_errors=True)
    update: dict[str, object] = {"data_dir": folder}
    if port is not None:
        update["listen"] = settings.listen.model_copy(update={"port": port})
    if demo and not settings.home:
        update["home"] = "Vigil"
    settings = settings.model_copy(update=update)
    people: dict[str, Person] = {}

    def listen(output: CoreOutput) -> None:
        for transition, alert in output.transitions:
            if transition.notify:
                out.print(alert_line(transition, alert, people, settings.language))

    try:
        service = Service(settings, live=recording is None and not sender_clock, listeners=[listen], on_progress=manager.progress)
    except OSError as error:
        raise fail(f"cannot listen on {settings.listen.host}:{settings.listen.port} ({error.strerror}): choose another --port") from error
    except ValueError as error:
        raise fail(str(error)) from error
    stopping = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopping.set())
    service.start()
    manager.ready()
    out.print(
        f"[bold]Vigil[/] is watching. Console: [bold]{service.url}[/]  wall display: {service.url}/wall  (Ctrl-C stops)", soft_wrap=True
    )
    out.print(f"[dim]data in {folder}; devices send to {service.url}/v1/chunks[/]", soft_wrap=True)
    if demo:
        _feed_demo(service, people, seed, stopping)
    elif recording is not None:
        _feed_recording(service, recording)
    _wait(service, stopping)
    manager.stopping()
    service.stop()
    if service.vigil.error is not None:
        raise fail(f"the engine stopped: {service.vigil.error}")
    out.print("Vigil has stopped; everything is kept.")


def _wait(service: Service, stopping: threading.Event) -> None:
    """Until somebody stops it or the engine ends. An engine that hangs ends the process: whoever started it starts it again."""
    looks = 0
    while service.vigil.running and not stopping.wait(LOOK_EVERY_S):
        looks = looks + 1 if service.vigil.board.engine_age_s > HUNG_S else 0
        if looks >= HUNG_LOOKS:
            typer.echo(f"vigil: the engine has not moved for {HUNG_S:.0f} s: ending, to be started again; where it hangs:", err=True)
            faulthandler.dump_traceback()
            os._exit(EXIT_HUNG)


def _feed_demo(service: Service, people: dict[str, Person], seed: int, stopping: threading.Event) -> None:
    """The demo ward from now on, in a thread of its own; its people are added to `people`."""
    from engine.frame import NS_PER_S
    from simulator.demo import demo_stream
    from streams.storage.identity import Person

    ward = demo_stream(seed, time.time_ns())
    people.update({subject: Person(who.name, who.room, who.bed) for subject, who in ward.identity().items()})
    service.adopt(ward.registry(), people)

    def pace(arrival_ns: int) -> None:
        stopping.wait(max(0.0, (arrival_ns - time.time_ns()) / NS_PER_S))

    threading.Thread(target=service.feed, args=(ward.records(),), kwargs={"pace": pace}, name="demo", daemon=True).start()


def _feed_recording(service: Service, path: Path) -> None:
    """A recording, in a thread of its own; one that cannot be read ends the command."""
    from streams.recordings.format import RecordingError, read

    try:
        played = read(path)
    except RecordingError as error:
        service.stop()
        raise fail(str(error)) from error
    service.adopt(played.registry, {})
    threading.Thread(target=service.feed, args=(played.records,), name="recording", daemon=True).start()
