"""`make quality`: every figure on the real recordings, against the committed floors.

QUALITY_DATA names a folder of unpacked data sets. Without it the archives beside the project are unpacked into a cache; where
there are none, nothing can be measured, and that is said and is a failure.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
import tomllib
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.quality.data import unpacked
from benchmarks.quality.page import page
from streams.recordings.intervals import Figure

SUITES: Final = ("falls", "heart", "pressure_injury", "fire")
FLOORS: Final = Path(__file__).with_name("floors.toml")
REPORT: Final = Path("build/quality.json")
PAGE: Final = Path("build/quality.html")


def check(figures: dict[str, Figure], floors: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences about figures that miss their floor. A floor has `min` and/or `max`; a figure that was not measured is skipped
    by `main`, which knows which data sets are there."""
    missed = []
    for key, bound in floors.items():
        figure = figures.get(key)
        if figure is None:
            continue
        if not math.isfinite(figure.value):
            missed.append(f"{key} could not be computed")
        if "min" in bound and figure.value < bound["min"]:
            missed.append(f"{key} is {figure.value:.4g} {figure.unit}, the floor is {bound['min']}")
        if "max" in bound and figure.value > bound["max"]:
            missed.append(f"{key} is {figure.value:.4g} {figure.unit}, the ceiling is {bound['max']}")
    return missed


def main(argv: list[str]) -> int:
    """Measure the suites named in `argv` (all by default); returns the exit code."""
    console = Console(stderr=True)
    root = unpacked()
    if root is None:
        console.print("[red]no recordings: set QUALITY_DATA to a folder of unpacked data sets (see docs/quality.md)")
        return 2
    figures: dict[str, Figure] = {}
    for name in argv or SUITES:
        module = importlib.import_module(f"benchmarks.quality.{name}")
        started = time.monotonic()
        with console.status(f"{name} …") as status:

            def progress(text: str, name: str = name, status: Any = status) -> None:
                status.update(f"{name}: {text}")
                if not console.is_terminal:
                    print(f"  {name}: {text}", file=sys.stderr, flush=True)

            figures |= module.evaluate(root, progress)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    floors = {
        f"{detector}.{key}": bound
        for detector, keys in tomllib.loads(FLOORS.read_text(encoding="utf-8")).items()
        for key, bound in keys.items()
    }
    flat: dict[str, Any] = {}
    table = Table("figure", "value", "95 % interval", "floor", "basis", title="quality on real recordings")
    for key, figure in figures.items():
        flat[key] = _number(figure.value)
        flat[f"{key}.low"], flat[f"{key}.high"] = _number(figure.low), _number(figure.high)
        bound = floors.get(key, {})
        limit = " ".join(f"{sign} {bound[side]}" for side, sign in (("min", "≥"), ("max", "≤")) if side in bound)
        table.add_row(key, f"{figure.value:.4g} {figure.unit}", f"{figure.low:.4g} … {figure.high:.4g}", limit, figure.basis)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(figures, floors), encoding="utf-8")
    Console(width=200).print(table)
    measured = {key.split(".")[0] for key in figures}
    absent = sorted(key for key in floors if key not in figures and key.split(".")[0] in (argv or SUITES))
    for key in absent:
        print(f"not measured: {key} (its data set is not in {root.name}, or the figure is gone)")
    missed = check(figures, floors)
    for sentence in missed:
        print(f"BELOW FLOOR: {sentence}")
    print(f"{len(figures)} figures of {len(measured)} detectors, {len(missed)} below their floors; written to {REPORT} and {PAGE}")
    return 1 if missed or not figures else 0


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
