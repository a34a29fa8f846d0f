// @ts-check
// Cells as large as the window allows: nothing that moves should be below the fold. All in px.

export const NARROW = 560; // less is a phone
const BELOW = 21; // of what a row shows where it stands below the cells
const AROUND = 140; // the page's head
const REST = 304; // all of the grid but its rows

/**
 * For rows of `counts` cells: `size(below)` is the side of a cell, where what rows show stands below
 * the cells or beside them; `spare` is left beside cells of `size(false)`.
 *
 * @param {number} width
 * @param {number} windowHeight
 * @param {number[]} counts
 */
export function layout(width, windowHeight, counts) {
  const narrow = width < NARROW;
  const [column, gap, least, most] = narrow ? [74, 6, 56, 96] : [152, 12, 60, 128];
  const fit = Math.max(1, Math.floor((width - column + gap) / (least + gap)));
  const across = Math.min(Math.max(1, ...counts), fit);
  const lines = counts.reduce((sum, count) => sum + Math.ceil(count / across), 0) || 1;
  const room = Math.max(440, windowHeight - AROUND) - REST;
  const tall = narrow ? most : Math.floor(room / lines) - gap;
  const wide = Math.floor((width - column + gap) / across) - gap;
  /** @param {boolean} below */
  const size = (below) => {
    const high = below && !narrow ? tall - BELOW : tall;
    return Math.max(Math.min(least, wide), Math.min(high, most, wide));
  };
  return { size, spare: width - column - across * (size(false) + gap) - 10 };
}

/**
 * As many moments as there is room for (`width` px), the rows' steps among them.
 *
 * @param {number} length
 * @param {number} width
 * @param {Iterable<number>} forks
 */
export function momentsFor(length, width, forks) {
  const room = Math.max(6, Math.min(13, Math.floor(width / 56)));
  const even = Array.from({ length: room }, (_, i) => Math.round((i * (length - 1)) / (room - 1)));
  return [...new Set([...even, ...forks])].sort((a, b) => a - b);
}
