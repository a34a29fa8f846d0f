// The elements of the grid, made once, and what a touch of each calls. `Board` fills them.

import { icon, make, tool } from "../shared/dom.js";
import { HeatMap, onSeenKey } from "./icons.js";
import { nameOf, timeText } from "./player.js";

export class Skeleton {
  constructor(root) {
    this.root = root;
  }

  build() {
    const act = (name) => () => {
      this.expected = null;
      this.send({ do: name });
    };
    this.crumbs = make("nav", { class: "crumbs", "aria-label": "Path" });
    this.note = make("p", { class: "note quiet", "aria-live": "polite" });
    this.undo = tool("undo", "Undo", act("undo"));
    this.redo = tool("redo", "Redo", act("redo"));
    this.fewer = tool("minus", "One column less", act("drop_column"));
    this.columns = make("span", { class: "quiet" });
    this.more = tool("plus", "One column more", act("add_column"));
    const share = make("button", { type: "button", class: "tool worded", onclick: act("share") });
    share.append(icon("share"), "Share");
    this.tools = make("div", { class: "tools", role: "toolbar", "aria-label": "Grid tools" });
    const differ = { class: "tool worded differ", "aria-label": "Where rows differ" };
    const title = "Where the finals of a row differ, laid over the trunk";
    const toggle = { type: "button", title, "aria-pressed": "false" };
    this.differ = make("button", { ...differ, ...toggle, onclick: () => this.toggleMap() });
    this.differ.append(icon("map"), make("span", {}, "Where rows differ"));
    this.tools.append(this.undo, this.redo, this.fewer, this.columns, this.more);
    this.tools.append(this.differ, share);

    this.tree = make("div", { class: "tree", role: "grid", "aria-label": "Branching grid" });
    this.tree.onkeydown = (event) => this.onKey(event);
    this.buildTrunk();
    this.buildFilm();
    this.menu = make("div", { class: "menu", role: "menu", popover: "auto" });
    this.menu.onkeydown = (event) => this.onMenuKey(event);
    // A finger hits the nearest button: cells then have none, and the portrait's is theirs.
    this.root.onpointerdown = (event) => {
      this.pointer = event.pointerType;
      const touch = this.pointer === "touch";
      this.root.classList.toggle("touch", touch);
      if (touch && !event.target.closest(".cell, .frame, .menu, dialog")) this.leave();
    };
    this.root.append(
      make("div", { class: "top" }, this.crumbs, this.note, this.tools),
      this.tree, this.trunk, this.film, this.foot, this.menu,
    );
  }

  buildTrunk() {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const element = make("button", { type: "button", class: "portrait" }, canvas);
    const bar = make("span", { class: "bar" });
    const dots = tool("more", "More about this picture", () => this.openMenu(this.shown, dots));
    const frame = make("div", { class: "frame" }, element, bar, dots);
    dots.classList.add("dots");
    this.portrait = { element, canvas, bar, frame };
    element.onclick = (event) =>
      event.shiftKey || this.marked ? this.mark(this.shown) : this.enlarge(this.shown);
    element.oncontextmenu = (event) => {
      event.preventDefault();
      this.openMenu(this.shown, element);
    };
    // A handler that returns false keeps the browser from what the key does: Tab goes on.
    element.onkeydown = (event) => void this.onCellLetter(event, this.portrait);
    this.prompt = make("p", { class: "prompt" });
    this.name = make("b");
    this.facts = make("span");
    const words = make("p", { class: "quiet" }, this.name, this.facts);
    const beside = make("div", { class: "words" }, this.prompt, words);
    this.map = new HeatMap(this.portrait, beside);
    this.trunk = make("div", { class: "trunk" }, frame, beside);
  }

  buildFilm() {
    this.playing = make("button", { type: "button", class: "play", onclick: () => this.playAll() });
    this.strip = make("div", { class: "strip", role: "group", "aria-label": "x̂0 along time" });
    this.range = make("input", { type: "range", min: 0, "aria-label": "All cells at one moment" });
    this.range.oninput = () => {
      this.allClock.stop();
      this.seek(Number(this.range.value));
    };
    this.film = make("div", { class: "film" }, this.playing, this.strip, this.range);
    this.when = make("span");
    this.lanes = ["x0", "xt"].map((lane) => {
      const guess = lane === "x0";
      const label = guess ? "x̂0" : "xₜ";
      const title = guess ? "The model's guess of the final sample" : "The noisy state itself";
      return make("button", { type: "button", title, onclick: () => this.setLane(lane) }, label);
    });
    const lanes = make("span", { class: "lanes", role: "group", "aria-label": "What is shown" });
    lanes.append(...this.lanes);
    this.cost = make("span", { class: "cost" });
    const name = { role: "progressbar", "aria-label": "Sampling" };
    this.progress = make("span", { class: "progress", ...name });
    this.cancel = make("button", { type: "button", class: "plain" });
    this.cancel.onclick = () => this.send({ do: this.head.running ? "cancel" : "resample" });
    const left = make("span", { class: "left" }, this.when, lanes);
    const right = make("span", { class: "right" }, this.cost, this.progress, this.cancel);
    this.foot = make("div", { class: "foot quiet" }, left, right);
  }

