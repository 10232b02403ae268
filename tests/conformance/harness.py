"""How the conformance checks drive a detector: run, cut, disturb, compare."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from engine.detector import Detector
from engine.events import Detection
from engine.frame import GAP_NONE, GAP_RESTART, NS_PER_S, Frame
from engine.kinds import KINDS, MISSING_MAP

DetectorClass = type[Detector[Any, Any]]


class Vacuous(AssertionError):
    """A check passed without having come to what it asserts."""


def perform(check: Callable[[Case], None], case: Case) -> None:
    """Run a check; Vacuous when it returned without reaching every one of its assertions (an empty loop, an early return)."""
    wanted, helpers = _assertions(check), _helpers(check)
    if not wanted and not helpers:
        raise Vacuous(f"{check.__name__} asserts nothing")
    reached: set[int] = set()
    called: set[str] = set()
    code = check.__code__

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            reached.add(frame.f_lineno)
        return line

    def call(frame: FrameType, *_: Any) -> Any:
        if frame.f_code.co_filename == code.co_filename:
            called.add(frame.f_code.co_name)
        return line if frame.f_code is code else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        check(case)
    finally:
        sys.settrace(before)
    missed = [lines.start for lines in wanted if not reached & set(lines)]
    if missed:
        raise Vacuous(f"{check.__name__} passed but never came to its assertion in line {missed}")
    if not wanted and not called & helpers:
        raise Vacuous(f"{check.__name__} passed but asserted nothing")


def _assertions(function: Any) -> list[range]:
    """The lines of each assertion in the function's own body; of a `with pytest.raises` its first."""
    lines, first = inspect.getsourcelines(function)
    found = []
    for node in ast.walk(ast.parse(textwrap.dedent("".join(lines)))):
        if isinstance(node, ast.Assert):
            found.append(range(node.lineno + first - 1, (node.end_lineno or node.lineno) + first))
        elif isinstance(node, ast.With) and "pytest.raises" in ast.unparse(node.items[0]):
            found.append(range(node.lineno + first - 1, (node.items[0].context_expr.end_lineno or node.lineno) + first))
    return found


def _helpers(function: Any) -> set[str]:
    """Functions beside the check that assert for it."""
    module = inspect.getmodule(function)
    own = {
        name: f
        for name, f in vars(module).items()
        if name.startswith("_") and inspect.isfunction(f) and f.__module__ == function.__module__
    }
    return {name for name, helper in own.items() if _assertions(helper) and name in function.__code__.co_names}


class Case(NamedTuple):
    """A registered class with its own examples (slot 0, time order)."""

    cls: DetectorClass
    positive: list[Frame]
    negative: list[Frame]
    expected: tuple[str, ...]
    onset_ns: int


def case_of(cls: DetectorClass) -> Case:
    """The examples that live beside the class."""
    module = importlib.import_module(cls.__module__.rpartition(".")[0] + ".examples")
    expected = module.EXPECTED
    return Case(
        cls, module.positive(), module.negative(), (expected,) if isinstance(expected, str) else tuple(expected), int(module.ONSET_NS)
    )


def end_ns(frame: Frame) -> int:
    """Device time at which the frame's last sample ends."""
    return int(frame.t0_ns.max()) + (int(frame.samples.shape[1] / frame.rate_hz * NS_PER_S) if frame.rate_hz else 0)


def run(detector: Detector[Any, Any], frames: Iterable[Frame], *, tick_until_ns: int | None = None) -> tuple[list[Detection], list[Frame]]:
    """Feed frames with a tick at every whole second of device time; returns detections and feature frames."""
    found: list[Detection] = []
    features: list[Frame] = []
    last: int | None = None

    def tick_to(t_ns: int) -> None:
        nonlocal last
        if last is None:
            last = t_ns // NS_PER_S * NS_PER_S
        while last + NS_PER_S <= t_ns:
            last += NS_PER_S
            result = detector.tick(last)
            found.extend(result.detections)
            features.extend(result.features)

    for frame in frames:
        tick_to(end_ns(frame))
        result = detector.step(frame)
        found.extend(result.detections)
        features.extend(result.features)
    if tick_until_ns is not None:
        tick_to(tick_until_ns)
    return found, features


def facts(found: Sequence[Detection], slot: int | None = None) -> list[tuple[str, str, int, int]]:
    """What must not depend on how the data came: code, phase, onset, decision."""
    return sorted((d.code, d.phase, int(d.onset_ns), int(d.decided_ns)) for d in found if slot is None or d.slot == slot)


def fired(found: Sequence[Detection]) -> set[str]:
    """Codes with an onset."""
    return {d.code for d in found if d.phase == "onset"}


def at_slots(frames: Iterable[Frame], slots: Sequence[int]) -> list[Frame]:
    """The same single-slot frames at several slots at once."""
    size = len(slots)
    return [
        f._replace(
            slot=np.array(slots, np.int32),
            t0_ns=np.repeat(f.t0_ns, size),
            samples=np.ascontiguousarray(np.repeat(f.samples, size, axis=0)),
            gap_ns=np.repeat(f.gap_ns, size),
            valid=np.repeat(f.valid, size),
        )
        for f in frames
    ]


