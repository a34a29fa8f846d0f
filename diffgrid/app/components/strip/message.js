// @ts-check
// What the strip is sent, and its figures in words.

/**
 * @typedef {import("../shared/protocol.js").Picture} Picture
 *
 * @typedef {object} Message `message` in strip.py; lists of T+1 are of the states, the last finished
 * @property {Picture[]} pictures what indices mean
 * @property {[string, number]} acted
 * @property {string} path
 * @property {string} name
 * @property {{steps: number[], prompt: string, guidance: number} | null} change
 * @property {boolean} waiting
 * @property {string[]} previews the lanes whose pictures are approximate, but for the finished one
 * @property {string} prompt
 * @property {number} aspect
 * @property {string[]} settings
 * @property {number[]} timesteps T of them
 * @property {number[]} alphaBar T+1
 * @property {(number | null)[]} logSnr T+1
 * @property {number} farthest
 * @property {number[]} distance T+1
 * @property {(number | null)[]} moved T+1
 * @property {{owner: string, first: number, last: number, own: boolean}[]} parts
 * @property {number[]} forks
 * @property {number[]} rows
 * @property {Record<"latents" | "noisy" | "x0" | "change", (number | null)[]>} lanes T+1 indices each
 * @property {{path: string, name: string, label: string, group: number, picture: number | null}[]} thumbnails
 */

/**
 * @param {Message} data
 * @param {number} step
 */
export function numbers(data, step) {
  /** @type {(value: number | null, count: number) => string} */
  const digits = (value, count) => (value == null ? "–" : minus(value.toFixed(count)));
  const bar = data.alphaBar[step];
  const last = data.timesteps.length;
  return [
    ["step", step === last ? "finished" : `${step} of ${last}`],
    ["timestep", step === last ? "–" : String(data.timesteps[step])],
    ["ᾱ", bar < 0.001 ? minus(bar.toExponential(0)) : digits(bar, 3)],
    ["log-SNR", data.logSnr[step] == null && step === last ? "∞" : digits(data.logSnr[step], 2)],
    ["from x₀", digits(data.distance[step], 3)],
    ["moved", digits(data.moved[step], 3)],
  ];
}

/**
 * @param {Message} data
 * @param {number} step
 */
export function sentence(data, step) {
  return numbers(data, step).map((pair) => pair.join(" ")).join(", ");
}

/**
 * @param {Message} data
 * @param {number} step
 */
export function time(data, step) {
  return step < data.timesteps.length ? String(Math.round(data.timesteps[step])) : "x₀";
}

/** @param {string | number} value */
export function minus(value) {
  return String(value).replace("-", "−");
}
