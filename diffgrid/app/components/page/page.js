// @ts-check
// A whole grid in one file: the component as it is, and here what a server would say to it
// (`diffgrid/browser/page.py` writes the file).

import mount from "../grid/grid.js";
import { History } from "./history.js";
import { pack } from "./pack.js";

/**
 * What stands in the page as JSON.
 *
 * @param {string} id
 */
const read = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");

/** @type {{path: string, names: string[]}[]} the messages without their pictures, that on view first */
const heads = read("diffgrid-grids");
/** @type {Record<string, string>} in base64, by name */
const pictures = read("diffgrid-pictures");
const grids = new Map(heads.map((head) => [head.path, head]));
const history = new History(heads[0].path);
const parentElement = document.getElementById("diffgrid")?.shadowRoot;
/** @type {[string, number]} */
let acted = ["", 0];

/**
 * Streamlit's part: the component sets what it asks for, and is mounted again with the answer.
 *
 * @param {string} name
 * @param {{sender: string, acts: [number, {do: string, path?: string}][]}} told
 */
function setStateValue(name, told) {
  if (name !== "acts") return; // all pictures are there, and nothing is sampled ahead
  const [sender, last] = acted;
  for (const [number, act] of told.acts) {
    if (sender === told.sender && number <= last) continue;
    acted = [told.sender, number];
    if (act.do === "undo") history.undo();
    else if (act.do === "redo") history.redo();
    else if (act.path && grids.has(act.path)) history.go(act.path);
  }
  setTimeout(show); // what was asked is on its way first
}

function show() {
  const { path, before, after } = history;
  const head = grids.get(path) ?? heads[0];
  const trail = { before: before && { path: before }, can_redo: after !== null };
  const data = pack({ ...head, ...trail, acted }, pictures);
  mount({ data, parentElement, setStateValue });
}

show();
