"""`python -m simulator --residents 24 --minutes 10 --seed 7 --out quiet.vigil`: write a recording of a simulated ward."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from simulator.scenario import Scenario, load
from simulator.simulation import write_recording


def main(
    out: Annotated[Path, typer.Option(help="Folder to write, by custom <name>.vigil.")],
    scenario: Annotated[Path | None, typer.Option(help="Scenario (TOML); the options below then change it.")] = None,
    residents: Annotated[int | None, typer.Option(help="Residents, two to a room.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length in minutes.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same bytes.")] = None,
) -> None:
    """Write a recording of a simulated ward."""
    plan = load(scenario) if scenario else Scenario(name=out.name.removesuffix(".vigil"))
    given = {"residents": residents, "seed": seed, "seconds": None if minutes is None else 60 * minutes}
    plan = msgspec.structs.replace(plan, **{name: value for name, value in given.items() if value is not None})
    write_recording(plan, out)


if __name__ == "__main__":
    typer.run(main)
