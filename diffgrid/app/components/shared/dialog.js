// @ts-check
// What opens above a component.

import { make, tool } from "./dom.js";
import { nearest } from "./nearest.js";
import { clear, show } from "./protocol.js";
import { makeSlider } from "./slider.js";

/**
 * A modal dialog, removed when it closes; focus goes back to where it was.
 *
 * @param {Element} host
 * @param {string} label
 * @param {() => void} onclose
 * @param {...Node} children
 */
export function openDialog(host, label, onclose, ...children) {
  const dialog = make("dialog", { "aria-label": label, tabindex: -1, autofocus: true });
  const close = tool("close", "Close", () => dialog.close(), { class: "tool closer" });
  dialog.append(...children, close);
  dialog.onclose = () => {
    onclose();
    dialog.remove();
  };
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  };
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // not Streamlit's keys
  host.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Another prompt or guidance from a step on, one of `change.steps`.
 *
 * @param {Element} host
 * @param {object} about
 * @param {{steps: number[], prompt: string, guidance: number}} about.change what there is now
 * @param {number} about.step
 * @param {(step: number) => import("./protocol.js").Picture | null | undefined} about.picture
 * @param {(step: number) => string} about.words
 * @param {(act: {do: "change", step: number, prompt: string, guidance: number}) => void} about.send
 */
export function changeFrom(host, { change, step, picture, words, send }) {
  const { steps } = change;
  let chosen = step;
  const canvas = make("canvas", { role: "img" });
  const when = make("output", { class: "quiet" });
  const sentence = make("p", { class: "quiet" });
  const prompt = make("textarea", { rows: 3, spellcheck: "false" }, change.prompt);
  const numbers = { type: "number", min: 0, step: "any", required: true, value: change.guidance };
  const guidance = make("input", numbers);
  /** @type {(name: string, input: Element) => Element} */
  const field = (name, input) => make("label", {}, make("span", { class: "quiet" }, name), input);
  const go = make("button", { type: "submit", class: "primary" }, "Change");
  const form = make(
    "form",
    {},
    field("Prompt", prompt),
    make("div", { class: "last" }, field("Guidance", guidance), go),
  );
  const draw = (/** @type {number} */ at) => {
    chosen = steps[at];
    when.value = words(chosen);
    range.set(at, when.value);
    canvas.setAttribute("aria-label", `The model's guess at ${when.value}`);
    sentence.textContent =
      `Same noise, another prompt or guidance from step ${chosen} on: ` +
      "what was settled before stays.";
    if (picture(chosen)) show(canvas, picture(chosen));
    else clear(canvas);
  };
  const range = makeSlider("Step", steps.length - 1, draw);
  prompt.onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    dialog.close();
    send({ do: "change", step: chosen, prompt: prompt.value, guidance: guidance.valueAsNumber });
  };
  const look = make("div", { class: "look" }, canvas, make("div", {}, range.element, when));
  const both = make("div", { class: "changing" }, look, form);
  const title = make("h2", {}, "Change from here");
  const dialog = openDialog(host, "Change from here", () => {}, title, sentence, both);
  draw(nearest(steps, step));
  prompt.focus();
  prompt.select();
}
