// A row of the grid: where it leaves the trunk, its cells, and what they show.

import { make, tool } from "../shared/dom.js";
import { clear, show } from "../shared/protocol.js";
import { makeCell } from "./cell.js";
import { levelText, timeText } from "./player.js";
import { onSeenKey, renderSeen } from "./seen.js";

/** `on` is {reroll(row), change(row), drop(row), point(row), gone(cell)}, and what `makeCell` takes. */
export function makeRow(step, on) {
  const node = make("canvas", { class: "node", "aria-hidden": "true" });
  const time = make("span", { class: "time" });
  const level = make("span", { class: "level" });
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
  const label = make("span", { class: "label" }, time, level);
  const header = make("div", { class: "header", role: "rowheader" }, knot, label, tools);
  const place = make("div", { class: "cells", role: "presentation" });
  const seen = make("div", { class: "seen unknown", role: "rowheader", onkeydown: onSeenKey });
  const element = make("div", { class: "row", role: "row" }, header, place, seen);
  const row = { step, element, header, cells: [], render };
  for (const name of ["pointerenter", "focusin"]) {
    element.addEventListener(name, () => on.point(row));
  }

  /** Its part of the message; the cells' states are drawn by `renderEntry`. */
  function render(head, { cells, seen: factors }) {
    time.textContent = timeText(head, step);
    level.textContent = head.back
      ? `back to ${timeText(head, step - head.back).replace("t = ", "")}`
      : levelText(head, step);
    change.hidden = !head.change?.steps.includes(step);
    header.setAttribute("aria-label", `${time.textContent}, ${level.textContent}`);
    const picture = head.focus.x0[step];
    node.classList.toggle("ghost", !picture);
    if (!picture) clear(node);
    show(node, picture);
    while (row.cells.length > cells.length) {
      const cell = row.cells.pop();
      on.gone(cell);
      cell.element.remove();
    }
    while (row.cells.length < cells.length) {
      const cell = makeCell(row, on);
      row.cells.push(cell);
      place.append(cell.element);
    }
    row.cells.forEach((cell, slot) => (cell.entry = cells[slot]));
    renderSeen(seen, step, factors, cells.some(({ ghost }) => ghost));
  }

  return row;
}
