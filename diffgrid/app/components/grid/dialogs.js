// @ts-check
// Pictures in the large: one with its scrubber, or two laid over each other.

import { openDialog } from "../shared/dialog.js";
import { isBrowsers, make, radios, stillness, tool } from "../shared/dom.js";
import { paint, paintDifference, show, together } from "../shared/protocol.js";
import { makeSlider } from "../shared/slider.js";
import { frameAt, noiseText } from "./player.js";
import { plainName, stepText } from "./words.js";

/**
 * @typedef {import("./message.js").GridHead} GridHead
 * @typedef {import("./cell.js").Entry} Entry
 *
 * @typedef {object} Scene what a dialog starts from
 * @property {GridHead} head
 * @property {() => GridHead["lane"]} lane
 * @property {number} moment
 */

/**
 * The scrubber of a dialog, 0 … T, with words for the moment.
 *
 * @param {GridHead} head
 * @param {number} moment
 * @param {(moment: number) => void} oninput
 */
function momentRange(head, moment, oninput) {
  const words = make("output", { class: "quiet" });
  const say = (/** @type {number} */ step) => {
    words.value = step === head.length ? "the finished picture" : stepText(head, step);
    words.title = step === head.length ? "" : noiseText(head, step);
    range.set(step, words.value);
  };
  const range = makeSlider("Moment", head.length, (step) => {
    say(step);
    oninput(step);
  });
  say(moment);
  return { range: range.element, words };
}

/**
 * One picture large; the arrows go through `entries`, which are read anew at each step.
 *
 * @param {Element} host
 * @param {Scene & {index: number, entries: () => Entry[]}} scene
 */
export function enlarge(host, { head, lane, moment, index, entries }) {
  const canvas = make("canvas", { role: "img" });
  const title = make("h2");
  const step = (/** @type {number} */ by) => {
    index = (index + by + entries().length) % entries().length;
    draw();
  };
  const { range, words } = momentRange(head, moment, (chosen) => {
    moment = chosen;
    draw();
  });
  const draw = () => {
    const entry = entries()[index];
    title.textContent = plainName(head, entry);
    title.title = entry.path;
    canvas.setAttribute("aria-label", `${title.textContent}, ${words.value}`);
    show(canvas, frameAt(entry, moment, lane()));
  };
  const stage = make(
    "div",
    { class: "stage" },
    tool("left", "Previous", () => step(-1)),
    make("div", { class: "plate" }, canvas),
    tool("right", "Next", () => step(1)),
  );
  const bar = make("div", { class: "bar-of-dialog" }, range, words);
  const dialog = openDialog(host, "One branch, enlarged", () => {}, title, stage, bar);
  dialog.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.target !== range && !isBrowsers(event)) step(by);
  };
  draw();
}

const MODES = { slider: "Wipe", flip: "Flip", difference: "Difference" };

/**
 * Two pictures in one place: a wipe between them, one after the other, or what differs.
 *
 * @param {Element} host
 * @param {Scene & {pair: Entry[], openPage: (() => void) | null}} scene
 */
export function compareTwo(host, { head, lane, moment, pair, openPage }) {
  let mode = "slider";
  let front = 0; // of a flip
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;
  const [one, other] = pair.map((entry) => plainName(head, entry));
  const label = `${one} and ${other}`;
  const canvas = make("canvas", { role: "img", "aria-label": label });
  const wipe = make("input", {
    type: "range", min: 0, max: 100, value: 50, class: "wipe", "aria-label": "Where one ends",
  });
  const plate = make("div", { class: "plate" }, canvas, wipe);
  const caption = make("p", { class: "quiet", role: "status" });
  const { range, words } = momentRange(head, moment, (chosen) => {
    moment = chosen;
    draw();
  });

  const draw = () => paintPair(pair.map((entry) => frameAt(entry, moment, lane())));
  const paintPair = together(([first, second]) => {
    if (mode === "difference") paintDifference(canvas, first, second);
    else paint(canvas, mode === "flip" && front ? second : first);
    if (mode === "slider") {
      const edge = (wipe.valueAsNumber / 100) * first.width;
      /** @type {[number, number, number, number]} */
      const part = [edge, 0, first.width - edge, first.height];
      if (part[2]) canvas.getContext("2d")?.drawImage(second, ...part, ...part);
    }
    /** @type {Record<string, string>} */
    const captions = {
      slider: `${one} on the left, ${other} on the right`,
      flip: front ? other : one,
      difference: "what differs, twice as bright",
    };
    caption.textContent = captions[mode];
  });
  const choose = (/** @type {string} */ chosen) => {
    mode = chosen;
    plate.dataset.mode = mode;
    wipe.hidden = mode !== "slider";
    clearInterval(timer);
    // Those who asked for stillness flip by clicking.
    if (mode === "flip" && !stillness.matches) timer = setInterval(flip, 700);
    draw();
  };
  const flip = () => {
    front = 1 - front;
    draw();
  };
  canvas.onclick = () => {
    if (mode === "flip") flip();
  };
  wipe.oninput = () => {
    plate.style.setProperty("--edge", `${wipe.value}%`);
    draw();
  };
  const names = { type: "button", class: "plain", hidden: !openPage };
  const open = make("button", names, "Open in compare");
  const dialog = openDialog(
    host,
    "Two branches compared",
    () => clearInterval(timer),
    make("h2", {}, `${one}  /  ${other}`),
    radios("How to compare", MODES, mode, choose),
    make("div", { class: "stage" }, plate),
    make("div", { class: "bar-of-dialog" }, range, words),
    make("div", { class: "bar-of-dialog" }, caption, open),
  );
  open.onclick = () => {
    dialog.close();
    openPage?.();
  };
  choose(mode);
}
