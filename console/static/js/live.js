// The ward as the server last told it, and whether that is still true.

const SILENCE_MS = 5000; // the server speaks at least every 2 s
const REOPEN_MS = 10000; // a line that is silent this long is dead, whatever the browser thinks
const ENGINE_STALL_MS = 10000; // the engine ticks once a second
const RETRY_MS = 2000;

// Unanswered first, then by priority, then the oldest: who has waited longest must not sink.
const byUrgency = (a, b) => a.acknowledged - b.acknowledged || b.priority - a.priority || a.raised_ms - b.raised_ms || a.onset_ms - b.onset_ms || a.subject.localeCompare(b.subject);

// Alerts with the same key are one happening: a fire in a room, a fall and the camera that saw it.
function happening({ id, code, subject }) {
  if (code.startsWith("fire.")) return `${subject}/fire`;
  return code === "falls.fall" || code === "camera.fall" ? `${subject}/fall` : id;
}

function together(key, alerts) {
  const everyone = (property) => (alerts.every((alert) => alert[property]) ? alerts[0][property] : "");
  return {
    ...alerts[0],
    key,
    alerts,
    acknowledged: alerts.every((alert) => alert.acknowledged),
    attended_by: everyone("attended_by"),
    raised_ms: Math.min(...alerts.map((alert) => alert.raised_ms)),
    repeats: alerts.reduce((sum, alert) => sum + alert.repeats, 0),
    present: alerts.some((alert) => alert.present),
    values: Object.assign({}, ...alerts.toReversed().map((alert) => alert.values)),
  };
}

export class Live {
  constructor() {
    this.tiles = new Map();
    this.alerts = new Map();
    this.people = {};
    this.home = "";
    this.seq = -1;
    this.ready = false;
    this._engineSeen = performance.now(); // when the engine last moved, on a clock that nobody sets
    this._offsetMs = Date.now() - performance.now();
    this._heard = performance.now();
    this._listeners = [];
    this._open();
    setInterval(() => this._watch(), 1000);
  }

  // Called with {kind: "snapshot" | "patch" | "tick", tiles, alerts}.
  subscribe(listener) {
    this._listeners.push(listener);
  }

  // The server's clock. A browser's own may be hours off, and may be set while the page is open.
  now() {
    return performance.now() + this._offsetMs;
  }

  get status() {
    if (performance.now() - this._heard > SILENCE_MS) return "lost";
    if (!this.ready) return "connecting";
    const ageMs = this.engineAgeMs;
    return ageMs >= 0 && ageMs <= ENGINE_STALL_MS ? "live" : "engine";
  }

  get silenceMs() {
    return performance.now() - this._heard;
  }

  get engineAgeMs() {
    return performance.now() - this._engineSeen;
  }

  _open() {
    this._source?.close();
    this._opened = performance.now();
    const source = new EventSource("/events");
    this._source = source;
    source.addEventListener("snapshot", (event) => this._snapshot(JSON.parse(event.data)));
    source.addEventListener("patch", (event) => this._patch(JSON.parse(event.data)));
    source.addEventListener("ping", (event) => this._hear(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED || source !== this._source) return;
      fetch("/api/alerts").then((response) => response.status === 401 && location.replace("/login"), () => null);
      setTimeout(() => source === this._source && this._open(), RETRY_MS);
    });
  }

  // A patch carries no age: the engine moved when it was sent.
  _hear({ now_ms, engine_age_ms = 0 }) {
    this._heard = performance.now();
    this._offsetMs = now_ms - this._heard;
    this._engineSeen = this._heard - engine_age_ms;
  }

  _snapshot(board) {
    this._hear(board);
    this.seq = board.seq;
    this.home = board.home;
    this.people = board.people;
    this.tiles = new Map(board.tiles.map((tile) => [tile.subject, tile]));
    this.alerts = new Map(board.alerts.map((alert) => [alert.id, alert]));
    this.ready = true;
    this._tell("snapshot", board.tiles, board.alerts);
  }

  _patch(patch) {
    this._hear(patch);
    if (patch.seq <= this.seq) return; // the snapshot was newer
    this.seq = patch.seq;
    for (const tile of patch.tiles) this.tiles.set(tile.subject, tile);
    for (const alert of patch.alerts) {
      if (alert.state === "resolved") this.alerts.delete(alert.id);
      else this.alerts.set(alert.id, alert);
    }
    this._tell("patch", patch.tiles, patch.alerts);
  }

  _watch() {
    if (this.silenceMs > REOPEN_MS && performance.now() - this._opened > REOPEN_MS) this._open();
    this._tell("tick", [], []);
  }

  _tell(kind, tiles, alerts) {
    for (const listener of this._listeners) listener({ kind, tiles, alerts });
  }

  place(subject) {
    const tile = this.tiles.get(subject);
    const person = this.people[subject] ?? {};
    const id = subject.slice(subject.indexOf("/") + 1);
    const isRoom = subject.startsWith("room/");
    return {
      subject,
      isRoom,
      name: person.name || (isRoom ? "" : id),
      named: Boolean(person.name),
      room: person.room || tile?.room || (isRoom ? id : ""),
      bed: person.bed || tile?.bed || "",
      ward: tile?.ward ?? "",
    };
  }

  sortedAlerts(ward = "") {
    return [...this.alerts.values()].filter((alert) => !ward || !this.place(alert.subject).ward || this.place(alert.subject).ward === ward).sort(byUrgency);
  }

  // What staff go to once: [{key, alerts, …}], the first of `alerts` being the one that presses most. `held` keys keep an unanswered one's place.
  happenings(ward = "", held = new Map()) {
    const groups = new Map();
    for (const alert of this.sortedAlerts(ward)) {
      const key = happening(alert);
      groups.set(key, [...(groups.get(key) ?? []), alert]);
    }
    const place = (one) => (held.has(one.key) ? { ...one, acknowledged: false } : one);
    return [...groups].map(([key, alerts]) => together(key, alerts)).sort((a, b) => byUrgency(place(a), place(b)));
  }

  worst(subject) {
    return this.sortedAlerts().find((alert) => alert.subject === subject);
  }
}
