// The wall display: read from five metres, touched by nobody. What is wrong stays in view; the rest turns page by page.
//
// Names are not shown unless the address says ?names=1: a wall is read by visitors too. ?ward=… shows one ward.

import { causes } from "./alerts.js";
import { arrange, el, icon, setAttribute, setText, shape } from "./dom.js";
import { clock, day, decimal, duration, hoursMinutes, loadTexts, t } from "./i18n.js";
import { Live } from "./live.js";
import { banner, feedDeadman, statusPill } from "./shell.js";
import { airText, bedState, byRoom, reading, silent, state, turnClock } from "./tiles.js";

const PAGE_MS = 12000;
const ALERTS_SHOWN = 3;
const AIR_SHOWN = 2;
// 5 m, 16' of arc (ISO 9241-303) and a 55-inch screen: capitals of 23 mm, a type size of 4.8 % of the screen's height.
// A tile needs this much of the screen's height in width and in height to hold such type.
const TILE_WIDTH_VH = 32.4;
const TILE_HEIGHT_VH = 20;

const query = new URLSearchParams(location.search);
const ward = query.get("ward") ?? "";
const showNames = query.get("names") === "1";

// Room and bed; a bed that carries its room's number ("201-1") says both.
const label = ({ room, bed, name }) => (bed.startsWith(room) ? bed : [room, bed].filter(Boolean).join("-")) || name;

class WallTile {
  constructor(live, subject) {
    this.live = live;
    this.subject = subject;
    this.where = el("b", { class: "where" });
    this.mark = el("span", { class: "mark" });
    this.name = el("span", { class: "name" });
    this.rate = el("span");
    this.rateBox = el("span", { class: "rate" }, icon("heart"), this.rate);
    this.turn = el("span");
    this.turnBox = el("span", { class: "turn" }, icon("turn"), this.turn);
    this.out = el("span", { class: "out" });
    this.air = el("span", { class: "air" });
    this.node = el("div", { class: "wall-tile", "data-subject": subject }, el("div", { class: "wall-top" }, this.where, this.mark), this.name, el("div", { class: "wall-foot" }, this.rateBox, this.turnBox, this.out, this.air));
  }

  draw() {
    const now = this.live.now();
    const tile = this.live.tiles.get(this.subject);
    const place = this.live.place(this.subject);
    const found = state(this.live, this.subject);
    setText(this.where, label(place));
    this.name.hidden = !(showNames && place.named);
    setText(this.name, this.name.hidden ? "" : place.name);
    setAttribute(this.node, "data-priority", found?.priority);
    setAttribute(this.node, "data-taken", found?.taken);
    setAttribute(this.node, "data-silent", silent(tile, now));
    if (this.drawn !== found?.priority) {
      this.drawn = found?.priority;
      this.mark.replaceChildren(...(found ? [shape(found.priority)] : []));
    }
    const rate = reading(tile, "heart_rate_bpm", now);
    const turn = place.isRoom ? null : turnClock(tile, now);
    this.rateBox.hidden = place.isRoom;
    this.turnBox.hidden = !turn;
    setText(this.rate, rate ? decimal(rate.value, 0) : "–");
    setAttribute(this.rateBox, "data-old", rate?.old ?? false);
    if (turn) {
      setText(this.turn, hoursMinutes(turn.elapsedMs));
      setAttribute(this.turnBox, "data-due", turn.dueMs !== null && turn.elapsedMs >= turn.dueMs);
    }
    const bed = place.isRoom ? null : bedState(tile, now);
    this.out.replaceChildren(...(bed?.inBed === false ? [icon("walk")] : []));
    setText(this.air, place.isRoom ? airText(tile, now, AIR_SHOWN) : "");
  }
}

class WallAlert {
  constructor(live) {
    this.live = live;
    this.mark = el("span", { class: "mark" });
    this.where = el("b", { class: "where" });
    this.since = el("span", { class: "since" });
    this.what = el("p", { class: "what" });
    this.who = el("p", { class: "who" });
    this.node = el("li", { class: "wall-alert" }, el("div", { class: "wall-top" }, this.mark, this.where, this.since), this.what, this.who);
  }

  draw(alert) {
    const place = this.live.place(alert.subject);
    setAttribute(this.node, "data-priority", alert.priority);
    setAttribute(this.node, "data-taken", alert.acknowledged);
    if (this.drawn !== alert.priority) {
      this.drawn = alert.priority;
      this.mark.replaceChildren(shape(alert.priority));
    }
    setText(this.where, label(place));
    setText(this.since, duration(this.live.now() - alert.raised_ms));
    setText(this.what, causes(alert));
    const who = alert.attended_by ? t("alerts.attended", { who: alert.attended_by }) : t(alert.acknowledged ? "state.acknowledged" : "state.firing");
    setText(this.who, [showNames && place.named ? place.name : "", who].filter(Boolean).join(" · "));
  }
}

