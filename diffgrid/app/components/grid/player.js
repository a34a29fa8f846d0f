// @ts-check
// Which picture of a trajectory is on view at a moment, and the clock that moves the moment.
// A moment is a step 0 … T-1, or T for the finished sample.

/**
 * @typedef {import("./message.js").Entry} Entry
 * @typedef {import("./message.js").GridHead} GridHead
 */

/**
 * An entry's picture at a moment; null where nothing is known, undefined what is on its way.
 *
 * @param {Entry} entry
 * @param {number} moment
 * @param {string} lane
 */
export function frameAt(entry, moment, lane) {
  if (moment >= entry.x0.length) return entry.newest === undefined ? entry.x0.at(-1) : entry.newest;
  const frame = laneOf(entry, lane)[moment];
  return frame === null ? entry.newest : frame;
}

/**
 * An entry's pictures along time: x_t's where they are asked for and there, or else x̂0's.
 *
 * @param {Entry} entry
 * @param {string} lane
 */
export function laneOf(entry, lane) {
  return lane === "xt" && entry.noisy ? entry.noisy : entry.x0;
}

/**
 * "t = 799", as short as the scheduler's value allows.
 *
 * @param {Pick<GridHead, "levels">} head
 * @param {number} step
 */
export function timeText(head, step) {
  const level = head.levels?.[step];
  return level ? `t = ${+level.timestep.toPrecision(4)}` : `step ${step}`;
}

/**
 * "ᾱ .31": how much of the picture's energy is signal.
 *
 * @param {Pick<GridHead, "levels">} head
 * @param {number} step
 */
export function levelText(head, step) {
  const level = head.levels?.[step]?.alpha_bar;
  if (level == null) return "";
  const digits = level < 0.01 ? level.toPrecision(1) : level.toFixed(2);
  return `ᾱ ${Number(digits) >= 1 ? "1" : String(digits).replace(/^0/, "")}`;
}

/**
 * "t = 799 · ᾱ .31"
 *
 * @param {Pick<GridHead, "levels">} head
 * @param {number} step
 */
export function noiseText(head, step) {
  return [timeText(head, step), levelText(head, step)].filter(Boolean).join(" · ");
}

/** @param {Entry} entry */
export function nameOf(entry) {
  return entry.path === "trunk" ? "trunk" : `branch ${entry.name}`;
}

/** Calls `draw(moment)` while it runs: once through in `seconds`, a rest at the end, then again. */
export class Clock {
  /** @param {(moment: number) => void} draw */
  constructor(draw) {
    this.draw = draw;
    this.frame = 0;
  }

  /** @param {number} length */
  start(length, { seconds = 1.6, rest = 1, loop = true, ended = () => {} } = {}) {
    this.stop();
    /** @type {number | undefined} */
    let began;
    let last = -1;
    /** @param {number} now */
    const tick = (now) => {
      began ??= now;
      const elapsed = (now - began) / 1000;
      const moment = Math.min(length, Math.floor((elapsed / seconds) * length));
      if (moment !== last) this.draw((last = moment));
      if (elapsed > seconds + rest) {
        if (!loop) {
          this.stop();
          return ended();
        }
        began = now;
      }
      this.frame = requestAnimationFrame(tick);
    };
    this.frame = requestAnimationFrame(tick);
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
  }

  get running() {
    return this.frame !== 0;
  }
}
