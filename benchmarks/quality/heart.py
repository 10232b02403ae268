"""Heart on recordings: beats, alarms true and false, atrial fibrillation, and healthy days left in peace."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.quality.report import Findings, Part, of_people
from detectors.heart.detector import HeartDetector, detect_beats
from detectors.heart.params import HeartParams
from engine.events import Detection
from engine.frame import NS_PER_S, Float32, Float64, Int64, frame
from streams.recordings.importers import cinc2015, rr_series, wfdb_records
from streams.recordings.intervals import by_person, rate

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
HOUR_S: Final = 3600.0
BUDGET_H: Final = 0.25
"""Of an ECG, for each record that a budget allows; of RR intervals it is an hour."""
FIBRILLATION: Final = "atrial_fibrillation"

CHOSEN: Final = "thresholds from papers and physiology, but chosen with these records in view, not cross-validated"


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


def scored(record: wfdb_records.Annotated, leads: int, hours_max: float = float("inf")) -> Scored | None:
    """The first `hours_max` of a record scored as EC57, with its first `leads` leads; None when no beat in it can be scored."""
    size = len(record.leads) if math.isinf(hours_max) else int(hours_max * HOUR_S * record.rate_hz)
    times_ns, _ = detect_beats(record.leads[:size, :leads], record.rate_hz)
    reference, found = record.beats[record.beats < size] / record.rate_hz, times_ns / NS_PER_S
    for start, end in ((0.0, LEARNING_S), *((a / record.rate_hz, b / record.rate_hz) for a, b in record.flutter)):
        reference = reference[(reference < start) | (reference > end)]
        found = found[(found < start) | (found > end)]
    return Scored(record.name, *score_beats(reference, found)) if reference.size else None


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


def _beats(folder: Path, found: Findings) -> None:
    headers = sorted(folder.glob("*.hea"))
    hours_max = float("inf") if found.records_max is None else found.records_max * BUDGET_H
    for leads, suffix in ((2, ""), (1, "_one_lead")):
        rows = []
        for header in found.each(headers, lambda path: path.stem, f"mitdb, {leads} lead(s),"):
            record = found.read(header.stem, wfdb_records.load, header.with_suffix(""))
            if record is None:
                continue
            row = scored(record, leads, hours_max)
            if row is None:
                found.leave_out(header.stem, "no beat is annotated after the first five minutes")
                continue
            found.say(f"mitdb {row.name}, {leads} lead(s): {row.hits} found, {row.missed} missed, {row.extra} extra")
            rows.append(row)
        if not rows:
            continue
        basis = f"MIT-BIH, {of_people(len(rows))}, {leads} lead(s), EC57: within 150 ms, first 5 min and flutter left out; {CHOSEN}"
        found.figure(f"qrs_sensitivity{suffix}", by_person(rows, _sensitivity, "%", basis))
        found.figure(f"qrs_ppv{suffix}", by_person(rows, _ppv, "%", basis))


def _sensitivity(rows: Sequence[Scored]) -> float:
    return _percent(sum(r.hits for r in rows), sum(r.hits + r.missed for r in rows))


def _ppv(rows: Sequence[Scored]) -> float:
    return _percent(sum(r.hits for r in rows), sum(r.hits + r.extra for r in rows))


def _percent(hits: int, total: int) -> float:
    """NaN of nothing: a share of nobody's beats is no 0 %."""
    return 100 * hits / total if total else float("nan")


def _alarms(folder: Path, found: Findings) -> None:
    entries = found.read("ALARMS.csv", cinc2015.entries, folder)
    if entries is None:
        return
    if found.records_max is not None:
        kinds = sorted({(entry.kind, entry.true) for entry in entries})
        entries = [e for kind in kinds for e in found.few([entry for entry in entries if (entry.kind, entry.true) == kind])]
    counts: dict[tuple[str, bool], list[int]] = {}
    for entry in found.each(entries, lambda entry: entry.name):
        alarm = found.read(entry.name, cinc2015.alarm, folder, entry)
        if alarm is not None:
            raised = held(ecg_events(alarm.leads, cinc2015.RATE_HZ, INTENSIVE_CARE), alarm.code, cinc2015.ALARM_S - ALARM_WINDOW_S)
            counts.setdefault((alarm.code, alarm.true), []).append(int(raised))
    if not counts:
        return
    found.say("cinc2015: " + ", ".join(f"{code} {true}: {sum(c)}/{len(c)}" for (code, true), c in sorted(counts.items())))
    true = [v for (_, real), c in counts.items() if real for v in c]
    false = [v for (_, real), c in counts.items() if not real for v in c]
    basis = f"CinC 2015, {len(true) + len(false)} ICU alarms, ECG alone, samples before the alarm; {CHOSEN}"
    found.share("true_alarm_sensitivity", sum(true), len(true), basis, "no alarm here was true")
    found.share("false_alarm_suppression", len(false) - sum(false), len(false), basis, "no alarm here was false")
    for code in cinc2015.CODES.values():
        kind = code.removeprefix("heart.")
        real, quiet = counts.get((code, True), []), counts.get((code, False), [])
        of = f"{kind}: {len(real)} true and {len(quiet)} false alarms; {basis}"
        found.share(f"true_alarm_sensitivity_{kind}", sum(real), len(real), of, f"no {kind} alarm here was true")
        found.share(f"false_alarm_suppression_{kind}", len(quiet) - sum(quiet), len(quiet), of, f"no {kind} alarm here was false")
    found.figure("score", by_person([*((True, v) for v in true), *((False, v) for v in false)], _score, "", basis))


