"""The signals of a WFDB record as its header's bytes name them: which are voltages, and in which unit.

wfdb reads a header as ASCII and leaves out every other byte (4.3.1, `rdheader`: errors="ignore"): "µV" becomes "V", a factor of a million.
So units and names are taken from the bytes here; the samples still come from wfdb. Format: WFDB header(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_SIGNAL: Final = re.compile(
    r"^\s*(?P<file>\S+)\s+\d+(?:x(?P<frame>\d+))?\S*"
    r"(?:\s+(?P<gain>[-+.\dEe]+)?(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S*))?(?:\s+-?\d+){0,5}(?P<name>.*))?$"
)
DEFAULT_UNIT: Final = "mV"
"""Of a signal line without a unit (header(5))."""

_MV: Final = {"": 1e3, "m": 1.0, "u": 1e-3, "n": 1e-6}
_PREFIXES: Final = {
    **dict.fromkeys(("m", "milli", "毫"), "m"),
    **dict.fromkeys(("u", "\u00b5", "\u03bc", "mc", "mic", "micro", "微"), "u"),  # both code points that look like a micro sign
    **dict.fromkeys(("n", "nano", "纳"), "n"),
    "": "",
}
_VOLT: Final = re.compile(r"(?P<prefix>.*?)[-_]?(?:v|volts?|伏特?)")

NO_ECG: Final = ("PLETH", "PPG", "ABP", "CVP", "PAP", "ICP", "RESP", "CO2", "ETCO2", "SPO2", "SAO2", "EEG", "EOG", "EMG", "FLOW", "ACC")
"""Beginnings of the words of a signal's name that say it is no ECG, whatever its unit."""
NO_ECG_WORDS: Final = frozenset({"ART", "BP", "NIBP", "IBP", "P1", "P2", "P3"})


class Signal(NamedTuple):
    """One signal line: its name and unit as written, samples a frame, and whether a gain was given (without one it is not calibrated)."""

    name: str
    unit: str
    frame: int
    calibrated: bool


def millivolts(unit: str) -> float | None:
    """How many mV one `unit` is; None when it is no voltage that is known here.

    >>> [millivolts(unit) for unit in ("mV", "V", "uV", "\u00b5V", "\u03bcV", "microvolts", "nV", "millivolt", "MV")]
    [1.0, 1000.0, 0.001, 0.001, 0.001, 0.001, 1e-06, 1.0, 1.0]
    >>> [millivolts(unit) for unit in ("mmHg", "NU", "?V", "pV")]
    [None, None, None, None]
    """
    found = _VOLT.fullmatch(unit.strip().casefold())  # upper-case headers are about: a megavolt is not what they mean
    prefix = _PREFIXES.get(found["prefix"].strip("-_ ")) if found else None
    return None if prefix is None else _MV[prefix]


def is_ecg_name(name: str) -> bool:
    """Whether nothing in the name of a signal says that it is something else than an ECG."""
    words = re.findall(r"[A-Z0-9]+", name.upper())
    return not any(word in NO_ECG_WORDS or word.startswith(NO_ECG) for word in words)


def signals(path: Path) -> tuple[Signal, ...]:
    """The signals of the record at `path` (without extension), for a record of several segments those of the segments.

    ValueError when a header is empty, or when segments write one signal in different units: then wfdb joins numbers that mean
    different things.
    """
    lines = _lines(path)
    segments = re.match(r"\s*[^\s/]+/(\d+)", lines[0])
    if segments is None:
        return tuple(_signal(line, path.name) for line in lines[1:])
    parts = [signals(segment) for segment in _segments(path, lines[1:])]
    if not parts:
        raise ValueError(f"{path.name} has no segment")
    named = {one.name: one for one in parts[0]}
    for one in (one for part in parts[1:] for one in part):
        known = named.get(one.name, one)
        if millivolts(known.unit) != millivolts(one.unit) or known.frame != one.frame:
            raise ValueError(f"segments of {path.name} write {one.name!r} in {known.unit} and in {one.unit}: import them one by one")
    return parts[0]


def _segments(path: Path, lines: list[str]) -> Iterator[Path]:
    for line in lines:
        name = line.split()[0]
        if name != "~":  # a hole in the record
            yield path.with_name(name)


def _lines(path: Path) -> list[str]:
    """The lines of a header that say something; ValueError when there is none."""
    header = path.with_name(path.name + ".hea")
    lines = [line for line in _text(header.read_bytes()).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError(f"{header.name} is empty: it must name the record and its signals")
    return lines


def _text(raw: bytes) -> str:
    """Headers have no declared encoding: UTF-8, or what old programs of Europe (Latin-1) and China (GB 18030) wrote."""
    for encoding in ("utf-8-sig", "latin-1"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text if encoding == "utf-8-sig" or "\u00a6\u00cc" not in text else raw.decode("gb18030", errors="replace")
    raise AssertionError("latin-1 decodes everything")


def _signal(line: str, record: str) -> Signal:
    found = _SIGNAL.match(line)
    if found is None:
        raise ValueError(f"{record} has a signal line that is none: {line.strip()[:60]!r}")
    gain = found["gain"]
    calibrated = gain is not None and float(gain) != 0.0
    return Signal((found["name"] or "").strip(), found["unit"] or DEFAULT_UNIT, int(found["frame"] or 1), calibrated)
