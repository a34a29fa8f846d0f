// @ts-check
// Below the grid: the trunk along time, the scrubber of all cells, and what the sampling costs.

import { icon, make } from "../shared/dom.js";
import { clear, show } from "../shared/protocol.js";
import { makeSlider } from "../shared/slider.js";
import { momentsFor } from "./layout.js";
import { laneOf, noiseText } from "./player.js";
import { stepText } from "./words.js";

/**
 * @typedef {import("./message.js").GridHead} GridHead
 * @typedef {GridHead["lane"]} Lane
 *
 * @typedef {object} OnTimeline
 * @property {() => void} play
 * @property {(moment: number) => void} scrub
 * @property {(lane: Lane) => void} lane
 * @property {(step: number) => void} addRow
 * @property {() => void} stop
 */

/** @param {OnTimeline} on */
export function makeTimeline(on) {
  const playing = make("button", { type: "button", class: "play", onclick: on.play });
  const strip = make("div", { class: "strip", role: "group", "aria-label": "x̂0 along time" });
  const range = makeSlider("All cells at one moment", 0, on.scrub);
  const when = make("span");
  /** @type {(lane: Lane, sign: string, title: string) => {lane: Lane, button: HTMLElement}} */
  const choice = (lane, sign, title) => {
    const onclick = () => on.lane(lane);
    return { lane, button: make("button", { type: "button", title, onclick }, sign) };
  };
  const lanes = [
    choice("x0", "guess x̂0", "The model's guess, at each step, of the finished picture"),
    choice("xt", "noise xₜ", "The noisy state itself: each step takes some noise away"),
  ];
  const names = { class: "segments", role: "group", "aria-label": "What is shown" };
  const group = make("span", names, ...lanes.map(({ button }) => button));
  const cost = make("span", { class: "cost" });
  const note = make("span", { class: "approximate" });
  const name = { role: "progressbar", "aria-label": "Sampling" };
  const progress = make("span", { class: "progress", ...name });
  const cancel = make("button", { type: "button", class: "plain", onclick: on.stop });
  const left = make("span", { class: "left" }, when, group, note);
  const right = make("span", { class: "right" }, cost, progress, cancel);
  /** @type {ReturnType<typeof makeMoment>[]} */
  let moments = [];

  /**
   * @param {number} step
   * @param {boolean} fork
   * @param {boolean} possible
   */
  function makeMoment(step, fork, possible) {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const element = make("button", { type: "button", class: "moment" }, canvas);
    element.disabled = fork || !possible;
    element.classList.toggle("fork", fork);
    if (!element.disabled) element.append(icon("plus"));
    element.onclick = () => on.addRow(step);
    return { step, element, canvas };
  }

  return {
    film: make("div", { class: "film" }, playing, strip, range.element),
    foot: make("div", { class: "foot quiet" }, left, right),

    /**
     * @param {GridHead} head
     * @param {number} width
     */
    renderStrip(head, width) {
      const forks = new Set(head.rows.map((row) => row.step));
      const steps = momentsFor(head.length, width, forks);
      const wanted = JSON.stringify([steps, [...forks], head.row_steps]);
      if (strip.dataset.steps !== wanted) {
        strip.dataset.steps = wanted;
        const possible = new Set(head.row_steps);
        moments = steps.map((step) => makeMoment(step, forks.has(step), possible.has(step)));
        strip.replaceChildren(...moments.map((moment) => moment.element));
      }
      for (const { step, element } of moments) {
        const words = forks.has(step) ? "a row leaves here" : !element.disabled && "branch here";
        const texts = [stepText(head, step), head.levels && noiseText(head, step), words];
        element.title = texts.filter(Boolean).join(" · ");
        element.setAttribute("aria-label", element.title);
      }
    },

    /** The pictures are of another run. */
    wipe() {
      for (const { canvas } of moments) clear(canvas);
    },

    /** @param {GridHead} head */
    renderFoot({ running, stopped, status, fraction, cost: idle, note: said, file }) {
      group.hidden = Boolean(file); // which holds no x_t
      note.textContent = said;
      cost.textContent = running
        ? status
        : stopped
          ? "Stopped. What was computed is kept."
          : idle;
      progress.hidden = !running;
      progress.style.setProperty("--share", String(fraction));
      progress.setAttribute("aria-valuenow", String(Math.round(fraction * 100)));
      cancel.hidden = !running && !stopped;
      cancel.textContent = running ? "Cancel" : "Go on";
    },

    /**
     * The scrubber stands at a moment; `decoding` says that pictures of the lane are on their way.
     *
     * @param {GridHead} head
     * @param {number} moment
     * @param {Lane} lane
     * @param {boolean} decoding
     */
    seek(head, moment, lane, decoding) {
      const ended = moment >= head.length;
      const at = ended ? "the finished picture" : stepText(head, moment);
      range.element.max = String(head.length);
      range.set(moment, at);
      when.textContent = ended ? "all cells: the finished picture" : `all cells at ${at}`;
      when.title = ended ? "" : noiseText(head, moment);
      if (decoding) when.textContent += " · decoding xₜ …";
      for (const each of lanes) {
        const chosen = each.lane === lane;
        each.button.setAttribute("aria-pressed", String(chosen));
        each.button.setAttribute("aria-busy", String(chosen && decoding));
      }
    },

    /**
     * A trajectory's pictures along time.
     *
     * @param {import("./cell.js").Entry} entry
     * @param {number} moment
     * @param {Lane} lane
     */
    show(entry, moment, lane) {
      const nearest = moments.findLast(({ step }) => step <= moment);
      for (const each of moments) {
        each.element.classList.toggle("now", each === nearest);
        const picture = laneOf(entry, lane)[each.step];
        each.element.classList.toggle("ghost", !picture);
        show(each.canvas, picture);
      }
    },

    /** @param {boolean} running */
    renderPlay(running) {
      const name = running ? "pause" : "play";
      if (playing.dataset.icon === name) return;
      playing.dataset.icon = name;
      playing.replaceChildren(icon(name));
      playing.title = running ? "Pause" : "Play all cells";
      playing.setAttribute("aria-label", playing.title);
    },
  };
}
