"""An event is declared once: what a policy, a carer, a page and a dashboard say of it comes from beside its detector."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from pydantic import ValidationError

from alerts.policy import Policy
from alerts.texts import LANGUAGES
from detectors.falls.detector import FallDetector
from engine.events import Priority
from engine.kinds import SOURCES
from streams.ops.event_lists import BEGIN, DOCUMENTS, contracts, dashboard
from streams.pipeline.assembly import CLASSES, DEFAULT_CODES, EVENT_BY_CODE, EVENTS, TEXTS, declared_events
from streams.recordings.scorecard import windows_of_catalogue

ROOT: Final = Path(__file__).resolve().parents[2]
COPIED: Final = ("alerts", "console", "deploy", "detectors", "docs", "engine", "models", "schemas", "simulator", "sinks", "streams")

DECLARED: Final = """
from engine.events import Ends, EventType, Priority, Scoring, Subject, Text

OPENED = "night_door.opened"
EVENTS = (
    EventType(
        OPENED,
        description="A door that is shut at night was opened",
        priority=Priority.LOW,
        life_safety=False,
        ends=Ends.CLEAR,
        pending_s=7.0,
        regroup_s=77.0,
        hold_s=17.0,
        data_kinds=frozenset({"door"}),
        subject=Subject.ROOM,
        zh=Text("夜间开门", "查看谁出去了。"),
        en=Text("Door opened at night", "See who went out."),
        scoring=Scoring(happening="wandering"),
    ),
)
"""
DETECTOR: Final = '''
"""A door opens."""

from typing import NamedTuple

import numpy as np

from detectors.night_door.events import EVENTS, OPENED
from engine.detector import Detector, Params, Spec, StepResult
from engine.events import Detection


class NightDoorParams(Params):
    """Nothing to set."""


class NightDoorState(NamedTuple):
    opened: np.ndarray


class NightDoorDetector(Detector[NightDoorParams, NightDoorState]):
    """Every report of an open door is an event."""

    spec = Spec("night_door", 1, ("door",), EVENTS, 1.0, 0.0, ("none",))
    params_type = NightDoorParams

    def initial_state(self, capacity):
        return NightDoorState(np.zeros(capacity, np.int64))

    def step(self, frame):
        rows = zip(frame.slot.tolist(), frame.t0_ns.tolist(), frame.samples[:, 0, 0].tolist())
        return StepResult([Detection(slot, OPENED, t_ns, t_ns) for slot, t_ns, open_ in rows if open_], [])
'''
ASKED: Final = """
import json
from alerts.book import AlertBook
from console.texts import texts
from engine.events import Event
from streams.config import VigilConfig
from streams.pipeline.assembly import HEARD_BY_EVENT
from streams.recordings.scorecard import windows_of_catalogue

