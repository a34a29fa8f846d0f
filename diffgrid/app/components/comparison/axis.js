// @ts-check
// The noise levels of several runs on one scrubber, 0 … 1000.

/** @typedef {{levels: number[]}} Run one run's levels, rising */
/** @typedef {ReturnType<typeof axis>} Scale */

import { nearest } from "../shared/nearest.js";

const ENDS = 930; // where the levels end on the scrubber's 0 … 1000; the finished picture is at 1000

/**
 * The levels of all runs as places on the scrubber.
 *
 * @param {Run[]} runs
 */
export function axis(runs) {
  const levels = [...new Set(runs.flatMap((run) => run.levels))].sort((a, b) => a - b);
  const [low, high] = [levels[0], levels[levels.length - 1]];
  /** @param {number} level */
  const place = (level) => (high > low ? ((level - low) / (high - low)) * ENDS : 0);
  return { low, high, place, levels, places: [...levels.map(place), 1000] };
}

/**
 * The frame a run shows at a stop: an index into its steps, or their count for the finished one.
 *
 * @param {Run} run
 * @param {Scale} scale
 * @param {number} stop
 */
export function frameNear(run, scale, stop) {
  const level = scale.levels[stop];
  return level === undefined ? run.levels.length : nearest(run.levels, level);
}
