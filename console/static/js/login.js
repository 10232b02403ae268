// Signing in.

import { post } from "./answer.js";
import { el, setText } from "./dom.js";
import { loadTexts, t } from "./i18n.js";
import { feedDeadman, languageButton } from "./shell.js";

await loadTexts();
const password = el("input", { type: "password", id: "password", required: true, autocomplete: "current-password" });
const error = el("p", { class: "error", role: "alert" });
const form = el(
  "form",
  { class: "login" },
  el("img", { src: "/static/icon.svg", alt: "", width: 56, height: 56 }),
  el("h1", {}, "Vigil"),
  el("label", { for: "password" }, t("login.password")),
  password,
  error,
  el("button", { class: "primary" }, t("login.enter")),
  languageButton(),
);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const trouble = await post("/api/login", { password: password.value });
  setText(error, trouble);
  if (!trouble) location.replace("/");
});
document.getElementById("app").replaceChildren(el("main", {}, form));
password.focus();
feedDeadman();
setInterval(feedDeadman, 1000);
