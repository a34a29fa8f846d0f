// What a row's finished cells show, as small icons.

import { make, svg } from "../shared/dom.js";
import { factorState, factorWords, isOpen } from "./tally.js";

const DOT = "M8 2.8a5.2 5.2 0 1 0 0 10.4a5.2 5.2 0 0 0 0-10.4z";
const SWATCH = "M3 3h10v10H3z";
const DOME = "M3.2 13.5a4.8 4.8 0 0 1 9.6 0";
const LOCK = "M4 7.5h8v6h-8zM5.5 7.5v-2a2.5 2.5 0 0 1 5 0v2";

// The colours that the pictures are drawn in, red, green, blue.
const NAMED = {
  black: "20 20 20", grey: "128 128 128", white: "235 235 235", red: "200 60 50",
  orange: "225 140 50", yellow: "225 205 80", green: "80 160 80", blue: "70 110 200",
  purple: "130 80 170", brown: "120 85 60",
};
const COLOURS = {
  background: {
    white: "250 248 244", grey: "168 172 180", black: "44 46 60", yellow: "252 228 140",
    green: "178 226 170", blue: "160 208 246", purple: "198 176 238", pink: "252 190 212",
  },
  body: {
    red: "222 56 58", orange: "244 140 40", yellow: "248 208 44", green: "92 186 72",
    teal: "40 182 176", blue: "58 112 224", purple: "140 76 200", pink: "244 116 176",
  },
  colour: NAMED,
  middle: NAMED,
};

// A value's outlines, and what of it is filled.
const GLYPHS = {
  shape: {
    round: [DOT],
    square: [SWATCH],
    tall: ["M8 1.5c2.7 0 3.5 2.2 3.5 6.5s-.8 6.5-3.5 6.5-3.5-2.2-3.5-6.5.8-6.5 3.5-6.5z"],
    triangular: ["M8 2.5 14 13.2H2z"],
    fluffy: [fluff(8, 4.9)],
  },
  eyes: {
    "one eye": eyes([8, 8, 4.5]),
    "two eyes": eyes([4.3, 8, 3.1], [11.7, 8, 3.1]),
    "three eyes": eyes([8, 4.6, 2.7], [4.2, 11, 2.7], [11.8, 11, 2.7]),
  },
  mouth: {
    "a smile": ["M2.5 6q5.5 7 11 0"],
    "a frown": ["M2.5 10.5q5.5-7 11 0"],
    "an open mouth": ["", "M8 3.7a4 4.3 0 1 0 0 8.6a4 4.3 0 0 0 0-8.6z"],
    fangs: ["M2.5 5.5h11", "M4 5.5h3.2l-1.6 6zM8.8 5.5H12l-1.6 6z"],
  },
  head: {
    "a bare head": [DOME],
    horns: [DOME, "M3.4 10 2.2 3.5 7 8.5zM12.6 10l1.2-6.5L9 8.5z"],
    antennae: [`${DOME}M6.5 9 5 4.5M9.5 9 11 4.5`, ball(4.7, 3.4, 1.7) + ball(11.3, 3.4, 1.7)],
    "cat ears": [`${DOME}M3.3 11.5 3 4.5l4.2 4M12.7 11.5 13 4.5l-4.2 4`],
    "a hat": ["M2 12.3h12", "M4.8 12.3 4.4 3.5h7.2l-.4 8.8z"],
  },
  pattern: {
    plain: [SWATCH],
    spotted: [SWATCH, ball(5.8, 6, 1.4) + ball(10.4, 7.2, 1.4) + ball(7, 10.6, 1.4)],
    striped: [`${SWATCH}M3 6.2h10M3 9.8h10`],
  },
};

function ball(x, y, radius) {
  const arc = `a${radius} ${radius} 0 1 0`;
  return `M${x} ${y - radius}${arc} 0 ${2 * radius}${arc} 0 ${-2 * radius}z`;
}

function eyes(...places) {
  const balls = (share) => places.map(([x, y, radius]) => ball(x, y, radius * share)).join("");
  return [balls(1), balls(0.45)];
}

