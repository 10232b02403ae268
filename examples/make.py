"""Make every recording in this folder again from its scenario: `python examples/make.py`. The same scenario gives the same messages."""

from __future__ import annotations

import shutil
from pathlib import Path

from simulator.scenario import load
from simulator.simulation import recording
from streams.recordings.format import write

HERE = Path(__file__).parent


def main() -> None:
    """Replace <name>.vigil for every scenarios/<name>.toml."""
    for plan in sorted((HERE / "scenarios").glob("*.toml")):
        target = HERE / f"{plan.stem}.vigil"
        shutil.rmtree(target, ignore_errors=True)
        write(target, recording(load(plan)))


if __name__ == "__main__":
    main()
