// @ts-check
// Where the nodes of a tree go, from left to right.

/**
 * Each node's column and line, in the order of `above`: the index of the node above each, -1 for the
 * first; a node comes after the one above it. The first child goes on in its line, each other has
 * the next free one.
 *
 * @param {number[]} above
 * @returns {{column: number, line: number}[]}
 */
export function places(above) {
  /** @type {number[][]} */
  const below = above.map(() => []);
  /** @type {{column: number, line: number}[]} */
  const placed = above.map(() => ({ column: 0, line: 0 }));
  above.forEach((parent, index) => {
    if (parent < 0) return;
    below[parent].push(index);
    placed[index].column = placed[parent].column + 1;
  });
  let free = 0;
  /** @type {(index: number) => void} */
  const descend = (index) => {
    placed[index].line = free;
    below[index].forEach((child, i) => {
      if (i) free += 1;
      descend(child);
    });
  };
  if (above.length) descend(0);
  return placed;
}
