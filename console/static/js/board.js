// The ward board: for whoever is on call.

import { alertList } from "./alerts.js";
import { nameButton } from "./answer.js";
import { openDetails } from "./details.js";
import { arrange, el, setText } from "./dom.js";
import { t } from "./i18n.js";
import { start } from "./shell.js";
import { Sound } from "./sound.js";
import { byRoom, ResidentTile, RoomCard, wards } from "./tiles.js";

const WARD_KEY = "vigil.ward";

function wardChooser(redraw) {
  const select = el("select", { "aria-label": t("ui.ward"), hidden: true });
  select.addEventListener("change", () => {
    localStorage.setItem(WARD_KEY, select.value);
    redraw();
  });
  let drawn = "";
  return {
    node: select,
    get value() {
      return select.hidden ? "" : select.value;
    },
    draw(names) {
      if (drawn === names.join("\n")) return;
      drawn = names.join("\n");
      const wish = new URLSearchParams(location.search).get("ward") ?? localStorage.getItem(WARD_KEY) ?? "";
      select.replaceChildren(el("option", { value: "" }, t("ui.all_wards")), ...names.map((name) => el("option", { value: name }, name)));
      select.value = names.includes(wish) ? wish : "";
      select.hidden = names.length < 2;
    },
  };
}

// Built by `start`, which has loaded the texts by then; the two tools are put in afterwards for the same reason.
const tools = el("span", { class: "tools" });

await start(
  "board",
  (main, live) => {
    const open = (subject) => subject && openDetails(live, subject);
    const list = alertList(live, open);
    const sound = new Sound(list.settle);
    const name = nameButton();
    name.draw();
    tools.append(sound.button, name.node);
    const heading = el("h2", { id: "alerts-title" });
    const boardHeading = el("h2", {}, t("ui.residents"));
    const counts = el("span", { class: "muted" });
    const grid = el("div", { class: "rooms" });
    const empty = el("p", { class: "nobody", hidden: true }, t("ui.nobody"));
    const chooser = wardChooser(() => draw({ kind: "snapshot", tiles: [], alerts: [] }));
    main.append(
      el("section", { class: "panel", "aria-labelledby": "alerts-title" }, heading, sound.ask, list.node),
      el("section", { class: "ward" }, el("div", { class: "ward-top" }, boardHeading, counts, chooser.node), empty, grid),
    );
    const rooms = new Map();
    const tiles = new Map();

    function keep(map, key, make) {
      if (!map.has(key)) map.set(key, make());
      return map.get(key);
    }

    function layout() {
      const groups = byRoom(live, chooser.value);
      const shownRooms = new Set(groups.map((group) => group.key));
      const shownTiles = new Set(groups.flatMap((group) => group.residents));
      for (const key of rooms.keys()) if (!shownRooms.has(key)) rooms.delete(key);
      for (const key of tiles.keys()) if (!shownTiles.has(key)) tiles.delete(key);
      for (const group of groups) {
        const card = keep(rooms, group.key, () => new RoomCard(live, group.room, open));
        card.subject = group.subject;
        arrange(card.beds, group.residents.map((subject) => keep(tiles, subject, () => new ResidentTile(live, subject, open)).node));
      }
      arrange(grid, groups.map((group) => rooms.get(group.key).node));
      setText(counts, t("ui.residents_count", { n: shownTiles.size }));
      empty.hidden = !live.ready || groups.length > 0;
    }

    function draw(change) {
      chooser.draw(wards(live));
      const alerts = list.draw(change, chooser.value);
      if (change.kind !== "tick") layout();
      for (const card of rooms.values()) card.draw();
      for (const tile of tiles.values()) tile.draw();
      const unanswered = alerts.filter((alert) => !alert.acknowledged);
      setText(heading, alerts.length ? t(alerts.length === 1 ? "alerts.open_one" : "alerts.open", { n: alerts.length }) : t("alerts.title"));
      document.title = (unanswered.length ? `(${unanswered.length}) ` : "") + `${t("page.board")} · Vigil`;
      sound.alarm(unanswered.some((alert) => alert.priority === 3) || live.status === "lost" || live.status === "engine");
      sound.draw();
    }
    return draw;
  },
  [tools],
);
