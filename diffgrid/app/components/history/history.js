// @ts-check
// The grids that were visited, as a tree (see history.py). Each is a real link: it can be copied, and
// opened in another tab.

import { icon, isBrowsers, make, styled, svg, tool } from "../shared/dom.js";
import { outbox } from "../shared/outbox.js";
import { atTheEnd, show, unpack } from "../shared/protocol.js";
import { keep, recall } from "./kept.js";
import { places } from "./places.js";

const SIDE = 56; // px of a picture
const PITCH = { x: 82, y: 84 }; // px from one picture to the next
const GAP = 10; // px of that, under the words
const BEND = 8; // px, of a line
const ASK_AGAIN = 2000; // ms
const FOLDED = "diffgrid.history.folded"; // the name in the browser's storage

/**
 * @typedef {import("../shared/protocol.js").Picture} Picture
 *
 * @typedef {object} Node
 * @property {number} above the index of the one it was reached from; -1 of the first
 * @property {Record<string, string | null>} changes of its query
 * @property {string} words what it has other than the one above
 * @property {string} path in its focus
 * @property {number | null} picture
 * @property {boolean} starred
 *
 * @typedef {object} HistoryHead
 * @property {Node[]} nodes
 * @property {number} at the index of the one on view
 * @property {boolean} taken_in whether the session was handed a tree that a browser kept
 * @property {boolean} more whether more pictures are to be asked for
 * @property {boolean} stars whether anything can be kept
 * @property {(Picture | undefined)[]} pictures
 * @property {string[]} lacking
 */

/** @param {any} component what Streamlit hands over */
export default async function mount({ data, parentElement, setStateValue }) {
  await styled(parentElement);
  const root = parentElement.querySelector(".history");
  /** @type {History} */
  const history = (root.owner ??= new History(root));
  history.ask = (names) => setStateValue("lack", { names, at: Date.now() });
  history.receive(data);
  return atTheEnd(root, () => {
    history.end();
    root.owner = undefined;
  });
}

class History {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {(names: string[]) => void} */
    this.ask = () => {};
    this.timer = 0;
    /** @type {Map<string, Picture>} */
    this.known = new Map();
    /** @type {Map<string, Tile>} by query */
    this.tiles = new Map();
    this.drawn = ""; // what is drawn
    const kept = recall();
    /** What the tab kept before this page was loaded, until the session has it. */
    this.kept = kept && kept.nodes.length > 1 ? kept : null;
    this.handed = false;
    this.count = make("span", { class: "quiet" });
    this.lines = svg("svg", { "aria-hidden": "true" });
    this.list = make("ol", { "aria-label": "Grids visited" });
    this.tree = make("div", { class: "tree" }, this.lines, this.list);
    const onclick = () => outbox.push({ do: "share" });
    const names = { type: "button", class: "plain", title: "The journey as a film, under Share" };
    const replay = make("button", { ...names, onclick }, icon("play"), "Replay");
    const summary = make("summary", {}, make("h3", {}, "History"), this.count);
    const scroller = make("div", { class: "scroller" }, this.tree);
    this.scroller = scroller;
    this.details = make("details", { open: stored(FOLDED) === null }, summary, scroller);
    this.details.ontoggle = () => {
      store(FOLDED, this.details.open ? null : "yes");
      this.reveal();
    };
    root.append(this.details, replay);
  }

  /** @param {Uint8Array} bytes */
  receive(bytes) {
    /** @type {HistoryHead} */
    const head = /** @type {any} */ (unpack(bytes, this.known));
    clearTimeout(this.timer);
    const ask = () => {
      this.ask(head.lacking);
      this.timer = window.setTimeout(ask, ASK_AGAIN);
    };
    if (head.lacking.length || head.more) this.timer = window.setTimeout(ask);
    if (this.kept && !head.taken_in) {
      // A new session's own tree must not take its place.
      if (!this.handed) outbox.push({ do: "take_in", ...this.kept });
      this.handed = true;
      return;
    }
    this.kept = null;
    const told = JSON.stringify([head.nodes, head.at, head.stars]);
    const pictures = head.pictures.map((picture) => picture !== undefined);
    if (this.drawn === told + pictures) return;
    this.drawn = told + pictures;
    keep({ nodes: head.nodes.map(({ above, changes }) => [above, changes]), at: head.at });
    this.render(head);
  }

  /** @param {HistoryHead} head */
  render(head) {
    const { nodes, at } = head;
    this.root.hidden = nodes.length < 2;
    this.count.textContent = `${nodes.length} grids`;
    const placed = places(nodes.map(({ above }) => above));
    /** @type {Record<string, string>[]} */
    const queries = [];
    for (const { above, changes } of nodes) {
      const entries = Object.entries({ ...queries[above], ...changes });
      queries.push(Object.fromEntries(entries.flatMap(([k, v]) => (v === null ? [] : [[k, v]]))));
    }
    const keys = queries.map((query) => String(new URLSearchParams(query)));
    for (const [key, tile] of this.tiles) {
      if (keys.includes(key)) continue;
      tile.element.remove();
      this.tiles.delete(key);
    }
    nodes.forEach((node, i) => {
      const tile = this.tiles.get(keys[i]) ?? new Tile(queries[i], keys[i]);
      this.tiles.set(keys[i], tile);
      const there = this.list.children[i];
      if (there !== tile.element) this.list.insertBefore(tile.element, there ?? null);
      const { column, line } = placed[i];
      tile.element.style.translate = `${column * PITCH.x}px ${line * PITCH.y}px`;
      const from = node.above < 0 ? "" : `, from ${nodes[node.above].words}`;
      const picture = node.picture === null ? null : head.pictures[node.picture];
      tile.render(node, from, picture, i === at, head.stars);
    });
    const columns = Math.max(...placed.map(({ column }) => column)) + 1;
    const lines = Math.max(...placed.map(({ line }) => line)) + 1;
    this.tree.style.width = `${columns * PITCH.x}px`;
    this.tree.style.height = `${lines * PITCH.y - GAP}px`;
    this.lines.replaceChildren(
      ...nodes.flatMap(({ above }, i) =>
        above < 0 ? [] : [svg("path", { d: twig(placed[above], placed[i]) })],
      ),
    );
    this.reveal();
  }

  /** The one on view is seen in the strip, which moves by itself alone. */
  reveal() {
    const tile = /** @type {HTMLElement | null} */ (this.list.querySelector(".here"))?.getBoundingClientRect();
    const place = this.scroller.getBoundingClientRect();
    if (!tile || !place.width) return;
    const { scroller } = this;
    if (tile.left < place.left) scroller.scrollLeft += tile.left - place.left - PITCH.x;
    if (tile.right > place.right) scroller.scrollLeft += tile.right - place.right + PITCH.x;
    if (tile.top < place.top) scroller.scrollTop += tile.top - place.top;
    if (tile.bottom > place.bottom) scroller.scrollTop += tile.bottom - place.bottom;
  }

  end() {
    clearTimeout(this.timer);
    this.root.replaceChildren();
  }
}

