"""`make faults`: every danger at hand through every device fault.

The examples are always at hand; QUALITY_DATA, or the archives beside the project, add real recordings (see benchmarks.quality).
Results are written as they are known, one a line, and as a page with the table fault × detector. The exit code is 1 when a run was
silent: neither the alarm within its bound, nor somebody told in time, with the true reason, that nobody watches.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.faults.case import Case, watched_closely
from benchmarks.faults.catalogue import FAULT_BY_NAME, FAULTS
from benchmarks.faults.page import page
from benchmarks.faults.report import Writer, failures, sentence
from benchmarks.faults.sources import EACH, at_hand, examples
from benchmarks.faults.work import Task, found, runs
from benchmarks.quality.data import unpacked
from streams.ops.warm_up import warm_up

TOLD_AFTER_S: Final = 300.0
"""By a care plan, everybody here is told of after so long; the home's own limits (15 to 60 minutes) show no more and take far longer."""
BUILD: Final = Path("build")
PROCESSES: Final = 2
AT_ONCE: Final = 12
"""Faults of one danger that a process takes on at once."""


def tasks(cases: Sequence[Case], seeds: int, only: Sequence[str]) -> Iterator[Task]:
    """Everything there is to run, a few faults at a time."""
    for seed in range(1, seeds + 1):
        for case in cases:
            names = [fault.name for fault in FAULTS if fault.applies(case) and (not only or fault.name in only)]
            for first in range(0, len(names), AT_ONCE):
                yield case, tuple(names[first : first + AT_ONCE]), seed


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="Every danger at hand through every device fault.")
    parser.add_argument("--source", action="append", default=[], help="only sources whose name begins so; may be repeated")
    parser.add_argument("--fault", action="append", default=[], choices=list(FAULT_BY_NAME), help="only this fault; may be repeated")
    parser.add_argument("--each", type=int, default=EACH, help=f"recordings of each data set ({EACH})")
    parser.add_argument("--seeds", type=int, default=1, help="how often each danger goes through each fault (1)")
    parser.add_argument("--examples", action="store_true", help="only what is in the project")
    parser.add_argument(
        "--told-after",
        type=float,
        default=TOLD_AFTER_S,
        help=f"seconds after which blindness is told, by a care plan ({TOLD_AFTER_S:g}; 0: as the home is set)",
    )
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--out", type=Path, default=BUILD, help="folder for faults.jsonl and faults.html (build)")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run everything; returns the exit code."""
    arguments = _arguments(argv)
    console = Console(stderr=True)
    sources = examples()
    root = None if arguments.examples else unpacked()
    if root is not None and root.is_dir():
        sources |= at_hand(root, arguments.each)
    elif not arguments.examples:
        console.print("no real recordings: set QUALITY_DATA to a folder of unpacked data sets (docs/quality.md)")
    chosen = [(name, source) for name, source in sources.items() if not arguments.source or name.startswith(tuple(arguments.source))]
    warm_up()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    left_out: list[str] = []
    with (
        multiprocessing.get_context("spawn").Pool(arguments.processes) as pool,
        Writer(arguments.out / "faults.jsonl") as writer,
        Progress(*columns, console=console) as bar,
    ):
        looking = bar.add_task("dangers", total=len(chosen))
        cases: list[Case] = []
        for more, why in pool.imap(found, chosen):
            cases += [watched_closely(case, arguments.told_after) for case in more] if arguments.told_after else more
            left_out += [why] if why else []
            bar.advance(looking)
        todo = list(tasks(cases, arguments.seeds, arguments.fault))
        playing = bar.add_task("runs", total=sum(len(names) for _, names, _ in todo))
        for results in pool.imap_unordered(runs, todo):
            writer.add(results)
            bar.update(playing, advance=len(results), description=f"runs, {len(failures(writer.results))} failed")
    results = sorted(writer.results, key=lambda result: (result.case, result.seed))
    web = arguments.out / "faults.html"
    web.write_text(page(results, left_out), encoding="utf-8")
    for line in left_out:
        print(f"left out: {line}")
    for result in failures(results):
        told = ", ".join(f"{why} after {at:.0f} s" for why, at in result.technical)
        alarm = "" if result.alarm_s is None else f", alarm after {result.alarm_s:.0f} s, due after {result.due_s:.0f} s"
        print(
            f"{result.outcome.value.upper()}: {result.fault}: {result.case}{alarm}{f', told {told}' if told else ''}{f', {result.error}' if result.error else ''}"
        )
    print(f"{sentence(results)}; written to {writer.path} and {web}")
    return 1 if failures(results) or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
