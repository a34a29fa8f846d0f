// @ts-check
// A cell of the grid: one branch's picture, its state, and what a touch of it calls.

import { icon, make, tool } from "../shared/dom.js";
import { nameOf, timeText } from "./player.js";

/**
 * What a cell is sent (`entry` in message.py): one trajectory of T steps.
 *
 * @typedef {import("../shared/protocol.js").Picture} Picture
 * null is a picture that nobody has yet, undefined one that is on its way.
 * @typedef {Picture | null | undefined} Shown
 *
 * @typedef {object} Entry
 * @property {string} path
 * @property {string} name how the path is read
 * @property {number | null} branch
 * @property {number} step how far it is, 0 … T
 * @property {boolean} done
 * @property {boolean} lost it ended where its numbers were not finite
 * @property {boolean} starred
 * @property {string} recipe a command line
 * @property {Shown[]} x0 T of them
 * @property {Shown[] | null} noisy x_t, T of them, where they are decoded
 * @property {Shown} final
 * @property {Shown} newest
 * @property {boolean} [ghost] it will be made anew
 */

/**
 * @typedef {object} Holder what shows a trajectory: a cell, or the portrait
 * @property {HTMLElement} element what can have the focus
 * @property {HTMLElement} frame what shows its state
 * @property {HTMLCanvasElement} canvas
 * @property {HTMLElement} bar
 * @property {Entry} entry
 *
 * @typedef {Holder & {row: import("./row.js").Row, slot: number}} Cell
 *
 * @typedef {object} OnCell
 * @property {(cell: Cell) => void} enter
 * @property {(cell: Cell) => void} leave
 * @property {(cell: Cell) => void} settle
 * @property {(event: MouseEvent, cell: Cell) => void} press
 * @property {(holder: Holder, anchor: Element) => void} menu
 * @property {() => boolean} touched
 */

/**
 * @param {import("./row.js").Row} row
 * @param {Entry} entry
 * @param {OnCell} on
 */
export function makeCell(row, entry, on) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const bar = make("span", { class: "bar" });
  const star = make("span", { class: "starred", "aria-hidden": "true" }, icon("star"));
  const dots = tool("more", "More", () => on.menu(cell, dots), { tabindex: -1 });
  dots.classList.add("dots");
  const names = { class: "cell", role: "gridcell", tabindex: -1 };
  const element = make("div", names, canvas, bar, star, dots);
  /** @type {Cell} */
  const cell = { element, frame: element, canvas, bar, row, slot: row.cells.length, entry };
  element.onpointerenter = ({ pointerType }) => void (pointerType === "touch" || on.enter(cell));
  element.onpointerleave = ({ pointerType }) => void (pointerType === "touch" || on.leave(cell));
  element.onfocus = () => {
    on.settle(cell);
    if (element.matches(":focus-visible")) on.enter(cell);
  };
  element.onblur = () => {
    if (!on.touched() && !element.matches(":hover")) on.leave(cell);
  };
  element.onclick = (event) => on.press(event, cell);
  element.oncontextmenu = (event) => {
    event.preventDefault();
    on.menu(cell, dots);
  };
  return cell;
}

/**
 * A cell or the portrait: its state, not its picture. The bar of one that plays is its own.
 *
 * @param {Holder & {row?: import("./row.js").Row}} holder
 * @param {import("./message.js").GridHead} head
 * @param {boolean} plays
 */
export function renderEntry({ element, frame, entry, bar, row }, head, plays) {
  const { done, lost } = entry;
  frame.classList.toggle("ghost", Boolean(entry.ghost || entry.newest === null));
  if (entry.newest) frame.classList.remove("blank");
  frame.classList.toggle("pending", !done || Boolean(entry.ghost));
  frame.classList.toggle("lost", lost);
  frame.classList.toggle("has-star", entry.starred);
  element.setAttribute("aria-busy", String(!done && !lost));
  const share = done ? 0 : entry.step / head.length;
  if (!plays) bar.style.setProperty("--share", String(share));
  const state = done ? "done" : lost ? "no picture: not finite" : `${Math.round(share * 100)} %`;
  const name = row ? nameOf(entry) : "the trunk in view";
  const at = row ? ` from ${timeText(head, row.step)}` : `, ${entry.name}, enlarge`;
  const star = entry.starred ? ", starred" : "";
  element.setAttribute("aria-label", `${name}${at}, ${state}${star}`);
}
