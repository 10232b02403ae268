"""`vigil simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.common import example, fail, out

simulate_app = typer.Typer()


@simulate_app.command(epilog=example("vigil simulate mine.vigil examples/scenarios/fall.toml --seed 3"))
def simulate(
    target: Annotated[Path, typer.Argument(help="Folder to write (NAME.vigil).")],
    scenario: Annotated[Path | None, typer.Argument(help="Scenario file (TOML); none: an ordinary ward. The options change it.")] = None,
    residents: Annotated[int | None, typer.Option(help="Residents, two to a room.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length in minutes.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same messages.")] = None,
) -> None:
    """A simulated ward into a recording, with its truth."""
    import msgspec

    from simulator.scenario import Scenario, load
    from simulator.simulation import recording
    from streams.recordings.format import write

    given = {"residents": residents, "seed": seed, "seconds": None if minutes is None else 60 * minutes}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        plan = load(scenario) if scenario is not None else Scenario(name=target.name.removesuffix(".vigil"))
        write(target, recording(msgspec.structs.replace(plan, **changes)))
    except (ValueError, FileNotFoundError) as error:
        raise fail(str(error)) from error
    out.print(f"written: {target}")
