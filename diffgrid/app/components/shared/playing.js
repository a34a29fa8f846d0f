// @ts-check
// The button that plays, and pauses.

import { icon, make } from "./dom.js";

/**
 * A button that calls `step` every `ms` until that returns false, or until it is stopped.
 *
 * @param {number} ms
 * @param {() => boolean} step
 */
export function makePlay(ms, step) {
  const button = make("button", { type: "button", class: "play" });
  let timer = 0;
  /** @param {boolean} running */
  const show = (running) => {
    button.replaceChildren(icon(running ? "pause" : "play"));
    button.ariaLabel = running ? "Pause" : "Play";
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    show(false);
  };
  button.onclick = () => {
    if (timer) return stop();
    timer = window.setInterval(() => step() || stop(), ms);
    show(true);
  };
  show(false);
  return { button, stop, running: () => timer !== 0 };
}