/** One grid of the tree. */
class Tile {
  /**
   * @param {Record<string, string>} query
   * @param {string} address the same
   */
  constructor(query, address) {
    this.query = query;
    /** @type {Node} */
    this.node;
    this.stars = false;
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.words = make("span", { class: "caption" });
    const frame = make("span", { class: "frame" }, this.canvas);
    const link = make("a", { href: `?${address}` }, frame, this.words);
    this.link = link;
    this.star = tool("star", "Star", () => this.toggle(), { tabindex: -1 });
    this.element = make("li", {}, link, this.star);
    link.onclick = (event) => {
      if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      if (link.getAttribute("aria-current") !== "true") outbox.push({ do: "visit", query });
    };
    link.onkeydown = (event) => {
      if (event.key !== "s" || isBrowsers(event) || !this.stars) return;
      event.preventDefault();
      this.toggle();
    };
  }

  toggle() {
    const { node, query } = this;
    node.starred = !node.starred;
    this.renderStar();
    outbox.push({ do: "star", path: node.path, on: node.starred, query });
  }

  /**
   * @param {Node} node
   * @param {string} from
   * @param {Picture | null | undefined} picture
   * @param {boolean} here
   * @param {boolean} stars
   */
  render(node, from, picture, here, stars) {
    this.node = node;
    this.stars = stars;
    this.from = from;
    this.words.textContent = node.words;
    this.element.classList.toggle("here", here);
    this.element.classList.toggle("blank", !picture);
    if (here) this.link.setAttribute("aria-current", "true");
    else this.link.removeAttribute("aria-current");
    show(this.canvas, picture);
    this.renderStar();
  }

  renderStar() {
    const { link, star, node, stars } = this;
    star.hidden = !stars;
    this.element.classList.toggle("starred", node.starred);
    star.setAttribute("aria-pressed", String(node.starred));
    const label = node.words + this.from + (node.starred ? ", starred" : "");
    link.setAttribute("aria-label", label);
    link.title = node.words + (stars ? `\n(s: ${node.starred ? "remove the star" : "star"})` : "");
    star.title = node.starred ? "Remove the star" : "Star: keep it for good";
  }
}

/** @typedef {{column: number, line: number}} Place */

/**
 * The line from one picture to another: out of its middle, down, and in.
 *
 * @param {Place} from
 * @param {Place} to
 */
function twig(from, to) {
  const [x, y] = [from.column * PITCH.x + (PITCH.x + SIDE) / 2, from.line * PITCH.y + SIDE / 2];
  const [right, bottom] = [to.column * PITCH.x + (PITCH.x - SIDE) / 2, to.line * PITCH.y + SIDE / 2];
  if (from.line === to.line) return `M${x} ${y}H${right}`;
  const middle = (x + right) / 2;
  return `M${x} ${y}H${middle - BEND}q${BEND} 0 ${BEND} ${BEND}V${bottom - BEND}q0 ${BEND} ${BEND} ${BEND}H${right}`;
}

/**
 * What the browser has kept; null where that is nothing, or is forbidden.
 *
 * @param {string} name
 */
function stored(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {string | null} value
 */
function store(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // Then it is gone with the page.
  }
}
