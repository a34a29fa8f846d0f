// The branching grid. One `Board` lives as long as its element; `receive` takes each new message.
// Under a pointer nothing waits for the server: replay, scrubbing, menus and dialogs are all here,
// and a click is drawn as it will turn out to be (`guess`) until the server's word comes.

import { changeFrom } from "../shared/dialog.js";
import { copyText, make, stillness, styled } from "../shared/dom.js";
import { Outbox } from "../shared/outbox.js";
import { atTheEnd, show } from "../shared/protocol.js";
import { renderEntry } from "./cell.js";
import { compareTwo, enlarge } from "./dialogs.js";
import { fly } from "./flight.js";
import { followed, ghosted } from "./foresight.js";
import { NARROW, layout } from "./layout.js";
import { makeMenu } from "./menu.js";
import { read } from "./message.js";
import { Clock, frameAt, nameOf, timeText } from "./player.js";
import { savePng } from "./png.js";
import { makePortrait } from "./portrait.js";
import { makeRow } from "./row.js";
import { placeSeen } from "./seen.js";
import { makeTimeline } from "./timeline.js";
import { makeToolbar } from "./toolbar.js";

const REST = 400; // ms a pointer rests on a cell before the server hears of it
const PATIENCE = 4000; // ms to wait for an answer before what was drawn ahead of it is taken back
const SETTLE = 100; // ms after a message, when what it shows is painted
const ASK_AGAIN = 2000; // ms before what is still lacking, or labels, are asked for again

export default async function mount({ data, parentElement, setStateValue }) {
  await styled(parentElement);
  const root = parentElement.querySelector(".board");
  const board = (root.owner ??= new Board(root));
  board.outbox.connect((acts) => setStateValue("acts", acts));
  board.hint = (path) => setStateValue("rest", { path, at: Date.now() });
  board.ask = (names) => setStateValue("lack", { names, at: Date.now() });
  board.receive(data);
  return atTheEnd(root, () => board.rest());
}

class Board {
  constructor(root) {
    this.root = root;
    this.outbox = new Outbox();
    this.send = (act) => this.outbox.push(act);
    this.known = new Map(); // names -> Pictures
    this.rows = new Map(); // step -> {element, cells, …}
    this.moment = null; // of all cells; T is the finished sample
    this.lane = "x0";
    this.rested = new Set(); // paths the server has heard of
    this.hovered = null; // the cell that plays
    this.marked = null; // the cell to compare with another
    this.expected = null; // the path that the server should answer with
    this.cellClock = new Clock((moment) => this.drawPlaying(moment));
    this.allClock = new Clock((moment) => this.seek(moment));
    this.build();
    this.observer = new ResizeObserver(() => this.measure());
    this.listen();
  }

  build() {
    const act = (what) => {
      this.expected = null;
      this.send(what);
    };
    const menu = (holder, anchor) => this.menu.open(holder, this.items(holder), anchor);
    this.toolbar = makeToolbar({
      act: (name) => act({ do: name }),
      goto: (path) => act({ do: "goto", path }),
      toggleMap: () => this.toggleMap(),
    });
    this.tree = make("div", { class: "tree", role: "grid", "aria-label": "Branching grid" });
    this.tree.onkeydown = (event) => this.onKey(event);
    this.portrait = makePortrait({
      press: ({ shiftKey }) =>
        shiftKey || this.marked ? this.mark(this.shown) : this.enlarge(this.shown),
      menu: (anchor) => menu(this.shown, anchor),
      key: (event) => this.onCellLetter(event, this.portrait.holder),
    });
    this.timeline = makeTimeline({
      play: () => this.playAll(),
      scrub: (moment) => {
        this.allClock.stop();
        this.seek(moment);
      },
      lane: (lane) => this.setLane(lane),
      addRow: (step) => {
        this.toolbar.say(`A row at ${timeText(this.head, step)} is on its way.`);
        this.send({ do: "add_row", step });
      },
      stop: () => this.send({ do: this.head.running ? "cancel" : "resample" }),
    });
    this.menu = makeMenu();
    const anew = (act) => (row) =>
      this.guess(ghosted(this.head, ({ step }) => step === row.step), { do: act, step: row.step });
    this.onRow = {
      reroll: anew("reroll_row"),
      drop: anew("drop_row"),
      change: (row) => this.change(row.step),
      point: (row) => this.drawMap(row),
      gone: (cell) => this.forget(cell),
      enter: (cell) => this.enter(cell),
      leave: (cell) => this.leave(cell),
      settle: (cell) => this.settle(cell),
      press: (event, cell) => this.onClick(event, cell),
      menu,
      touched: () => this.pointer === "touch",
    };
    // A finger hits the nearest button: cells then have none, and the portrait's is theirs.
    this.root.onpointerdown = (event) => {
      this.pointer = event.pointerType;
      const touch = this.pointer === "touch";
      this.root.classList.toggle("touch", touch);
      if (touch && !event.target.closest(".cell, .frame, .menu, dialog")) this.leave();
    };
    const { trunk } = this.portrait;
    const { film, foot } = this.timeline;
    this.root.append(this.toolbar.element, this.tree, trunk, film, foot, this.menu.element);
  }

