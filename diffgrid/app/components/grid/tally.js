// @ts-check
// What a row's finished cells show, in words.

/** @typedef {import("./message.js").Seen} Seen */

/** @param {Seen} seen */
export const isOpen = ({ values }) => values.length > 1;

/**
 * "3 green, 2 blue": how many finals show what.
 *
 * @param {Seen} seen
 */
export function tally({ values }) {
  return values.map(([value, count]) => `${count} ${plainWords(value)}`).join(", ");
}

/** @param {string} value */
function plainWords(value) {
  return value.replace(/^an? /, "").replace(/^(\w+) eyes?$/, "$1-eyed");
}

/** @param {Seen} seen */
export function factorWords(seen) {
  const lock = seen.fixed ? ", named by the prompt" : "";
  const agreed = `all ${plainWords(seen.values[0][0])}`;
  return `${seen.factor}: ${isOpen(seen) ? `${tally(seen)}, with the trunk` : agreed}${lock}`;
}

/**
 * "body open: 2 red, 2 blue"
 *
 * @param {Seen} seen
 */
export function factorState(seen) {
  const { factor, values } = seen;
  const lock = seen.fixed ? ", named by the prompt" : "";
  if (isOpen(seen)) return `${factor} open: ${tally(seen)}${lock}`;
  return `${factor} settled ${plainWords(values[0][0])}${lock}`;
}