await loadTexts();
const live = new Live();
const warning = banner(live);
const pill = statusPill(live);
const home = el("span", { class: "home" });
const count = el("strong", { class: "count" });
const date = el("span", { class: "day" });
const time = el("time", { class: "clock" });
const pageText = el("span", { class: "page-text" });
const alertsMore = el("p", { class: "more" });
const alertsList = el("ul", { role: "list" });
const alertsBox = el("section", { class: "wall-alerts" }, alertsList, alertsMore);
const grid = el("section", { class: "wall-grid" });
document.getElementById("app").replaceChildren(
  warning.node,
  el("header", { class: "wall-head" }, count, el("span", { class: "spring" }), date, time),
  el("main", { class: "wall-body" }, alertsBox, grid),
  el("footer", { class: "wall-bottom" }, home, pill.node, el("span", { class: "spring" }), pageText),
);

const tiles = new Map();
const cards = new Map();

function cached(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

function prune(map, keep) {
  for (const key of map.keys()) if (!keep.has(key)) map.delete(key);
}

// A room is on the wall by itself when nobody lives in it, or when something is wrong in it.
function subjects() {
  return byRoom(live, ward).flatMap((room) => {
    const alone = room.subject && (!room.residents.length || state(live, room.subject));
    return alone ? [room.subject, ...room.residents] : room.residents;
  });
}

// The part of `all` whose turn it is, at most `size` at a time, in pages of even length.
function share(all, size) {
  const pages = Math.max(1, Math.ceil(all.length / size));
  const each = Math.ceil(all.length / pages);
  const page = Math.floor(live.now() / PAGE_MS) % pages;
  return { pages, page, shown: all.slice(page * each, (page + 1) * each) };
}

// All of `rank`, or the `size` whose turn it is: every place stays filled, so nothing lesser stands where a greater one is hidden.
function turns(rank, size) {
  if (rank.length <= size) return rank;
  const start = Math.floor(live.now() / PAGE_MS) * size;
  return Array.from({ length: size }, (_, n) => rank[(start + n) % rank.length]);
}

function draw(change) {
  feedDeadman();
  warning.draw();
  pill.draw();
  const now = live.now();
  setText(home, [live.home, ward].filter(Boolean).join(" · ") || t("ui.home"));
  setText(time, clock(now));
  setText(date, day(now));
  const alerts = live.happenings(ward);
  if (change.kind === "patch" && !change.alerts.length) return; // readings wait for the next tick: a wall has no hurry but for alerts
  drawAlerts(alerts);
  drawGrid(alerts);
}

function drawAlerts(alerts) {
  document.body.dataset.worst = alerts.find((alert) => !alert.acknowledged)?.priority ?? "";
  setText(count, alerts.length === 0 ? (live.ready ? t("alerts.none") : t("live.connecting")) : t(alerts.length === 1 ? "alerts.open_one" : "alerts.open", { n: alerts.length }));
  alertsBox.hidden = alerts.length === 0;
  prune(cards, new Set(alerts.map((alert) => alert.key)));
  for (let places = Math.min(ALERTS_SHOWN, alerts.length); places > 0; places--) {
    const shown = chosen(alerts, places);
    arrange(alertsList, shown.map((alert) => cached(cards, alert.key, () => new WallAlert(live)).node));
    for (const alert of shown) cards.get(alert.key).draw(alert);
    setText(alertsMore, alerts.length > shown.length ? t("alerts.more", { n: alerts.length - shown.length }) : "");
    if (alertsList.scrollHeight <= alertsList.clientHeight) break; // long titles: fewer at a time, whole
  }
}

// Unanswered high ones first, then the other unanswered, then those somebody is at; a rank that does not fit takes turns.
function chosen(alerts, places) {
  const ranks = [
    alerts.filter((alert) => !alert.acknowledged && alert.priority === 3),
    alerts.filter((alert) => !alert.acknowledged && alert.priority !== 3),
    alerts.filter((alert) => alert.acknowledged),
  ];
  const shown = [];
  for (const rank of ranks) {
    const left = places - shown.length;
    if (left > 0) shown.push(...turns(rank, left));
  }
  return shown;
}

function drawGrid() {
  const all = subjects();
  const vh = innerHeight / 100;
  const columns = Math.max(1, Math.floor(grid.clientWidth / (TILE_WIDTH_VH * vh)));
  const rows = Math.max(1, Math.floor(grid.clientHeight / (TILE_HEIGHT_VH * vh)));
  grid.style.setProperty("--columns", columns);
  grid.style.setProperty("--rows", rows);
  const { page, pages, shown } = share(all, columns * rows);
  prune(tiles, new Set(all));
  arrange(grid, shown.map((subject) => cached(tiles, subject, () => new WallTile(live, subject)).node));
  for (const subject of shown) tiles.get(subject).draw();
  setText(pageText, pages > 1 ? t("wall.page", { a: page + 1, n: pages }) : "");
}

live.subscribe(draw);
draw({ kind: "tick", tiles: [], alerts: [] });