  listen() {
    this.onresize = () => this.measure();
    this.observer.observe(this.root);
    window.addEventListener("resize", this.onresize);
    // The letters of the menu work on a hovered cell too; before Streamlit's own keys hear of them.
    this.onletter = (event) => {
      const elsewhere = event.composedPath()[0].closest?.("input, textarea, button, dialog, .cell");
      const follows = [" ", "Enter"].includes(event.key); // but a cell must have the focus for it
      if (this.hovered && !elsewhere && !follows) this.onCellLetter(event, this.hovered);
    };
    window.addEventListener("keydown", this.onletter, true);
  }

  /** The component leaves the page. */
  rest() {
    this.cellClock.stop();
    this.allClock.stop();
    clearTimeout(this.restTimer);
    clearTimeout(this.guessTimer);
    clearTimeout(this.lackTimer);
    this.outbox.close();
    this.observer.disconnect();
    window.removeEventListener("resize", this.onresize);
    window.removeEventListener("keydown", this.onletter, true);
    this.root.owner = undefined;
    this.root.replaceChildren();
  }

  // --- messages ----------------------------------------------------------------------------------

  receive(bytes) {
    const head = read(bytes, this.known);
    this.outbox.acknowledge(head.acted);
    const lacks = head.lacking.length > 0;
    this.root.toggleAttribute("data-lacking", lacks);
    clearTimeout(this.lackTimer);
    // Again and again until all is here: a question can be lost where a page is run anew.
    const ask = () => {
      this.ask(head.lacking);
      this.lackTimer = setTimeout(ask, ASK_AGAIN);
    };
    if (lacks) this.lackTimer = setTimeout(ask, SETTLE);
    else if (head.labelling) this.lackTimer = setTimeout(ask, ASK_AGAIN);
    if (!this.told || head.lane !== this.told.lane) this.lane = head.lane;
    const grid = JSON.stringify([head.path, head.prompt, head.recipe]);
    if (grid !== this.grid) this.rested.clear();
    this.grid = grid;
    if (this.told && this.told.path !== head.path && this.expected !== head.path) this.toolbar.say("");
    this.told = head;
    // An answer to an earlier request would take back for a moment what was just done.
    if (this.expected && this.expected !== head.path) return;
    this.expected = null;
    clearTimeout(this.guessTimer);
    this.render(head);
  }

  /** Draw what the server will say, and ask it. */
  guess(head, act, expected = null) {
    this.expected = expected;
    this.render(head);
    this.send(act);
    clearTimeout(this.guessTimer);
    this.guessTimer = setTimeout(() => {
      this.expected = null;
      this.render(this.told);
    }, PATIENCE);
  }

  /** What the portrait shows: the cell that plays, or the trunk. */
  get shown() {
    return this.hovered ?? this.portrait.holder;
  }

  // --- drawing a message -------------------------------------------------------------------------

  render(head) {
    const first = !this.head;
    this.head = head;
    if (first || this.moment > head.length) this.moment = head.length;
    this.root.classList.toggle("running", head.running);
    this.toolbar.render(head);
    this.renderRows();
    this.portrait.render(head);
    this.renderEntry(this.portrait.holder);
    this.timeline.renderFoot(head);
    this.measure();
    this.timeline.renderStrip(head, this.width);
    this.seek(this.moment);
    this.drawMap();
  }

