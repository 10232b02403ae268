"""`make quality`: every figure on the real recordings, against the committed floors.

QUALITY_DATA names a folder of unpacked data sets. Without it the archives beside the project are unpacked into a cache; where
there are none, nothing can be measured, and that is said and is a failure.

The exit code is 1 when a figure misses its floor, when a part of a suite failed, or when nothing at all could be measured. A
figure whose data is not there is listed as not measured, with the reason, and fails nothing.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from benchmarks.quality.data import unpacked
from benchmarks.quality.page import page
from benchmarks.quality.report import Report, interval, limits
from streams.recordings.intervals import Figure

SUITES: Final = ("falls", "heart", "pressure_injury", "fire")
FLOORS: Final = Path(__file__).with_name("floors.toml")
BUILD: Final = Path("build")
SAY_EVERY_S: Final = 2.0
"""Between two lines of progress where there is no terminal to write over."""

Floors = dict[str, dict[str, Any]]


class Progress:
    """Says which suite is at what, and for how long: in place on a terminal, else as lines, not too many of them."""

    def __init__(self, suite: str, console: Console, status: Status) -> None:
        self._suite = suite
        self._console = console
        self._status = status
        self._started = self._last = time.monotonic()

    def __call__(self, text: str) -> None:
        """Show `text`; what is longer than a line (a traceback) and what was left out are always written out."""
        now = time.monotonic()
        line = f"{self._suite}: {text} ({now - self._started:.0f} s)"
        if "\n" in text or text.startswith("left out") or (not self._console.is_terminal and now - self._last >= SAY_EVERY_S):
            self._last = now
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._status.update(escape(line))


def load_floors() -> Floors:
    """Every bound by the full key of its figure."""
    return {
        f"{detector}.{key}": bound
        for detector, keys in tomllib.loads(FLOORS.read_text(encoding="utf-8")).items()
        for key, bound in keys.items()
    }


def check(figures: dict[str, Figure], floors: Floors) -> list[str]:
    """Sentences about figures that miss their floor. A floor has `min` and/or `max`; a figure that was not measured misses none."""
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


def measure(suites: Sequence[str], root: Path, report: Report, console: Console) -> None:
    """Every part of every suite, each figure written as soon as it is known; a failure ends the part it is in and no other."""
    for suite in suites:
        started = time.monotonic()
        with console.status(f"{suite} …") as status:
            say = Progress(suite, console, status)
            try:
                parts = importlib.import_module(f"benchmarks.quality.{suite}").PARTS
            except Exception as error:  # noqa: BLE001 - a suite that cannot even start must not cost the others their figures
                report.fail(suite, f"{type(error).__name__}: {error}")
                say(f"failed: {type(error).__name__}: {error}\n")
                continue
            for number, part in enumerate(parts, 1):
                say(f"{part.name}, data set {number} of {len(parts)}")
                report.run(suite, part, root, say)
        console.print(f"{suite}: {time.monotonic() - started:.0f} s", highlight=False)


def _table(report: Report, floors: Floors) -> Table:
    table = Table("figure", "value", "95 % interval", "floor", "basis", title="quality on real recordings")
    for key, figure in report.figures.items():
        table.add_row(key, f"{figure.value:.4g} {figure.unit}", interval(figure), limits(floors.get(key, {})), escape(figure.basis))
    return table


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description="Quality figures on real recordings.")
    parser.add_argument("suite", nargs="*", help=f"which detectors of {', '.join(SUITES)}; all of them by default")
    parser.add_argument("--records", type=int, metavar="N", help="a quick look: at most N records of each person or room")
    parser.add_argument("--out", type=Path, default=BUILD, help="folder for quality.json and quality.html (build)")
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.suite) - set(SUITES)):
        parser.error(f"{unknown[0]} is no suite; the suites are {', '.join(SUITES)}")
    if arguments.records is not None and arguments.records < 1:
        parser.error("--records must be at least 1")
    return arguments


def main(argv: Sequence[str]) -> int:
    """Measure the suites named in `argv` (all by default); returns the exit code."""
    arguments = _arguments(argv)
    suites = arguments.suite or SUITES
    console = Console(stderr=True)
    root = unpacked()
    if root is None or not root.is_dir():
        where = "set QUALITY_DATA to a folder of unpacked data sets (see docs/quality.md)" if root is None else f"{root} is no folder"
        console.print(f"[red]no recordings: {escape(where)}")
        return 2
    floors = load_floors()
    report = Report(arguments.out / "quality.json", records=arguments.records)
    web = arguments.out / "quality.html"
    try:
        measure(suites, root, report, console)
        for key in sorted(key for key in floors if key.split(".")[0] in suites and key not in report.figures | report.not_measured):
            if (suite := key.split(".")[0]) in report.failed:
                report.not_measured[key] = f"failed: {report.failed[suite]}"
            else:
                report.fail(key, "it has a floor, and no suite measures it or says why not")
        report.below_floor = missed = check(report.figures, floors)
        report.finished = True
        report.write()
    finally:
        web.write_text(page(report, floors), encoding="utf-8")
    out = Console(width=200)
    out.print(_table(report, floors))
    for key, why in report.not_measured.items():
        print(f"not measured: {key}{' (it has a floor)' if key in floors else ''}: {why}")
    for name, left_out in report.left_out.items():
        print(f"left out of {name}: {len(left_out)}, the first is {left_out[0]}")
    for name, why in report.failed.items():
        print(f"FAILED: {name}: {why}")
    for sentence in missed:
        print(f"BELOW FLOOR: {sentence}")
    print(
        f"{len(report.figures)} figures, {len(report.not_measured)} not measured, {len(report.failed)} failures, "
        f"{len(missed)} below their floors; written to {report.path} and {web}"
    )
    if not report.figures:
        print("nothing was measured: that is no success")
    return 1 if missed or report.failed or not report.figures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
