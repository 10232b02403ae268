"""NIST TN 1455: fires in a furnished house, with the second at which each real smoke alarm at a station sounded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from engine.frame import NS_PER_S
from schemas.recording import Recording
from streams.recordings.format import Builder
from streams.recordings.importers.files import Unreadable, each_file
from streams.recordings.importers.fire_rooms import add_series, air, read_columns, read_timed

SOURCE: Final = "NIST Technical Note 1455, Performance of Home Smoke Alarms, through the FDS validation repository"
SMOKE_METER: Final = re.compile(r"SM(?P<station>[A-Z]+)_1")
PPM_PER_PERCENT: Final = 1e4
PREFIX: Final = "NIST_Smoke_Alarms_"


def tests(folder: Path) -> list[str]:
    """Names of the fires in `folder`, e.g. "SDC02"."""
    return sorted(path.stem.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*.csv"))


def subject(test: str, station: str) -> str:
    """The room that stands for `station`."""
    return f"room/{test}-{station}"


def alarms(folder: Path) -> dict[str, dict[str, float]]:
    """Room -> real alarm ("Ion1", "Pho3", ...) -> seconds after ignition; alarms that did not sound are left out."""
    result: dict[str, dict[str, float]] = {}
    for name, column in read_columns(folder / "Activation_Times.csv").items():
        test, _, alarm = name.partition("-")
        if alarm and float(column[0]) > 0:
            result.setdefault(subject(test, alarm[-1]), {})[alarm[:-1]] = float(column[0])
    return result


def fire(folder: Path, *names: str, unreadable: Unreadable | None = None) -> Recording:
    """Fires, all lit at the start of the recording; every station with a smoke meter is a room: smoke, CO and temperature just
    under the ceiling, 2–5 s a row. The time of the first row is kept (2 s in SDC05).

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     rows = [f"{2 * n},{0.01 * n},{20 + n}" for n in range(10)]
    ...     _ = (Path(name) / "NIST_Smoke_Alarms_SDC05.csv").write_text("\\n".join(["TIME,SMA_1,TCA_1", *rows]))
    ...     tests(Path(name)), fire(Path(name), "SDC05").truth[0].subject
    (['SDC05'], 'room/SDC05-A')
    """
    builder = Builder(f"nist-smoke-alarms/{'+'.join(names)}", SOURCE)

    def read(path: Path) -> list[str]:
        test = path.stem.removeprefix(PREFIX)
        times_s, table = read_timed(path, "TIME")
        after = times_s >= 0
        stations = [match["station"] for name in table if (match := SMOKE_METER.fullmatch(name))]
        if not stations or not after.any():
            raise ValueError(f"{path.name} has no smoke meter, or nothing after the ignition")
        for station in stations:
            columns = {"smoke_od_per_m": (f"SM{station}_1", 1.0), "temperature_c": (f"TC{station}_1", 1.0)}
            columns["co_ppm"] = (f"GAS{station}_1", PPM_PER_PERCENT)
            channels = {channel: table[name][after] * factor for channel, (name, factor) in columns.items() if name in table}
            room = subject(test, station)
            device = f"air-{test}-{station}"
            builder.bind(device, room, "ceiling")
            add_series(builder, device, "room_air", times_s[after], air(int(after.sum()), **channels))
            builder.truth(room, "fire.smoke", builder.start_ns, builder.start_ns + round(float(times_s[-1]) * NS_PER_S), "the house burns")
        return stations

    list(each_file([folder / f"{PREFIX}{name}.csv" for name in names], read, unreadable))
    return builder.build()