  renderRows() {
    const steps = this.head.rows.map((row) => row.step);
    for (const [step, row] of this.rows) {
      if (steps.includes(step)) continue;
      row.cells.forEach((cell) => this.forget(cell));
      row.element.remove();
      this.rows.delete(step);
    }
    let above = null;
    for (const told of this.head.rows) {
      const row = this.rows.get(told.step) ?? makeRow(told.step, this.onRow);
      this.rows.set(told.step, row);
      if (above ? above.nextSibling !== row.element : this.tree.firstChild !== row.element) {
        above ? above.after(row.element) : this.tree.prepend(row.element);
      }
      above = row.element;
      row.render(this.head, told);
      row.cells.forEach((cell) => this.renderEntry(cell));
    }
    if (!this.tree.querySelector(".cell[tabindex='0']")) this.settle(this.allCells()[0]);
  }

  /** The cell goes. */
  forget(cell) {
    this.leave(cell);
    if (this.marked === cell) this.unmark();
  }

  renderEntry(holder) {
    renderEntry(holder, this.head, holder === this.hovered);
  }

  /** Cells as large as the window allows: nothing that moves should be below the fold. */
  measure() {
    const width = this.root.clientWidth;
    if (!width || !this.head) return;
    const changed = this.width && Math.abs(this.width - width) > 40;
    this.width = width;
    this.root.classList.toggle("narrow", width < NARROW);
    const counts = this.head.rows.map((row) => row.cells.length);
    const { spare, size } = layout(width, window.innerHeight, counts);
    const cell = size(placeSeen(this.root, spare, size(false), this.head.rows));
    this.root.style.setProperty("--cell", `${cell}px`);
    if (!changed) return;
    this.timeline.renderStrip(this.head, this.width);
    this.seek(this.moment);
  }

  // --- moments -----------------------------------------------------------------------------------

  allCells() {
    return [...this.rows.values()].sort((a, b) => a.step - b.step).flatMap((row) => row.cells);
  }

  /** All cells and the trunk at one moment; one that plays goes on playing. */
  seek(moment) {
    this.moment = moment;
    const { head } = this;
    const decoding = this.lane === "xt" && !head.focus.noisy && !head.stopped;
    this.timeline.seek(head, moment, this.lane, decoding);
    const cells = this.allCells().filter((cell) => cell !== this.hovered);
    const drawn = cells.map((cell) => show(cell.canvas, frameAt(cell.entry, moment, this.lane)));
    if (this.hovered) this.play();
    else drawn.push(this.drawTrunk(head.focus, moment));
    const there = ({ entry }) => frameAt(entry, moment, this.lane) !== undefined;
    const shown = ({ entry }) => entry.done && !entry.ghost;
    const finished = this.allCells().filter((cell) => shown(cell) && there(cell)).length;
    const painted = `${head.path} ${finished}`;
    Promise.all(drawn).then(() => (this.root.dataset.painted = painted));
    this.timeline.renderPlay(this.allClock.running);
  }

  /** The portrait, the strip and the words show this trajectory at this moment. */
  drawTrunk(entry, moment) {
    const { focus, length } = this.head;
    const { map, holder } = this.portrait;
    this.portrait.tell(entry, this.head, entry === focus || map.on);
    this.timeline.show(entry, moment, this.lane);
    if (map.on) return show(holder.canvas, frameAt(focus, length, "x0"));
    return show(holder.canvas, frameAt(entry, moment, this.lane));
  }

  /** Over the trunk: where the finals of a row differ, the last one pointed at. */
  toggleMap() {
    const { map } = this.portrait;
    map.toggle();
    this.toolbar.press(map.on);
    this.drawTrunk(this.head.focus, this.moment);
    this.drawMap();
    const how = "Laid over the trunk, below: point at a row to see where it differs.";
    this.toolbar.say(map.on ? how : "");
  }

  drawMap(row = this.pointed) {
    const { map } = this.portrait;
    const [first] = this.head.rows;
    this.pointed = this.rows.get(row?.step) ?? this.rows.get(first?.step);
    for (const each of this.rows.values()) {
      each.element.classList.toggle("mapped", map.on && each === this.pointed);
    }
    if (map.on) map.draw(this.head, this.pointed);
  }

  playAll() {
    if (this.allClock.running) this.allClock.stop();
    else {
      const ended = () => this.timeline.renderPlay(false);
      this.allClock.start(this.head.length, { seconds: 3, rest: 0, loop: false, ended });
    }
    this.timeline.renderPlay(this.allClock.running);
  }

  setLane(lane) {
    this.lane = lane;
    // The final sample has no noise: go where the two differ.
    const { length } = this.head;
    const same = lane === "xt" && this.moment >= length;
    this.seek(same ? Math.round(length * 0.3) : this.moment);
    this.send({ do: "lane", lane });
  }

