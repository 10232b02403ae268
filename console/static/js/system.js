// For whoever keeps it running: does the account close, what was refused and why, who is not bound, does everything get out.

import { myName, askName, nameButton, post } from "./answer.js";
import { el, setAttribute, setText } from "./dom.js";
import { count, duration, has, moment, t } from "./i18n.js";
import { start } from "./shell.js";
import { byRoom } from "./tiles.js";

const REFRESH_MS = 2000;
const SITES = ["", "wrist", "waist", "chest", "finger", "mattress", "ceiling", "wall"];

function table(heads, rows, none) {
  if (!rows.length) return el("p", { class: "muted" }, none);
  return el(
    "div",
    { class: "scroll", tabindex: "0" },
    el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell)))))),
  );
}

const number = (n) => el("span", { class: "number" }, count(n));
const kindName = (kind) => (has(`kind.${kind}`) ? t(`kind.${kind}`) : kind);
const reasonName = (reason) => (has(`reason.${reason}`) ? t(`reason.${reason}`) : reason);

// What to do in this language; the engine's own sentence, which names the figures, stands beside it.
function advice({ reason, detail }) {
  const key = `advice.${reason}`;
  return has(key) ? el("span", {}, t(key), " ", el("small", { class: "muted", lang: "en" }, detail)) : detail;
}

function accounting(totals) {
  const parts = ["processed", "duplicate", "late", "quarantined"];
  const open = totals.received - parts.reduce((sum, part) => sum + totals[part], 0);
  return el(
    "div",
    {},
    el(
      "div",
      { class: "sum" },
      el("div", { class: "figure" }, el("b", {}, count(totals.received)), el("span", {}, t("system.received"))),
      ...parts.flatMap((part, index) => [
        el("span", { class: "sign", "aria-hidden": "true" }, index ? "+" : "="),
        el("div", { class: "figure" }, el("b", {}, count(totals[part])), el("span", {}, t(`system.${part}`))),
      ]),
    ),
    el("p", { class: open ? "error" : "fine" }, open ? t("system.open_account", { n: count(open) }) : t("system.closes")),
  );
}

// What to do in this language; the sentence that names the reason stands beside it.
function detail(delivery) {
  if (!delivery.undelivered) return delivery.detail;
  return el("span", {}, t("system.undelivered", { n: count(delivery.undelivered) }), " ", el("small", { class: "muted", lang: "en" }, delivery.detail));
}

function health(delivery) {
  return el("span", { class: "health", "data-health": delivery.health }, t(`health.${delivery.health}`));
}

const tools = el("span", { class: "tools" });