  addRow(step) {
    const node = make("canvas", { class: "node", "aria-hidden": "true" });
    const knot = make("div", { class: "knot" }, node);
    const time = make("span", { class: "time" });
    const level = make("span", { class: "level" });
    const mine = (row) => row.step === step;
    const send = (act) => () => this.guess(this.ghosted(mine), { do: act, step });
    const tools = make("span", { class: "row-tools" });
    const change = tool("change", "Change from here …", () => this.change(step), { tabindex: -1 });
    tools.append(
      tool("dice", "Reroll this row", send("reroll_row"), { tabindex: -1 }),
      change,
      tool("close", "Drop this row", send("drop_row"), { tabindex: -1 }),
    );
    const label = make("span", { class: "label" }, time, level);
    const header = make("div", { class: "header", role: "rowheader" }, knot, label, tools);
    const cells = make("div", { class: "cells", role: "presentation" });
    const seen = make("div", { class: "seen unknown", role: "rowheader", onkeydown: onSeenKey });
    const element = make("div", { class: "row", role: "row" }, header, cells, seen);
    const parts = { element, header, node, time, level, change, seen };
    const row = { step, ...parts, place: cells, cells: [] };
    for (const name of ["pointerenter", "focusin"]) {
      element.addEventListener(name, () => this.drawMap(row));
    }
    this.rows.set(step, row);
    return row;
  }

  addCell(row) {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const bar = make("span", { class: "bar" });
    const star = make("span", { class: "starred", "aria-hidden": "true" }, icon("star"));
    const names = { class: "cell", role: "gridcell", tabindex: -1 };
    const element = make("div", names, canvas, bar, star);
    const cell = { element, canvas, bar, row, slot: row.cells.length };
    const dots = tool("more", "More", () => this.openMenu(cell, dots), { tabindex: -1 });
    dots.classList.add("dots");
    element.append(dots);
    row.place.append(element);
    row.cells.push(cell);
    element.onpointerenter = (event) => event.pointerType === "touch" || this.enter(cell);
    element.onpointerleave = (event) => event.pointerType === "touch" || this.leave(cell);
    element.onfocus = () => {
      this.settle(cell);
      if (element.matches(":focus-visible")) this.enter(cell);
    };
    element.onblur = () => {
      if (this.pointer !== "touch" && !element.matches(":hover")) this.leave(cell);
    };
    element.onclick = (event) => this.onClick(event, cell);
    element.oncontextmenu = (event) => {
      event.preventDefault();
      this.openMenu(cell, dots);
    };
    return cell;
  }

  makeMoment(step, fork) {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const element = make("button", { type: "button", class: "moment" }, canvas);
    element.disabled = fork || !this.head.row_steps.includes(step);
    element.classList.toggle("fork", fork);
    if (!element.disabled) element.append(icon("plus"));
    element.onclick = () => {
      this.say(`A row at ${timeText(this.head, step)} is on its way.`);
      this.send({ do: "add_row", step });
    };
    return { step, element, canvas };
  }

  // --- the menu of a cell ------------------------------------------------------------------------

  openMenu(holder, anchor) {
    const items = this.items(holder).map((item) => {
      const button = make("button", { type: "button", role: "menuitem", tabindex: -1 });
      button.append(icon(item.icon), make("span", {}, item.label));
      if (item.key) button.append(make("kbd", {}, item.key === "Enter" ? "↵" : item.key));
      button.onclick = () => {
        this.menu.hidePopover();
        item.run();
      };
      return button;
    });
    this.menu.setAttribute("aria-label", nameOf(holder.entry));
    this.menu.replaceChildren(...items);
    this.menu.from = holder.element;
    this.menu.showPopover();
    const at = anchor.getBoundingClientRect();
    const { width, height } = this.menu.getBoundingClientRect();
    const left = Math.min(at.right - 8, window.innerWidth - width - 8);
    const top = Math.min(at.bottom - 8, window.innerHeight - height - 8);
    this.menu.style.left = `${Math.max(8, left)}px`;
    this.menu.style.top = `${Math.max(8, top)}px`;
    items[0].focus();
  }

  onMenuKey(event) {
    const items = [...this.menu.children];
    const at = items.indexOf(event.target);
    const by = { ArrowDown: 1, ArrowUp: -1, Tab: 0 }[event.key];
    event.stopPropagation();
    if (event.key === "Tab") this.menu.hidePopover();
    if (event.key === "Tab" || event.key === "Escape") this.menu.from.focus();
    if (!by) return;
    event.preventDefault();
    items[(at + by + items.length) % items.length].focus();
  }
}
