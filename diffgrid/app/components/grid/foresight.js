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
 * "5.2/14.0" -> ["5.2", "5.2/14.0"]
 *
 * @param {string} path
 */
function pathsTo(path) {
  const forks = path.split("/");
  return forks.map((_, i) => forks.slice(0, i + 1).join("/"));
}
