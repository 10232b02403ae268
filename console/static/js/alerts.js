// The list of open alerts: what, who, where, since when, what to do, and the buttons that answer.

import { answer, confirmed } from "./answer.js";
import { arrange, el, icon, setAttribute, setText, shape } from "./dom.js";
import { duration, has, measured, quantityName, shortClock, t } from "./i18n.js";

const OUTCOMES = ["true", "false", "test", "unclear"];
const VALUES_MAX = 3;
const HOLD_MS = 3000; // a card that was just taken keeps its place: the next one must not slide under the finger
const SETTLE_MS = 1000; // no button works so soon after it moved or changed: a second tap is meant for what was there before
const RISE_SEEN_K_PER_MIN = 1; // EN 54-5, table 4: the slowest rise a heat detector is tested with
const MEASURED = /^(heart|fire)\./; // what is measured all the time, unlike a fall or a call, which nobody can measure to be over

export const title = (alert) => (has(`code.${alert.code}`) ? t(`code.${alert.code}`) : t("code.unknown", { code: alert.code }));
const whatToDo = (alert) => t(has(`do.${alert.code}`) ? `do.${alert.code}` : "do.unknown");
const stillMeasured = (alert) => alert.life_safety && alert.present && alert.state !== "stale" && MEASURED.test(alert.code);
const distinct = (texts) => [...new Set(texts)];

export const causes = (happening) => distinct(happening.alerts.map(title)).join(t("alerts.and"));
const steps = ({ alerts, priority }) => distinct(alerts.filter((alert) => alert.priority === priority).map(whatToDo)).join("\n");

function over({ present, state, life_safety: lifeSafety, code }) {
  if (present || state === "stale" || (lifeSafety && !MEASURED.test(code))) return "";
  return t(lifeSafety ? "alerts.over_go" : "alerts.over");
}

export function where(place) {
  return [place.room && t("ui.room", { room: place.room }), place.bed && t("ui.bed", { bed: place.bed })].filter(Boolean).join(" · ");
}

// "band-3:ecg" -> "band-3 ECG", "ox-1:vitals.spo2_percent" -> "ox-1 SpO₂": which device to look at.
function device(name) {
  const colon = name.lastIndexOf(":");
  const [kind, channel] = name.slice(colon + 1).split(".");
  const words = channel ? `quantity.${channel}` : `kind.${kind}`;
  return `${name.slice(0, colon)} ${has(words) ? t(words) : name.slice(colon + 1)}`;
}

function values(alert) {
  // What has no name in the locale files is for engineers (the details of the API show it), not for whoever runs to a room.
  const entries = Object.entries(alert.values).filter(([quantity, value]) => has(`quantity.${quantity}`) && !(quantity === "rate_k_per_min" && value < RISE_SEEN_K_PER_MIN));
  return entries.slice(0, VALUES_MAX).map(([quantity, value]) => (quantity === "time_unknown" ? quantityName(quantity) : `${quantityName(quantity)} ${measured(quantity, value)}`)).join(" · ");
}

class Card {
  constructor(live, open) {
    this.live = live;
    this.sending = false;
    this.head = el("h3");
    this.badge = el("span", { class: "badge" });
    this.place = el("p", { class: "place" });
    this.values = el("p", { class: "values" });
    this.since = el("span", { class: "since" });
    this.todo = el("p", { class: "todo" });
    this.taken = el("p", { class: "taken" });
    this.error = el("p", { class: "error", role: "alert" });
    this.buttons = el("div", { class: "row" });
    this.node = el(
      "li",
      { class: "alert" },
      el("div", { class: "alert-head" }, this.badge, this.head, this.since),
      el("div", { class: "alert-body" }, this.place, this.values, this.todo, this.taken, this.error, this.buttons),
    );
    this.place.append((this.link = el("button", { class: "link", type: "button", onclick: () => open(this.shown.subject) })), (this.rest = el("span")));
  }

  // Returns whether its buttons changed.
  update(alert) {
    this.shown = alert;
    const place = this.live.place(alert.subject);
    setAttribute(this.node, "data-alert", alert.alerts.map(({ id }) => id).join(" "));
    setAttribute(this.node, "data-priority", alert.priority);
    setAttribute(this.node, "data-taken", alert.acknowledged);
    setAttribute(this.node, "data-stale", alert.state === "stale");
    if (this.badge.dataset.priority !== String(alert.priority)) {
      this.badge.dataset.priority = alert.priority;
      this.badge.replaceChildren(shape(alert.priority), el("span", {}, t(`priority.${alert.priority}`)));
    }
    setText(this.head, causes(alert));
    setText(this.link, where(place) || place.name);
    setText(this.rest, where(place) && place.name ? place.name : "");
    const notes = [shortClock(alert.raised_ms), ...alert.devices.map(device), values(alert)];
    if (alert.repeats) notes.push(t("alerts.repeats", { n: alert.repeats }));
    if (alert.state === "stale") notes.push(t("state.stale"));
    notes.push(over(alert));
    setText(this.values, notes.filter(Boolean).join(" · "));
    setText(this.todo, steps(alert));
    this.tick();
    return this.drawButtons(alert);
  }

