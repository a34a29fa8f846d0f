// @ts-check
// The branching grid. One `Board` lives as long as its element and draws; what can be done with a cell
// is in commands.js. Under a pointer nothing waits for the server: replay, scrubbing, menus and dialogs
// are all here, and a click is drawn as it will turn out to be until the server's word comes (answers.js).

import { isBrowsers, make, stillness, styled } from "../shared/dom.js";
import { outbox } from "../shared/outbox.js";
import { atTheEnd, clear, show } from "../shared/protocol.js";
import { makeAlone } from "./alone.js";
import { Answers } from "./answers.js";
import { renderEntry } from "./cell.js";
import { Commands } from "./commands.js";
import { takeFiles } from "./drop.js";
import { ghosted, reworded } from "./foresight.js";
import { makeGuide } from "./guide.js";
import { NARROW, alone, layout } from "./layout.js";
import { read } from "./message.js";
import { Clock, frameAt } from "./player.js";
import { makePortrait } from "./portrait.js";
import { makeRow } from "./row.js";
import { makeKey, placeSeen } from "./seen.js";
import { makeTimeline } from "./timeline.js";
import { makeToolbar } from "./toolbar.js";

/**
 * @typedef {import("./message.js").GridHead} GridHead
 * @typedef {import("./cell.js").Cell} Cell
 * @typedef {import("./cell.js").Holder} Holder
 * @typedef {import("./row.js").Row} Row
 */

const REST = 400; // ms a pointer rests on a cell before the server hears of it

/** @param {any} component what Streamlit hands over */
export default async function mount({ data, parentElement, setStateValue }) {
  await styled(parentElement);
  const root = parentElement.querySelector(".board");
  /** @type {Board} */
  const board = (root.owner ??= new Board(root));
  board.deliver = (acts) => setStateValue("acts", acts);
  board.hint = (path) => setStateValue("rest", { path, at: Date.now() });
  board.answers.ask = (names) => setStateValue("lack", { names, at: Date.now() });
  board.receive(data);
  return atTheEnd(root, () => {
    board.rest();
    root.owner = undefined;
  });
}

