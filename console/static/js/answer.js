// Answering an alert: who does it, and the request that says so.

import { el } from "./dom.js";
import { has, t } from "./i18n.js";

const NAME_KEY = "vigil.name";
const TIMEOUT_MS = 8000;
let changed = () => {};

export const myName = () => localStorage.getItem(NAME_KEY) ?? "";

export function askName() {
  return new Promise((resolve) => {
    const input = el("input", { name: "by", maxlength: 60, required: true, autocomplete: "name", value: myName(), id: "by" });
    const form = el(
      "form",
      { method: "dialog" },
      el("h2", {}, t("ui.name_title")),
      el("p", {}, t("ui.name_text")),
      el("label", { for: "by" }, t("ui.name_label")),
      input,
      el("div", { class: "row" }, el("button", { class: "primary", value: "ok" }, t("ui.ok")), el("button", { class: "quiet", value: "", formnovalidate: true }, t("ui.cancel"))),
    );
    const dialog = el("dialog", { class: "ask" }, form);
    dialog.addEventListener("close", () => {
      const name = input.value.trim();
      if (dialog.returnValue === "ok" && name) localStorage.setItem(NAME_KEY, name);
      dialog.remove();
      changed();
      resolve(dialog.returnValue === "ok" ? name : "");
    });
    document.body.append(dialog);
    dialog.showModal();
    input.select();
  });
}

// Whether the person at the screen says yes to `question`.
export function confirmed(question, yes) {
  return new Promise((resolve) => {
    const form = el(
      "form",
      { method: "dialog" },
      el("p", {}, question),
      el("div", { class: "row" }, el("button", { class: "quiet", value: "", autofocus: true }, t("ui.cancel")), el("button", { class: "primary", value: "ok" }, yes)),
    );
    const dialog = el("dialog", { class: "ask" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "ok");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function nameButton() {
  const button = el("button", { class: "quiet", type: "button", id: "name", onclick: askName });
  changed = () => {
    button.textContent = myName() ? t("ui.you", { name: myName() }) : t("ui.you_none");
  };
  return { node: button, draw: changed };
}

// Returns "" when done, else a sentence that says why not.
export async function post(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return t("alerts.failed");
  }
  if (response.status === 401 && path !== "/api/login") {
    location.assign("/login");
    return t("alerts.failed");
  }
  const result = await response.json().catch(() => ({ ok: false, reason: `HTTP ${response.status}` }));
  if (result.ok) return "";
  const key = `command.${result.reason}`;
  return has(key) ? t(key) : t("command.failed", { reason: result.reason ?? result.error ?? "" });
}

// One id for one wish, until it is granted: pressing again after a lost answer cannot count twice.
const wishes = new Map();

export async function answer(alertId, action, more = {}) {
  const by = myName() || (await askName());
  if (!by) return t("command.no_author");
  const wish = [alertId, action, more.outcome, by].join("/");
  if (!wishes.has(wish)) wishes.set(wish, requestId());
  const trouble = await post(`/api/alerts/${encodeURIComponent(alertId)}/${action}`, { by, id: wishes.get(wish), ...more });
  if (!trouble) wishes.delete(wish);
  return trouble;
}

function requestId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
