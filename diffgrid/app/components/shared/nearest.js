// @ts-check
/**
 * The index of the number nearest to the wanted one, of two as near the first.
 *
 * @param {number[]} numbers
 * @param {number} wanted
 */
export function nearest(numbers, wanted) {
  const gaps = numbers.map((number) => Math.abs(number - wanted));
  return gaps.indexOf(Math.min(...gaps));
}