code = "night_door.opened"
book = AlertBook(VigilConfig().policy)
book.apply(Event("e", "night_door", code, "room/1", "onset", 1, 0, 0, 0, 1.0, {}))
(alert,) = book.open()
print(json.dumps({
    "state": alert.state, "priority": alert.priority, "due_s": alert.due_ns / 1e9,
    "words": [[texts(language)[f"{kind}.{code}"] for kind in ("code", "do")] for language in ("zh-CN", "en")],
    "heard": code in HEARD_BY_EVENT, "accepted": windows_of_catalogue()[code].accepted,
}))
"""


@pytest.mark.parametrize("code", EVENT_BY_CODE)
def test_a_declaration_is_whole(code: str) -> None:
    event = EVENT_BY_CODE[code]
    assert re.search(r"[\u4e00-\u9fff]", event.zh.title)
    assert re.search(r"[\u4e00-\u9fff]", event.zh.what_to_do)
    assert re.fullmatch(r"[\x20-\x7e]+", event.en.title)
    assert re.fullmatch(r"[\x20-\x7e]+", event.en.what_to_do)
    assert event.description.strip()
    assert (event.data_kinds or frozenset()) <= SOURCES
    assert not event.life_safety or (event.priority is Priority.HIGH and event.pending_s == 0)
    assert DEFAULT_CODES[code].priority == event.priority
    assert all(TEXTS.of(code, language) in {event.zh, event.en} for language in LANGUAGES)


def test_every_code_belongs_to_the_detector_that_declares_it() -> None:
    for cls in CLASSES:
        assert {event.code.partition(".")[0] for event in cls.spec.events} == {cls.spec.name}
    assert len(EVENT_BY_CODE) == len(EVENTS) > 20


def test_a_code_that_is_declared_twice_is_refused() -> None:
    class Twin(FallDetector):
        spec: ClassVar[Any] = FallDetector.spec._replace(name="twin")

    with pytest.raises(ValueError, match=r"declared twice: \['falls\.fall'\]"):
        declared_events((FallDetector, Twin))


def test_a_policy_that_knows_no_code_is_refused() -> None:
    with pytest.raises(ValidationError, match="without codes"):
        Policy()


def test_events_of_one_happening_answer_each_other() -> None:
    windows = windows_of_catalogue()
    assert set(windows["fire.co"].accepted) == {"fire.smoke", "fire.heat", "fire.rate_of_rise", "fire.co", "fire.prewarning"}
    assert set(windows["camera.fall"].accepted) == {"camera.fall", "falls.fall"}
    assert windows["fire.cable_heat"].accepted == ()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_the_lists_of_events_are_up_to_date(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text == DOCUMENTS[path](text, EVENTS), f"{path} differs from the declarations: run `make generated`"


def test_a_document_without_a_place_for_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold the lines"):
        contracts(f"# Contracts\n{BEGIN}", EVENTS)
    with pytest.raises(ValueError, match='column "code"'):
        dashboard('{"panels": [{"title": "Heart rate"}]}', EVENTS)


def test_a_new_detector_touches_its_own_folder_and_the_catalogue_and_the_rest_is_made(tmp_path: Path) -> None:
    home = tmp_path / "vigil"
    for package in COPIED:
        shutil.copytree(ROOT / package, home / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", home)
    folder = home / "detectors" / "night_door"
    folder.mkdir()
    for name, content in (("__init__.py", ""), ("events.py", DECLARED), ("detector.py", DETECTOR)):
        (folder / name).write_text(content, encoding="utf-8")
    catalogue = home / "detectors" / "catalogue.py"
    known = catalogue.read_text(encoding="utf-8")
    known = known.replace(
        "from engine.detector import Detector\n",
        "from detectors.night_door.detector import NightDoorDetector\nfrom engine.detector import Detector\n",
    ).replace("    CameraDetector,\n", "    CameraDetector,\n    NightDoorDetector,\n")
    catalogue.write_text(known, encoding="utf-8")

    environment = {**os.environ, "PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    tools = Path(sys.executable).parent
    subprocess.run(["make", "generated", f"BIN={tools}", "READY="], cwd=home, env=environment, check=True, capture_output=True, timeout=300)
    assert different(ROOT, home) == {
        "detectors/night_door",
        "detectors/catalogue.py",
        "deploy/grafana/dashboards/ward.json",
        "deploy/vigil.sample.toml",
        "deploy/vigil.schema.json",
        "docs/configuration.md",
        "docs/contracts.md",
    }
    policy = (
        '{ priority = 1, life_safety = false, pending_s = 7.0, regroup_s = 77.0, ends = "clear", hold_s = 17.0, data_kinds = ["door"] }'
    )
    assert f'#"night_door.opened" = {policy}\n' in (home / "deploy/vigil.sample.toml").read_text(encoding="utf-8")
    assert f"| `night_door.opened` | `{policy}` |\n" in (home / "docs/configuration.md").read_text(encoding="utf-8")
    assert "| night_door.opened | room | detector |\n" in (home / "docs/contracts.md").read_text(encoding="utf-8")
    board = json.loads((home / "deploy/grafana/dashboards/ward.json").read_text(encoding="utf-8"))
    assert '"night_door.opened": {"text": "夜间开门 · Door opened at night"' in json.dumps(board, ensure_ascii=False)
    asked = subprocess.run([sys.executable, "-c", ASKED], cwd=home, env=environment, check=True, capture_output=True, timeout=300)
    assert json.loads(asked.stdout) == {
        "state": "pending",
        "priority": 1,
        "due_s": 7.0,
        "words": [["夜间开门", "查看谁出去了。"], ["Door opened at night", "See who went out."]],
        "heard": True,
        "accepted": ["night_door.opened"],
    }


def different(before: Path, after: Path) -> set[str]:
    """Files and folders of the copied packages that are not the same in both."""
    found: set[str] = set()
    pairs = [filecmp.dircmp(before / package, after / package) for package in COPIED]
    while pairs:
        pair = pairs.pop()
        names = {*pair.left_only, *pair.right_only, *filecmp.cmpfiles(pair.left, pair.right, pair.common_files, shallow=False)[1]}
        found |= {(Path(pair.right) / name).relative_to(after).as_posix() for name in names}
        pairs += pair.subdirs.values()
    return found
