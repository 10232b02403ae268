// The list of open alerts: what, who, where, since when, what to do, and the buttons that answer.

import { answer } from "./answer.js";
import { arrange, el, icon, setAttribute, setText, shape } from "./dom.js";
import { duration, has, measured, quantityName, shortClock, t } from "./i18n.js";

const OUTCOMES = ["true", "false", "test", "unclear"];
const VALUES_MAX = 3;

export const title = (alert) => (has(`code.${alert.code}`) ? t(`code.${alert.code}`) : t("code.unknown", { code: alert.code }));
const whatToDo = (alert) => t(has(`do.${alert.code}`) ? `do.${alert.code}` : "do.unknown");

export function where(place) {
  return [place.room && t("ui.room", { room: place.room }), place.bed && t("ui.bed", { bed: place.bed })].filter(Boolean).join(" · ");
}

function values(alert) {
  // What has no name in the locale files is for engineers (the details of the API show it), not for whoever runs to a room.
  const entries = Object.entries(alert.values).filter(([quantity]) => has(`quantity.${quantity}`));
  return entries.slice(0, VALUES_MAX).map(([quantity, value]) => `${quantityName(quantity)} ${measured(quantity, value)}`).join(" · ");
}

class Card {
  constructor(live, id, open) {
    this.live = live;
    this.id = id;
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
      { class: "alert", "data-alert": id },
      el("div", { class: "alert-head" }, this.badge, this.head, this.since),
      el("div", { class: "alert-body" }, this.place, this.values, this.todo, this.taken, this.error, this.buttons),
    );
    this.place.append((this.link = el("button", { class: "link", type: "button", onclick: () => open(this.live.alerts.get(id)?.subject) })), (this.rest = el("span")));
  }

  update() {
    const alert = this.live.alerts.get(this.id);
    const place = this.live.place(alert.subject);
    setAttribute(this.node, "data-priority", alert.priority);
    setAttribute(this.node, "data-taken", alert.acknowledged);
    setAttribute(this.node, "data-stale", alert.state === "stale");
    if (this.badge.dataset.priority !== String(alert.priority)) {
      this.badge.dataset.priority = alert.priority;
      this.badge.replaceChildren(shape(alert.priority), el("span", {}, t(`priority.${alert.priority}`)));
    }
    setText(this.head, title(alert));
    setText(this.link, where(place) || place.name);
    setText(this.rest, where(place) && place.name ? place.name : "");
    const notes = [shortClock(alert.raised_ms), values(alert)];
    if (alert.repeats) notes.push(t("alerts.repeats", { n: alert.repeats }));
    if (alert.state === "stale") notes.push(t("state.stale"));
    if (!alert.present) notes.push(t("alerts.over"));
    setText(this.values, notes.filter(Boolean).join(" · "));
    setText(this.todo, alert.acknowledged ? "" : whatToDo(alert));
    this.drawButtons(alert);
    this.tick(alert);
  }

  tick(alert = this.live.alerts.get(this.id)) {
    const now = this.live.now();
    setText(this.since, duration(now - alert.raised_ms, true));
    const who = alert.attended_by || alert.acknowledged_by;
    const taken = alert.attended_by ? t("alerts.attended", { who }) : t("alerts.acknowledged", { who, d: duration(now - (alert.acknowledged_ms ?? now)) });
    setText(this.taken, alert.acknowledged ? taken : "");
  }

  drawButtons(alert) {
    const wanted = alert.acknowledged ? (alert.attended_by ? "outcome" : "attend") : "acknowledge";
    if (this.drawn === wanted) return;
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
  }

  button(style, action, label, more) {
    const attributes = { class: style, type: "button", "data-action": action, "data-outcome": more?.outcome };
    const node = el("button", attributes, action === "acknowledge" ? icon("walk") : null, label);
    node.addEventListener("click", () => this.send(action, more));
    return node;
  }

  async send(action, more) {
    if (this.sending) return;
    this.sending = true;
    setText(this.error, "");
    setAttribute(this.buttons, "aria-busy", "true");
    setText(this.taken, t("alerts.sending"));
    const trouble = await answer(this.id, action, more);
    this.sending = false;
    setAttribute(this.buttons, "aria-busy", null);
    setText(this.error, trouble);
    if (this.live.alerts.has(this.id)) this.tick();
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
    draw(change, ward) {
      const alerts = live.sortedAlerts(ward);
      if (change.kind === "tick") {
        for (const alert of alerts) cards.get(alert.id)?.tick(alert);
        return alerts;
      }
      const keep = new Set(alerts.map((alert) => alert.id));
      for (const id of cards.keys()) if (!keep.has(id)) cards.delete(id);
      for (const alert of alerts) {
        if (!cards.has(alert.id)) cards.set(alert.id, new Card(live, alert.id, open));
        cards.get(alert.id).update();
      }
      arrange(list, alerts.map((alert) => cards.get(alert.id).node));
      calm.hidden = alerts.length > 0 || !live.ready;
      const residents = [...live.tiles.values()].filter((tile) => tile.space !== "room").length;
      setText(calmText, t("alerts.none_text", { n: residents }));
      if (live.ready) announceNew(alerts);
      return alerts;
    },
  };
}
