"""`make week`: a simulated week of ordinary life, and how often it calls somebody because of devices.

What is lived through stands in benchmarks/week/life.py. The exit code is 1 when there are more technical alerts than PER_DAY_MAX a resident-day.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.week.play import Week, week
from streams.ops.warm_up import warm_up

PER_DAY_MAX: Final = 0.1
"""Technical alerts a resident-day: for thirty residents three a day."""
RESIDENTS: Final = 12
DAYS: Final = 7.0


def sentences(found: Week) -> list[str]:
    """What came of it, as people read it."""
    days = found.resident_days
    codes = Counter(told.code for told in found.told)
    by_code = ", ".join(f"{code} {count}" for code, count in codes.most_common()) or "none"
    nuisances = ", ".join(f"{why} {count}" for why, count in found.aways.most_common())
    lines = [
        f"{found.residents} residents, {found.days:g} days: {days:g} resident-days, {found.chunks} chunks, {found.rejected} refused",
        f"nuisances: {nuisances}; one restart of the gateway; 1 to 2 % of all chunks lost",
        f"technical alerts: {len(found.told)}, {found.a_resident_day:.3f} a resident-day ({by_code})",
    ]
    for hazard, (watched_s, blind_s) in found.coverage_s.items():
        bound_s = watched_s + blind_s
        if not bound_s:
            continue
        why = sorted(((seconds, reason) for (of, reason), seconds in found.blind_s.items() if of == hazard), reverse=True)
        said = ", ".join(f"{reason} {100 * seconds / bound_s:.2f} %" for seconds, reason in why)
        lines.append(f"{hazard}: {100 * watched_s / bound_s:.2f} % of {bound_s / 3600:.0f} h watched; {said or 'never blind'}")
    return lines


def main(argv: Sequence[str]) -> int:
    """Live the week; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.week", description="A simulated week of ordinary life.")
    parser.add_argument("--residents", type=int, default=RESIDENTS)
    parser.add_argument("--days", type=float, default=DAYS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chargers-say-nothing", action="store_true", help="no device says when it lies on its charger")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for week.json (build)")
    arguments = parser.parse_args(argv)
    warm_up()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        living = bar.add_task("a week", total=1.0)
        found = week(
            arguments.residents,
            arguments.days,
            arguments.seed,
            says=not arguments.chargers_say_nothing,
            progress=lambda share: bar.update(living, completed=share),
        )
    print("\n".join(sentences(found)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "week.json").write_bytes(
        msgspec.json.format(msgspec.json.encode({"said": sentences(found), "told": found.told})) + b"\n"
    )
    return 1 if found.a_resident_day > PER_DAY_MAX else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