  // --- one cell plays ----------------------------------------------------------------------------

  enter(cell) {
    if (this.hovered === cell || this.quiet === cell) return;
    this.leave();
    this.hovered = cell;
    this.root.classList.add("playing");
    cell.element.classList.add("on");
    for (const row of this.rows.values()) {
      row.element.classList.toggle("source", row === cell.row);
      row.element.classList.toggle("later", row.step > cell.row.step);
    }
    this.play();
    clearTimeout(this.restTimer);
    this.restTimer = setTimeout(() => this.rests(cell), REST);
  }

  play() {
    if (stillness.matches || !this.hovered.entry.done) this.drawPlaying(this.moment);
    else if (!this.cellClock.running) this.cellClock.start(this.head.length);
  }

  rests(cell) {
    const { path } = cell.entry;
    // What was just done may lead to another page: a hint from one that is left disturbs the next.
    if (this.head.running || this.outbox.waiting.length || this.rested.has(path)) return;
    this.rested.add(path);
    this.hint(path);
  }

  drawPlaying(moment) {
    const cell = this.hovered;
    const { canvas, entry, bar } = cell;
    if (entry.done) bar.style.setProperty("--share", moment / this.head.length);
    const drawn = show(canvas, frameAt(entry, moment, this.lane));
    this.drawTrunk(entry, moment);
    drawn.then(() => {
      if (this.hovered === cell) this.root.dataset.playing = entry.path;
    });
  }

  leave(cell = this.hovered) {
    if (this.quiet === cell) this.quiet = null;
    if (!cell || this.hovered !== cell) return;
    this.cellClock.stop();
    clearTimeout(this.restTimer);
    this.hovered = null;
    this.root.classList.remove("playing");
    delete this.root.dataset.playing;
    cell.element.classList.remove("on");
    for (const row of this.rows.values()) row.element.classList.remove("source", "later");
    this.renderEntry(cell);
    this.seek(this.moment);
  }

  // --- a click -----------------------------------------------------------------------------------

  onClick(event, cell) {
    if (event.target.closest(".tool")) return;
    if (event.shiftKey || this.marked) this.mark(cell);
    else if (this.pointer === "touch" && this.hovered !== cell) this.enter(cell);
    else this.follow(cell);
  }

  /** The cell becomes the trunk, and the old trunk takes its place. */
  follow(cell) {
    const { entry, row, slot } = cell;
    const old = this.head.focus;
    if (entry.ghost) return;
    this.leave(cell);
    // A mouse is still there, but this is another picture now; a finger has gone.
    this.quiet = this.pointer === "touch" ? null : cell;
    const head = followed(this.head, row.step, slot);
    const from = [cell.element, this.portrait.holder.frame].map((each) => each.getBoundingClientRect());
    const pictures = [entry, old].map((each) => frameAt(each, this.moment, this.lane));
    this.guess(head, { do: "follow", path: entry.path }, entry.path);
    fly(this.root, pictures[0], from[0], this.portrait.holder.frame);
    fly(this.root, pictures[1], from[1], cell.element);
    this.toolbar.say(`${entry.name} is followed now: the rows below leave it anew.`);
  }

  // --- keys --------------------------------------------------------------------------------------

  /** The one cell that Tab reaches, and with it its row's buttons. */
  settle(cell) {
    if (!cell) return;
    const others = this.tree.querySelectorAll("[tabindex='0']:not(.factor)");
    for (const element of others) element.tabIndex = -1;
    cell.element.tabIndex = 0;
    for (const place of [cell.row.header, cell.element]) {
      for (const button of place.querySelectorAll("button")) button.tabIndex = 0;
    }
  }

  onKey(event) {
    const cell = this.allCells().find((each) => each.element === event.target);
    if (!cell) return;
    if (this.onCellLetter(event, cell)) return;
    const rows = this.head.rows.map(({ step }) => this.rows.get(step));
    const row = rows.indexOf(cell.row);
    const to = {
      ArrowRight: () => cell.row.cells[cell.slot + 1],
      ArrowLeft: () => cell.row.cells[cell.slot - 1],
      ArrowDown: () => rows[row + 1]?.cells[Math.min(cell.slot, rows[row + 1].cells.length - 1)],
      ArrowUp: () => rows[row - 1]?.cells[Math.min(cell.slot, rows[row - 1].cells.length - 1)],
      Home: () => cell.row.cells[0],
      End: () => cell.row.cells.at(-1),
    }[event.key];
    if (!to) return;
    event.preventDefault();
    to()?.element.focus();
  }

