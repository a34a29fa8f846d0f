// @ts-check
// What a row's finished cells show, as small icons.

import { isBrowsers, make, svg } from "../shared/dom.js";
import { factorState, factorWords, isOpen } from "./tally.js";

/**
 * @typedef {import("./message.js").Seen} Seen
 * @typedef {import("./message.js").GridHead} GridHead
 */

const DOT = "M8 2.8a5.2 5.2 0 1 0 0 10.4a5.2 5.2 0 0 0 0-10.4z";
const LOCK = "M4 7.5h8v6h-8zM5.5 7.5v-2a2.5 2.5 0 0 1 5 0v2";

/**
 * Outlines and fills in the colour of the text, unless a `style` says otherwise.
 *
 * @param {{lines?: string, fills?: string}} sign
 * @param {object} attributes
 */
function glyph({ lines, fills }, attributes = {}) {
  const names = { viewBox: "0 0 16 16", "aria-hidden": "true", class: "glyph", ...attributes };
  const parts = Object.entries({ lines, fills }).filter(([, d]) => d);
  return svg("svg", names, ...parts.map(([kind, d]) => svg("path", { class: kind, d })));
}

/**
 * One value, as small as it goes: a dot of its colour, its glyph, or its first letters.
 *
 * @param {string} value
 * @param {import("./message.js").Sign | null} sign
 */
function valueIcon(value, sign) {
  if (!sign) return make("i", {}, value === "unclear" ? "?" : value.slice(0, 3));
  const { swatch } = sign;
  if (!Array.isArray(swatch)) return glyph(sign); // a model's folder may hold anything
  return glyph({ lines: DOT }, { class: "glyph dot", style: `fill: rgb(${swatch.join(" ")})` });
}

/**
 * @param {Seen} seen
 * @param {number} i
 */
function makeFactor(seen, i) {
  const { factor, fixed, values } = seen;
  const words = factorWords(seen);
  const names = { role: "img", tabindex: i ? -1 : 0, "aria-label": words, "data-words": words };
  const state = isOpen(seen) ? "factor open" : "factor";
  const icons = make("span", { class: "icons" });
  icons.append(...values.map(([value, , sign]) => valueIcon(value, sign)));
  if (fixed) icons.append(glyph({ lines: LOCK }, { class: "glyph lock" }));
  return make("span", { class: state, ...names }, make("span", { class: "name" }, factor), icons);
}

/**
 * What a row's finals and the trunk's show.
 *
 * @param {HTMLElement} place
 * @param {number} step
 * @param {Seen[]} seen
 * @param {boolean} ghost
 */
export function renderSeen(place, step, seen, ghost) {
  place.classList.toggle("unknown", !seen.length); // what was there keeps its place
  place.classList.toggle("ghost", ghost);
  const drawn = JSON.stringify(seen);
  if (!seen.length || place.dataset.drawn === drawn) return;
  place.dataset.drawn = drawn;
  place.setAttribute("aria-label", `row at step ${step}: ${seen.map(factorState).join("; ")}`);
  place.replaceChildren(...seen.map(makeFactor));
}

/**
 * The arrows go from factor to factor: Tab reaches one of them only.
 *
 * @param {KeyboardEvent} event
 */
export function onSeenKey(event) {
  /** @type {HTMLElement | null} */
  const from = /** @type {Element} */ (event.target).closest(".factor");
  const next = ["ArrowDown", "ArrowRight"].includes(event.key) && from?.nextSibling;
  const last = ["ArrowUp", "ArrowLeft"].includes(event.key) && from?.previousSibling;
  const to = /** @type {HTMLElement | null | false} */ (next || last);
  if (!from || !to || isBrowsers(event)) return;
  event.preventDefault();
  event.stopPropagation();
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

const LIKELY = 7; // factors, until they are known: what comes later moves nothing

/** How open and settled factors are told apart, said once for all rows. */
export function makeKey() {
  const open = make("b", {}, "still open");
  const lock = glyph({ lines: LOCK }, { class: "glyph lock" });
  const element = make("p", { class: "key quiet" }, open, " in its row · settled · ", lock, " named by the prompt");
  return {
    element,

    /** @param {GridHead} head */
    render({ rows }) {
      element.hidden = rows.every(({ seen }) => !seen.length);
    },
  };
}

/**
 * Right of the cells where there is room; else below. Cells shrink for it, but not under the size that
 * they had with it below. It goes by what a row could show at most. The side of a cell, px.
 *
 * @param {HTMLElement} root
 * @param {{across: number, spare: number, size: (below: boolean) => number}} room of `layout`
 * @param {GridHead["rows"]} rows
 */
export function placeSeen(root, { across, spare, size }, rows) {
  const before = Number(root.dataset.factors ?? LIKELY);
  const count = Math.max(0, ...rows.map(({ seen }) => seen.length)) || before;
  root.dataset.factors = String(count);
  const most = Math.max(0, ...rows.map(({ cells }) => cells.length)) + 1; // and the trunk's
  const wide = 72 + most * 16 + 20; // its name, its icons and a lock
  const columnsOf = (/** @type {number} */ cell) => Math.ceil(count / Math.max(1, Math.floor(cell / 13)));
  const [largest, least] = [size(false), size(true)];
  let cell = largest;
  const fits = () => columnsOf(cell) * (wide + 16) <= spare + across * (largest - cell);
  while (cell > least && !fits()) cell -= 1;
  const below = !fits();
  root.style.setProperty("--lines", String(Math.ceil(count / columnsOf(cell))));
  root.style.setProperty("--wide", `${wide}px`);
  root.classList.toggle("below", below);
  return below ? least : cell;
}
