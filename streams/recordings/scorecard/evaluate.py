"""Recordings on disk through the real core, and scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel

from alerts.policy import Policy
from streams.pipeline.assembly import CLASSES, EVENTS
from streams.recordings.format import read
from streams.recordings.replay import replay
from streams.recordings.scorecard.match import Case, Window, compare
from streams.recordings.scorecard.score import Scorecard, summarise

Progress = Callable[[str, int, int], None]
"""Called with (recording, number of it, how many there are), before each."""


def windows_of_catalogue() -> dict[str, Window]:
    """Each code's window, from the latency its own detector promises; events of one happening answer each other's truth."""
    alike: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for event in EVENTS:
        alike[event.scoring.happening] += (event.code,)
    alike[""] = ()
    return {
        event.code: Window(cls.spec.latency_bound_s, accepted=alike[event.scoring.happening])
        for cls in CLASSES
        for event in cls.spec.events
    }


def evaluate(
    paths: Iterable[Path],
    parameters: BaseModel | None = None,
    policy: Policy | None = None,
    *,
    windows: Mapping[str, Window] | None = None,
    progress: Progress | None = None,
) -> Scorecard:
    """Replay every recording in `paths` (folders `*.vigil`, or folders of them) and score what was said.

    `parameters` and `policy` as in `streams.recordings.replay.replay`; `windows` override those of the catalogue by code.
    RecordingError for a path that is no recording; ValueError when there is none at all.
    """
    folders = [folder for path in paths for folder in _recordings(path)]
    if not folders:
        raise ValueError("there is no recording to evaluate: name folders <name>.vigil, or a folder that holds some")
    allowed = {**windows_of_catalogue(), **(windows or {})}
    matched = []
    for number, folder in enumerate(folders, 1):
        if progress is not None:
            progress(folder.name, number, len(folders))
        recording = read(folder)
        replayed = replay(recording, parameters, policy)
        matched.append(
            compare(
                Case(
                    recording.meta.name,
                    recording.truth,
                    replayed.events,
                    replayed.resident_days,
                    replayed.room_days,
                    recording.labelled,
                    tuple({alert.id: alert.code for step, alert in replayed.transitions if step.notify}.values()),
                    replayed.coverage_s,
                ),
                allowed,
            )
        )
    return summarise(matched)


def _recordings(path: Path) -> list[Path]:
    """`path` itself, or all recordings below it when it is a folder that is none (`read` judges what looks like one)."""
    if path.is_dir() and path.suffix != ".vigil" and not (path / "meta.json").exists():
        return sorted(meta.parent for meta in path.glob("**/*.vigil/meta.json"))
    return [path]
