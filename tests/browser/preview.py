"""A made-up home behind the real console: `python -m tests.browser.preview --residents 24 --port 8099`.

Alerts go through the real AlertBook and measurements through the real LiveBoard; only the numbers are invented (seeded).
"""

from __future__ import annotations

import argparse
import threading
import time

import numpy as np

from alerts.book import AlertBook
from alerts.model import Action, Alert, Command, Refusal, Transition
from console.app import create_app
from console.backend import (
    BindCommand,
    Board,
    CommandResult,
    Delivery,
    DeviceAccount,
    QuarantineCount,
    SystemView,
    Totals,
    UnboundDevice,
    alert_view,
)
from console.board import LiveBoard
from console.live import Broadcaster
from console.server import ConsoleServer
from engine.events import Event, Phase, event_id
from engine.kinds import KINDS
from engine.outputs import Measurements
from engine.registry import Assignment, Place, RegistryData
from streams.pipeline.assembly import HomePolicy
from streams.storage.identity import Person

WARD = "sunrise/2F"
SURNAMES = "王李张刘陈杨黄赵周吴徐孙马朱胡林郭何高罗"
GIVEN = ("秀英", "桂兰", "建国", "淑珍", "玉梅", "德华", "凤英", "志强", "玉兰", "文忠", "丽华", "国庆", "桂芳", "永福", "秀兰", "春生")