  tick() {
    const alert = this.shown;
    const now = this.live.now();
    setText(this.since, duration(now - alert.raised_ms, true));
    const who = alert.attended_by || alert.acknowledged_by;
    const taken = alert.attended_by ? t("alerts.attended", { who }) : t("alerts.acknowledged", { who, d: duration(now - (alert.acknowledged_ms ?? now)) });
    setText(this.taken, alert.acknowledged ? taken : "");
  }

  drawButtons(alert) {
    const wanted = alert.acknowledged ? (alert.attended_by ? "outcome" : "attend") : "acknowledge";
    const before = this.drawn;
    if (before === wanted) return false;
    this.drawn = wanted;
    const hadFocus = this.buttons.contains(document.activeElement);
    if (wanted === "acknowledge") {
      this.buttons.replaceChildren(this.button("primary", "acknowledge", t("alerts.acknowledge")));
    } else {
      this.buttons.replaceChildren(
        ...(wanted === "attend" ? [this.button("primary", "attend", t("alerts.attend"))] : []),
        el("span", { class: "ask-outcome" }, t("alerts.resolve")),
        ...OUTCOMES.map((outcome) => this.button("outcome", "resolve", t(`outcome.${outcome}`), { outcome })),
      );
    }
    if (hadFocus) this.buttons.querySelector("button").focus();
    return before !== undefined;
  }

  button(style, action, label, more) {
    const attributes = { class: style, type: "button", "data-action": action, "data-outcome": more?.outcome };
    const node = el("button", attributes, action === "acknowledge" ? icon("walk") : null, label);
    node.addEventListener("click", () => this.send(action, more));
    return node;
  }

  async send(action, more) {
    if (this.sending) return;
    const alerts = this.shown.alerts.filter((alert) => !(action === "acknowledge" && alert.acknowledged) && !(action === "attend" && alert.attended_by));
    if (action === "resolve" && more.outcome !== "true" && alerts.some(stillMeasured)) {
      if (!this.shown.attended_by) return setText(this.error, t("alerts.attend_first"));
      if (!(await confirmed(t("alerts.confirm_close", { title: causes(this.shown) }), t("alerts.confirm_close_yes", { outcome: t(`outcome.${more.outcome}`) })))) return;
    }
    this.sending = true;
    setText(this.error, "");
    setAttribute(this.buttons, "aria-busy", "true");
    setText(this.taken, t("alerts.sending"));
    const troubles = [];
    for (const { id } of alerts) troubles.push(await answer(id, action, more));
    this.sending = false;
    setAttribute(this.buttons, "aria-busy", null);
    setText(this.error, troubles.find(Boolean) ?? "");
    this.tick();
  }
}

// `open(subject)` shows a subject's details.
export function alertList(live, open) {
  const cards = new Map();
  const list = el("ul", { class: "alerts", role: "list" });
  const calm = el("div", { class: "calm" });
  const calmText = el("p");
  calm.append(icon("check"), el("h3", {}, t("alerts.none")), calmText);
  const announce = el("div", { class: "unseen", role: "log", "aria-live": "assertive" });
  let known = null;
  let order = [];
  let settling;
  const held = new Map(); // key -> until when

  function settle() {
    list.dataset.settling = "";
    clearTimeout(settling);
    settling = setTimeout(() => delete list.dataset.settling, SETTLE_MS);
  }

  function announceNew(alerts) {
    const ids = new Set(alerts.filter((alert) => !alert.acknowledged).map((alert) => alert.id));
    for (const alert of alerts) {
      if (known === null || known.has(alert.id) || !ids.has(alert.id)) continue;
      const place = live.place(alert.subject);
      const text = t("alerts.announce", { priority: t(`priority_long.${alert.priority}`), title: title(alert), where: `${where(place)} ${place.name}` });
      announce.replaceChildren(el("p", {}, text));
    }
    known = ids;
  }

  return {
    node: el("div", {}, announce, calm, list),
    settle,
    draw(change, ward) {
      const now = performance.now();
      for (const [key, until] of held) if (now > until) held.delete(key);
      for (const { key, acknowledged } of live.happenings(ward)) if (acknowledged && cards.get(key)?.shown.acknowledged === false) held.set(key, now + HOLD_MS);
      const shown = live.happenings(ward, held);
      const keys = shown.map(({ key }) => key);
      for (const key of cards.keys()) if (!keys.includes(key)) cards.delete(key);
      let moved = order.some((key, index) => keys[index] !== key);
      for (const one of shown) {
        if (change.kind === "tick" && cards.has(one.key)) {
          cards.get(one.key).tick();
          continue;
        }
        if (!cards.has(one.key)) cards.set(one.key, new Card(live, open));
        moved = cards.get(one.key).update(one) || moved;
      }
      arrange(list, keys.map((key) => cards.get(key).node));
      order = keys;
      if (moved) settle();
      if (change.kind === "tick") return shown;
      calm.hidden = shown.length > 0 || !live.ready;
      const residents = [...live.tiles.values()].filter((tile) => tile.space !== "room").length;
      setText(calmText, t("alerts.none_text", { n: residents }));
      if (live.ready) announceNew(live.sortedAlerts(ward));
      return shown;
    },
  };
}
