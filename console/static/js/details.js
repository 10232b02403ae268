// Everything known of one resident or room: readings with their age, and the record of their open alerts.

import { el, setText } from "./dom.js";
import { title, where } from "./alerts.js";
import { duration, has, moment, quantityName, t } from "./i18n.js";
import { notWatched, readingText } from "./tiles.js";

async function history(id) {
  const response = await fetch(`/api/alerts/${encodeURIComponent(id)}`);
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const { history: entries } = await response.json();
  return el(
    "ol",
    { class: "history" },
    ...entries.map((entry) => {
      const why = has(`why.${entry.reason}`) ? t(`why.${entry.reason}`) : entry.reason;
      const rest = [entry.by, entry.outcome && t(`outcome.${entry.outcome}`), entry.note].filter(Boolean).join(" · ");
      return el("li", {}, el("time", {}, moment(entry.at_ms)), el("span", {}, why), el("b", {}, rest));
    }),
  );
}

export function openDetails(live, subject) {
  const place = live.place(subject);
  const now = live.now();
  const tile = live.tiles.get(subject);
  const rows = Object.entries(tile?.readings ?? {}).map(([quantity, [value, at]]) =>
    el("tr", {}, el("th", { scope: "row" }, quantityName(quantity)), el("td", {}, readingText(quantity, value)), el("td", { class: "muted" }, t("ui.ago", { d: duration(now - at) }))),
  );
  const blind = notWatched(tile).map((one) => el("li", {}, `${one.hazard}: ${one.reason} · ${t("ui.ago", { d: duration(now - one.sinceMs) })}`));
  const records = el("div");
  const dialog = el(
    "dialog",
    { class: "details", "aria-label": place.name || where(place) },
    el("div", { class: "details-top" }, el("h2", {}, place.name || where(place)), el("p", {}, place.name ? where(place) : "")),
    ...(blind.length ? [el("h3", {}, t("ui.watch")), el("ul", { class: "blind" }, ...blind)] : []),
    el("h3", {}, t("ui.readings")),
    rows.length ? el("table", { class: "readings" }, el("tbody", {}, ...rows)) : el("p", { class: "muted" }, t("ui.never")),
    records,
    el("form", { method: "dialog", class: "row" }, el("button", { class: "primary" }, t("ui.close"))),
  );
  for (const alert of live.sortedAlerts().filter((entry) => entry.subject === subject)) {
    const box = el("section", {}, el("h3", {}, `${title(alert)} · ${t("ui.history")}`), el("p", { class: "muted" }, t("ui.loading")));
    records.append(box);
    history(alert.id).then(
      (list) => box.lastChild.replaceWith(list),
      () => setText(box.lastChild, t("alerts.history_failed")),
    );
  }
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
