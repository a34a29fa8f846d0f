// @ts-check
// What can be done with a cell, or with the trunk: by a click, a key, or an item of its menu.

import { changeFrom } from "../shared/dialog.js";
import { copyText, isBrowsers } from "../shared/dom.js";
import { compareTwo, enlarge } from "./dialogs.js";
import { fly } from "./flight.js";
import { followed, ghosted } from "./foresight.js";
import { makeMenu } from "./menu.js";
import { frameAt, timeText } from "./player.js";
import { savePng } from "./png.js";
import { plainName } from "./words.js";

/**
 * @typedef {import("./cell.js").Holder & {row?: import("./row.js").Row, slot?: number}} Holder
 * @typedef {import("./cell.js").Cell} Cell
 */

export class Commands {
  /** @param {import("./grid.js").Board} board */
  constructor(board) {
    this.board = board;
    this.menu = makeMenu();
    /** @type {Holder | null} to be compared with another */
    this.marked = null;
  }

  /**
   * @param {Holder} holder
   * @param {Element} anchor
   */
  open(holder, anchor) {
    this.menu.open(holder, this.items(holder), anchor);
  }

  /** @param {Holder} holder */
  items(holder) {
    const { board } = this;
    const { entry, row } = holder;
    const { final, path } = entry;
    const { change, file } = board.head;
    const changes = !file && !row && change?.steps.length;
    /** @type {(import("./menu.js").Item | false | 0 | null | undefined)[]} */
    const items = [
      isCell(holder) && { label: "Follow", icon: "follow", key: "Enter", run: () => this.follow(holder) },
      { label: "Enlarge", icon: "enlarge", key: "e", run: () => this.enlarge(holder) },
      { label: "Compare with …", icon: "compare", key: "c", run: () => this.mark(holder) },
      changes && { label: "Change from …", icon: "change", key: "w", run: () => this.change(board.moment) },
      !file && { label: "Open trajectory", icon: "strip", key: "t", run: () => board.send({ do: "strip", path }) },
      !file && row && { label: "Reroll", icon: "dice", key: "r", run: () => this.reroll(entry, row.step) },
      !file && { label: entry.starred ? "Remove star" : "Star", icon: "star", key: "s", run: () => this.star(holder) },
      { label: "Copy recipe", icon: "copy", run: () => this.copyRecipe(entry) },
      final && { label: "Download PNG", icon: "download", run: () => savePng(final, path, board.head.texts) },
    ];
    return items.filter((item) => !!item);
  }

  /**
   * The letters of the menu; whether this was one.
   *
   * @param {KeyboardEvent} event
   * @param {Holder} holder
   */
  key(event, holder) {
    if (isBrowsers(event)) return false;
    const pressed = event.key === " " && holder.row ? "Enter" : event.key;
    const item = this.items(holder).find(({ key }) => key === pressed);
    if (["m", "ContextMenu"].includes(event.key)) this.open(holder, holder.element);
    else if (event.key === "Escape" && this.marked) this.unmark();
    else if (item) item.run();
    else return false;
    event.preventDefault();
    event.stopPropagation(); // Streamlit has keys of its own: c, r
    return true;
  }

  /**
   * The cell becomes the trunk, and the old trunk takes its place.
   *
   * @param {Cell} cell
   */
  follow(cell) {
    const { board } = this;
    const { entry, row, slot } = cell;
    const { head, portrait, root } = board;
    if (entry.ghost || !board.holds(entry.path)) return;
    board.leave(cell);
    // A mouse is still there, but this is another picture now; a finger has gone.
    board.quiet = board.pointer === "touch" ? null : cell;
    const from = [cell.element, portrait.holder.frame].map((each) => each.getBoundingClientRect());
    const pictures = [entry, head.focus].map((each) => frameAt(each, board.moment, board.lane));
    const act = { do: "follow", path: entry.path };
    board.answers.guess(followed(head, row.step, slot), act, true);
    fly(root, pictures[0], from[0], portrait.holder.frame);
    fly(root, pictures[1], from[1], cell.element);
    board.guide.end();
    board.guide.render(head);
    board.toolbar.say("This is the trunk now: the rows below leave it anew.");
  }

  /**
   * @param {import("./cell.js").Entry} entry
   * @param {number} step of its row
   */
  reroll(entry, step) {
    const head = ghosted(this.board.head, (_, each) => each === entry);
    this.board.answers.guess(head, { do: "reroll_cell", step, branch: entry.branch });
  }

  /** @param {Holder} holder */
  star(holder) {
    const { entry } = holder;
    entry.starred = !entry.starred;
    this.board.toolbar.say(entry.starred ? `${plainName(this.board.head, entry)} is saved: Compare runs lists it.` : "");
    this.board.renderEntry(holder);
    this.board.send({ do: "star", path: entry.path, on: entry.starred });
  }

  /**
   * The trunk, from a step on under another prompt or guidance.
   *
   * @param {number} step
   */
  change(step) {
    const { head, answers, root } = this.board;
    if (!head.change) return;
    this.board.leave();
    changeFrom(root, {
      change: head.change,
      step: step < head.length ? step : Math.round(head.length * 0.3),
      picture: (at) => head.focus.x0[at],
      words: (at) => [`step ${at}`, ...(head.levels ? [timeText(head, at)] : [])].join(" · "),
      send: (act) => answers.guess(ghosted(this.board.head, (row) => row.step > act.step), act),
    });
  }

  /** @param {import("./cell.js").Entry} entry */
  async copyRecipe(entry) {
    const copied = await copyText(entry.recipe);
    const end = copied ? "is on the clipboard." : "could not be copied: the browser forbids it.";
    this.board.toolbar.say(`The recipe of ${plainName(this.board.head, entry)} ${end}`);
  }

  /** @param {Holder} holder */
  enlarge(holder) {
    const { board } = this;
    const holders = () => [board.portrait.holder, ...board.allCells()];
    const index = holders().findIndex((each) => each === holder);
    board.leave();
    enlarge(board.root, { ...this.scene(), index, entries: () => holders().map(({ entry }) => entry) });
  }

  /**
   * Compare it with the next one.
   *
   * @param {Holder} holder
   */
  mark(holder) {
    const { board } = this;
    if (!this.marked) {
      this.marked = holder;
      holder.frame.classList.add("marked");
      const keys = "Click another cell to compare, or press c on it. Escape stops.";
      board.toolbar.say(board.pointer === "touch" ? "Tap another cell to compare." : keys);
      return;
    }
    const pair = [this.marked.entry, holder.entry];
    this.unmark();
    if (pair[0].path === pair[1].path) return;
    const paths = pair.map(({ path }) => path);
    const openPage = board.head.file ? null : () => board.send({ do: "compare", paths });
    board.leave();
    compareTwo(board.root, { ...this.scene(), pair, openPage });
  }

  unmark() {
    this.marked?.frame.classList.remove("marked");
    this.marked = null;
    this.board.toolbar.say("");
  }

  /** What a dialog starts from. */
  scene() {
    const { board } = this;
    return { head: board.head, lane: () => board.lane, moment: board.moment };
  }
}

/** @type {(holder: Holder) => holder is Cell} */
const isCell = (holder) => holder.row !== undefined;
