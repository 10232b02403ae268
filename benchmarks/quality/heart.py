"""Heart on recordings: beats, alarms true and false, atrial fibrillation, and healthy days left in peace."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from detectors.heart.detector import HeartDetector, detect_beats
from detectors.heart.params import HeartParams
from engine.events import Detection
from engine.frame import NS_PER_S, Float32, Float64, Int64, frame
from streams.recordings.importers import cinc2015, rr_series, wfdb_records
from streams.recordings.intervals import Figure, by_person, proportion

DATA_SETS: Final = ("mitdb", "cinc2015", "afdb-rr", "nsr2db-rr", "chf2db-rr")
WINDOW_S: Final = 0.15
LEARNING_S: Final = 300.0
"""ANSI/AAMI EC57: a detected beat within 150 ms counts; the first five minutes are for learning."""
INTENSIVE_CARE: Final = HeartParams(rate_bpm_max=140, rate_confirm_s=0, rate_window_beats=4)
"""Alarm definitions of CinC 2015 in place of the nursing home's: tachycardia above 140, no confirmation."""
ALARM_WINDOW_S: Final = 16.0
"""An alarm sounds within 10 s of the onset of its condition (ANSI/AAMI EC13), plus the length of the condition itself."""
MISSED_ALARM_COST: Final = 5
"""CinC 2015 score: (TP + TN) / (TP + TN + FP + 5 FN)."""
DAY_S: Final = 86_400.0

CHOSEN: Final = "thresholds from papers and physiology, but chosen with these records in view, not cross-validated"

Progress = Callable[[str], None]


class Scored(NamedTuple):
    """Beats of one record: found, missed, invented."""

    name: str
    hits: int
    missed: int
    extra: int


def score_beats(reference: Float64, found: Float64, *, window_s: float = WINDOW_S) -> tuple[int, int, int]:
    """Hits, misses, extras by pairing sorted times (s) one to one within `window_s`, nearest first along the time axis."""
    hits = i = j = 0
    while i < reference.size and j < found.size:
        distance = found[j] - reference[i]
        if abs(distance) > window_s:
            i, j = (i + 1, j) if distance > 0 else (i, j + 1)
            continue
        nearer_found = j + 1 < found.size and abs(found[j + 1] - reference[i]) < abs(distance)
        wanted = i + 1 < reference.size and nearer_found and abs(found[j + 1] - reference[i + 1]) < abs(found[j + 1] - reference[i])
        if nearer_found and not wanted:
            j += 1
            continue
        hits, i, j = hits + 1, i + 1, j + 1
    return hits, int(reference.size) - hits, int(found.size) - hits


def mitdb(folder: Path, leads: int, progress: Progress) -> list[Scored]:
    """Every record of `folder` scored as EC57, with the first `leads` leads."""
    result = []
    for header in sorted(folder.glob("*.hea")):
        record = wfdb_records.load(header.with_suffix(""))
        times_ns, _ = detect_beats(record.leads[:, :leads], record.rate_hz)
        reference, found = record.beats / record.rate_hz, times_ns / NS_PER_S
        for start, end in ((0.0, LEARNING_S), *((a / record.rate_hz, b / record.rate_hz) for a, b in record.flutter)):
            reference = reference[(reference < start) | (reference > end)]
            found = found[(found < start) | (found > end)]
        row = Scored(record.name, *score_beats(reference, found))
        progress(f"mitdb {row.name}, {leads} lead(s): {row.hits} found, {row.missed} missed, {row.extra} extra")
        result.append(row)
    return result


def ecg_events(leads: Float32, rate_hz: float, params: HeartParams) -> list[Detection]:
    """What the detector says about one ECG, fed in seconds."""
    detector, size, found = HeartDetector(params, capacity=1), int(rate_hz), []
    for start in range(0, len(leads), size):
        part = np.ascontiguousarray(leads[None, start : start + size])
        t0_ns = round(start * NS_PER_S / rate_hz)
        found += detector.step(frame("ecg", [0], [t0_ns], rate_hz, part, gap_ns=[-1 if start == 0 else 0])).detections
    return found


