// One tile a resident, one card a room; and what a reading is worth at its age.

import { el, icon, setAttribute, setText, shape } from "./dom.js";
import { title } from "./alerts.js";
import { decimal, duration, hoursMinutes, measured, t } from "./i18n.js";

export const FADE_MS = 130000; // older than this a reading is not "now": a minute's figure carries its start, so is two minutes old when the next comes
export const GONE_MS = 600000; // older than this it is not shown on a tile
const SILENT_MS = 180000; // nothing at all from a resident: the tile says so
const IN_BED = 0.5;
const WET = 0.5; // from here a bed counts as wet: moisture_fraction_min of the pressure_injury detector
const MOVES = 0.05; // below it a mattress feels nothing but breathing
const POSTURES = { 0: "bed.out", 1: "posture.supine", 2: "posture.right", 3: "posture.left", 4: "bed.in" };

const collator = new Intl.Collator(undefined, { numeric: true });
const compare = (a, b) => collator.compare(a, b);

export function reading(tile, quantity, now) {
  const held = tile.readings[quantity];
  if (!held) return null;
  const ageMs = now - held[1];
  return ageMs > GONE_MS ? null : { value: held[0], ageMs, old: ageMs > FADE_MS };
}

const postureText = (value) => (POSTURES[Math.round(value)] ? t(POSTURES[Math.round(value)]) : "");
const inBedText = (value) => t(value >= IN_BED ? "bed.in" : "bed.out");

// A reading as the details show it.
export function readingText(quantity, value) {
  if (quantity === "posture") return postureText(value) || "–";
  if (quantity === "in_bed") return inBedText(value);
  if (quantity === "since_turn_s") return hoursMinutes(value * 1000);
  if (quantity === "moisture") return t(value >= WET ? "bed.wet" : "bed.dry");
  if (quantity === "movement") return t(value >= MOVES ? "bed.moves" : "bed.still");
  return measured(quantity, value);
}

export function bedState(tile, now) {
  const posture = reading(tile, "posture", now);
  const inBed = reading(tile, "in_bed", now);
  const known = posture && postureText(posture.value);
  if (known && !(inBed && inBed.ageMs < posture.ageMs - FADE_MS)) return { text: known, inBed: Math.round(posture.value) > 0, old: posture.old, ageMs: posture.ageMs };
  if (inBed) return { text: inBedText(inBed.value), inBed: inBed.value >= IN_BED, old: inBed.old, ageMs: inBed.ageMs };
  return { text: t("bed.unknown"), inBed: null, old: true };
}

// The turn clock runs on between readings: {elapsedMs, dueMs} or null when nobody counts.
export function turnClock(tile, now) {
  const since = reading(tile, "since_turn_s", now);
  if (!since || bedState(tile, now).inBed === false) return null;
  return { elapsedMs: since.value * 1000 + since.ageMs, dueMs: tile.turn_due_s === null ? null : tile.turn_due_s * 1000 };
}

export function silent(tile, now) {
  return tile.seen_ms === null || now - tile.seen_ms > SILENT_MS;
}

// What nobody watches now, with the reason: [{hazard, reason, sinceMs}]. A device that has just come is none yet.
export function notWatched(tile) {
  return Object.entries(tile?.not_watched ?? {})
    .filter(([, [reason]]) => reason !== "warming_up")
    .map(([hazard, [reason, sinceMs]]) => ({ hazard: t(`hazard.${hazard}`), reason: t(`blind.${reason}`), sinceMs }));
}

function drawNotWatched(node, tile) {
  const found = notWatched(tile);
  node.hidden = !found.length;
  setText(node, found.length ? t("ui.not_watched", { what: found.map((one) => one.hazard).join(t("ui.comma")) }) : "");
  node.title = found.map((one) => `${one.hazard}: ${one.reason}`).join("\n");
}

export function state(live, subject) {
  const alert = live.worst(subject);
  return alert ? { alert, priority: alert.priority, taken: alert.acknowledged } : null;
}

export class ResidentTile {
  constructor(live, subject, open) {
    this.live = live;
    this.subject = subject;
    this.bed = el("span", { class: "bed" });
    this.name = el("span", { class: "name" });
    this.mark = el("span", { class: "mark" });
    this.rate = el("b", { class: "rate" });
    this.rateBox = el("span", { class: "vital main" }, icon("heart"), this.rate);
    this.breath = el("b");
    this.breathBox = el("span", { class: "vital" }, el("small", {}, t("short.respiration_per_min")), this.breath);
    this.oxygen = el("b");
    this.oxygenBox = el("span", { class: "vital" }, el("small", {}, t("short.spo2_percent")), this.oxygen);
    this.bedText = el("span", { class: "position" });
    this.turn = el("span", { class: "turn" });
    this.turnText = el("span");
    this.turn.append(icon("turn"), this.turnText);
    this.bar = el("progress", { class: "turn-bar", max: 1, value: 0, "aria-hidden": "true" });
    this.age = el("span", { class: "age" });
    this.blind = el("span", { class: "blind" });
    this.what = el("span", { class: "what" });
    this.node = el(
      "button",
      { class: "tile", type: "button", "data-subject": subject, onclick: () => open(subject) },
      el("span", { class: "tile-top" }, this.bed, this.name, this.mark),
      this.what,
      el("span", { class: "vitals" }, this.rateBox, el("span", { class: "vital-small" }, this.breathBox, this.oxygenBox)),
      el("span", { class: "tile-foot" }, this.bedText, this.turn, this.age, this.blind),
      this.bar,
    );
  }

