// @ts-check
// The grids of a file that were looked at, to and fro (as `history.py` has it for a session).

export class History {
  /** @param {string} path of the first */
  constructor(path) {
    this.path = path;
    /** @type {string[]} */
    this.past = [];
    /** @type {string[]} */
    this.future = [];
  }

  /** What `undo` leads to; null where there is nothing. */
  get before() {
    return this.past.at(-1) ?? null;
  }

  /** What `redo` leads to. */
  get after() {
    return this.future.at(-1) ?? null;
  }

  /** @param {string} path */
  go(path) {
    if (path === this.path) return;
    this.past.push(this.path);
    this.future = [];
    this.path = path;
  }

  undo() {
    const path = this.past.pop();
    if (path === undefined) return;
    this.future.push(this.path);
    this.path = path;
  }

  redo() {
    const path = this.future.pop();
    if (path === undefined) return;
    this.past.push(this.path);
    this.path = path;
  }
}
