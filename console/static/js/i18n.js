// The texts of the page's language, and numbers and times as that language writes them.

export const language = document.documentElement.lang;
export const OTHER = language === "en" ? "zh-CN" : "en";
const YEAR_S = 31536000;

let texts = {};

export async function loadTexts() {
  const response = await fetch(`/locale/${language}.json`);
  if (!response.ok) throw new Error(`texts for ${language}: HTTP ${response.status}`);
  texts = await response.json();
}

export const has = (key) => key in texts;

export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function remember(cookie, value) {
  document.cookie = `${cookie}=${value}; path=/; max-age=${YEAR_S}; samesite=lax`;
}

export function switchLanguage() {
  remember("vigil_lang", OTHER);
  const url = new URL(location.href);
  url.searchParams.delete("lang");
  location.replace(url);
}

const clockFormat = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const shortClockFormat = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayFormat = new Intl.DateTimeFormat(language, { weekday: "long", month: "long", day: "numeric" });
const momentFormat = new Intl.DateTimeFormat(language, { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export const clock = (ms) => clockFormat.format(ms);
export const shortClock = (ms) => shortClockFormat.format(ms);
export const day = (ms) => dayFormat.format(ms);
export const moment = (ms) => momentFormat.format(ms);
export const count = (n) => new Intl.NumberFormat(language).format(n);
export const decimal = (value, digits) => new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

export function duration(ms, fine = false) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return t("time.s", { n: s });
  const min = Math.floor(s / 60);
  if (min < 60) return fine && min < 10 ? t("time.min_s", { m: min, s: s % 60 }) : t("time.min", { n: min });
  const h = Math.floor(min / 60);
  return h < 48 ? t("time.h_min", { h, m: min % 60 }) : t("time.d_h", { d: Math.floor(h / 24), h: h % 24 });
}

export const hoursMinutes = (ms) => `${Math.floor(ms / 3600000)}:${String(Math.floor(ms / 60000) % 60).padStart(2, "0")}`;

const DIGITS = { temperature_c: 1, body_temperature_c: 1, smoke_od_per_m: 2 };
const UNITS = ["k_per_min", "c_per_min", "db_per_m", "od_per_m", "per_min", "percent", "mmhg", "per_m", "bpm", "ppm", "deg", "min", "ma", "ms", "c", "g", "s", "h"];

// "rate_bpm" -> ["rate", "bpm"]: our names carry their unit last.
export function unitOf(quantity) {
  for (const unit of UNITS) if (quantity === unit || quantity.endsWith(`_${unit}`)) return [quantity.slice(0, -unit.length - 1), unit];
  return [quantity, ""];
}

export function measured(quantity, value) {
  const [, unit] = unitOf(quantity);
  if (unit === "s" && value >= 60) return duration(value * 1000);
  const digits = DIGITS[quantity] ?? (Number.isInteger(value) || Math.abs(value) >= 20 ? 0 : Math.abs(value) >= 2 ? 1 : 2);
  const space = unit === "percent" || unit === "deg" ? "" : " ";
  return decimal(value, digits) + (unit ? space + t(`unit.${unit}`) : "");
}

export function quantityName(quantity) {
  if (has(`quantity.${quantity}`)) return t(`quantity.${quantity}`);
  const [stem] = unitOf(quantity);
  return (stem || quantity).replaceAll("_", " ");
}
