// @ts-check
// A scrubber: its track is filled as far as it stands, and it says in words where that is.

import { make } from "./dom.js";

/**
 * @param {string} label
 * @param {number} max it goes from 0 up to there
 * @param {(value: number) => void} oninput
 */
export function makeSlider(label, max, oninput) {
  const names = { type: "range", class: "slider", min: 0, max, "aria-label": label };
  const element = make("input", { ...names, oninput: () => oninput(element.valueAsNumber) });
  /** @type {(value: number, words: string) => void} */
  const set = (value, words) => {
    element.valueAsNumber = value;
    element.style.setProperty("--share", String(value / Math.max(1, Number(element.max))));
    element.setAttribute("aria-valuetext", words);
  };
  return { element, set };
}
