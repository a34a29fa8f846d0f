// @ts-check
// Above the grid: the path as a breadcrumb, a line that says what happened, and the tools.

import { icon, make, tool } from "../shared/dom.js";
import { placeText } from "./words.js";

const SAID = 6000; // ms that a sentence stands

/**
 * @typedef {object} OnTools
 * @property {(name: string, more?: object) => void} act
 * @property {(path: string) => void} goto
 * @property {() => void} toggleMap
 * @property {() => void} alone
 *
 * @param {OnTools} on
 * @param {HTMLElement} guide what a first visitor is told
 */
export function makeToolbar(on, guide) {
  const crumbs = make("nav", { class: "crumbs", "aria-label": "Path" });
  const note = make("p", { class: "note quiet", "aria-live": "polite" });
  /** @type {import("./message.js").GridHead["before"]} */
  let before = null;
  // A server that knows no view before, as after a reload at once, is told.
  const undo = tool("undo", "Undo", () => on.act("undo", { to: before }));
  const redo = tool("redo", "Redo", () => on.act("redo"));
  const fewer = tool("minus", "One column less", () => on.act("drop_column"));
  const columns = make("span", { class: "quiet" });
  const more = tool("plus", "One column more", () => on.act("add_column"));
  /** @type {(attributes: object, ...children: (Node | string)[]) => HTMLElement} */
  const worded = (attributes, ...children) =>
    make("button", { type: "button", ...attributes }, ...children);
  const differ = worded(
    {
      class: "tool worded differ",
      title: "Where the finals of a row differ, laid over the trunk",
      "aria-label": "Where rows differ",
      "aria-pressed": "false",
      onclick: on.toggleMap,
    },
    icon("map"),
    make("span", {}, "Where rows differ"),
  );
  const onclick = () => on.act("share");
  const share = worded({ class: "tool worded", onclick }, icon("share"), "Share");
  const alone = tool("enlarge", "The grid alone: p", on.alone);
  const tools = { class: "tools", role: "toolbar", "aria-label": "Grid tools" };
  const all = make("div", tools, undo, redo, fewer, columns, more, differ, share, alone);
  let timer = 0;

  /** @param {import("./message.js").GridHead} head */
  function renderCrumbs(head) {
    const { crumbs: paths, words } = head;
    const said = paths.map((path) => {
      const fork = path.slice(path.lastIndexOf("/") + 1); // what it adds to the one before
      return words[fork] ?? placeText(head, path) ?? fork;
    });
    const drawn = JSON.stringify([paths, said]);
    if (crumbs.dataset.drawn === drawn) return;
    crumbs.dataset.drawn = drawn;
    const parts = paths.map((path, i) => {
      const last = said[i];
      if (i === paths.length - 1) return make("b", { "aria-current": "page", title: path }, last);
      return make("button", { type: "button", title: path, onclick: () => on.goto(path) }, last);
    });
    crumbs.replaceChildren(...parts.flatMap((part, i) => (i ? ["›", part] : [part])));
  }

  return {
    element: make("div", { class: "top" }, crumbs, note, guide, all),

    /** @param {import("./message.js").GridHead} head */
    render(head) {
      renderCrumbs(head);
      before = head.before;
      undo.disabled = !before;
      redo.disabled = !head.can_redo;
      const count = Math.max(1, ...head.rows.map((row) => row.cells.length));
      for (const each of [fewer, columns, more, share]) each.hidden = Boolean(head.file);
      columns.textContent = String(count);
      columns.title = `${count} branches a row`;
      fewer.disabled = count <= 1;
      more.disabled = count >= head.max_columns;
    },

    /** @param {boolean} pressed */
    press(pressed) {
      differ.setAttribute("aria-pressed", String(pressed));
    },

    /**
     * A sentence, for a while; one with a link waits for the next.
     *
     * @param {string} text
     * @param {string} link an address, if there is one
     */
    say(text, link = "") {
      note.replaceChildren(text);
      clearTimeout(timer);
      if (link) note.append(" ", make("a", { href: link, target: "_blank", rel: "noopener" }, "Open it in the app"));
      else timer = window.setTimeout(() => (note.textContent = ""), SAID);
    },
  };
}