class PreviewHome:
    """Implements console.backend.ConsoleBackend over `residents` invented people, two to a room."""

    def __init__(self, residents: int = 24, seed: int = 7, *, incidents: bool = False, silent: tuple[int, ...] = ()) -> None:
        self.random = np.random.default_rng(seed)
        self.residents = [f"resident/r-{i:03d}" for i in range(residents)]
        self.rooms = [f"room/{2 + i // 20}{i % 20 + 1:02d}" for i in range((residents + 1) // 2)]
        self.book = AlertBook(HomePolicy())
        self.lock = threading.Lock()
        self._live_board = LiveBoard("Sunrise Home 朝阳颐养院", turn_interval_s=7200)
        self.started_ms = time.time_ns() // 1_000_000
        self.engine_runs = True
        self.silent: set[str] = {self.residents[i] for i in silent}
        self.unbound_devices = [UnboundDevice("mat-0A:31:7C", ["bed", "vitals"], 5231, self.started_ms - 7_200_000, self.started_ms)]
        self.bound: list[BindCommand] = []
        base = self.random.normal(72, 9, residents)
        self.heart_rate = np.clip(base, 52, 98)
        self.since_turn_s = self.random.uniform(120, 6600, residents)
        self.posture = self.random.integers(0, 4, residents)
        now_ns = time.time_ns()
        self._live_board.set_registry(self._registry(), now_ns)
        self.people = {
            subject: Person(f"{SURNAMES[i % 20]}{GIVEN[(i * 5) % 16]}", self.rooms[i // 2].removeprefix("room/"), "AB"[i % 2])
            for i, subject in enumerate(self.residents)
        }
        self._live_board.set_people(self.people)
        if incidents:
            self._scene()
        self.beat()

    def _registry(self) -> RegistryData:
        beds = [f"bed/{self.rooms[i // 2].removeprefix('room/')}-{'AB'[i % 2]}" for i in range(len(self.residents))]
        return RegistryData(
            assignments=tuple(Assignment(r, b) for r, b in zip(self.residents, beds, strict=True)),
            places=tuple(Place(b, self.rooms[i // 2], WARD) for i, b in enumerate(beds)),
        )

    def person(self, subject: str) -> Person:
        return self.people[subject]

    def rename(self, people: dict[str, Person]) -> None:
        """Somebody is called something else from now on."""
        self.people |= people
        self._live_board.set_people(self.people)

    # -- what the world does ----------------------------------------------------------------------------------------

    def beat(self) -> None:
        """One second of measurements and one tick."""
        if not self.engine_runs:
            return
        now_ns = time.time_ns()
        speaking = [i for i, subject in enumerate(self.residents) if subject not in self.silent]
        people = tuple(self.residents[i] for i in speaking)
        size = len(people)
        nan = np.full(size, np.nan)
        self.since_turn_s += 1
        rate = self.heart_rate[speaking] + self.random.normal(0, 1, size)
        rows = {
            "vitals": (rate, self.random.normal(16, 1, size), np.clip(self.random.normal(97, 0.6, size), 90, 100), nan, nan, nan),
            "bed": ((self.posture[speaking] > 0).astype(float), self.random.random(size) * 0.2, np.zeros(size)),
        }
        out = [self._measured(name, people, now_ns, [c.name for c in KINDS[name].channels], columns) for name, columns in rows.items()]
        pressure = (self.posture[speaking], self.since_turn_s[speaking])
        out.append(self._measured("feature.pressure", people, now_ns, ["posture_code", "turn_clock_s"], pressure))
        count = len(self.rooms)
        air = (np.abs(self.random.normal(0, 0.001, count)), np.zeros(count), self.random.normal(22.6, 0.3, count), np.full(count, 45.0))
        out.append(self._measured("room_air", tuple(self.rooms), now_ns, [c.name for c in KINDS["room_air"].channels], air))
        with self.lock:
            done = self.book.tick(now_ns)
            self._feed(out, done, now_ns)

    @staticmethod
    def _measured(name: str, subjects: tuple[str, ...], now_ns: int, columns: list[str], values: tuple[np.ndarray, ...]) -> Measurements:
        return Measurements(name, subjects, np.full(len(subjects), now_ns), tuple(columns), np.column_stack([*values]).astype(np.float32))

    def _feed(self, measurements: list[Measurements], done: list[Transition], now_ns: int) -> None:
        alerts = [a for a in (self.book.alert(t.alert_id) for t in done) if a is not None]
        self._live_board.feed(measurements, alerts, now_ns)

    def happen(self, code: str, subject: str, values: dict[str, float] | None = None, phase: Phase = "onset", ago_s: float = 0) -> str:
        """An event; returns the id of the alert it opened."""
        now_ns = time.time_ns() - int(ago_s * 1e9)
        event = Event(
            event_id("preview", code, subject, now_ns, phase), "preview", code, subject, phase, 3, now_ns, now_ns, now_ns, 1.0, values or {}
        )
        with self.lock:
            done = self.book.apply(event)
            self._feed([], done, time.time_ns())
        return done[0].alert_id if done else ""

    def _scene(self) -> None:
        """A bad evening: one of everything."""
        spread = [self.residents[i % len(self.residents)] for i in (3, 8, 10, 14, 17)]
        self.happen("heart_baseline.deviation", spread[4], {"heart_rate_bpm": 96, "expected_bpm": 71}, ago_s=2400)
        overdue = self.happen("pressure_injury.turn_overdue", spread[2], {"same_side_s": 8100}, ago_s=900)
        self.since_turn_s[self.residents.index(spread[2])] = 8100
        self.posture[self.residents.index(spread[2])] = 1
        with self.lock:
            done = self.book.command(Command("c1", Action.ACKNOWLEDGE, overdue, "Li N.", time.time_ns() - 200_000_000_000))
            self._feed([], [] if isinstance(done, Refusal) else done, time.time_ns())
        self.happen("heart.bradycardia", spread[1], {"rate_bpm": 36.4}, ago_s=185)
        self.heart_rate[self.residents.index(spread[1])] = 36
        self.happen("falls.fall", spread[0], {"peak_g": 3.42, "rotation_deg": 71}, ago_s=48)
        self.silent.add(spread[3])

    def run(self) -> None:
        """Beat once a second for ever."""
        while True:
            self.beat()
            time.sleep(1)

    # -- ConsoleBackend ---------------------------------------------------------------------------------------------

    @property
    def live(self) -> Broadcaster:
        return self._live_board.live

    def board(self) -> Board:
        return self._live_board.board(time.time_ns() // 1_000_000)

    def alert(self, alert_id: str) -> Alert | None:
        with self.lock:
            return self.book.alert(alert_id)

    def system(self) -> SystemView:
        now_ms = time.time_ns() // 1_000_000
        return SystemView(
            now_ms,
            self.started_ms - 93_600_000,
            self.board().engine_ms,
            "0.1.0",
            Totals(1_204_377, 1_203_918, 214, 133, 112),
            [
                DeviceAccount(f"band-{i:03d}", "accel", r, Totals(48_000, 48_000 - i, i), now_ms - i * 700)
                for i, r in enumerate(self.residents[:6])
            ],
            [
                QuarantineCount("unknown_device", 71, now_ms - 2000, "mat-0A:31:7C", "device mat-0A:31:7C is bound to nobody: bind it"),
                QuarantineCount("out_of_range", 41, now_ms - 3_700_000, "oxi-114", "spo2_percent 137 is above 100: check the sensor"),
            ],
            self.unbound_devices,
            [
                Delivery("http", "source", "ok", last_ok_ms=now_ms - 400),
                Delivery("sqlite", "sink", "ok", last_ok_ms=now_ms - 900),
                Delivery("webhook", "sink", "waiting", 3, 0, now_ms - 65_000, "connection refused; trying again in 20 s"),
            ],
        )

    async def command(self, command: Command) -> CommandResult:
        with self.lock:
            done = self.book.command(command)
            if isinstance(done, Refusal):
                return CommandResult(False, done.reason)
            self._feed([], done, time.time_ns())
            alert = self.book.alert(command.alert_id)
        return CommandResult(True, alert=None if alert is None else alert_view(alert))

    async def bind(self, command: BindCommand) -> CommandResult:
        if "/" not in command.subject:
            return CommandResult(False, "unknown_subject")
        self.bound.append(command)
        self.unbound_devices = [d for d in self.unbound_devices if d.device != command.device]
        return CommandResult(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--residents", type=int, default=24)
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--calm", action="store_true", help="without the incidents")
    options = parser.parse_args()
    home = PreviewHome(options.residents, incidents=not options.calm)
    server = ConsoleServer(create_app(home), home.live, port=options.port)
    server.start()
    print(server.url)
    home.run()


if __name__ == "__main__":
    main()
