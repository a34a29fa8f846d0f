// @ts-check
// Where in the picture a row's finished cells differ.

import { make } from "../shared/dom.js";
import { bitmap } from "../shared/protocol.js";
import { timeText } from "./player.js";

const SIDE = 64; // px; finer than that nobody sees
const FAR = 110; // of 255: a mean difference drawn in full

/**
 * A Picture's colours, at a small size.
 *
 * @param {import("./cell.js").Shown} picture
 */
async function pixels(picture) {
  const image = await bitmap(picture);
  if (!image) return null;
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context?.drawImage(image, 0, 0, SIDE, SIDE);
  return context?.getImageData(0, 0, SIDE, SIDE).data;
}

/**
 * Of each pixel, the mean absolute difference over all pairs and channels, 0 … 255.
 *
 * @param {Uint8ClampedArray[]} pictures
 */
function disagreement(pictures) {
  const far = new Float32Array(SIDE * SIDE);
  const pairs = (pictures.length * (pictures.length - 1)) / 2;
  pictures.forEach((a, i) => {
    for (const b of pictures.slice(0, i)) {
      for (let p = 0; p < far.length; p++) {
        const [r, g, blue] = [4 * p, 4 * p + 1, 4 * p + 2];
        far[p] += Math.abs(a[r] - b[r]) + Math.abs(a[g] - b[g]) + Math.abs(a[blue] - b[blue]);
      }
    }
  });
  return far.map((sum) => sum / (3 * pairs));
}

/** A map over the trunk's picture: the deeper, the further a row's finals are from each other. */
export class HeatMap {
  /**
   * @param {{element: Element, frame: Element}} portrait
   * @param {Element} words
   */
  constructor({ element, frame }, words) {
    this.on = false;
    this.frame = frame;
    const size = { width: SIDE, height: SIDE };
    this.canvas = make("canvas", { class: "heat", "aria-hidden": "true", ...size });
    element.append(this.canvas);
    this.text = make("span");
    const scale = make("span", { class: "scale", "aria-hidden": "true" });
    this.legend = make("p", { class: "legend quiet", hidden: true }, scale, this.text);
    words.append(this.legend);
    /** @type {object | null} the row asked for last */
    this.wanted = null;
  }

  toggle() {
    this.on = !this.on;
    this.frame.classList.toggle("mapped", this.on);
    this.legend.hidden = !this.on;
  }

  /**
   * Draw a row's map, unless another one is asked for meanwhile.
   *
   * @param {import("./message.js").GridHead} head
   * @param {import("./row.js").Row | undefined} row
   */
  async draw(head, row) {
    const finals = row ? [head.focus, ...row.cells.map(({ entry }) => entry)] : [];
    const there = finals.filter(({ final, ghost }) => final && !ghost).map(({ final }) => final);
    const wanted = (this.wanted = { row });
    const read = (await Promise.all(there.map(pixels))).filter((data) => data != null);
    const context = this.canvas.getContext("2d");
    if (this.wanted !== wanted || !this.on || !context) return;
    context.clearRect(0, 0, SIDE, SIDE);
    const at = row ? `The row at ${timeText(head, row.step)}` : "A row";
    this.text.textContent = `${at}: a map takes two finished pictures.`;
    if (read.length < 2) return;
    const map = context.createImageData(SIDE, SIDE);
    const colour = rgb(getComputedStyle(this.frame).getPropertyValue("--heat"));
    const far = disagreement(read);
    far.forEach((value, p) => {
      map.data.set([...colour, 255 * Math.min(1, value / FAR)], 4 * p);
    });
    context.putImageData(map, 0, 0);
    const mean = far.reduce((sum, value) => sum + value, 0) / far.length;
    const share = ((100 * mean) / 255).toPrecision(2);
    const words = "grey where its finals and the trunk's agree, deep where they differ";
    this.text.textContent = `${at}: ${words}; ${share}\u00a0% on average.`;
  }
}

/**
 * "#6c4cf0" -> [108, 76, 240]
 *
 * @param {string} hex
 */
function rgb(hex) {
  return (hex.match(/\w\w/g) ?? []).map((pair) => parseInt(pair, 16));
}