  onCellLetter(event, holder) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const pressed = event.key === " " && holder.row ? "Enter" : event.key;
    const item = this.items(holder).find(({ key }) => key === pressed);
    const menu = event.key === "m" || event.key === "ContextMenu";
    if (menu) this.menu.open(holder, this.items(holder), holder.element);
    else if (event.key === "Escape" && this.marked) this.unmark();
    else if (item) item.run();
    else return false;
    event.preventDefault();
    event.stopPropagation(); // Streamlit has keys of its own: c, r
    return true;
  }

  /** What can be done with a cell, or with the trunk. */
  items(holder) {
    const { entry, row } = holder;
    const strip = () => this.send({ do: "strip", path: entry.path });
    const change = () => this.change(this.moment);
    const changes = !row && this.head.change?.steps.length;
    const reroll = () => {
      const act = { do: "reroll_cell", step: row.step, branch: entry.branch };
      this.guess(ghosted(this.head, (_, each) => each === entry), act);
    };
    const star = () => {
      entry.starred = !entry.starred;
      this.toolbar.say(entry.starred ? `${entry.name} is saved: Compare runs lists it.` : "");
      this.renderEntry(holder);
      this.send({ do: "star", path: entry.path });
    };
    return [
      row && { label: "Follow", icon: "follow", key: "Enter", run: () => this.follow(holder) },
      { label: "Enlarge", icon: "enlarge", key: "e", run: () => this.enlarge(holder) },
      { label: "Compare with …", icon: "compare", key: "c", run: () => this.mark(holder) },
      changes && { label: "Change from …", icon: "change", key: "p", run: change },
      { label: "Open trajectory", icon: "strip", key: "t", run: strip },
      row && { label: "Reroll", icon: "dice", key: "r", run: reroll },
      { label: entry.starred ? "Remove star" : "Star", icon: "star", key: "s", run: star },
      { label: "Copy recipe", icon: "copy", run: () => this.copyRecipe(entry) },
      entry.final && { label: "Download PNG", icon: "download", run: () => savePng(entry) },
    ].filter(Boolean);
  }

  /** The trunk, from a step on under another prompt or guidance. */
  change(step) {
    const { head } = this;
    this.leave();
    changeFrom(this.root, {
      change: head.change,
      step: step < head.length ? step : Math.round(head.length * 0.3),
      picture: (at) => head.focus.x0[at],
      words: (at) => [`step ${at}`, ...(head.levels ? [timeText(head, at)] : [])].join(" · "),
      send: (act) => this.guess(ghosted(this.head, (row) => row.step > act.step), act),
    });
  }

  async copyRecipe(entry) {
    const copied = await copyText(entry.recipe);
    const end = copied ? "is on the clipboard." : "could not be copied: the browser forbids it.";
    this.toolbar.say(`The recipe of ${entry.name} ${end}`);
  }

  // --- large, and two at once --------------------------------------------------------------------

  /** What a dialog starts from. */
  scene() {
    return { head: this.head, lane: () => this.lane, moment: this.moment };
  }

  enlarge(holder) {
    const holders = () => [this.portrait.holder, ...this.allCells()];
    const entries = () => holders().map(({ entry }) => entry);
    const index = holders().indexOf(holder);
    this.leave();
    enlarge(this.root, { ...this.scene(), index, entries });
  }

  mark(holder) {
    if (!this.marked) {
      this.marked = holder;
      (holder.frame ?? holder.element).classList.add("marked");
      const touch = this.pointer === "touch";
      const keys = "Click another cell to compare, or press c on it. Escape stops.";
      this.toolbar.say(touch ? "Tap another cell to compare." : keys);
      return;
    }
    const pair = [this.marked.entry, holder.entry];
    this.unmark();
    if (pair[0].path === pair[1].path) return;
    const openPage = () => this.send({ do: "compare", paths: pair.map(({ path }) => path) });
    this.leave();
    compareTwo(this.root, { ...this.scene(), pair, openPage });
  }

  unmark() {
    (this.marked.frame ?? this.marked.element).classList.remove("marked");
    this.marked = null;
    this.toolbar.say("");
  }
}
