// Below the grid: the trunk along time, the scrubber of all cells, and what the sampling costs.

import { icon, make } from "../shared/dom.js";
import { show } from "../shared/protocol.js";
import { momentsFor } from "./layout.js";
import { laneOf, levelText, noiseText, timeText } from "./player.js";

/** `on` is {play(), scrub(moment), lane(lane), addRow(step), stop()}. */
export function makeTimeline(on) {
  const playing = make("button", { type: "button", class: "play", onclick: on.play });
  const strip = make("div", { class: "strip", role: "group", "aria-label": "x̂0 along time" });
  const range = make("input", { type: "range", class: "slider", min: 0, "aria-label": "All cells at one moment" });
  range.oninput = () => on.scrub(Number(range.value));
  const when = make("span");
  const lanes = ["x0", "xt"].map((lane) => {
    const guess = lane === "x0";
    const title = guess ? "The model's guess of the final sample" : "The noisy state itself";
    const onclick = () => on.lane(lane);
    return make("button", { type: "button", title, onclick }, guess ? "x̂0" : "xₜ");
  });
  const group = { class: "segments", role: "group", "aria-label": "What is shown" };
  const cost = make("span", { class: "cost" });
  const name = { role: "progressbar", "aria-label": "Sampling" };
  const progress = make("span", { class: "progress", ...name });
  const cancel = make("button", { type: "button", class: "plain", onclick: on.stop });
  const left = make("span", { class: "left" }, when, make("span", group, ...lanes));
  const right = make("span", { class: "right" }, cost, progress, cancel);
  let moments = [];

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
    film: make("div", { class: "film" }, playing, strip, range),
    foot: make("div", { class: "foot quiet" }, left, right),

    renderStrip(head, width) {
      const forks = new Set(head.rows.map((row) => row.step));
      const steps = momentsFor(head.length, width, forks);
      const wanted = JSON.stringify([steps, [...forks], head.row_steps]);
      if (strip.dataset.steps !== wanted) {
        strip.dataset.steps = wanted;
        const possible = (step) => head.row_steps.includes(step);
        moments = steps.map((step) => makeMoment(step, forks.has(step), possible(step)));
        strip.replaceChildren(...moments.map((moment) => moment.element));
      }
      for (const { step, element } of moments) {
        const words = forks.has(step) ? "a row leaves here" : !element.disabled && "branch here";
        const texts = [timeText(head, step), levelText(head, step), words];
        element.title = texts.filter(Boolean).join(" · ");
        element.setAttribute("aria-label", element.title);
      }
    },

    renderFoot({ running, stopped, status, fraction, cost: idle }) {
      cost.textContent = running
        ? status
        : stopped
          ? "Stopped. What was computed is kept."
          : idle;
      progress.hidden = !running;
      progress.style.setProperty("--share", fraction);
      progress.setAttribute("aria-valuenow", Math.round(fraction * 100));
      cancel.hidden = !running && !stopped;
      cancel.textContent = running ? "Cancel" : "Go on";
    },

    /** The scrubber stands at a moment; `decoding` says that pictures of the lane are on their way. */
    seek(head, moment, lane, decoding) {
      const ended = moment >= head.length;
      const at = ended ? "the final sample" : noiseText(head, moment);
      range.max = head.length;
      range.value = moment;
      range.style.setProperty("--share", moment / head.length);
      range.setAttribute("aria-valuetext", at);
      when.textContent = ended ? "all cells: the final sample" : `all cells at ${at}`;
      if (decoding) when.textContent += " · decoding xₜ …";
      lanes.forEach((button, i) => {
        const chosen = (i ? "xt" : "x0") === lane;
        button.setAttribute("aria-pressed", String(chosen));
        button.setAttribute("aria-busy", String(chosen && decoding));
      });
    },

    /** A trajectory's pictures along time. */
    show(entry, moment, lane) {
      const nearest = moments.findLast(({ step }) => step <= moment);
      for (const each of moments) {
        each.element.classList.toggle("now", each === nearest);
        const picture = laneOf(entry, lane)[each.step];
        each.element.classList.toggle("ghost", !picture);
        show(each.canvas, picture);
      }
    },

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
