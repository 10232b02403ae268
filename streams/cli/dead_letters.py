"""`vigil dead-letters`: alerts and audit entries that a sink was given and its target refused for good."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.common import ConfigOption, example, fail, loaded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sinks.delivery.dead_letters import Letter

dead_letters_app = typer.Typer(help="Alerts that a target refused for good: see them, deliver them again, or say that you have seen them.")

SinkArgument = Annotated[str, typer.Argument(help="Name of the sink, as `vigil dead-letters list` shows it.")]
DataOption = Annotated[Path | None, typer.Option(help="Data folder of an embedded Vigil (overrides the configuration).")]
IdOption = Annotated[list[str] | None, typer.Option("--id", help="Only the letter with this id; may be given several times.")]


@dead_letters_app.command("list", epilog=example("vigil dead-letters list --data vigil-data"))
def list_letters(config: ConfigOption = None, data: DataOption = None) -> None:
    """The open letters of every sink on this machine: sink, id, why."""
    from sinks.delivery.dead_letters import open_letters

    found = {name: letters for name, folder in _folders(config, data).items() if (letters := open_letters(folder))}
    for name, letters in found.items():
        _show(name, letters)
    if not found:
        typer.echo("nothing is undelivered")


@dead_letters_app.command("replay", epilog=example("vigil dead-letters replay oncall --data vigil-data"))
def replay_letters(sink: SinkArgument, config: ConfigOption = None, data: DataOption = None, ids: IdOption = None) -> None:
    """Deliver them again, once the target is repaired: Vigil takes them up within seconds, or when it is started next."""
    from sinks.delivery.replay import replay

    taken = replay(_folder(sink, config, data), ids)
    if not taken:
        raise fail(f"sink {sink} has no such letter that can be delivered again: see `vigil dead-letters list`", 1)
    _show(sink, taken)


@dead_letters_app.command("acknowledge", epilog=example("vigil dead-letters acknowledge oncall --data vigil-data --by night-shift"))
def acknowledge_letters(
    sink: SinkArgument,
    by: Annotated[str, typer.Option(help="Who has seen them and has done what was to be done.")],
    config: ConfigOption = None,
    data: DataOption = None,
    ids: IdOption = None,
) -> None:
    """Say that somebody has seen them: the sink is well again. They are kept, with who and when."""
    from sinks.delivery.dead_letters import acknowledge

    taken = acknowledge(_folder(sink, config, data), by, time.time_ns(), ids)
    if not taken:
        raise fail(f"sink {sink} has no such letter: see `vigil dead-letters list`", 1)
    _show(sink, taken)


def _show(sink: str, letters: Iterable[Letter]) -> None:
    for letter in letters:
        typer.echo(f"{sink}  {letter.id or 'unreadable'}  {letter.why}")


def _folders(config: Path | None, data: Path | None) -> dict[str, Path]:
    """Where the deliveries on this machine keep their letters: those of `vigil run`, of sink processes, and of the canary, by name."""
    settings = loaded(config)
    places = (data or settings.data_dir) / "spool", settings.sink_process.folder, settings.canary.folder / "spool"
    found: dict[str, Path] = {}
    for prefix, place in zip(("", "", "canary/"), places, strict=True):
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            name = prefix + folder.name
            found[name if name not in found else str(folder)] = folder
    return found


def _folder(sink: str, config: Path | None, data: Path | None) -> Path:
    folders = _folders(config, data)
    if sink not in folders:
        raise fail(f"there is no sink {sink} here, there are: {', '.join(folders) or 'none'}")
    return folders[sink]