def _score(alarms: Sequence[tuple[bool, int]]) -> float:
    right = sum(raised == real for real, raised in alarms)
    missed = sum(real and not raised for real, raised in alarms)
    return 100 * right / (len(alarms) + (MISSED_ALARM_COST - 1) * missed)


def _fibrillation(folder: Path, found: Findings) -> None:
    people = []
    for path in found.each(sorted(folder.glob("qrs*.txt")), lambda path: path.stem.removeprefix("qrs")):
        series = found.read(path.name, rr_series.afdb, folder, path.stem.removeprefix("qrs"))
        if series is None:
            continue
        series = _hours(series, found.records_max)
        _, minutes, entropy = rr_events(series)
        share = np.array([np.mean(series.af[(series.start_s // 60).astype(int) == m]) for m in minutes])
        clear = np.isfinite(entropy) & ((share == 0) | (share == 1))
        said = entropy[clear] >= HeartParams().atrial_entropy_fraction_min
        is_af = share[clear] == 1
        people.append((int((said & is_af).sum()), int(is_af.sum()), int((~said & ~is_af).sum()), int((~is_af).sum())))
        found.say(f"afdb-rr {series.name}: AF minutes {people[-1][0]}/{people[-1][1]}, other {people[-1][2]}/{people[-1][3]}")
    basis = (
        f"MIT-BIH AF, {of_people(len(people))}, whole minutes of one rhythm, beats as annotated; threshold from the paper, which used "
        "the same data base"
    )
    for metric, hits, total, what in (("af_sensitivity", 0, 1, "of atrial fibrillation"), ("af_specificity", 2, 3, "of another rhythm")):
        if sum(row[total] for row in people):
            share_of = partial(_share_of, hits=hits, total=total)
            found.figure(metric, by_person(people, share_of, "%", basis))
        elif people:
            found.absent(metric, f"{of_people(len(people))}, and no whole minute {what}")


def _share_of(people: Sequence[tuple[int, int, int, int]], *, hits: int, total: int) -> float:
    return _percent(sum(row[hits] for row in people), sum(row[total] for row in people))


def _hours(series: rr_series.Series, hours: int | None) -> rr_series.Series:
    """The first `hours` of a series; all of it for None."""
    if hours is None:
        return series
    keep = series.start_s < hours * HOUR_S
    return series._replace(start_s=series.start_s[keep], rr_s=series.rr_s[keep], af=series.af[keep])


def _days(name: str, folder: Path, found: Findings) -> None:
    people: list[tuple[Counter[str], float]] = []
    for path in found.each(sorted(folder.glob("*_rr_secs.txt")), lambda path: path.stem.removesuffix("_rr_secs")):
        series = found.read(path.name, rr_series.day, path)
        if series is None:
            continue
        series = _hours(series, found.records_max)
        codes = Counter(event.code.removeprefix("heart.") for event in rr_events(series)[0] if event.phase == "onset")
        people.append((codes, float(series.rr_s.sum()) / DAY_S))
        found.say(f"{name} {series.name}: {dict(sorted(codes.items())) or 'no alarm'}")
    if not people:
        return
    days = sum(own for _, own in people)
    basis = (
        f"{name}, {of_people(len(people))}, {days:.1f} days of RR intervals, all alarms, "
        f"no event labels; {CHOSEN} (the time that confirms atrial fibrillation)"
    )
    kinds = sorted({code for codes, _ in people for code in codes} | {FIBRILLATION})
    for label, counted in (("alarms", kinds), *((kind, [kind]) for kind in kinds)):
        counts = [(sum(codes[kind] for kind in counted), own) for codes, own in people]
        if any(count for count, _ in counts):
            figure = by_person(counts, _per_day, "per person-day", basis)
        else:  # a bootstrap of nothing would say that there is never an alarm
            figure = rate(0, days, "per person-day", basis)
        found.figure(f"{label}_per_person_day", figure)


def _per_day(people: Sequence[tuple[int, float]]) -> float:
    return sum(count for count, _ in people) / sum(days for _, days in people)


_DAILY: Final = ("alarms_per_person_day", f"{FIBRILLATION}_per_person_day")
_KINDS: Final = ("", *(code.replace("heart.", "_") for code in cinc2015.CODES.values()))
PARTS: Final = (
    Part("mitdb", "mitdb", ("qrs_sensitivity", "qrs_ppv", "qrs_sensitivity_one_lead", "qrs_ppv_one_lead"), _beats),
    Part(
        "cinc2015",
        "cinc2015",
        ("score", *(f"{metric}{kind}" for kind in _KINDS for metric in ("true_alarm_sensitivity", "false_alarm_suppression"))),
        _alarms,
    ),
    Part("afdb-rr", "afdb-rr", ("af_sensitivity", "af_specificity"), _fibrillation),
    Part("nsr2db-rr", "nsr2db-rr", _DAILY, partial(_days, "nsr2db-rr")),
    Part("chf2db-rr", "chf2db-rr", _DAILY, partial(_days, "chf2db-rr")),
)