export class Board {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.send = (/** @type {object} */ act) => outbox.push(act);
    /** @type {(acts: object) => void} set what the server is to take */
    this.deliver = () => {};
    /** @type {(path: string) => void} tell the server where a pointer rests */
    this.hint = () => {};
    this.answers = new Answers((head) => this.render(head), this.send);
    /** @type {Map<string, import("../shared/protocol.js").Picture>} */
    this.known = new Map();
    /** @type {Map<number, Row>} by step */
    this.rows = new Map();
    /** @type {GridHead} what is drawn */
    this.head;
    this.moment = Infinity; // of all cells; T is the finished sample
    this.width = 0; // px
    /** @type {GridHead["lane"]} */
    this.lane = "x0";
    this.grid = ""; // what `rested` is about
    this.rested = new Set(); // paths the server has heard of
    /** @type {Cell | null} the cell that plays */
    this.hovered = null;
    /** @type {Cell | null} one under a pointer that does not play: it was just followed */
    this.quiet = null;
    /** @type {Row | undefined} the row whose map is drawn */
    this.pointed = undefined;
    this.pointer = "mouse";
    this.restTimer = 0;
    this.cellClock = new Clock((moment) => this.drawPlaying(moment));
    this.allClock = new Clock((moment) => this.seek(moment));
    this.commands = new Commands(this);
    this.tree = make("div", { class: "tree", role: "grid", "aria-label": "Branching grid" });
    this.tree.onkeydown = (event) => this.onKey(event);
    this.guide = makeGuide(root);
    /** @type {import("./toolbar.js").OnTools} */
    const onTools = {
      act: (name, more) => this.answers.request({ do: name, ...more }),
      goto: (path) => this.holds(path) && this.answers.request({ do: "goto", path }),
      toggleMap: () => this.toggleMap(),
      alone: () => this.alone.toggle(),
    };
    this.key = makeKey();
    this.toolbar = makeToolbar(onTools, this.guide.element);
    this.portrait = makePortrait({
      press: ({ shiftKey }) => {
        if (shiftKey || this.commands.marked) this.commands.mark(this.shown);
        else this.commands.enlarge(this.shown);
      },
      menu: (anchor) => this.commands.open(this.shown, anchor),
      key: (event) => this.commands.key(event, this.portrait.holder),
      prompt: (prompt) => {
        this.leave();
        this.answers.guess(reworded(this.head, prompt), { do: "prompt", prompt }, true);
      },
    });
    this.timeline = makeTimeline({
      play: () => this.playAll(),
      scrub: (moment) => {
        this.allClock.stop();
        this.seek(moment);
      },
      lane: (lane) => this.setLane(lane),
      addRow: (step) => {
        this.toolbar.say(`A row at step ${step} is on its way.`);
        this.send({ do: "add_row", step });
      },
      stop: () => this.send({ do: this.head.running ? "cancel" : "resample" }),
    });
    /** @type {(name: string) => (row: Row) => void} */
    const anew = (name) => (row) => {
      const head = ghosted(this.head, ({ step }) => step === row.step);
      this.answers.guess(head, { do: name, step: row.step });
    };
    /** @type {Parameters<typeof makeRow>[1]} */
    this.onRow = {
      reroll: anew("reroll_row"),
      drop: anew("drop_row"),
      change: (row) => this.commands.change(row.step),
      point: (row) => this.drawMap(row),
      gone: (cell) => this.forget(cell),
      enter: (cell) => this.enter(cell),
      leave: (cell) => this.leave(cell),
      settle: (cell) => this.settle(cell),
      press: (event, cell) => this.onClick(event, cell),
      menu: (holder, anchor) => this.commands.open(holder, anchor),
      touched: () => this.pointer === "touch",
    };
    const { film, foot } = this.timeline;
    const { element } = this.commands.menu;
    this.observer = new ResizeObserver(() => this.measure());
    this.gone = new AbortController(); // of what listens to the window
    const files = {
      can: () => !this.head.file,
      open: (/** @type {string} */ recipe) => this.answers.request({ do: "open", recipe }),
      say: this.toolbar.say,
    };
    const hint = takeFiles(files, this.gone.signal);
    const body = [this.tree, this.key.element, this.portrait.trunk, film, foot];
    root.append(this.toolbar.element, ...body, element, hint);
    this.alone = makeAlone(root, () => this.measure());
    this.alone.begin();
    this.listen();
  }

  listen() {
    // A finger hits the nearest button: cells then have none, and the portrait's is theirs.
    this.root.onpointerdown = ({ pointerType, target }) => {
      this.pointer = pointerType;
      const touch = pointerType === "touch";
      const inside = /** @type {Element} */ (target).closest(".cell, .frame, .menu, dialog");
      this.root.classList.toggle("touch", touch);
      if (touch && !inside) this.leave();
    };
    const { signal } = this.gone;
    this.observer.observe(this.root);
    window.addEventListener("resize", () => this.measure(), { signal });
    // The letters of the menu work on a hovered cell too; before Streamlit's own keys hear of them.
    const onletter = (/** @type {KeyboardEvent} */ event) => {
      if (this.alone.key(event, this.commands.marked !== null)) return;
      const [target] = /** @type {Element[]} */ (event.composedPath());
      const elsewhere = target.closest?.("input, textarea, button, dialog, .cell");
      const follows = [" ", "Enter"].includes(event.key); // but a cell must have the focus for it
      if (this.hovered && !elsewhere && !follows) this.commands.key(event, this.hovered);
    };
    window.addEventListener("keydown", onletter, { capture: true, signal });
  }

  /** The component leaves the page. */
  rest() {
    this.cellClock.stop();
    this.allClock.stop();
    clearTimeout(this.restTimer);
    this.answers.end();
    outbox.disconnect(this);
    this.observer.disconnect();
    this.gone.abort();
    this.root.replaceChildren();
  }

  // --- drawing a message -------------------------------------------------------------------------

  /** @param {Uint8Array} bytes */
  receive(bytes) {
    const head = read(bytes, this.known);
    const { told, expected } = this.answers;
    outbox.connect(this, this.deliver, head.acted);
    this.root.toggleAttribute("data-lacking", head.lacking.length > 0);
    if (told?.lane !== head.lane) this.lane = head.lane;
    const grid = `${head.run} ${head.path}`;
    if (grid !== this.grid) this.rested.clear();
    this.grid = grid;
    if (told && told.path !== head.path && expected?.path !== head.path) this.toolbar.say("");
    this.answers.receive(head);
  }

  /** @param {GridHead} head */
  render(head) {
    const before = this.head;
    const atEnd = this.moment >= (before?.length ?? 0); // and so with more steps, or fewer
    this.head = head;
    this.moment = atEnd ? head.length : Math.min(this.moment, head.length);
    this.root.classList.toggle("running", head.running);
    this.toolbar.render(head);
    this.guide.render(head);
    this.key.render(head);
    this.renderRows();
    this.portrait.render(head);
    this.renderEntry(this.portrait.holder);
    if (before && before.run !== head.run) this.wipe();
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
    this.head.rows.forEach((told, i) => {
      const row = this.rows.get(told.step) ?? makeRow(told.step, this.onRow);
      this.rows.set(told.step, row);
      const there = this.tree.children[i];
      if (there !== row.element) this.tree.insertBefore(row.element, there ?? null);
      row.render(this.head, told);
      row.cells.forEach((cell) => this.renderEntry(cell));
    });
    const [first] = this.allCells();
    if (first && !this.tree.querySelector(".cell[tabindex='0']")) this.settle(first);
  }

  /** No picture of another run stays under new words: what has none yet is blank. */
  wipe() {
    for (const { entry, frame, canvas } of [this.portrait.holder, ...this.allCells()]) {
      if (frameAt(entry, this.moment, this.lane)) continue;
      clear(canvas);
      frame.classList.add("blank");
    }
    this.timeline.wipe();
  }

  /**
   * The cell goes.
   *
   * @param {Cell} cell
   */
  forget(cell) {
    this.leave(cell);
    if (this.commands.marked === cell) this.commands.unmark();
  }

  /** @param {Holder} holder */
  renderEntry(holder) {
    renderEntry(holder, this.head, holder === this.hovered);
  }

  /** Cells as large as the window allows: nothing that moves should be below the fold. */
  measure() {
    const width = this.root.clientWidth - 2 * this.alone.edge;
    if (!width || !this.head) return;
    const changed = this.width && Math.abs(this.width - width) > 40;
    this.width = width;
    this.root.classList.toggle("narrow", width < NARROW);
    const counts = this.head.rows.map((row) => row.cells.length);
    if (this.alone.on && width >= NARROW) {
      const { cell, tree } = alone(width, window.innerHeight - 2 * this.alone.edge, counts);
      this.root.style.setProperty("--cell", `${cell}px`);
      this.root.style.setProperty("--tree", `${tree}px`);
      return;
    }
    const room = layout(width, window.innerHeight, counts);
    const cell = placeSeen(this.root, room, this.head.rows);
    this.root.style.setProperty("--across", String(room.across));
    this.root.style.setProperty("--cell", `${cell}px`);
    if (!changed) return;
    this.timeline.renderStrip(this.head, this.width);
    this.seek(this.moment);
  }

  /**
   * Whether the grid behind a path can be gone to: in a file it may not be there, which is said.
   *
   * @param {string} path
   */
  holds(path) {
    const { file } = this.head;
    if (!file || file.paths.includes(path)) return true;
    const link = file.link && file.link + encodeURIComponent(path);
    this.toolbar.say(`The grid behind ${path} is not in this file.`, link);
    return false;
  }

  // --- moments -----------------------------------------------------------------------------------

  /** What the portrait shows: the cell that plays, or the trunk. */
  get shown() {
    return this.hovered ?? this.portrait.holder;
  }

  /** The rows as they are drawn. */
  rowsInOrder() {
    return [...this.rows.values()].sort((a, b) => a.step - b.step);
  }

  allCells() {
    return this.rowsInOrder().flatMap((row) => row.cells);
  }

  /**
   * All cells and the trunk at one moment; one that plays goes on playing.
   *
   * @param {number} moment
   */
  seek(moment) {
    this.moment = moment;
    const { head } = this;
    const decoding = this.lane === "xt" && !head.focus.noisy && !head.stopped;
    this.timeline.seek(head, moment, this.lane, decoding);
    const cells = this.allCells().filter((cell) => cell !== this.hovered);
    const drawn = cells.map((cell) => show(cell.canvas, frameAt(cell.entry, moment, this.lane)));
    if (this.hovered) this.play(this.hovered);
    else drawn.push(this.drawTrunk(head.focus, moment));
    const finished = this.allCells().filter(
      ({ entry }) =>
        entry.done && !entry.ghost && frameAt(entry, moment, this.lane) !== undefined,
    ).length;
    const painted = `${head.path} ${finished}`;
    Promise.all(drawn).then(() => (this.root.dataset.painted = painted));
    this.timeline.renderPlay(this.allClock.running);
  }

  /**
   * The portrait, the strip and the words show this trajectory at this moment.
   *
   * @param {import("./cell.js").Entry} entry
   * @param {number} moment
   */
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
    const wanted = row && this.rows.get(row.step);
    this.pointed = wanted ?? this.rowsInOrder()[0];
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

  /** @param {GridHead["lane"]} lane */
  setLane(lane) {
    this.lane = lane;
    // The final sample has no noise: go where the two differ.
    const { length } = this.head;
    const same = lane === "xt" && this.moment >= length;
    this.seek(same ? Math.round(length * 0.3) : this.moment);
    this.send({ do: "lane", lane });
  }

  // --- one cell plays ----------------------------------------------------------------------------

  /** @param {Cell} cell */
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
    this.play(cell);
    clearTimeout(this.restTimer);
    this.restTimer = window.setTimeout(() => this.rests(cell), REST);
  }

  /** @param {Cell} cell */
  play(cell) {
    if (stillness.matches || !cell.entry.done) this.drawPlaying(this.moment);
    else if (!this.cellClock.running) this.cellClock.start(this.head.length);
  }

  /** @param {Cell} cell */
  rests(cell) {
    const { path } = cell.entry;
    // What was just done may lead to another page: a hint from one that is left disturbs the next.
    if (this.head.running || outbox.waiting.length || this.rested.has(path)) return;
    this.rested.add(path);
    this.hint(path);
  }

  /** @param {number} moment */
  drawPlaying(moment) {
    const cell = this.hovered;
    if (!cell) return;
    const { canvas, entry, bar } = cell;
    if (entry.done) bar.style.setProperty("--share", String(moment / this.head.length));
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

  // --- touches and keys --------------------------------------------------------------------------

  /**
   * @param {MouseEvent} event
   * @param {Cell} cell
   */
  onClick(event, cell) {
    const { commands } = this;
    if (/** @type {Element} */ (event.target).closest(".tool")) return;
    if (event.shiftKey || commands.marked) commands.mark(cell);
    else if (this.pointer === "touch" && this.hovered !== cell) this.enter(cell);
    else commands.follow(cell);
  }

  /**
   * The one cell that Tab reaches, and with it its row's buttons.
   *
   * @param {Cell} cell
   */
  settle(cell) {
    /** @type {NodeListOf<HTMLElement>} */
    const others = this.tree.querySelectorAll("[tabindex='0']:not(.factor)");
    for (const element of others) element.tabIndex = -1;
    cell.element.tabIndex = 0;
    for (const place of [cell.row.header, cell.element]) {
      for (const button of place.querySelectorAll("button")) button.tabIndex = 0;
    }
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const cell = this.allCells().find((each) => each.element === event.target);
    if (!cell || isBrowsers(event) || this.commands.key(event, cell)) return;
    const rows = this.rowsInOrder();
    const { cells } = cell.row;
    /** @type {(by: number) => Cell | undefined} in the next row, or the one before */
    const beside = (by) => {
      const there = rows[rows.indexOf(cell.row) + by]?.cells;
      return there?.[Math.min(cell.slot, there.length - 1)];
    };
    const places = {
      ArrowRight: cells[cell.slot + 1],
      ArrowLeft: cells[cell.slot - 1],
      ArrowDown: beside(1),
      ArrowUp: beside(-1),
      Home: cells[0],
      End: cells[cells.length - 1],
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    /** @type {Record<string, Cell | undefined>} */ (places)[event.key]?.element.focus();
  }
}
