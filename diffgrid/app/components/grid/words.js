// @ts-check
// Where something is, in plain words. Numbers and paths stand beside them, smaller, or in a title.

/** @typedef {import("./message.js").GridHead} GridHead */

const ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];
const PARTS = { "very early": 0.1, early: 0.35, midway: 0.55, late: 0.8 }; // of the way, up to there

/**
 * "early": how far along the way a step is.
 *
 * @param {Pick<GridHead, "length">} head
 * @param {number} step
 */
export function partText({ length }, step) {
  const found = Object.entries(PARTS).find(([, end]) => step / length < end);
  return found ? found[0] : "very late";
}

/**
 * "step 5 of 25"
 *
 * @param {Pick<GridHead, "length">} head
 * @param {number} step
 */
export const stepText = ({ length }, step) => `step ${step} of ${length}`;

/**
 * "row 2, third": where a branch left, as far as rows on view show it; null where none does.
 *
 * @param {Pick<GridHead, "rows" | "back">} head
 * @param {string} path
 */
export function placeText({ rows, back }, path) {
  const [, step, branch, gone = 0] = /(?:^|\/)(\d+)\.(\d+)(?:-(\d+))?$/.exec(path) ?? [];
  const row = rows.findIndex((each) => each.step === Number(step));
  if (row === -1 || Number(gone) !== back) return null;
  const slot = rows[row].cells.findIndex((each) => each.branch === Number(branch));
  return slot === -1 ? null : `row ${row + 1}, ${ORDINALS[slot] ?? `cell ${slot + 1}`}`;
}

/**
 * What people call a trajectory: "trunk", "row 2, third", or by its path.
 *
 * @param {Pick<GridHead, "rows" | "back">} head
 * @param {import("./cell.js").Entry} entry
 */
export function plainName(head, { path, name }) {
  return path === "trunk" ? path : placeText(head, path) ?? name;
}
