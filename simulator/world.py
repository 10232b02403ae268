"""The ward as its sensors see it: blocks of every kind, second by second, in true time and complete."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.block import NO_SEQ, QUALITY_POOR, Block
from engine.frame import NS_PER_S, Bool, Float64
from engine.kinds import CAMERA_FALL
from simulator.bedside import COLUMNS, ROWS, Beds, round_to, spot_vitals, where_measured
from simulator.cardiac import RATE_HZ, Hearts, Pulse
from simulator.motion import Motion
from simulator.rooms import Rooms
from simulator.routine import Activity, Poses, Routine
from simulator.scenario import Incident, Scenario
from simulator.script import CAMERA_DELAY_S, CAMERA_EVERY, EFFORT_BPM, Script

STORED_CHUNK_S: Final = 30
PRESS_S: Final = 0.6
POSITION_EVERY_S: Final = 5
BP_EVERY_S: Final = 1800
WALKING_MOVEMENT: Final = 0.6
HANDS_MOVEMENT: Final = 0.3
MOVEMENT_HIDES_PULSE: Final = 0.3
"""Above this movement a mattress cannot tell the heart beat."""
ROOM_PITCH_M: Final = 4.0
PLACE_M: Final = {Activity.BED: 2.0, Activity.SITTING: 3.2, Activity.TOILET: 5.0, Activity.FLOOR: 3.6}
CORRIDOR_M: Final = 6.5


class World:
    """All sensors of a ward of `scenario.residents`; `blocks_at` must be called for 0, 1, 2, ... in order.

    Devices of resident i: wb-i (wristband: accel, gyro, ppg, vitals), patch-i (ecg, rr_interval), mat-i (bed, vitals),
    map-i (pressure_map), sos-i (button), tag-i (position), cam-i (camera_event); of room j: air-j, el-j, door-j.
    """

    def __init__(self, scenario: Scenario) -> None:
        n, seed = scenario.residents, scenario.seed
        self.scenario = scenario
        hour = (scenario.start_ns / NS_PER_S / 3600 + scenario.utc_offset_h) % 24
        intervals = np.array([scenario.turn_interval(i) for i in range(n)])
        rngs = [np.random.default_rng([seed, part]) for part in range(6)]
        self.routine = Routine(n, scenario.bedridden_share, hour, intervals, rngs[0])
        self._motion = Motion(n, scenario.accel_rate_hz, rngs[1])
        self._hearts = Hearts(n, rngs[2])
        self._beds = Beds(n, self._hearts.breath_hz, rngs[3])
        self._rooms = Rooms(scenario.rooms, rngs[4])
        self._rng = rngs[5]
        self.script = Script(scenario, self._rooms)
        self._spo2 = self._rng.uniform(94, 98, n)
        self._body_c = self._rng.uniform(36.1, 36.8, n)
        self._systolic = self._rng.uniform(112, 150, n)
        self._in_toilet = np.zeros(n, np.bool_)
        self._rr_seq = np.zeros(n, np.int64)
        self._next = 0
        self._ids = {
            prefix: tuple(f"{prefix}-{i + 1:03d}" for i in range(n)) for prefix in ("wb", "patch", "mat", "map", "sos", "tag", "cam")
        }
        self._ids |= {prefix: tuple(f"{prefix}-{101 + j}" for j in range(scenario.rooms)) for prefix in ("air", "el", "door")}

    def blocks_at(self, second: int) -> list[Block]:
        """What all sensors measured in [second, second + 1), one block per kind (RR intervals: one per count).

        ValueError when `second` is not the next one: signals are continuous, so the ward is lived through in order.
        """
        if second != self._next:
            raise ValueError(f"the ward is at second {self._next}, not {second}: ask for the seconds in order, or start a new World")
        self._next += 1
        kinds = set(self.scenario.kinds)
        active = self.script.active(second)
        poses = self.routine.second(second, self.script.forced(second, active))
        off_body = self.script.worn(second, active, "off_body")
        lead_off = self.script.worn(second, active, "lead_off")
        self._beds.settle(second, poses)
        movement = self._beds.movement(second, poses)
        blocks = self._motion_blocks(second, kinds, poses, active, off_body)
        told = self.script.hearts(second, active)
        effort = self._hearts.rest_bpm + EFFORT_BPM[poses.activity]
        bpm = np.where(np.isnan(told.bpm), effort, told.bpm)
        busy = np.where(
            poses.in_bed, movement, np.where(poses.activity == Activity.WALKING, WALKING_MOVEMENT, HANDS_MOVEMENT * self._motion.busy)
        )
        pulse = self._hearts.second(second, told.rhythm, bpm, told.abrupt, busy, lead_off)
        blocks += self._heart_blocks(second, kinds, pulse, off_body, lead_off)
        if "vitals" in kinds:
            blocks.append(self._vitals(second, poses, pulse, movement, off_body, active))
        if "bed" in kinds:
            samples = self._beds.bed(poses, movement, self.script.moisture(second, active))
            blocks.append(self._block("bed", "mat", second, 1.0, samples))
        every = self.scenario.map_every_s
        if "pressure_map" in kinds and second % every == 0:
            maps = self._beds.pressure(second, poses, movement)
            block = self._block("pressure_map", "map", second, 1 / every, maps, shape=(ROWS, COLUMNS), seq=second // every)
            blocks.append(block)
        if kinds & {"room_air", "electrical"}:
            air, electrical = self._rooms.second(second, self.routine.hour(second), self.script.courses(second, active))
            if "room_air" in kinds:
                blocks.append(self._block("room_air", "air", second, 1.0, air))
            if "electrical" in kinds:
                blocks.append(self._block("electrical", "el", second, 1.0, electrical))
        blocks += self._instants(second, kinds, poses, active)
        return blocks

    def stored_maps(self) -> list[Block]:
        """What mattresses recorded before the ward started, oldest first, in chunks of STORED_CHUNK_S; call after blocks_at(0)."""
        blocks: list[Block] = []
        for i, seconds in self.scenario.stored_s.items():
            maps = self._beds.stored(i, seconds)
            for begin in range(0, seconds, STORED_CHUNK_S):
                part = maps[None, begin : begin + STORED_CHUNK_S]
                at = np.array([float(begin - seconds)])
                blocks.append(self._block("pressure_map", "map", 0, 1.0, part, rows=[i], shape=(ROWS, COLUMNS), at_s=at, seq=NO_SEQ))
        return blocks

    def _block(
        self,
        kind: str,
        prefix: str,
        second: int,
        rate_hz: float,
        samples: Any,
        *,
        rows: Any = None,
        poor: Bool | None = None,
        shape: tuple[int, int] | None = None,
        at_s: Float64 | None = None,
        seq: Any = None,
    ) -> Block:
        """A block of the devices `prefix`-`rows` (default all); poor (n,) and at_s (k,) where they matter; seq default: second."""
        ids = self._ids[prefix]
        chosen = np.arange(len(ids)) if rows is None else np.asarray(rows, np.int64)
        k = chosen.size
        start = self.scenario.start_ns
        t0 = np.full(k, start + second * NS_PER_S, np.int64) if at_s is None else start + np.rint(at_s * NS_PER_S).astype(np.int64)
        values = np.ascontiguousarray(samples if len(samples) == k else samples[chosen])
        quality = np.zeros(k, np.uint8) if poor is None else np.where(poor[chosen], QUALITY_POOR, 0).astype(np.uint8)
        names = ids if rows is None else tuple(ids[i] for i in chosen)
        number = np.full(k, second if seq is None else seq, np.int64)
        return Block(kind, names, t0, number, rate_hz, values, quality, shape or (1, values.shape[2]))

    def _motion_blocks(self, second: int, kinds: set[str], poses: Poses, active: list[Incident], off_body: Bool) -> list[Block]:
        accel, gyro = self._motion.second(second, poses, self.script.falls(active), off_body)
        rate = float(self.scenario.accel_rate_hz)
        pairs = (("accel", accel), ("gyro", gyro))
        return [self._block(kind, "wb", second, rate, samples, poor=off_body) for kind, samples in pairs if kind in kinds]

    def _heart_blocks(self, second: int, kinds: set[str], pulse: Pulse, off_body: Bool, lead_off: Bool) -> list[Block]:
        blocks: list[Block] = []
        wearers = self.scenario.ecg_wearers
        if "ecg" in kinds and wearers:
            blocks.append(self._block("ecg", "patch", second, RATE_HZ, pulse.ecg[wearers], rows=wearers, poor=lead_off))
        if "ppg" in kinds:
            ppg = np.where(off_body[:, None, None], np.float32(20.0), pulse.ppg)
            blocks.append(self._block("ppg", "wb", second, RATE_HZ, ppg, poor=off_body))
        if "rr_interval" in kinds:
            counts = np.array([0 if lead_off[i] else len(pulse.rr_ms[i]) for i in wearers])
            for count in np.unique(counts[counts > 0]):
                rows = [i for i, c in zip(wearers, counts, strict=True) if c == count]
                samples = np.stack([pulse.rr_ms[i] for i in rows]).astype(np.float32)[:, :, None]
                at = pulse.rr_start_s[rows]
                blocks.append(self._block("rr_interval", "patch", second, 0.0, samples, rows=rows, at_s=at, seq=self._rr_seq[rows]))
                self._rr_seq[rows] += 1
        return blocks

    def _vitals(self, second: int, poses: Poses, pulse: Pulse, movement: Float64, off_body: Bool, active: list[Incident]) -> Block:
        """Mattress (heart rate, respiration while in bed and still) and wristband (heart rate, SpO2, temperature, now and then pressure)."""
        rng, n = self._rng, self.scenario.residents
        mattress, wrist = spot_vitals(n), spot_vitals(n)
        still = poses.in_bed & (movement < MOVEMENT_HIDES_PULSE)
        rate = pulse.heart_rate_bpm + 0.7 * rng.standard_normal(n)
        breath = 60 * self._hearts.breath_hz + 0.4 * rng.standard_normal(n)
        mattress[:, 0, 0] = where_measured(round_to(rate, 0.1), still)
        mattress[:, 0, 1] = where_measured(round_to(breath, 0.1), still)
        spo2 = self.script.spo2(second, active, self._spo2) + 0.4 * rng.standard_normal(n)
        wrist[:, 0, 0] = where_measured(round_to(pulse.heart_rate_bpm + 1.5 * rng.standard_normal(n), 1), ~off_body)
        wrist[:, 0, 2] = where_measured(np.minimum(round_to(spo2, 1), 100), ~off_body & ~np.isnan(pulse.heart_rate_bpm))
        wrist[:, 0, 3] = where_measured(round_to(self._body_c + 0.05 * rng.standard_normal(n), 0.1), ~off_body)
        due = (second + 60 * np.arange(n)) % BP_EVERY_S == 0
        systolic = self._systolic + 6 * rng.standard_normal(n)
        wrist[:, 0, 4] = where_measured(round_to(systolic, 1), due & ~off_body)
        wrist[:, 0, 5] = where_measured(round_to(0.6 * systolic, 1), due & ~off_body)
        one = self._block("vitals", "mat", second, 1.0, mattress)
        two = self._block("vitals", "wb", second, 1.0, wrist, poor=off_body)
        return one._replace(
            devices=one.devices + two.devices,
            t0_ns=np.concatenate([one.t0_ns, two.t0_ns]),
            seq=np.concatenate([one.seq, two.seq]),
            samples=np.concatenate([one.samples, two.samples]),
            quality=np.concatenate([one.quality, two.quality]),
        )

    def _instants(self, second: int, kinds: set[str], poses: Poses, active: list[Incident]) -> list[Block]:
        """Buttons, cameras, positions, doors."""
        blocks: list[Block] = []
        pressed = [i for i in active if i.kind == "sos" and second <= i.at_s < second + 1]
        if "button" in kinds and pressed:
            rows = [i.who for i in pressed]
            for held_s, state in ((0.0, 1.0), (PRESS_S, 0.0)):
                at = np.array([i.at_s + held_s for i in pressed])
                samples = np.full((len(rows), 1, 1), state, np.float32)
                blocks.append(self._block("button", "sos", second, 0.0, samples, rows=rows, at_s=at, seq=NO_SEQ))
        seen = [i for i in active if i.kind == "fall" and i.who % CAMERA_EVERY == 0 and second <= i.at_s + CAMERA_DELAY_S < second + 1]
        if "camera_event" in kinds and seen:
            at = np.array([i.at_s + CAMERA_DELAY_S for i in seen])
            verdict = np.tile(np.array([[[CAMERA_FALL, 0.9]]], np.float32), (len(seen), 1, 1))
            blocks.append(self._block("camera_event", "cam", second, 0.0, verdict, rows=[i.who for i in seen], at_s=at, seq=NO_SEQ))
        if "position" in kinds and second % POSITION_EVERY_S == 0:
            room = np.arange(self.scenario.residents) // 2
            y = np.array([PLACE_M.get(Activity(int(a)), CORRIDOR_M) for a in poses.activity])
            x = ROOM_PITCH_M * room + np.where(y == CORRIDOR_M, (second * 0.9) % ROOM_PITCH_M, 1.5)
            spread = self._rng.normal(0, 0.2, (2, room.size))
            samples = np.stack([np.round(x + spread[0], 2), np.round(y + spread[1], 2), np.ones(room.size)], axis=1)
            blocks.append(
                self._block("position", "tag", second, 0.0, samples.astype(np.float32)[:, None, :], seq=second // POSITION_EVERY_S)
            )
        in_toilet = poses.activity == Activity.TOILET
        if second == 0:
            self._in_toilet = in_toilet
        moved = np.unique(np.flatnonzero(in_toilet != self._in_toilet) // 2)
        self._in_toilet = in_toilet
        if "door" in kinds and moved.size:
            # The toilet's door opens and closes again behind whoever passes: two instants in one chunk's second.
            for offset, state in ((0.0, 1.0), (0.8, 0.0)):
                samples = np.full((moved.size, 1, 1), state, np.float32)
                at = np.full(moved.size, second + offset)
                blocks.append(self._block("door", "door", second, 0.0, samples, rows=moved, at_s=at, seq=NO_SEQ))
        return blocks