def together(first: Sequence[Frame], second: Sequence[Frame], slots: tuple[int, int] = (0, 1)) -> list[Frame]:
    """Two single-slot streams fed side by side, in time order, in frames of their own."""
    moved = [(end_ns(f), 0, at_slots([f], [slots[0]])[0]) for f in first] + [(end_ns(f), 1, at_slots([f], [slots[1]])[0]) for f in second]
    return [f for *_, f in sorted(moved, key=lambda entry: entry[:2])]


def recut(frames: Sequence[Frame], cut: Callable[[int], int]) -> list[Frame]:
    """Join contiguous regular frames of a kind and cut them anew; `cut(n)` says how many of n samples come next."""
    out: list[Frame] = []
    by_kind: dict[str, list[Frame]] = {}
    for f in frames:
        by_kind.setdefault(f.kind, []).append(f)
    for kind, group in by_kind.items():
        timing = KINDS[kind].timing if kind in KINDS else "regular"
        if timing != "regular":
            out.extend(group)
            continue
        runs: list[list[Frame]] = []
        for f in group:
            last = runs[-1][-1] if runs else None
            joins = (
                last is not None
                and f.gap_ns[0] == GAP_NONE
                and f.rate_hz == last.rate_hz
                and f.valid[0] == last.valid[0]
                and f.shape == last.shape
            )
            if joins:
                runs[-1].append(f)
            else:
                runs.append([f])
        for joined in runs:
            head = joined[0]
            samples = np.concatenate([f.samples for f in joined], axis=1)
            start = 0
            while start < samples.shape[1]:
                n = max(1, min(cut(samples.shape[1] - start), samples.shape[1] - start))
                t0 = head.t0_ns + round(start / head.rate_hz * NS_PER_S)
                piece = np.ascontiguousarray(samples[:, start : start + n])
                out.append(head._replace(t0_ns=t0, samples=piece, gap_ns=head.gap_ns if start == 0 else np.zeros(1, np.int64)))
                start += n
    return sorted(out, key=end_ns)


def shifted(frames: Iterable[Frame], by_ns: int) -> list[Frame]:
    """The same frames later."""
    return [f._replace(t0_ns=f.t0_ns + by_ns) for f in frames]


def disturbance(frames: Sequence[Frame], how: str, length: int = 40) -> list[Frame]:
    """`length` frames of each of the stream's kinds that end where the stream starts, filled with nonsense.

    how: "nan" (nothing measured), "stuck" (one value for ever), "low" / "high" (at the end of the range), "flagged" (the
    device itself says poor), "noise" (uniform over the whole range).
    """
    rng = np.random.default_rng(7)
    out: list[Frame] = []
    firsts: dict[str, Frame] = {}
    for f in frames:
        firsts.setdefault(f.kind, f)
    for kind, first in firsts.items():
        timing = KINDS[kind].timing if kind in KINDS else "regular"
        n = first.samples.shape[1]
        step_ns = int(n / first.rate_hz * NS_PER_S) if timing == "regular" else NS_PER_S
        for i in range(length):
            samples = np.array(first.samples)
            low, high = _range(kind, samples.shape[2])
            if how == "nan":
                samples[:] = MISSING_MAP if samples.dtype == np.uint16 else np.nan
            elif how == "stuck":
                samples[:] = samples[:, :1]
            elif how == "low":
                samples[:] = low
            elif how == "high":
                samples[:] = high
            elif how == "noise":
                samples[:] = rng.uniform(low, high, samples.shape)
            t0 = first.t0_ns - step_ns * (length - i)
            gap = np.array([GAP_RESTART if i == 0 else GAP_NONE])
            out.append(first._replace(t0_ns=t0, samples=samples, gap_ns=gap, valid=np.array([how != "flagged"])))
    return sorted(out, key=end_ns)


def _range(kind: str, channels: int) -> tuple[Any, Any]:
    entry = KINDS.get(kind)
    if entry is None:
        return np.full(channels, -1e6, np.float32), np.full(channels, 1e6, np.float32)
    if entry.channels:
        return np.array([c.low for c in entry.channels], np.float32), np.array([c.high for c in entry.channels], np.float32)
    return np.full(channels, entry.wide[0]), np.full(
        channels, min(entry.wide[1], MISSING_MAP - 1) if entry.dtype == np.uint16 else entry.wide[1]
    )


def after(first: Sequence[Frame], second: Sequence[Frame], *, gap_ns: int = GAP_NONE) -> list[Frame]:
    """`second` following `first` on the same streams: its first frame of each kind is no restart but has `gap_ns`."""
    seen: set[str] = set()
    met = {f.kind for f in first}
    out = list(first)
    for f in second:
        if f.kind not in seen and f.kind in met:
            f = f._replace(gap_ns=np.full_like(f.gap_ns, gap_ns))  # noqa: PLW2901
        seen.add(f.kind)
        out.append(f)
    return out


def unfinished(detector: Detector[Any, Any]) -> list[str]:
    """State fields with a value that is not finite although the initial state has none such."""
    fresh = detector.initial_state(detector.capacity)
    bad = []
    for name, own, new in zip(fresh._fields, detector.state, fresh, strict=True):
        if own.dtype.kind == "f" and (
            (np.isinf(own).any() and not np.isinf(new).any()) or (np.isnan(own).any() and not np.isnan(new).any())
        ):
            bad.append(name)
    return bad
