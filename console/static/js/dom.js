// Building and updating the page. Text goes in as text nodes only, so nothing a device or a person typed can become markup.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// Makes `parent` hold exactly `nodes`, in that order, moving as few as it can: focus and animations survive.
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  heart: "M12 20.5 4.2 12.6a4.9 4.9 0 0 1 0-7 4.9 4.9 0 0 1 7 0l.8.8.8-.8a4.9 4.9 0 0 1 7 7z",
  turn: "M20 12a8 8 0 1 1-2.6-5.9M18 2.5v4.2h-4.2",
  bed: "M3 18V6M3 15h18v3M21 15v-2.5a3 3 0 0 0-3-3h-7V15M6.8 11.6a1.6 1.6 0 1 0 0-.1",
  walk: "M13 4.2a1.3 1.3 0 1 0 0-.1M12.5 8.5 10 14l3.5 2.5L14.5 21M10 14l-2.5 7M8 11l4.5-2.5L15 12l3 1",
  bell: "M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15zM10 20.5a2 2 0 0 0 4 0",
  mute: "M6 16V11a6 6 0 0 1 9-5.2M18 11v5l1.5 2h-12M10 20.5a2 2 0 0 0 4 0M4 3.5l16 17",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  sun: "M12 8a4 4 0 1 0 .01 0M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  check: "M4.5 12.5 10 18 19.5 6.5",
  person: "M12 4a3.6 3.6 0 1 0 .01 0M4.5 20.5a7.5 7.5 0 0 1 15 0",
};
const FILLED = new Set(["heart", "moon"]);

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `icon icon-${name}${FILLED.has(name) ? " filled" : ""}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

// The shapes say the priority without colour: triangle !!!, diamond !!, disc !, square i (marks after IEC 60601-1-8).
const SHAPES = {
  3: ["M12 1.8 23.2 22H.8z", "!!!", 18.6],
  2: ["M12 .8 23.2 12 12 23.2.8 12z", "!!", 16],
  1: ["M12 1.2a10.8 10.8 0 1 0 .01 0", "!", 16.4],
  0: ["M2 2h20v20H2z", "i", 16.4],
};

export function shape(priority) {
  const [outline, marks, baseline] = SHAPES[priority] ?? SHAPES[0];
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "shape");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", outline);
  const text = document.createElementNS(SVG, "text");
  text.setAttribute("x", "12");
  text.setAttribute("y", baseline);
  text.textContent = marks;
  svg.append(path, text);
  return svg;
}
