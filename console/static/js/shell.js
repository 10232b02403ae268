// What every page has: the header, the banner that says when not to trust the page, and the tick.

import { el, icon, setAttribute, setText } from "./dom.js";
import { clock, duration, loadTexts, OTHER, remember, switchLanguage, t } from "./i18n.js";
import { Live } from "./live.js";

const root = document.documentElement;

function dark() {
  return root.dataset.theme === "dark" || (root.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
}

function themeButton() {
  const button = el("button", { class: "quiet icon-only", type: "button" });
  const draw = () => {
    button.replaceChildren(icon(dark() ? "sun" : "moon"));
    const label = t(dark() ? "ui.theme_light" : "ui.theme_dark");
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remember("vigil_theme", root.dataset.theme);
    draw();
  });
  draw();
  return button;
}

export function languageButton() {
  return el("button", { class: "quiet", type: "button", lang: OTHER, "aria-label": t("ui.language_label"), onclick: switchLanguage, id: "language" }, t("ui.language"));
}

function navigation(page) {
  const links = [["board", "/"], ["wall", "/wall"], ["system", "/system"]];
  return el(
    "nav",
    { "aria-label": t("nav.label") },
    ...links.map(([name, href]) => el("a", { href, "aria-current": name === page ? "page" : null }, t(`nav.${name}`))),
  );
}

// The page's own proof of life: a script that stops restarting this animation lets the warning appear by itself.
function feedDeadman() {
  const deadman = document.getElementById("deadman");
  deadman.dataset.beat = deadman.dataset.beat === "a" ? "b" : "a";
}

function banner(live) {
  const title = el("strong");
  const text = el("span");
  const node = el("div", { id: "banner", role: "alert", hidden: true }, title, text);
  const draw = () => {
    const status = live.status;
    const bad = status === "lost" || status === "engine";
    document.body.dataset.status = status;
    node.hidden = !bad;
    if (!bad) return;
    setText(title, t(`live.${status}`));
    if (status === "engine") setText(text, t("live.engine_text", { d: duration(live.engineAgeMs) }));
    else setText(text, live.ready ? t("live.lost_text", { d: duration(live.silenceMs) }) : t("live.lost_first"));
  };
  return { node, draw };
}

function statusPill(live) {
  const text = el("span");
  const node = el("span", { class: "pill" }, el("i", { class: "dot" }), text);
  return {
    node,
    draw() {
      setAttribute(node, "data-status", live.status);
      setText(text, t(`live.${live.status}`));
    },
  };
}

// Builds the page and calls `draw(change)` on every change and every second.
export async function start(page, build, tools = []) {
  await loadTexts();
  const live = new Live();
  const warning = banner(live);
  const pill = statusPill(live);
  const time = el("time", { class: "clock" });
  const home = el("span", { class: "home" });
  const main = el("main", { id: "main", tabindex: "-1" });
  const header = el(
    "header",
    { class: "top" },
    el("a", { class: "skip", href: "#main" }, t("ui.skip")),
    el("img", { src: "/static/icon.svg", alt: "", width: 28, height: 28 }),
    home,
    navigation(page),
    el("span", { class: "spring" }),
    pill.node,
    time,
    ...tools,
    languageButton(),
    themeButton(),
  );
  const draw = build(main, live);
  document.getElementById("app").replaceChildren(warning.node, header, main);
  const redraw = (change) => {
    feedDeadman();
    warning.draw();
    pill.draw();
    setText(home, live.home || t("ui.home"));
    setText(time, clock(live.now()));
    draw(change);
  };
  live.subscribe(redraw);
  redraw({ kind: "tick", tiles: [], alerts: [] });
}

export { feedDeadman, banner, statusPill };
