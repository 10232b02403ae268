"""The command `vigil`."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from alerts.model import Alert, State, Transition
from alerts.texts import Language
from console.backend import Person
from engine.events import Priority
from engine.frame import NS_PER_S
from streams.cli.canary import canary_app
from streams.cli.common import ConfigOption, fail, loaded
from streams.cli.ingest import ingest_app
from streams.cli.registry import registry_app
from streams.cli.sink import sink_app
from streams.cli.worker import topics_app, worker_app
from streams.config import VigilConfig, reference, sample
from streams.ops import logs
from streams.pipeline.assembly import TEXTS
from streams.pipeline.core import CoreOutput

app = typer.Typer(
    name="vigil",
    help="Real-time safety engine for nursing homes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="The configuration: sample file, JSON Schema, reference page.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(worker_app, name="worker")
app.add_typer(ingest_app, name="ingest")
app.add_typer(topics_app, name="topics")
app.add_typer(registry_app, name="registry")
app.add_typer(canary_app, name="canary")
app.add_typer(sink_app, name="sink")
out = Console(highlight=False)

_STYLE: Final = {
    Priority.HIGH: "bold white on red",
    Priority.MEDIUM: "black on yellow",
    Priority.LOW: "black on cyan",
    Priority.INFORMATION: "dim",
}
DEMO_FOLDER: Final = "demo"


def line(transition: Transition, alert: Alert, people: dict[str, Person], language: Language, *, seconds_utc: bool = False) -> str:
    """One line of the terminal for an alert's step, rich markup."""
    person = people.get(alert.subject)
    who = f"{person.name} {person.room} {person.bed}".strip() if person is not None else alert.subject
    at = datetime.fromtimestamp(transition.at_ns / NS_PER_S, tz=UTC)
    when = f"{at:%Y-%m-%d %H:%M:%SZ}" if seconds_utc else f"{at.astimezone():%H:%M:%S}"
    priority = Priority(alert.priority)
    mark = (
        f"[{_STYLE[priority]}] {priority.name:<6} [/]"
        if transition.to_state is State.FIRING
        else f"[dim] {transition.to_state.value:<12}[/]"
    )
    return f"{when} {mark} {escape(who)}: [bold]{escape(TEXTS.of(alert.code, language).title)}[/] [dim]{alert.code} · {transition.reason.value}[/]"


@app.command()
def run(
    config: ConfigOption = None,
    data: Annotated[Path | None, typer.Option(help="Data folder (overrides the configuration).")] = None,
    port: Annotated[int | None, typer.Option(help="Port of console and device door; 0 takes a free one.")] = None,
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
    from streams.embedded.service import Service  # imports numba; `vigil --help` should not wait for it
    from streams.ops.warm_up import warm_up
    from streams.recordings.format import RecordingError, read

    logs.configure()
    settings = loaded(config)
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
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=out, transient=True
    ) as progress:
        task = progress.add_task("compiling detectors (once per machine)", total=None)
        warm_up(lambda done, total, name: progress.update(task, completed=done, total=total, description=f"warming up {name}"))
    people: dict[str, Person] = {}

    def listen(said: CoreOutput) -> None:
        for transition, alert in said.transitions:
            if transition.notify:
                out.print(line(transition, alert, people, settings.language))

    try:
        service = Service(settings, live=recording is None and not sender_clock, listeners=[listen])
    except OSError as error:
        raise fail(f"cannot listen on {settings.listen.host}:{settings.listen.port} ({error.strerror}): choose another --port") from error
    except ValueError as error:
        raise fail(str(error)) from error
    stopping = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopping.set())
    service.start()
    out.print(
        f"[bold]Vigil[/] is watching. Console: [bold]{service.url}[/]  wall display: {service.url}/wall  (Ctrl-C stops)", soft_wrap=True
    )
    out.print(f"[dim]data in {folder}; devices send to {service.url}/v1/chunks[/]", soft_wrap=True)
    feeder: threading.Thread | None = None
    if demo:
        from simulator.demo import demo_stream

        start_ns = time.time_ns()
        ward = demo_stream(seed, start_ns)
        people.update({subject: Person(who.name, who.room, who.bed) for subject, who in ward.identity().items()})
        service.adopt(ward.registry(), people)

        def pace(arrival_ns: int) -> None:
            stopping.wait(max(0.0, (arrival_ns - time.time_ns()) / NS_PER_S))

        feeder = threading.Thread(target=service.feed, args=(ward.records(),), kwargs={"pace": pace}, name="demo", daemon=True)
    elif recording is not None:
        try:
            played = read(recording)
        except RecordingError as error:
            service.stop()
            raise fail(str(error)) from error
        service.adopt(played.registry, {})
        feeder = threading.Thread(target=service.feed, args=(played.records,), name="recording", daemon=True)
    if feeder is not None:
        feeder.start()
    while not stopping.wait(0.5):
        if not service.vigil.running:
            break
    service.stop()
    if service.vigil.error is not None:
        raise fail(f"the engine stopped: {service.vigil.error}")
    out.print("Vigil has stopped; everything is kept.")