function fluff(bumps, radius) {
  const corner = (i) => {
    const angle = (2 * Math.PI * (i - 0.5)) / bumps - Math.PI / 2;
    return `${8 + radius * Math.cos(angle)} ${8 + radius * Math.sin(angle)}`;
  };
  const arcs = Array.from({ length: bumps }, (_, i) => `A2.1 2.1 0 0 1 ${corner(i + 1)}`);
  return `M${corner(0)}${arcs.join("")}z`;
}

/** Outlines and fills in the colour of the text, or of `colour`. */
function glyph([lines = "", fills = ""], { colour, ...attributes } = {}) {
  const names = { viewBox: "0 0 16 16", "aria-hidden": "true", class: "glyph", ...attributes };
  const parts = [["lines", lines], ["fills", fills]].filter(([, d]) => d);
  const fill = colour ? { style: `fill: rgb(${colour})` } : {};
  return svg("svg", names, ...parts.map(([kind, d]) => svg("path", { class: kind, d, ...fill })));
}

/** One value, as small as it goes: a dot of its colour, its glyph, or its first letters. */
function valueIcon(factor, value) {
  const colour = COLOURS[factor]?.[value];
  if (colour) return glyph([DOT], { colour, class: "glyph dot" });
  const drawn = GLYPHS[factor]?.[value];
  return drawn ? glyph(drawn) : make("i", {}, value === "unclear" ? "?" : value.slice(0, 3));
}

function makeFactor(seen, i) {
  const { factor, fixed, values } = seen;
  const words = factorWords(seen);
  const names = { role: "img", tabindex: i ? -1 : 0, "aria-label": words, "data-words": words };
  const state = isOpen(seen) ? "factor open" : "factor";
  const icons = make("span", { class: "icons" });
  icons.append(...values.map(([value]) => valueIcon(factor, value)));
  if (fixed) icons.append(glyph([LOCK], { class: "glyph lock" }));
  return make("span", { class: state, ...names }, make("span", { class: "name" }, factor), icons);
}

/** What a row's finals and the trunk's show: `seen` is [{factor, fixed, values: [[value, n]]}]. */
export function renderSeen(place, step, seen, ghost) {
  place.classList.toggle("unknown", !seen.length); // what was there keeps its place
  place.classList.toggle("ghost", ghost);
  const drawn = JSON.stringify(seen);
  if (!seen.length || place.dataset.drawn === drawn) return;
  place.dataset.drawn = drawn;
  place.setAttribute("aria-label", `row at step ${step}: ${seen.map(factorState).join("; ")}`);
  place.replaceChildren(...seen.map(makeFactor));
}

/** The arrows go from factor to factor: Tab reaches one of them only. */
export function onSeenKey(event) {
  const from = event.target.closest(".factor");
  const to = {
    ArrowDown: from?.nextSibling, ArrowRight: from?.nextSibling,
    ArrowUp: from?.previousSibling, ArrowLeft: from?.previousSibling,
  }[event.key];
  if (!to) return;
  event.preventDefault();
  event.stopPropagation();
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

const LIKELY = 7; // factors, until they are known: what comes later moves nothing

/**
 * Right of the cells where there is room, with the factors' names if possible; else below.
 *
 * It goes by what a row could show at most; `spare` is in px. Whether they are below.
 */
export function placeSeen(root, spare, cell, rows) {
  const count = Math.max(0, ...rows.map(({ seen }) => seen.length)) || root.factors || LIKELY;
  root.factors = count;
  const columns = Math.ceil(count / Math.max(1, Math.floor(cell / 13)));
  const lines = Math.ceil(count / columns);
  const most = Math.max(0, ...rows.map(({ cells }) => cells.length)) + 1; // and the trunk's
  const icons = most * 16 + 20; // and a lock
  const needs = (width) => columns * (width + 16);
  const terse = needs(icons + 72) > spare;
  const below = needs(icons) > spare;
  root.style.setProperty("--lines", lines);
  root.style.setProperty("--wide", `${terse ? icons : icons + 72}px`);
  root.classList.toggle("terse", terse);
  root.classList.toggle("below", below);
  return below;
}
