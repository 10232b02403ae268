"""What every `vigil` command shares: its options, its progress bar, its configuration, and how it says that it cannot go on.

Nothing here imports the configuration or a detector before a command runs: `vigil --help` must not wait for numba.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerts.model import Alert, Transition
    from alerts.texts import Language
    from streams.config import VigilConfig
    from streams.storage.identity import Person

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; see `vigil config sample`.")]

EXAMPLE: Final = "Example:"
"""Starts the line at the end of a command's help that tests/unit/test_cli_examples.py runs."""

out = Console(highlight=False)

_STYLES: Final = {"HIGH": "bold white on red", "MEDIUM": "black on yellow", "LOW": "black on cyan", "INFORMATION": "dim"}
"""Of an alert's priority in the terminal."""


def example(line: str) -> str:
    """The epilogue of a command's help: one call that works in the folder that holds examples/."""
    return f"{EXAMPLE} {line}"


def fail(message: str, status: int = 2) -> typer.Exit:
    """Say why on stderr and give the exit to raise."""
    typer.echo(f"{typer.style('vigil:', fg='red', bold=True)} {message}", err=True)
    return typer.Exit(status)


def loaded(path: Path | None) -> VigilConfig:
    """The configuration; what is wrong with it is said, and the command ends with 2."""
    from streams.config import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        raise fail(str(error)) from error


@contextmanager
def refusals() -> Iterator[None]:
    """What Kafka refuses is said in a sentence, and the command ends with 1."""
    from aiokafka.errors import KafkaError
    from kafka.errors import KafkaError as AdminError  # topics are created and described by kafka-python

    try:
        yield
    except (OSError, KafkaError, AdminError) as error:
        raise fail(str(error), 1) from error


def progress_bar(console: Console | None = None) -> Progress:
    """A bar, on stderr unless told otherwise, that goes when the work is done."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console if console is not None else Console(stderr=True),
        transient=True,
    )


def alert_line(transition: Transition, alert: Alert, people: Mapping[str, Person], language: Language, *, seconds_utc: bool = False) -> str:
    """One line of the terminal for an alert's step, rich markup."""
    from alerts.model import State
    from engine.events import Priority
    from engine.frame import NS_PER_S
    from streams.pipeline.assembly import TEXTS

    person = people.get(alert.subject)
    who = f"{person.name} {person.room} {person.bed}".strip() if person is not None else alert.subject
    at = datetime.fromtimestamp(transition.at_ns / NS_PER_S, tz=UTC)
    when = f"{at:%Y-%m-%d %H:%M:%SZ}" if seconds_utc else f"{at.astimezone():%H:%M:%S}"
    priority = Priority(alert.priority).name
    mark = (
        f"[{_STYLES[priority]}] {priority:<6} [/]" if transition.to_state is State.FIRING else f"[dim] {transition.to_state.value:<12}[/]"
    )
    return f"{when} {mark} {escape(who)}: [bold]{escape(TEXTS.of(alert.code, language).title)}[/] [dim]{alert.code} · {transition.reason.value}[/]"
