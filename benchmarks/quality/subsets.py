"""The suites on random parts of the data at hand: `python -m benchmarks.quality.subsets --seed 1 --count 10`.

Whoever measures with this harness has other people, homes and rooms than we have. Each subset is a folder of links to a random part
of the data sets: some people, some rooms, folders and tables missing, rooms and files named as other homes name them, files cut off or
thinned out, and files that do not belong there. The figures mean nothing (few people, few records); what counts is that every figure is
there or is said not to be, and that nothing ends with an exception.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.quality import fire, heart
from benchmarks.quality.data import unpacked
from benchmarks.quality.falls import SOURCES

PEOPLE: Final = {
    "sisfall": r"(S[AE]\d+)\.npz",
    "weda-fall": r"/(U\d+)_R",
    "smartfallmm": r"/(S\d+)A\d+T",
    "sp-sw-har": r"/(s\d+)/",
    "mitdb": r"/(\w+)\.(?:hea|dat|atr)$",
    "cinc2015": r"/(\w+)\.(?:hea|mat)$",
    "afdb-rr": r"/(?:qrs|atr)(\w+)\.txt$",
    "nsr2db-rr": r"/(\w+)_rr_secs",
    "chf2db-rr": r"/(\w+)_rr_secs",
    "pmatdata": r"experiment-(i+/S\d+)/",
    "popu-preview": r"_data/([^/]+)/",
    "fire/fsri-compartments-2018": r"01_Data/(.+?)(?:_Events)?\.csv$",
    "fire/fsri-hvac-gasburner-2019": r"01_Data/(?:Events/)?(.+?)(?:_Events)?\.csv$",
    "fire/firemodels-exp/CAROLFIRE": r"CAROLFIRE/(.+)\.csv$",
    "fire/firemodels-exp/NIST_Smoke_Alarms": r"NIST_Smoke_Alarms_(.+)\.csv$",
    "fire/open-smart-home": r"Measurements/([^_]+)_",
    "fire/uci-occupancy-detection": r"/(\w+)\.txt$",
}
"""Where a path names the person, record, experiment or room that a file belongs to; what has none is a table of its set."""
ROOMS: Final = ("Schlafzimmer 2", "客厅", "Salle-de-bain", "Bedroom (north)", "room_07", "Wohnküche", "4.12", "Bath A")
STRANGERS: Final = ("notes.txt", ".DS_Store", "desktop.ini", "README (1).md", "export.csv")
SUITE_S_MAX: Final = 900.0

Files = dict[str, Path | bytes]
"""What a subset holds: path below its root, and the file to link to or the bytes to write."""


class Run(NamedTuple):
    """One subset and what became of it."""

    seed: str
    changes: list[str]
    exit_code: int
    seconds: float
    report: dict[str, Any]

    @property
    def figures(self) -> int:
        """How many figures were measured."""
        return len(self.report.get("basis", {}))


def _everything(root: Path) -> Files:
    sets = {part.folder.split("/")[0] for part in (*heart.PARTS, *fire.PARTS)} | set(SOURCES) | {"pmatdata", "popu-preview"}
    return {
        path.relative_to(root).as_posix(): path
        for data_set in sorted(sets)
        for path in sorted((root / data_set).rglob("*"))
        if path.is_file()
    }


def _unit(path: str) -> str:
    """The person, record, experiment or room of a file; "" for the tables of its set."""
    match = re.search(PEOPLE.get(path.split("/", maxsplit=1)[0], "$^"), path)
    return match[1] if match else ""


def _folder_of(path: str) -> str:
    """The data set of a path; those about fire are one for each folder."""
    parts = path.split("/")
    return "/".join(parts[: 3 if parts[1:2] == ["firemodels-exp"] else 2]) if parts[0] == "fire" else parts[0]


def fewer_sets(rng: random.Random, files: Files) -> str:
    """Leave out about a fifth of the data sets."""
    gone = {name for name in sorted({_folder_of(path) for path in files}) if rng.random() < 0.2}
    _drop(files, lambda path: _folder_of(path) in gone)
    return f"without {', '.join(sorted(gone))}" if gone else ""


def fewer_people(rng: random.Random, files: Files) -> str:
    """Keep some people, records, experiments or rooms of each set; in a third of the sets only one."""
    told = []
    for name in sorted({_folder_of(path) for path in files}):
        units = sorted({_unit(path) for path in files if _folder_of(path) == name} - {""})
        if not units:
            continue
        kept = set(rng.sample(units, 1 if rng.random() < 1 / 3 else rng.randint(1, min(len(units), 6))))
        _drop(files, lambda path, name=name, kept=kept: _folder_of(path) == name and _unit(path) not in kept | {""})  # type: ignore[misc]
        told.append(f"{name} {len(kept)} of {len(units)}")
    return "kept " + ", ".join(told)


def missing_folder(rng: random.Random, files: Files) -> str:
    """One folder inside a set is gone."""
    folders = sorted({path.rpartition("/")[0] for path in files if path.count("/") > 1})
    gone = rng.choice(folders)
    _drop(files, lambda path: path.startswith(f"{gone}/"))
    return f"no {gone}/"


def missing_files(rng: random.Random, files: Files) -> str:
    """A few files are gone, and a table of a set that says who or when."""
    chosen = rng.sample(sorted(files), max(1, len(files) // 40))
    tables = sorted(path for path in files if not _unit(path) and path.endswith(".csv"))
    if tables:
        chosen.append(rng.choice(tables))
    _drop(files, lambda path: path in chosen)
    return f"no {chosen[-1]} and {len(chosen) - 1} more files"


def renamed(rng: random.Random, files: Files) -> str:
    """Rooms and files of the fire sets are named as in other homes; the gas sensor has two files."""
    names = list(ROOMS)
    rng.shuffle(names)
    new: dict[str, str] = {}
    for path in rng.sample(sorted(files), len(files)):
        room = re.search(r"open-smart-home/Measurements/([A-Za-z0-9]+)_", path)
        other = re.search(r"(?:tug-sgp30-negative|uci-occupancy-detection|CAROLFIRE)/([^/]+)\.(?:csv|txt)$", path)
        old = room[1] if room else other[1] if other else ""
        if old and old not in new and names:
            new[old] = names.pop()
        if old in new and not path.endswith(".md"):
            files[path.replace(f"/{old}", f"/{new[old]}")] = files.pop(path)
    for path in [path for path in files if "tug-sgp30-negative/" in path and path.endswith(".csv")]:
        files[path.replace(".csv", "-device2.csv")] = files[path]
    return "renamed " + ", ".join(f"{old} → {name}" for old, name in new.items()) if new else ""


def cut_off(rng: random.Random, files: Files) -> str:
    """Files end in the middle of a line, and one is empty."""
    text = sorted(path for path in files if path.endswith((".csv", ".txt", ".hea")))
    any_file = sorted(files)
    chosen = rng.sample(text, min(4, len(text))) + rng.sample(any_file, min(3, len(any_file)))
    for number, path in enumerate(chosen):
        raw = _bytes(files[path])
        files[path] = b"" if number == 0 else raw[: rng.randint(1, max(1, len(raw) - 1))]
    return "cut off " + ", ".join(path.rpartition("/")[2] for path in chosen)


def thinned(rng: random.Random, files: Files) -> str:
    """Rooms are sampled three times more slowly."""
    chosen = [path for path in sorted(files) if _folder_of(path).startswith("fire/") and path.endswith(".csv") and rng.random() < 0.3]
    for path in chosen:
        head, *rows = _bytes(files[path]).splitlines(keepends=True)
        files[path] = b"".join([head, *rows[::3]])
    return f"{len(chosen)} fire files with every third row"


def strangers(rng: random.Random, files: Files) -> str:
    """Files that do not belong to a set lie in its folders."""
    folders = sorted({path.rpartition("/")[0] for path in files})
    chosen = [f"{rng.choice(folders)}/{name}" for name in STRANGERS]
    files.update(dict.fromkeys(chosen, b"made by some program; not data\n1,2\n"))
    return "added " + ", ".join(chosen)


CHANGES: Final = (fewer_sets, missing_folder, missing_files, renamed, thinned, cut_off, strangers)


def subset(rng: random.Random, root: Path, target: Path) -> list[str]:
    """Make a random part of the data sets below `root` in `target`; returns what was done."""
    files = _everything(root)
    chosen = [change for change in CHANGES if rng.random() < 0.75]
    told = [change(rng, files) if files else "" for change in (fewer_people, *chosen)]
    for path, content in files.items():
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            place.symlink_to(content)
    (target / "mitdb").mkdir(parents=True, exist_ok=True)  # the folder of a set can be there and hold nothing
    return [text for text in told if text]


def _drop(files: Files, gone: Callable[[str], bool]) -> None:
    for path in [path for path in files if gone(path)]:
        del files[path]


def _bytes(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def run(seed: str, root: Path, suites: Sequence[str], records: int, out: Path) -> Run:
    """Make the subset of `seed`, run the suites on it in a process of their own, and read what they wrote."""
    with tempfile.TemporaryDirectory(prefix="vigil-subset-") as folder:
        changes = subset(random.Random(seed), root, Path(folder))
        started = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.quality", *suites, "--records", str(records), "--out", str(out)]
        out.mkdir(parents=True, exist_ok=True)
        with (out / "log.txt").open("w", encoding="utf-8") as log:
            done = subprocess.run(
                command, env={**os.environ, "QUALITY_DATA": folder}, stdout=log, stderr=log, timeout=SUITE_S_MAX, check=False
            )
        report = json.loads((out / "quality.json").read_text(encoding="utf-8"))
        return Run(seed, changes, done.returncode, time.monotonic() - started, report)


def defects(one: Run) -> list[str]:
    """What the harness did wrong on a subset; figures below their floors are none, and files that nobody can read are none."""
    found = [] if one.report.get("finished") else ["it did not finish"]
    failed = {name: why for name, why in one.report.get("failed", {}).items() if not why.startswith("nothing could be measured")}
    return [*found, *(f"{name}: {why}" for name, why in failed.items())]


def main(argv: Sequence[str]) -> int:
    """Run all subsets and say what became of each; 1 when the harness failed on one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.subsets", description=__doc__.partition("\n")[0])
    parser.add_argument("suite", nargs="*", help="which detectors; all of them by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--records", type=int, default=2, help="at most so many records of each person or room (2)")
    parser.add_argument("--out", type=Path, default=Path("build/subsets"))
    arguments = parser.parse_args(argv)
    root = unpacked()
    if root is None:
        print("no recordings: set QUALITY_DATA to a folder of unpacked data sets", file=sys.stderr)
        return 2
    columns = ("subset", "exit", "figures", "not measured", "left out", "unreadable sets", "below floor", "harness failed", "s")
    table = Table(*columns, title="random subsets")
    bad = 0
    for number in range(1, arguments.count + 1):
        seed = f"{arguments.seed}/{number}"
        one = run(seed, root, arguments.suite, arguments.records, arguments.out / seed.replace("/", "-"))
        wrong = defects(one)
        bad += bool(wrong)
        absent, failed, below = (len(one.report.get(part, ())) for part in ("not_measured", "failed", "below_floor"))
        left_out = sum(len(entries) for entries in one.report.get("left_out", {}).values())
        unreadable = failed - sum(": " in text for text in wrong)
        row = (seed, one.exit_code, one.figures, absent, left_out, unreadable, below, len(wrong), f"{one.seconds:.0f}")
        table.add_row(*map(str, row))
        print(f"{seed}: exit {one.exit_code}, {one.figures} figures, {one.seconds:.0f} s", *one.changes, *wrong, sep="\n  ", flush=True)
    Console(width=140).print(table)
    print(f"{bad} of {arguments.count} subsets on which the harness failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