await start("system", (main, live) => {
  const engine = el("div", { class: "sum" });
  const boxes = Object.fromEntries(["accounting", "deliveries", "unbound", "quarantine", "devices"].map((key) => [key, el("div")]));
  const trouble = el("p", { class: "error", role: "alert" });
  const done = el("p", { class: "fine", role: "status" });
  const card = (key, ...content) => el("section", { class: "card", id: key }, el("h2", {}, t(`system.${key}`)), ...content);
  const name = nameButton();
  name.draw();
  tools.append(name.node);
  main.append(
    trouble,
    el("section", { class: "card", id: "engine" }, el("h2", {}, t("system.engine")), engine),
    card("accounting", el("p", { class: "muted" }, t("system.accounting_text")), boxes.accounting),
    card("unbound", el("p", { class: "muted" }, t("system.unbound_text")), done, boxes.unbound),
    card("deliveries", boxes.deliveries),
    card("quarantine", boxes.quarantine),
    card("devices", boxes.devices),
  );

  function bindDialog(device) {
    const subjects = byRoom(live).flatMap((room) => [...room.residents, ...(room.subject ? [room.subject] : [])]);
    const label = (subject) => {
      const place = live.place(subject);
      return [place.room, place.bed, place.named ? place.name : "", subject].filter(Boolean).join(" · ");
    };
    const subject = el("select", { id: "bind-subject", required: true }, el("option", { value: "" }, t("system.choose")), ...subjects.map((entry) => el("option", { value: entry }, label(entry))));
    const site = el("select", { id: "bind-site" }, ...SITES.map((entry) => el("option", { value: entry }, entry ? t(`site.${entry}`) : "–")));
    const error = el("p", { class: "error", role: "alert" });
    const form = el(
      "form",
      {},
      el("h2", {}, t("system.bind_to", { device: device.device })),
      subject,
      el("label", { for: "bind-site" }, t("system.bind_site")),
      site,
      error,
      el("div", { class: "row" }, el("button", { class: "primary" }, t("system.bind")), el("button", { class: "quiet", type: "button", onclick: () => dialog.close() }, t("ui.cancel"))),
    );
    const dialog = el("dialog", { class: "ask" }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const by = myName() || (await askName());
      const reason = by ? await post(`/api/devices/${encodeURIComponent(device.device)}/bind`, { subject: subject.value, site: site.value, by }) : t("command.no_author");
      setText(error, reason);
      if (reason) return;
      setText(done, t("system.bound", { device: device.device }));
      dialog.close();
      refresh();
    });
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  function show(system) {
    const now = system.now_ms;
    const age = (ms) => (ms === null ? "–" : t("ui.ago", { d: duration(now - ms) }));
    const figure = (value, label) => el("div", { class: "figure" }, el("b", {}, value), el("span", {}, label));
    engine.replaceChildren(
      figure(t("ui.ago", { d: duration(live.engineAgeMs) }), t("system.engine_age")),
      figure(duration(now - system.started_ms), t("system.uptime")),
      figure(system.version, t("system.version")),
    );
    boxes.accounting.replaceChildren(accounting(system.totals));
    boxes.deliveries.replaceChildren(
      table(
        ["name", "role", "health", "waiting", "given_up", "last_ok", "detail"].map((key) => t(`system.${key}`)),
        system.deliveries.map((d) => [d.name, t(`role.${d.role}`), health(d), number(d.waiting), number(d.given_up), age(d.last_ok_ms), detail(d)]),
        "–",
      ),
    );
    // Not redrawn while somebody is about to press a button in it: it would move under the finger.
    if (!boxes.unbound.contains(document.activeElement)) {
      boxes.unbound.replaceChildren(
        table(
          ["device", "kinds", "readings", "first", "latest"].map((key) => t(`system.${key}`)).concat(""),
          system.unbound.map((d) => [d.device, d.kinds.map(kindName).join(t("ui.list")), number(d.readings), moment(d.first_ms), age(d.last_ms), el("button", { class: "primary small", type: "button", onclick: () => bindDialog(d) }, t("system.bind"))]),
          t("system.unbound_none"),
        ),
      );
    }
    boxes.quarantine.replaceChildren(
      table(
        ["reason", "count", "latest", "device", "advice"].map((key) => t(`system.${key}`)),
        system.quarantine.map((q) => [el("span", { title: q.reason }, reasonName(q.reason)), number(q.count), age(q.last_ms), q.device, advice(q)]),
        t("system.quarantine_none"),
      ),
    );
    boxes.devices.replaceChildren(
      table(
        ["device", "kinds", "subject", "seen", "received", "processed", "duplicate", "late", "quarantined", "no_value"].map((key) => t(`system.${key}`)),
        system.devices.map((d) => [d.device, kindName(d.kind), d.subject, age(d.seen_ms), ...["received", "processed", "duplicate", "late", "quarantined"].map((key) => number(d.totals[key])), number(d.no_value)]),
        t("system.devices_none"),
      ),
    );
  }

  let fetching = false;
  let fetched = -Infinity;
  async function refresh() {
    if (fetching) return;
    fetching = true;
    try {
      const response = await fetch("/api/system", { signal: AbortSignal.timeout(REFRESH_MS * 2) });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      show(await response.json());
      setText(trouble, "");
    } catch {
      setText(trouble, t("system.unreachable"));
    } finally {
      fetching = false;
      fetched = performance.now();
    }
    setAttribute(main, "aria-busy", null);
  }

  return () => {
    if (performance.now() - fetched > REFRESH_MS) refresh();
  };
}, [tools]);