  draw() {
    const now = this.live.now();
    const tile = this.live.tiles.get(this.subject);
    const place = this.live.place(this.subject);
    setText(this.bed, place.bed || "–");
    setText(this.name, place.name);
    this.drawState();
    this.vital(this.rateBox, this.rate, reading(tile, "heart_rate_bpm", now));
    this.vital(this.breathBox, this.breath, reading(tile, "respiration_per_min", now));
    this.vital(this.oxygenBox, this.oxygen, reading(tile, "spo2_percent", now));
    const bed = bedState(tile, now);
    setText(this.bedText, bed.text);
    setAttribute(this.bedText, "data-age", bed.ageMs && bed.old ? t("ui.ago", { d: duration(bed.ageMs) }) : null);
    setAttribute(this.bedText, "data-old", bed.old);
    const turn = turnClock(tile, now);
    this.turn.hidden = this.bar.hidden = !turn;
    if (turn) {
      setText(this.turnText, t("ui.since_turn", { d: duration(turn.elapsedMs) }));
      this.turn.title = t("quantity.since_turn_s");
      const share = turn.dueMs ? turn.elapsedMs / turn.dueMs : 0;
      this.bar.hidden = !turn.dueMs;
      this.bar.value = Math.min(1, share);
      setAttribute(this.turn, "data-due", share >= 1);
      setAttribute(this.bar, "data-due", share >= 1);
    }
    drawNotWatched(this.blind, tile);
    const quiet = silent(tile, now);
    setAttribute(this.node, "data-silent", quiet);
    setText(this.age, tile.seen_ms === null ? t("ui.never") : t("ui.updated", { d: duration(now - tile.seen_ms) }));
  }

  drawState() {
    const found = state(this.live, this.subject);
    const key = found ? `${found.alert.id}/${found.priority}/${found.taken}` : "";
    if (key === this.stateKey) return;
    this.stateKey = key;
    setAttribute(this.node, "data-priority", found?.priority);
    setAttribute(this.node, "data-taken", found?.taken);
    this.mark.replaceChildren(...(found ? [shape(found.priority)] : []));
    setText(this.what, found ? title(found.alert) : "");
  }

  vital(box, node, found) {
    setText(node, found ? decimal(found.value, 0) : "–");
    setAttribute(box, "data-old", found?.old ?? false);
    setAttribute(box, "data-age", found?.old ? t("ui.ago", { d: duration(found.ageMs) }) : null);
  }
}

export class RoomCard {
  constructor(live, room, open) {
    this.live = live;
    this.room = room;
    this.number = el("button", { class: "room-number", type: "button", onclick: () => this.subject && open(this.subject) });
    this.air = el("span", { class: "air" });
    this.what = el("span", { class: "what" });
    this.mark = el("span", { class: "mark" });
    this.beds = el("div", { class: "beds" });
    this.blind = el("span", { class: "blind" });
    this.node = el("section", { class: "room", "data-room": room }, el("div", { class: "room-top" }, this.mark, this.number, this.what, this.air, this.blind), this.beds);
  }

  draw() {
    setText(this.number, this.room);
    const tile = this.subject && this.live.tiles.get(this.subject);
    if (tile) setText(this.air, airText(tile, this.live.now()));
    drawNotWatched(this.blind, tile);
    const found = this.subject ? state(this.live, this.subject) : null;
    setAttribute(this.node, "data-priority", found?.priority);
    setAttribute(this.node, "data-taken", found?.taken);
    setText(this.what, found ? title(found.alert) : "");
    if (this.drawnPriority !== found?.priority) {
      this.drawnPriority = found?.priority;
      this.mark.replaceChildren(...(found ? [shape(found.priority)] : []));
    }
  }
}

const SMOKE_SEEN_PER_M = 0.005; // EN 54-7: alarms from 0.05 dB/m, which is 0.005 1/m; below it there is nothing to look at
const CO_SEEN_PPM = 5; // above what traffic and cooking leave in a room

// What is dangerous first; a wall has room for `most` of it.
export function airText(tile, now, most = Infinity) {
  const temperature = reading(tile, "temperature_c", now);
  const smoke = reading(tile, "smoke_od_per_m", now);
  const co = reading(tile, "co_ppm", now);
  const parts = [];
  if (smoke && smoke.value >= SMOKE_SEEN_PER_M) parts.push(`${t("quantity.smoke_od_per_m")} ${decimal(smoke.value, 2)}`);
  if (co && co.value >= CO_SEEN_PPM) parts.push(`${t("quantity.co_ppm")} ${decimal(co.value, 0)}`);
  if (temperature) parts.push(`${decimal(temperature.value, 1)} ${t("unit.c")}`);
  return parts.slice(0, most).join(" · ");
}

// Residents grouped by room, rooms in order: [{room, subject, residents}]
export function byRoom(live, ward = "") {
  const rooms = new Map();
  const at = (name, where) => {
    const key = `${where}/${name}`;
    if (!rooms.has(key)) rooms.set(key, { key, ward: where, room: name || "–", subject: null, residents: [] });
    return rooms.get(key);
  };
  for (const tile of live.tiles.values()) {
    const place = live.place(tile.subject);
    if (ward && place.ward && place.ward !== ward) continue;
    const room = at(place.room, place.ward);
    if (place.isRoom) room.subject = tile.subject;
    else room.residents.push(tile.subject);
  }
  for (const room of rooms.values()) room.residents.sort((a, b) => compare(live.place(a).bed, live.place(b).bed) || compare(a, b));
  return [...rooms.values()].sort((a, b) => compare(a.ward, b.ward) || compare(a.room, b.room));
}

export const wards = (live) => [...new Set([...live.tiles.values()].map((tile) => tile.ward).filter(Boolean))].sort(compare);
