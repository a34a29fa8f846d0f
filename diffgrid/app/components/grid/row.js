// @ts-check
// A row of the grid: where it leaves the trunk, its cells, and what they show.

import { make, tool } from "../shared/dom.js";
import { clear, show } from "../shared/protocol.js";
import { makeCell } from "./cell.js";
import { noiseText } from "./player.js";
import { onSeenKey, renderSeen } from "./seen.js";
import { partText, stepText } from "./words.js";

/**
 * @typedef {import("./message.js").GridHead} GridHead
 * @typedef {import("./cell.js").Cell} Cell
 *
 * @typedef {object} Row
 * @property {number} step
 * @property {HTMLElement} element
 * @property {HTMLElement} header
 * @property {Cell[]} cells
 * @property {(head: GridHead, row: GridHead["rows"][0]) => void} render draws its part of a message,
 *   but the cells' states, which `renderEntry` does
 *
 * @typedef {object} OnRow
 * @property {(row: Row) => void} reroll
 * @property {(row: Row) => void} change
 * @property {(row: Row) => void} drop
 * @property {(row: Row) => void} point
 * @property {(cell: Cell) => void} gone
 */

/**
 * @param {number} step
 * @param {OnRow & import("./cell.js").OnCell} on
 */
export function makeRow(step, on) {
  const node = make("canvas", { class: "node", "aria-hidden": "true" });
  const part = make("span", { class: "part" });
  const at = make("span");
  const hidden = { tabindex: -1 };
  const change = tool("change", "Change from here …", () => on.change(row), hidden);
  const tools = make(
    "span",
    { class: "row-tools" },
    tool("dice", "Reroll this row", () => on.reroll(row), hidden),
    change,
    tool("close", "Drop this row", () => on.drop(row), hidden),
  );
  const knot = make("div", { class: "knot" }, node);
  const label = make("span", { class: "label" }, part, at);
  const header = make("div", { class: "header", role: "rowheader" }, knot, label, tools);
  const place = make("div", { class: "cells", role: "presentation" });
  const seen = make("div", { class: "seen unknown", role: "rowheader", onkeydown: onSeenKey });
  const element = make("div", { class: "row", role: "row" }, header, place, seen);
  /** @type {Row} */
  const row = { step, element, header, cells: [], render };
  for (const name of ["pointerenter", "focusin"]) {
    element.addEventListener(name, () => on.point(row));
  }

  /** @type {Row["render"]} */
  function render(head, { cells, seen: factors }) {
    part.textContent = partText(head, step);
    at.textContent = head.back ? `back to step ${step - head.back}` : stepText(head, step);
    label.title = head.back ? `${stepText(head, step)}, ${noiseText(head, step)}` : noiseText(head, step);
    tools.hidden = Boolean(head.file);
    change.hidden = !head.change?.steps.includes(step);
    header.setAttribute("aria-label", `${part.textContent}, ${at.textContent}, ${label.title}`);
    const picture = head.focus.x0[step];
    node.classList.toggle("ghost", !picture);
    if (!picture) clear(node);
    show(node, picture);
    for (const cell of row.cells.splice(cells.length)) {
      on.gone(cell);
      cell.element.remove();
    }
    for (const entry of cells.slice(row.cells.length)) {
      const cell = makeCell(row, entry, on);
      row.cells.push(cell);
      place.append(cell.element);
    }
    row.cells.forEach((cell, slot) => (cell.entry = cells[slot]));
    renderSeen(seen, step, factors, cells.some(({ ghost }) => ghost));
  }

  return row;
}