@app.command("warm-up")
def warm_up_() -> None:
    """Compile the detectors, once per machine and version, so that `vigil run` starts at once."""
    from streams.ops.warm_up import warm_up

    with _bar() as progress:
        task = progress.add_task("compiling detectors (once per machine)", total=None)
        warm_up(lambda done, total, name: progress.update(task, completed=done, total=total, description=f"compiling {name}"))


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(help="A recording folder (NAME.vigil).")],
    config: ConfigOption = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write events, one JSON object a line.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the summary.")] = False,
) -> None:
    """A recording through the very code that wakes somebody, as fast as the machine goes."""
    import msgspec

    from streams.recordings.format import RecordingError, count, read
    from streams.recordings.replay import replay as run_replay

    settings = loaded(config)
    try:
        total = count(recording)
        played = read(recording)
    except RecordingError as error:
        raise fail(str(error)) from error
    started_s = time.monotonic()

    def said(news: CoreOutput) -> None:
        if not quiet:
            for transition, alert in news.transitions:
                if transition.notify:
                    out.print(line(transition, alert, {}, settings.language, seconds_utc=True))

    with _bar() as progress:
        task = progress.add_task(f"replaying {recording.name}", total=total)
        done = run_replay(
            played, settings.parameters, settings.policy, progress=lambda n, _: progress.update(task, completed=n), listen=said
        )
    took_s = time.monotonic() - started_s
    if json_out is not None:
        json_out.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in done.events))
    lived_s = max(done.exposure_s.values(), default=0.0)
    processed, received = sum(a.processed for a in done.accounts), sum(a.received for a in done.accounts)
    onsets = [e for e in done.events if e.phase == "onset"]
    out.print(
        f"{done.records} records, {len(done.exposure_s)} subjects, {lived_s:.0f} s lived in {took_s:.1f} s ({lived_s / max(took_s, 1e-9):.0f} x); "
        f"{received} readings received, {processed} processed, {sum(a.duplicate for a in done.accounts)} duplicate, "
        f"{sum(a.late for a in done.accounts)} late, {sum(a.quarantined for a in done.accounts)} quarantined"
    )
    alerts = {alert.id: alert for transition, alert in done.transitions if transition.notify}
    out.print(f"{len(onsets)} events, {len(alerts)} alerts: {', '.join(sorted({a.code for a in alerts.values()})) or 'none'}")


