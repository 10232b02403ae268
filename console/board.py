"""The board model: what the engine says, kept as what a tile shows. Pure; `LiveBoard` adds the lock and the sending."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final, NamedTuple

import msgspec
import numpy as np

from alerts.model import Alert
from console.backend import NS_PER_MS, OPEN_STATES, AlertView, Board, Patch, Space, Tile, alert_view
from console.live import Broadcaster
from engine.outputs import Measurements
from engine.registry import RegistryData
from engine.watch import WatchChange
from streams.pipeline.assembly import HEARD_BY_EVENT
from streams.storage.identity import Person

PUBLISH_EVERY_MS: Final = 500
"""Measurements reach the browsers at most twice a second; an alert goes at once."""

HOLD_MS: Final = 15_000
"""How long a better source keeps its place after its last word: a mattress that pauses for a second does not make the heart rate
jump to the last minute's figure and back."""
MISSED_TURNS: Final = 3
"""A quantity whose device has no value for it is shown no longer when it has missed so many of its turns, and HOLD_MS."""


TURN_SETTING: Final = ("pressure_injury", "turn_interval_s")
"""The care setting that says how often a resident is to be turned."""


class Source(NamedTuple):
    """Where a quantity on a tile comes from; a smaller `rank` is preferred while it is fresh."""

    quantity: str
    rank: int = 0


SOURCES: Final[dict[str, dict[str, Source]]] = {
    "vitals": {
        "heart_rate_bpm": Source("heart_rate_bpm"),
        "respiration_per_min": Source("respiration_per_min"),
        "spo2_percent": Source("spo2_percent"),
        "temperature_c": Source("body_temperature_c"),
        "bp_systolic_mmhg": Source("bp_systolic_mmhg"),
        "bp_diastolic_mmhg": Source("bp_diastolic_mmhg"),
    },
    "bed": {
        "in_bed": Source("in_bed"),
        "movement": Source("movement"),
        "moisture": Source("moisture"),
    },
    "room_air": {
        "temperature_c": Source("temperature_c"),
        "smoke_od_per_m": Source("smoke_od_per_m"),
        "co_ppm": Source("co_ppm"),
        "humidity_percent": Source("humidity_percent"),
    },
    "feature.pressure": {
        "posture_code": Source("posture"),
        "turn_clock_s": Source("since_turn_s"),
    },
    # Figures of whole minutes: taken where no mattress or oximeter gives them every second.
    "feature.heart": {
        "heart_rate_bpm": Source("heart_rate_bpm", 1),
        "respiration_per_min": Source("respiration_per_min", 1),
        "spo2_percent": Source("spo2_percent", 1),
    },
}
"""Measurement -> column -> quantity. Columns that are not here are not shown; those that are missing stay empty."""


def space_of(subject: str) -> Space:
    """The kind of `subject`, "<kind>/<id>"; anything unexpected is shown like a resident rather than not at all."""
    match subject.partition("/")[0]:
        case "room":
            return "room"
        case "bed":
            return "bed"
        case _:
            return "resident"


def bare(subject: str) -> str:
    """The id without its kind."""
    return subject.rpartition("/")[2] if subject.count("/") <= 1 else subject.partition("/")[2]


