// The high-priority signal: ten pulses, 3 + 2 and again, as IEC 60601-1-8 describes; the page asks for it until somebody decides.

import { el, icon } from "./dom.js";
import { t } from "./i18n.js";

const PITCH_HZ = 520; // fundamental 150-1000 Hz, with four harmonics at least
const HARMONICS = [1, 0.7, 0.5, 0.35, 0.25];
const PULSE_S = 0.15;
const STARTS_S = [0, 0.25, 0.5, 0.95, 1.2, 2.0, 2.25, 2.5, 2.95, 3.2];
const BURST_EVERY_MS = 8000; // 2.5-15 s
const VOLUME = 0.25;
const SOUND_KEY = "vigil.sound";

export class Sound {
  // `moved()` is called when the question appears or goes: what is below it has moved.
  constructor(moved) {
    this.moved = moved;
    this.wanted = localStorage.getItem(SOUND_KEY) === "on";
    this._context = null;
    this._lastBurst = -Infinity;
    this.button = el("button", { class: "quiet sound", type: "button", id: "sound", title: t("ui.sound_hint"), onclick: () => this.toggle() });
    this.ask = el(
      "div",
      { class: "ask-sound", role: "note" },
      el("span", {}, t("ui.sound_ask")),
      el("button", { class: "primary small", type: "button", onclick: () => this.toggle() }, t("ui.sound_turn_on")),
      el("button", { class: "quiet small", type: "button", onclick: () => this.decline() }, t("ui.sound_keep_off")),
    );
    this.draw();
    // A browser makes no sound before the first touch of the page: where sound was wanted last time, that touch turns it on.
    document.addEventListener("click", (event) => this.wanted && !this._context && !event.target.closest("#sound, .ask-sound") && this.toggle());
  }

  get on() {
    return this.wanted && this._context?.state === "running";
  }

  async toggle() {
    this.wanted = !this.on;
    localStorage.setItem(SOUND_KEY, this.wanted ? "on" : "off");
    if (this.wanted) {
      this._context ??= new AudioContext();
      await this._context.resume();
      this._pulse(this._context.currentTime); // heard proof that it works
    }
    this.draw();
  }

  decline() {
    localStorage.setItem(SOUND_KEY, "off");
    this.draw();
  }

  draw() {
    const hidden = this.on || localStorage.getItem(SOUND_KEY) === "off";
    if (this.ask.hidden !== hidden) this.moved();
    this.ask.hidden = hidden;
    this.button.replaceChildren(icon(this.on ? "bell" : "mute"), el("span", {}, t(this.on ? "ui.sound_on" : "ui.sound_off")));
    this.button.setAttribute("aria-pressed", String(this.on));
  }

  // Call often; sounds while there is an unanswered high-priority alert, or none can come any more.
  alarm(needed) {
    if (!needed) this._lastBurst = -Infinity;
    else if (this.on && performance.now() - this._lastBurst > BURST_EVERY_MS) {
      this._lastBurst = performance.now();
      for (const start of STARTS_S) this._pulse(this._context.currentTime + start);
    }
  }

  _pulse(at) {
    const gain = this._context.createGain();
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(VOLUME, at + 0.02);
    gain.gain.setValueAtTime(VOLUME, at + PULSE_S - 0.03);
    gain.gain.linearRampToValueAtTime(0, at + PULSE_S);
    gain.connect(this._context.destination);
    const wave = this._context.createPeriodicWave(new Float32Array([0, ...HARMONICS.map(() => 0)]), new Float32Array([0, ...HARMONICS]));
    const tone = this._context.createOscillator();
    tone.setPeriodicWave(wave);
    tone.frequency.value = PITCH_HZ;
    tone.connect(gain);
    tone.start(at);
    tone.stop(at + PULSE_S);
  }
}
