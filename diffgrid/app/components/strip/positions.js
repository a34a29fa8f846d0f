// @ts-check
// Where the strip's chart draws what.

export const CHART = { height: 190, left: 34, right: 14, top: 10, bottom: 44 }; // px

/**
 * Where the columns stand on the axis of noise levels, in px.
 *
 * Levels past ±farthest, the infinite ones too, stand at its ends: they would squeeze all others.
 *
 * @param {{logSnr: (number | null)[], farthest: number}} levels
 * @param {number} width
 */
export function positions({ logSnr, farthest }, width) {
  /** @type {(value: number | null) => value is number} */
  const within = (value) => value != null && Math.abs(value) <= farthest;
  const known = logSnr.filter(within);
  const [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [-1, 1];
  const [from, to] = [CHART.left + 28, width - CHART.right - 28];
  const first = logSnr.findIndex(within);
  /** @param {number} value */
  const at = (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  /** @param {number} i */
  const end = (i) => (i < first ? CHART.left : width - CHART.right);
  const x = logSnr.map((value, i) => (within(value) ? at(value) : end(i)));
  return { x, at, low, high };
}