def rr_events(series: rr_series.Series, params: HeartParams | None = None) -> tuple[list[Detection], Int64, Float64]:
    """What the detector says about a series of RR intervals: (events, minutes since the start, RR entropy of each)."""
    detector, found, minutes, entropy = HeartDetector(params, capacity=1), [], [], []
    bounds = np.append(np.arange(0, series.rr_s.size, 32), series.rr_s.size)
    for first, last in itertools.pairwise(bounds):
        rr_ms = (series.rr_s[first:last] * 1000).astype(np.float32).reshape(1, -1, 1)
        said = detector.step(
            frame("rr_interval", [0], [round(series.start_s[first] * NS_PER_S)], 0.0, rr_ms, gap_ns=[-1 if first == 0 else 0])
        )
        found += said.detections
        for minute in said.features:
            minutes.append(int(minute.t0_ns[0]) // (60 * NS_PER_S))
            entropy.append(float(minute.samples[0, 0, 4]))
    return found, np.array(minutes, np.int64), np.array(entropy)


def held(events: list[Detection], code: str, after_s: float) -> bool:
    """True when `code` was raised at some time from `after_s` on, newly or still."""
    raised = False
    for event in events:
        if event.code == code:
            if event.decided_ns >= after_s * NS_PER_S and (raised or event.phase == "onset"):
                return True
            raised = event.phase == "onset"
    return raised


def _beats(root: Path, progress: Progress, figures: dict[str, Figure]) -> None:
    for leads, suffix in ((2, ""), (1, "_one_lead")):
        rows = mitdb(root / "mitdb", leads, progress)
        basis = f"MIT-BIH, {len(rows)} people, {leads} lead(s), EC57: within 150 ms, first 5 min and flutter left out; {CHOSEN}"
        figures[f"heart.mitdb.qrs_sensitivity{suffix}"] = by_person(rows, _sensitivity, "%", basis)
        figures[f"heart.mitdb.qrs_ppv{suffix}"] = by_person(rows, _ppv, "%", basis)


def _sensitivity(rows: Sequence[Scored]) -> float:
    return 100 * sum(r.hits for r in rows) / max(1, sum(r.hits + r.missed for r in rows))


def _ppv(rows: Sequence[Scored]) -> float:
    return 100 * sum(r.hits for r in rows) / max(1, sum(r.hits + r.extra for r in rows))


def _alarms(root: Path, progress: Progress, figures: dict[str, Figure]) -> None:
    counts: dict[tuple[str, bool], list[int]] = {}
    for alarm in cinc2015.load(root / "cinc2015"):
        raised = held(ecg_events(alarm.leads, cinc2015.RATE_HZ, INTENSIVE_CARE), alarm.code, cinc2015.ALARM_S - ALARM_WINDOW_S)
        counts.setdefault((alarm.code, alarm.true), []).append(int(raised))
    progress("cinc2015: " + ", ".join(f"{code} {true}: {sum(c)}/{len(c)}" for (code, true), c in sorted(counts.items())))
    true = [v for (_, real), c in counts.items() if real for v in c]
    false = [v for (_, real), c in counts.items() if not real for v in c]
    basis = f"CinC 2015, {len(true) + len(false)} ICU alarms, ECG alone, samples before the alarm; {CHOSEN}"
    figures["heart.cinc2015.true_alarm_sensitivity"] = proportion(sum(true), len(true), basis)
    figures["heart.cinc2015.false_alarm_suppression"] = proportion(len(false) - sum(false), len(false), basis)
    for code in sorted({code for code, _ in counts}):
        kind = code.removeprefix("heart.")
        real, quiet = counts.get((code, True), []), counts.get((code, False), [])
        of = f"{kind}: {len(real)} true and {len(quiet)} false alarms; {basis}"
        figures[f"heart.cinc2015.true_alarm_sensitivity_{kind}"] = proportion(sum(real), len(real), of)
        figures[f"heart.cinc2015.false_alarm_suppression_{kind}"] = proportion(len(quiet) - sum(quiet), len(quiet), of)
    figures["heart.cinc2015.score"] = by_person([*((True, v) for v in true), *((False, v) for v in false)], _score, "", basis)


def _score(alarms: Sequence[tuple[bool, int]]) -> float:
    right = sum(raised == real for real, raised in alarms)
    missed = sum(real and not raised for real, raised in alarms)
    return 100 * right / (len(alarms) + (MISSED_ALARM_COST - 1) * missed)


def _fibrillation(root: Path, progress: Progress, figures: dict[str, Figure]) -> None:
    folder = root / "afdb-rr"
    people = []
    for path in sorted(folder.glob("qrs*.txt")):
        series = rr_series.afdb(folder, path.stem.removeprefix("qrs"))
        _, minutes, entropy = rr_events(series)
        share = np.array([np.mean(series.af[(series.start_s // 60).astype(int) == m]) for m in minutes])
        clear = np.isfinite(entropy) & ((share == 0) | (share == 1))
        said = entropy[clear] >= HeartParams().atrial_entropy_fraction_min
        is_af = share[clear] == 1
        people.append((int((said & is_af).sum()), int(is_af.sum()), int((~said & ~is_af).sum()), int((~is_af).sum())))
        progress(f"afdb-rr {series.name}: AF minutes {people[-1][0]}/{people[-1][1]}, other {people[-1][2]}/{people[-1][3]}")
    basis = f"MIT-BIH AF, {len(people)} people, whole minutes of one rhythm, beats as annotated; threshold from the paper, which used the same data base"
    figures["heart.afdb-rr.af_sensitivity"] = by_person(
        people, lambda p: 100 * sum(r[0] for r in p) / max(1, sum(r[1] for r in p)), "%", basis
    )
    figures["heart.afdb-rr.af_specificity"] = by_person(
        people, lambda p: 100 * sum(r[2] for r in p) / max(1, sum(r[3] for r in p)), "%", basis
    )


def _days(root: Path, name: str, progress: Progress, figures: dict[str, Figure]) -> None:
    people: list[tuple[Counter[str], float]] = []
    for path in sorted((root / name).glob("*_rr_secs.txt")):
        series = rr_series.day(path)
        codes = Counter(event.code.removeprefix("heart.") for event in rr_events(series)[0] if event.phase == "onset")
        people.append((codes, float(series.rr_s.sum()) / DAY_S))
        progress(f"{name} {series.name}: {dict(sorted(codes.items())) or 'no alarm'}")
    basis = (
        f"{name}, {len(people)} people, {sum(days for _, days in people):.1f} days of RR intervals, all alarms, "
        f"no event labels; {CHOSEN} (the time that confirms atrial fibrillation)"
    )
    kinds = sorted({code for codes, _ in people for code in codes})
    for label, counted in (("alarms", kinds), *((kind, [kind]) for kind in kinds)):
        figures[f"heart.{name}.{label}_per_person_day"] = by_person(
            people,
            lambda rows, counted=counted: sum(codes[k] for codes, _ in rows for k in counted) / sum(days for _, days in rows),  # type: ignore[misc]
            "per person-day",
            basis,
        )


def evaluate(root: Path, progress: Progress) -> dict[str, Figure]:
    """Every figure that the data sets under `root` allow; a missing set is said and skipped."""
    figures: dict[str, Figure] = {}
    parts: dict[str, Callable[[], None]] = {
        "mitdb": lambda: _beats(root, progress, figures),
        "cinc2015": lambda: _alarms(root, progress, figures),
        "afdb-rr": lambda: _fibrillation(root, progress, figures),
        "nsr2db-rr": lambda: _days(root, "nsr2db-rr", progress, figures),
        "chf2db-rr": lambda: _days(root, "chf2db-rr", progress, figures),
    }
    for name, measure in parts.items():
        if (root / name).is_dir():
            measure()
        else:
            progress(f"{name} is not under {root}: skipped")
    return figures
