// The branching grid. One `Board` lives as long as its element; `receive` takes each new message.
// Under a pointer nothing waits for the server: replay, scrubbing, menus and dialogs are all here,
// and a click is drawn as it will turn out to be (`guess`) until the server's word comes.

import { changeFrom } from "../shared/dialog.js";
import { copyText, icon, make, saveFile, stillness, styled } from "../shared/dom.js";
import { Outbox } from "../shared/outbox.js";
import { atTheEnd, bitmap, clear, paint, show, unpack } from "../shared/protocol.js";
import { compareTwo, enlarge } from "./dialogs.js";
import { placeSeen, renderSeen } from "./icons.js";
import { Clock, frameAt, levelText, nameOf, timeText } from "./player.js";
import { Skeleton } from "./skeleton.js";

const REST = 400; // ms a pointer rests on a cell before the server hears of it
const PATIENCE = 4000; // ms to wait for an answer before what was drawn ahead of it is taken back
const SETTLE = 100; // ms after a message, when what it shows is painted
const ASK_AGAIN = 2000; // ms before what is still lacking, or labels, are asked for again
const BELOW = 21; // px, of what a row shows where it stands below the cells
const FADE = { duration: 460, easing: "cubic-bezier(.3,.7,.2,1)" };

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

class Board extends Skeleton {
  constructor(root) {
    super(root);
    this.outbox = new Outbox();
    this.send = (act) => this.outbox.push(act);
    this.known = new Map(); // names -> Pictures
    this.rows = new Map(); // step -> {element, cells, …}
    this.moments = []; // the buttons of the strip
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
    const head = unpack(bytes, this.known);
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
    // null is a picture that nobody has, undefined one that is on its way.
    const picture = (index) => (index == null ? null : head.pictures[index]);
    const resolve = (entry) => ({
      ...entry,
      x0: entry.x0.map(picture),
      noisy: entry.noisy?.map(picture),
      final: picture(entry.final),
      newest: picture(entry.newest),
    });
    head.focus = resolve(head.focus);
    for (const row of head.rows) row.cells = row.cells.map(resolve);
    if (!this.told || head.lane !== this.told.lane) this.lane = head.lane;
    const grid = JSON.stringify([head.path, head.prompt, head.recipe]);
    if (grid !== this.grid) this.rested.clear();
    this.grid = grid;
    if (this.told && this.told.path !== head.path && this.expected !== head.path) this.say("");
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

  say(text) {
    this.note.textContent = text;
    clearTimeout(this.noteTimer);
    this.noteTimer = setTimeout(() => (this.note.textContent = ""), 6000);
  }

  /** What the portrait shows: the cell that plays, or the trunk. */
  get shown() {
    return this.hovered ?? this.portrait;
  }

  // --- drawing a message -------------------------------------------------------------------------

  render(head) {
    const first = !this.head;
    this.head = head;
    if (first || this.moment > head.length) this.moment = head.length;
    this.range.max = head.length;
    this.renderCrumbs();
    this.undo.disabled = !head.can_undo;
    this.redo.disabled = !head.can_redo;
    const columns = Math.max(1, ...head.rows.map((row) => row.cells.length));
    this.columns.textContent = columns;
    this.columns.title = `${columns} branches a row`;
    this.fewer.disabled = columns <= 1;
    this.more.disabled = columns >= head.max_columns;
    this.renderRows();
    this.portrait.entry = head.focus;
    this.renderEntry(this.portrait);
    const none = head.change ? "(empty prompt)" : "(no prompt)";
    this.prompt.textContent = head.prompt ? `“${head.prompt}”` : none;
    this.prompt.title = head.prompt;
    this.renderFoot();
    this.measure();
    this.renderStrip();
    this.seek(this.moment);
    this.drawMap();
  }

  renderCrumbs() {
    const names = this.head.crumbs;
    if (this.crumbs.dataset.path === names.join(" ")) return;
    this.crumbs.dataset.path = names.join(" ");
    const parts = names.map((path, i) => {
      const fork = path.split("/").at(-1); // what it adds to the one before
      const last = this.head.words[fork] ?? fork;
      if (i === names.length - 1) return make("b", { "aria-current": "page", title: path }, last);
      const go = () => {
        this.expected = null;
        this.send({ do: "goto", path });
      };
      return make("button", { type: "button", title: path, onclick: go }, last);
    });
    this.crumbs.replaceChildren(...parts.flatMap((part, i) => (i ? ["›", part] : [part])));
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
    for (const { step, cells, seen } of this.head.rows) {
      const row = this.rows.get(step) ?? this.addRow(step);
      if (above ? above.nextSibling !== row.element : this.tree.firstChild !== row.element) {
        above ? above.after(row.element) : this.tree.prepend(row.element);
      }
      above = row.element;
      const { back } = this.head;
      row.time.textContent = timeText(this.head, step);
      row.level.textContent = back
        ? `back to ${timeText(this.head, step - back).replace("t = ", "")}`
        : levelText(this.head, step);
      row.change.hidden = !this.head.change?.steps.includes(step);
      row.header.setAttribute("aria-label", `${row.time.textContent}, ${row.level.textContent}`);
      const node = this.head.focus.x0[step];
      row.node.classList.toggle("ghost", !node);
      if (!node) clear(row.node);
      show(row.node, node);
      while (row.cells.length > cells.length) {
        const cell = row.cells.pop();
        this.forget(cell);
        cell.element.remove();
      }
      while (row.cells.length < cells.length) this.addCell(row);
      row.cells.forEach((cell, slot) => {
        cell.entry = cells[slot];
        this.renderEntry(cell);
      });
      renderSeen(row.seen, step, seen, cells.some(({ ghost }) => ghost));
    }
    if (!this.tree.querySelector(".cell[tabindex='0']")) this.settle(this.allCells()[0]);
  }

  /** The cell goes. */
  forget(cell) {
    this.leave(cell);
    if (this.marked === cell) this.unmark();
  }

  /** A cell or the portrait: its state, not its picture. */
  renderEntry(holder) {
    const { element, entry, bar, row } = holder;
    const done = entry.done;
    const ghost = entry.ghost || entry.newest === null;
    const frame = holder.frame ?? element;
    frame.classList.toggle("ghost", Boolean(ghost));
    frame.classList.toggle("pending", !done || Boolean(entry.ghost));
    frame.classList.toggle("has-star", entry.starred);
    element.setAttribute("aria-busy", String(!done));
    const share = done ? 0 : entry.step / this.head.length;
    if (holder !== this.hovered) bar.style.setProperty("--share", share);
    const state = done ? "done" : `${Math.round(share * 100)} %`;
    const name = row ? nameOf(entry) : "the trunk in view";
    const at = row ? ` from ${timeText(this.head, row.step)}` : `, ${entry.name}, enlarge`;
    const star = entry.starred ? ", starred" : "";
    element.setAttribute("aria-label", `${name}${at}, ${state}${star}`);
  }

  renderFoot() {
    const { running, stopped, status, fraction, cost } = this.head;
    this.root.classList.toggle("running", running);
    const idle = stopped ? "Stopped. What was computed is kept." : cost;
    this.cost.textContent = running ? status : idle;
    this.progress.hidden = !running;
    this.progress.style.setProperty("--share", fraction);
    this.progress.setAttribute("aria-valuenow", Math.round(fraction * 100));
    this.cancel.hidden = !running && !stopped;
    this.cancel.textContent = running ? "Cancel" : "Go on";
  }

  /** As many moments as there is room for, the rows' steps among them. */
  renderStrip() {
    const { length, rows } = this.head;
    const room = Math.max(6, Math.min(13, Math.floor(this.width / 56)));
    const last = length - 1;
    const even = Array.from({ length: room }, (_, i) => Math.round((i * last) / (room - 1)));
    const forks = new Set(rows.map((row) => row.step));
    const steps = [...new Set([...even, ...forks])].sort((a, b) => a - b);
    const wanted = JSON.stringify([steps, [...forks], this.head.row_steps]);
    if (this.strip.dataset.steps !== wanted) {
      this.strip.dataset.steps = wanted;
      this.moments = steps.map((step) => this.makeMoment(step, forks.has(step)));
      this.strip.replaceChildren(...this.moments.map((moment) => moment.element));
    }
    for (const { step, element } of this.moments) {
      const words = forks.has(step) ? "a row leaves here" : !element.disabled && "branch here";
      const level = levelText(this.head, step);
      element.title = [timeText(this.head, step), level, words].filter(Boolean).join(" · ");
      element.setAttribute("aria-label", element.title);
    }
  }

  /** Cells as large as the window allows: nothing that moves should be below the fold. */
  measure() {
    const width = this.root.clientWidth;
    if (!width || !this.head) return;
    const changed = this.width && Math.abs(this.width - width) > 40;
    this.width = width;
    const narrow = width < 560;
    this.root.classList.toggle("narrow", narrow);
    const [column, gap, least, most] = narrow ? [74, 6, 56, 96] : [152, 12, 60, 128];
    const counts = this.head.rows.map((row) => row.cells.length);
    const fit = Math.max(1, Math.floor((width - column + gap) / (least + gap)));
    const across = Math.min(Math.max(1, ...counts), fit);
    const lines = counts.reduce((sum, count) => sum + Math.ceil(count / across), 0) || 1;
    const room = Math.max(440, window.innerHeight - 140) - 304; // the page's head; all but the rows
    const tall = narrow ? most : Math.floor(room / lines) - gap;
    const wide = Math.floor((width - column + gap) / across) - gap;
    const size = (most) => Math.max(Math.min(least, wide), Math.min(most, wide));
    const large = size(Math.min(tall, most));
    const spare = width - column - across * (large + gap) - 10;
    const below = placeSeen(this.root, spare, large, this.head.rows);
    const cell = below && !narrow ? size(Math.min(tall - BELOW, most)) : large;
    this.root.style.setProperty("--cell", `${cell}px`);
    if (!changed) return;
    this.renderStrip();
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
    this.range.value = moment;
    this.range.style.setProperty("--share", moment / head.length);
    const ended = moment >= head.length;
    const noise = () => [timeText(head, moment), levelText(head, moment)].filter(Boolean).join(" · ");
    const at = ended ? "the final sample" : noise();
    this.range.setAttribute("aria-valuetext", at);
    this.when.textContent = ended ? "all cells: the final sample" : `all cells at ${at}`;
    const decoding = this.lane === "xt" && !head.focus.noisy && !head.stopped;
    if (decoding) this.when.textContent += " · decoding xₜ …";
    this.lanes.forEach((button, i) => {
      const chosen = (i ? "xt" : "x0") === this.lane;
      button.setAttribute("aria-pressed", String(chosen));
      button.setAttribute("aria-busy", String(chosen && decoding));
    });
    const cells = this.allCells().filter((cell) => cell !== this.hovered);
    const drawn = cells.map((cell) => show(cell.canvas, frameAt(cell.entry, moment, this.lane)));
    if (this.hovered) this.play();
    else drawn.push(this.drawTrunk(head.focus, moment));
    const there = ({ entry }) => frameAt(entry, moment, this.lane) !== undefined;
    const shown = ({ entry }) => entry.done && !entry.ghost;
    const finished = this.allCells().filter((cell) => shown(cell) && there(cell)).length;
    const painted = `${head.path} ${finished}`;
    Promise.all(drawn).then(() => (this.root.dataset.painted = painted));
    this.renderPlay();
  }

  /** The portrait, the strip and the words show this trajectory at this moment. */
  drawTrunk(entry, moment) {
    const { focus, length } = this.head;
    const own = entry === focus || this.map.on;
    this.name.textContent = own ? focus.name : nameOf(entry);
    this.facts.textContent = this.head.recipe.map((word) => ` · ${word}`).join("");
    const nearest = this.moments.findLast(({ step }) => step <= moment);
    for (const each of this.moments) {
      each.element.classList.toggle("now", each === nearest);
      const lane = this.lane === "xt" && entry.noisy ? entry.noisy : entry.x0;
      const picture = lane[each.step];
      each.element.classList.toggle("ghost", !picture);
      show(each.canvas, picture);
    }
    if (this.map.on) return show(this.portrait.canvas, frameAt(focus, length, "x0"));
    return show(this.portrait.canvas, frameAt(entry, moment, this.lane));
  }

  /** Over the trunk: where the finals of a row differ, the last one pointed at. */
  toggleMap() {
    this.map.toggle();
    this.differ.setAttribute("aria-pressed", String(this.map.on));
    this.drawTrunk(this.head.focus, this.moment);
    this.drawMap();
    this.say(this.map.on ? "Laid over the trunk, below: point at a row to see where it differs." : "");
  }

  drawMap(row = this.pointed) {
    const [first] = this.head.rows;
    this.pointed = this.rows.get(row?.step) ?? this.rows.get(first?.step);
    for (const each of this.rows.values()) {
      each.element.classList.toggle("mapped", this.map.on && each === this.pointed);
    }
    if (this.map.on) this.map.draw(this.head, this.pointed);
  }

  renderPlay() {
    const name = this.allClock.running ? "pause" : "play";
    if (this.playing.dataset.icon === name) return;
    this.playing.dataset.icon = name;
    this.playing.replaceChildren(icon(name));
    this.playing.setAttribute("aria-label", name === "play" ? "Play all cells" : "Pause");
    this.playing.title = this.playing.getAttribute("aria-label");
  }

  playAll() {
    if (this.allClock.running) this.allClock.stop();
    else {
      const ended = () => this.renderPlay();
      this.allClock.start(this.head.length, { seconds: 3, rest: 0, loop: false, ended });
    }
    this.renderPlay();
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
    const head = this.ghosted((other) => other.step > row.step);
    const mine = head.rows.find((other) => other.step === row.step);
    mine.cells[slot] = { ...old, branch: entry.branch };
    head.focus = entry;
    head.path = entry.path;
    head.crumbs = entry.path === "trunk" ? ["trunk"] : ["trunk", ...pathsTo(entry.path)];
    const from = [cell.element, this.portrait.frame].map((each) => each.getBoundingClientRect());
    const pictures = [entry, old].map((each) => frameAt(each, this.moment, this.lane));
    this.guess(head, { do: "follow", path: entry.path }, entry.path);
    this.fly(pictures[0], from[0], this.portrait.frame);
    this.fly(pictures[1], from[1], cell.element);
    this.say(`${entry.name} is followed now: the rows below leave it anew.`);
  }

  /** This head, with the rows that will be made anew as ghosts. */
  ghosted(which) {
    const rows = this.head.rows.map((row) => {
      const cells = row.cells.map((entry) => (which(row) ? { ...entry, ghost: true } : entry));
      return { ...row, cells };
    });
    return { ...this.head, rows };
  }

  /** A picture glides from where it was to where it is. */
  fly(picture, from, target) {
    if (stillness.matches || !picture) return;
    const canvas = make("canvas", { class: "flying", "aria-hidden": "true" });
    show(canvas, picture);
    const to = target.getBoundingClientRect();
    const base = this.root.getBoundingClientRect();
    canvas.style.left = `${to.left - base.left}px`;
    canvas.style.top = `${to.top - base.top}px`;
    canvas.style.width = `${to.width}px`;
    canvas.style.height = `${to.height}px`;
    this.root.append(canvas);
    const way = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
    const start = { transform: `${way} scale(${from.width / to.width})` };
    const flight = canvas.animate([start, { transform: "none" }], FADE);
    flight.onfinish = () => canvas.remove();
    const arrive = [{ opacity: 0.2 }, { opacity: 0.2, offset: 0.8 }, { opacity: 1 }];
    target.animate(arrive, { duration: FADE.duration });
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
    if (menu) this.openMenu(holder, holder.element);
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
      const head = this.ghosted(() => false);
      const mine = head.rows.find(({ step }) => step === row.step);
      mine.cells = mine.cells.map((each) => (each === entry ? { ...each, ghost: true } : each));
      this.guess(head, { do: "reroll_cell", step: row.step, branch: entry.branch });
    };
    const star = () => {
      entry.starred = !entry.starred;
      this.say(entry.starred ? `${entry.name} is saved: Compare runs lists it.` : "");
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
      send: (act) => this.guess(this.ghosted((row) => row.step > act.step), act),
    });
  }

  async copyRecipe(entry) {
    const copied = await copyText(entry.recipe);
    const end = copied ? "is on the clipboard." : "could not be copied: the browser forbids it.";
    this.say(`The recipe of ${entry.name} ${end}`);
  }

  // --- large, and two at once --------------------------------------------------------------------

  /** What a dialog starts from. */
  scene() {
    return { head: this.head, lane: () => this.lane, moment: this.moment };
  }

  enlarge(holder) {
    const entries = () => [this.portrait, ...this.allCells()].map(({ entry }) => entry);
    const index = [this.portrait, ...this.allCells()].indexOf(holder);
    this.leave();
    enlarge(this.root, { ...this.scene(), index, entries });
  }

  mark(holder) {
    if (!this.marked) {
      this.marked = holder;
      (holder.frame ?? holder.element).classList.add("marked");
      const touch = this.pointer === "touch";
      const keys = "Click another cell to compare, or press c on it. Escape stops.";
      this.say(touch ? "Tap another cell to compare." : keys);
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
    this.say("");
  }
}

/** "5.2/14.0" -> ["5.2", "5.2/14.0"] */
function pathsTo(path) {
  const forks = path.split("/");
  return forks.map((_, i) => forks.slice(0, i + 1).join("/"));
}

async function savePng(entry) {
  saveFile(await asPng(entry.final), `diffgrid-${entry.path.replace(/[^\w.-]+/g, "_")}.png`);
}

async function asPng(picture) {
  const { blob } = picture;
  if (blob.type === "image/png") return blob;
  const canvas = make("canvas");
  paint(canvas, await bitmap(picture));
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
