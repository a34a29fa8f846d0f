// @ts-check
// What the server will say of a touch: it is drawn before the answer comes.

/** @typedef {import("./message.js").GridHead} GridHead */

/**
 * This head, with the cells that will be made anew, `which(row, entry)`, as ghosts.
 *
 * @param {GridHead} head
 * @param {(row: GridHead["rows"][0], entry: import("./message.js").Entry) => boolean} which
 * @returns {GridHead}
 */
export function ghosted(head, which) {
  const rows = head.rows.map((row) => {
    const cells = row.cells.map((entry) => (which(row, entry) ? { ...entry, ghost: true } : entry));
    return { ...row, cells };
  });
  return { ...head, rows };
}

/**
 * The head once a cell is followed: it is the trunk, the old trunk takes its slot, and the rows
 * below are made anew.
 *
 * @param {GridHead} head
 * @param {number} step
 * @param {number} slot
 * @returns {GridHead}
 */
export function followed(head, step, slot) {
  const next = ghosted(head, (row) => row.step > step);
  const { cells } = next.rows[head.rows.findIndex((row) => row.step === step)];
  const entry = cells[slot];
  cells[slot] = { ...head.focus, branch: entry.branch };
  const crumbs = entry.path === "trunk" ? ["trunk"] : ["trunk", ...pathsTo(entry.path)];
  return { ...next, focus: entry, path: entry.path, crumbs };
}

/**
 * The prompt that is so many further among those to leaf through, from end to end.
 *
 * @param {Pick<GridHead, "prompts" | "prompt">} head
 * @param {number} by
 */
export function beside({ prompts, prompt }, by) {
  const index = prompts.indexOf(prompt);
  const from = index === -1 && by < 0 ? 0 : index; // one's own stands before the first
  return prompts[(from + by + prompts.length) % prompts.length];
}

/**
 * The head of the same grid under another prompt: its trunk, and nothing that is known of it yet.
 *
 * @param {GridHead} head
 * @param {string} prompt
 * @returns {GridHead}
 */
export function reworded(head, prompt) {
  const back = head.back ? `-${head.back}` : "";
  /** @type {(entry: import("./cell.js").Entry, path: string) => import("./cell.js").Entry} */
  const blank = (entry, path) => {
    const none = { final: null, newest: null, noisy: null, x0: entry.x0.map(() => null) };
    return { ...entry, ...none, path, name: path, step: 0, done: false, lost: false, starred: false, ghost: true };
  };
  const rows = head.rows.map(({ step, cells }) => {
    const anew = cells.map((entry) => blank(entry, `${step}.${entry.branch}${back}`));
    return { step, cells: anew, seen: [] };
  });
  const trunk = { path: "trunk", crumbs: ["trunk"], focus: blank(head.focus, "trunk") };
  return { ...head, ...trunk, rows, run: "", prompt, cost: "" };
}

/**
 * "5.2/14.0" -> ["5.2", "5.2/14.0"]
 *
 * @param {string} path
 */
function pathsTo(path) {
  const forks = path.split("/");
  return forks.map((_, i) => forks.slice(0, i + 1).join("/"));
}
