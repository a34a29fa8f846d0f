// @ts-check
// How much of a picture is seen in its frame.

/**
 * What is seen of a frame: the picture is `scale` times as large as it, and its left upper corner is
 * at x, y, in sides of the frame: 0 … 1-scale.
 *
 * @typedef {{scale: number, x: number, y: number}} Look
 */

/** @type {Look} */
export const WHOLE = { scale: 1, x: 0, y: 0 };
const MOST = 32;

/** @type {(corner: number, scale: number) => number} */
const within = (corner, scale) => Math.min(0, Math.max(1 - scale, corner));

/**
 * Zoomed by a factor, so that the place at `at` of the frame, 0 … 1, stays where it is.
 *
 * @param {Look} look
 * @param {number} factor
 * @param {{x: number, y: number}} at
 * @returns {Look}
 */
export function zoomed({ scale, x, y }, factor, at) {
  const next = Math.min(MOST, Math.max(1, scale * factor));
  /** @type {(corner: number, at: number) => number} */
  const corner = (corner, at) => within(at - ((at - corner) * next) / scale, next);
  return { scale: next, x: corner(x, at.x), y: corner(y, at.y) };
}

/**
 * Moved by so many sides of the frame, no further than its edges.
 *
 * @param {Look} look
 * @param {number} dx
 * @param {number} dy
 * @returns {Look}
 */
export function moved({ scale, x, y }, dx, dy) {
  return { scale, x: within(x + dx, scale), y: within(y + dy, scale) };
}