class BoardModel:
    """Tiles by subject and open alerts by id, with what changed since the last patch.

    `turn_interval_s` is the turning interval of residents whose care plan sets none (None: no turn is shown as due).
    """

    def __init__(self, home: str = "", turn_interval_s: float | None = None) -> None:
        self.home = home
        self._turn_interval_s = turn_interval_s
        self._tiles: dict[str, Tile] = {}
        self._ranks: dict[tuple[str, str], int] = {}
        self._every_ms: dict[tuple[str, str], int] = {}
        self._alerts: dict[str, AlertView] = {}
        self._people: dict[str, Person] = {}
        self._changed_tiles: set[str] = set()
        self._changed_alerts: dict[str, AlertView] = {}
        self._seq = 0
        self._engine_ms = 0

    @property
    def changed(self) -> bool:
        """Whether a patch would carry anything but the time."""
        return bool(self._changed_tiles or self._changed_alerts)

    @property
    def alerts_changed(self) -> bool:
        """Whether a patch would carry news about an alert."""
        return bool(self._changed_alerts)

    def set_people(self, people: Mapping[str, Person]) -> None:
        """Names, rooms and beds by subject; browsers get them with the next snapshot."""
        self._people = dict(people)

    def set_registry(self, data: RegistryData, now_ns: int) -> None:
        """Give everybody who is bound or assigned now a tile, so that a silent resident is seen as silent."""
        places = {place.subject: place for place in data.places}
        beds = {a.resident: a.bed for a in data.assignments if a.from_ns <= now_ns < a.to_ns}
        taken = set(beds.values())
        bound = (b.subject for b in data.bindings if b.from_ns <= now_ns < b.to_ns and b.subject not in taken)
        wanted = set(chain(beds, bound, (p.room for p in data.places if p.room)))
        wards = {b.subject: b.ward for b in data.bindings} | {p.room if "/" in p.room else f"room/{p.room}": p.ward for p in data.places}
        turns = {c.subject: c.value for c in data.care if (c.detector, c.field) == TURN_SETTING and c.value is not None}
        for subject in wanted:
            name = subject if "/" in subject else f"room/{subject}"
            tile = self._tile(name)
            bed = beds.get(subject, "")
            place = places.get(subject) or places.get(bed)
            tile.bed = bare(bed) if bed else tile.bed
            tile.room = bare(name) if tile.space == "room" else (bare(place.room) if place else tile.room)
            tile.ward = place.ward if place else wards.get(name) or wards.get(bed) or tile.ward
            tile.turn_due_s = turns.get(subject, self._turn_interval_s) if tile.space == "resident" else None
        gone = {s for s, tile in self._tiles.items() if tile.space != "room" and s not in wanted and s in (set(wards) | set(places))}
        for subject in gone:
            del self._tiles[subject]
        self._seq += 1

    def apply(self, measurements: Iterable[Measurements], now_ns: int) -> None:
        """Take what the engine measured. A reading dated after `now_ns` (a fast device clock) counts as of now."""
        self._engine_ms = max(self._engine_ms, now_ns // NS_PER_MS)
        for measurement in measurements:
            sources = SOURCES.get(measurement.name)
            if sources is None:
                continue
            columns = [(i, sources[name]) for i, name in enumerate(measurement.columns) if name in sources]
            if not columns:
                continue
            finite = np.isfinite(measurement.values)
            for row, subject in enumerate(measurement.subjects):
                self._read(subject, int(measurement.t_ns[row]), now_ns, measurement, row, columns, finite)

    def _read(
        self,
        subject: str,
        t_ns: int,
        now_ns: int,
        measurement: Measurements,
        row: int,
        columns: list[tuple[int, Source]],
        finite: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    ) -> None:
        at_ms = min(t_ns, now_ns) // NS_PER_MS
        tile = self._tile(subject)
        tile.seen_ms = at_ms if tile.seen_ms is None else max(tile.seen_ms, at_ms)
        for index, source in columns:
            held = tile.readings.get(source.quantity)
            if not finite[row, index]:
                # A pulse that a sensor no longer finds is not the last one it found. Without value is also what another device of the
                # subject never measures: so only what has missed several of its own turns goes.
                every_ms = self._every_ms.get((subject, source.quantity), at_ms)
                if held is not None and at_ms - held[1] >= max(HOLD_MS, MISSED_TURNS * every_ms):
                    del tile.readings[source.quantity]
                continue
            if held is not None:
                if at_ms < held[1]:
                    continue
                if source.rank > self._ranks.get((subject, source.quantity), 0) and at_ms - held[1] < HOLD_MS:
                    continue
            if held is not None:
                self._every_ms[subject, source.quantity] = at_ms - held[1]
            tile.readings[source.quantity] = (round(float(measurement.values[row, index]), 4), at_ms)
            self._ranks[subject, source.quantity] = source.rank
        self._changed_tiles.add(subject)

    def put_alert(self, alert: Alert) -> None:
        """Take an alert's new state; resolved ones leave the board."""
        if alert.state in OPEN_STATES:
            self._alerts[alert.id] = alert_view(alert)
            tile = self._tile(alert.subject)
            if alert.code in HEARD_BY_EVENT:
                tile.seen_ms = max(tile.seen_ms or 0, alert.last_onset_ns // NS_PER_MS)
                self._changed_tiles.add(alert.subject)
        elif self._alerts.pop(alert.id, None) is None:
            return
        self._changed_alerts[alert.id] = alert_view(alert)

    def watch(self, changes: Iterable[WatchChange]) -> None:
        """Take what is watched from now on, and what is not."""
        for change in changes:
            tile = self._tile(change.subject)
            if change.reason is None:
                tile.not_watched.pop(change.hazard, None)
            else:
                tile.not_watched[change.hazard] = (change.reason, change.since_ns // NS_PER_MS)
            self._changed_tiles.add(change.subject)

    def board(self, now_ms: int, engine_age_ms: int = 0) -> Board:
        """Everything, for a browser that has just come."""
        tiles = [_copy(tile) for tile in self._tiles.values()]
        alerts = sorted(self._alerts.values(), key=lambda a: (a.acknowledged, -a.priority, a.raised_ms))
        return Board(self._seq, now_ms, self._engine_ms, self.home, tiles, alerts, self._people, engine_age_ms)

    def patch(self, now_ms: int) -> Patch:
        """What changed since the last patch; forgets it."""
        self._seq += 1
        tiles = [_copy(self._tiles[s]) for s in self._changed_tiles if s in self._tiles]
        patch = Patch(self._seq, now_ms, self._engine_ms, tiles, list(self._changed_alerts.values()))
        self._changed_tiles.clear()
        self._changed_alerts.clear()
        return patch

    def _tile(self, subject: str) -> Tile:
        tile = self._tiles.get(subject)
        if tile is None:
            space = space_of(subject)
            tile = Tile(subject, space, room=bare(subject) if space == "room" else "", readings={}, not_watched={})
            self._tiles[subject] = tile
            self._changed_tiles.add(subject)
        return tile


def _copy(tile: Tile) -> Tile:
    return msgspec.structs.replace(tile, readings=dict(tile.readings), not_watched=dict(tile.not_watched))


class LiveBoard:
    """A board model that the runner feeds from its thread and the console reads from another.

    Call `feed` after every engine step and tick: it publishes alerts at once and measurements every PUBLISH_EVERY_MS. `feed` and `beat` are
    the engine's heartbeat.
    """

    def __init__(self, home: str = "", turn_interval_s: float | None = None) -> None:
        self.live = Broadcaster()
        self._model = BoardModel(home, turn_interval_s)
        self._lock = threading.Lock()
        self._published_ms = 0
        self._beat_s = time.monotonic()

    def beat(self) -> None:
        """The engine moves, with nothing to show for it."""
        self._beat_s = time.monotonic()

    @property
    def engine_age_s(self) -> float:
        """Since the engine last moved, on the monotonic clock."""
        return time.monotonic() - self._beat_s

    def feed(self, measurements: Iterable[Measurements], alerts: Iterable[Alert], now_ns: int, watch: Iterable[WatchChange] = ()) -> None:
        """Take the results of one step, `now_ns` being the wall clock."""
        self.beat()
        now_ms = now_ns // NS_PER_MS
        with self._lock:
            self._model.apply(measurements, now_ns)
            self._model.watch(watch)
            for alert in alerts:
                self._model.put_alert(alert)
            due = abs(now_ms - self._published_ms) >= PUBLISH_EVERY_MS
            if not (due or self._model.alerts_changed):
                return
            self._published_ms = now_ms
            message = msgspec.json.encode(self._model.patch(now_ms))
            # Published inside the lock: two patches must not overtake each other.
            self.live.publish(message)

    def set_registry(self, data: RegistryData, now_ns: int) -> None:
        """See BoardModel."""
        with self._lock:
            self._model.set_registry(data, now_ns)
        self.refresh()

    def set_people(self, people: Mapping[str, Person]) -> None:
        """See BoardModel."""
        with self._lock:
            self._model.set_people(people)
        self.refresh()

    def refresh(self) -> None:
        """Have every browser fetch a fresh snapshot (names or rooms changed)."""
        self.live.reset()

    def board(self, now_ms: int) -> Board:
        """See BoardModel."""
        with self._lock:
            return self._model.board(now_ms, round(self.engine_age_s * 1000))