@app.command()
def evaluate(
    recordings: Annotated[list[Path], typer.Argument(help="Recording folders with truth.")],
    config: ConfigOption = None,
    report: Annotated[Path, typer.Option(help="Folder for scorecard.json and scorecard.html.")] = Path("build/scorecard"),
) -> None:
    """A scorecard: sensitivity, false alarms per resident-day, time to alert, each with a 95 % interval."""
    from streams.recordings.scorecard import evaluate as run_evaluate
    from streams.recordings.scorecard import html_page, table, to_json

    settings = loaded(config)
    with _bar() as progress:
        task = progress.add_task("evaluating", total=None)

        def advance(name: str, number: int, total: int) -> None:
            progress.update(task, completed=number - 1, total=total, description=f"evaluating {name}")

        try:
            card = run_evaluate(recordings, settings.parameters, settings.policy, progress=advance)
        except ValueError as error:
            raise fail(str(error)) from error
    out.print(table(card))
    report.mkdir(parents=True, exist_ok=True)
    (report / "scorecard.json").write_bytes(to_json(card))
    (report / "scorecard.html").write_text(html_page(card), encoding="utf-8")
    out.print(f"written: {report / 'scorecard.json'}, {report / 'scorecard.html'}")


@app.command()
def record(
    target: Annotated[Path, typer.Argument(help="Folder to write (NAME.vigil).")],
    data: Annotated[Path, typer.Option(help="Data folder of an embedded Vigil, running or not.")],
    minutes: Annotated[float | None, typer.Option(help="Only the last so many minutes.")] = None,
) -> None:
    """Capture what an embedded Vigil received (its journal) into a recording."""
    from streams.recordings.capture import capture
    from streams.recordings.format import RecordingError

    try:
        count = capture(data, target, minutes)
    except (RecordingError, FileNotFoundError) as error:
        raise fail(str(error)) from error
    out.print(f"{count} records written to {target}")


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="What it is; `vigil import list` names the kinds.")],
    path: Annotated[Path | None, typer.Argument(help="File or folder of one record, trial or experiment.")] = None,
    record: Annotated[str, typer.Option(help="Which trial, person or experiment of it.")] = "",
    target: Annotated[Path | None, typer.Option("--out", help="Folder to write (NAME.vigil).")] = None,
) -> None:
    """Recordings made by others into Vigil's form."""
    from streams.recordings.format import write
    from streams.recordings.importers.catalogue import IMPORTERS

    if source == "list" or source not in IMPORTERS:
        for name, importer in IMPORTERS.items():
            out.print(f"[bold]{name}[/]  {escape(importer.help)}", soft_wrap=True)
        if source != "list":
            raise fail(f"unknown source {source!r}; the known ones are above")
        return
    if path is None:
        raise fail(f"say which one: {IMPORTERS[source].help}")
    try:
        made = IMPORTERS[source].load(path, record)
    except (ValueError, FileNotFoundError, KeyError) as error:
        raise fail(f"{path} cannot be imported as {source}: {error}") from error
    where = target if target is not None else Path(f"{made.meta.name.replace('/', '-')}.vigil")
    write(where, made)
    out.print(f"written: {where}")


@app.command()
def simulate(
    target: Annotated[Path, typer.Argument(help="Folder to write (NAME.vigil).")],
    scenario: Annotated[Path, typer.Argument(help="Scenario file (TOML).")],
) -> None:
    """A simulated ward into a recording, with its truth."""
    from simulator.scenario import load as load_scenario
    from simulator.simulation import write_recording

    try:
        write_recording(load_scenario(scenario), target)
    except (ValueError, FileNotFoundError) as error:
        raise fail(str(error)) from error
    out.print(f"written: {target}")


@config_app.command("sample")
def config_sample() -> None:
    """A commented sample file with every default."""
    typer.echo(sample(), nl=False)


@config_app.command("reference")
def config_reference() -> None:
    """The reference page."""
    typer.echo(reference(), nl=False)


@config_app.command("schema")
def config_schema() -> None:
    """JSON Schema of the file."""
    typer.echo(json.dumps(VigilConfig.model_json_schema(), indent=1, ensure_ascii=False))


@config_app.command("check")
def config_check(path: Path) -> None:
    """Whether a file can be used, and if not, why."""
    loaded(path)
    out.print(f"{path} is fine")


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
