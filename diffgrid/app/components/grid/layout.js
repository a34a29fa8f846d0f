// @ts-check
// Cells as large as the window allows: nothing that moves should be below the fold. All in px.

export const NARROW = 560; // less is a phone
const BELOW = 40; // of what a row shows where it stands below the cells, in two lines
const AROUND = 120; // the page's head
const REST = 296; // all of the grid but its rows
const ROOM = 348; // for the rows in any window: three of 104, and the gaps

/**
 * For rows of `counts` cells: `size(below)` is the side of a cell, where what rows show stands below
 * the cells or beside them; `spare` is left beside cells of `size(false)`, `across` of them in a line.
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
  const room = Math.max(ROOM, windowHeight - AROUND - REST);
  const tall = narrow ? most : Math.floor(room / lines) - gap;
  const wide = Math.floor((width - column + gap) / across) - gap;
  /** @param {boolean} below */
  const size = (below) => {
    const high = below && !narrow ? tall - BELOW : tall;
    return Math.max(Math.min(least, wide), Math.min(high, most, wide));
  };
  return { size, across, spare: width - column - across * (size(false) + gap) - 10 };
}

const PORTRAIT = 0.3; // of the width, at the right

/**
 * The side of a cell where the grid is alone on this room, and the width of all cells with the trunk's
 * column: as grid.css has it, that is .72 of a cell and 36 px.
 *
 * @param {number} width
 * @param {number} height
 * @param {number[]} counts
 */
export function alone(width, height, counts) {
  const gap = 12;
  const room = (1 - PORTRAIT) * width - 36;
  let [cell, across] = [0, 1];
  for (let n = Math.max(1, ...counts); n > 0; n -= 1) {
    const lines = counts.reduce((sum, count) => sum + Math.ceil(count / n), 0) || 1;
    const high = height / lines - gap;
    const side = Math.floor(Math.min(high, (room - n * gap) / (n + 0.72)));
    if (side > cell) [cell, across] = [side, n];
  }
  return { cell, tree: Math.ceil(0.72 * cell + 36 + across * (cell + gap)) };
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
