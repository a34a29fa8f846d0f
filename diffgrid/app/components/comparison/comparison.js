// @ts-check
// Up to four runs on one scrubber, aligned by noise level (see comparison.py for what is sent).
//
// A *stop* is a place of the scrubber: a level that some run has a step at, and one more for the
// finished pictures. Every run shows the frame whose level is nearest.

import { isBrowsers, make, radios, styled, svg } from "../shared/dom.js";
import { nearest } from "../shared/nearest.js";
import { makePlay } from "../shared/playing.js";
import { atTheEnd, paint, paintDifference, together, unpack } from "../shared/protocol.js";
import { makeSlider } from "../shared/slider.js";
import { axis, frameNear } from "./axis.js";

/**
 * @typedef {import("../shared/protocol.js").Picture} Picture
 *
 * @typedef {object} Run one of up to four; pictures are by index
 * @property {string} path
 * @property {string} label
 * @property {number} length
 * @property {number[]} steps those of its `frames`; of a long run not all
 * @property {number[]} levels log-SNR before each of them, rising
 * @property {number[]} timesteps
 * @property {number[]} frames
 * @property {number} final
 * @property {boolean} preview whether its pictures of x̂₀ are approximate
 *
 * @typedef {{levels: number[], rms: number[], final: number} | null} Curve how far from A
 * @typedef {{id: string, runs: Run[], curves: Curve[], table: [string, string[]][], pictures: Picture[]}} Message
 */

const LETTERS = ["A", "B", "C", "D"];
const VIEWS = { side: "Side by side", wipe: "Wipe", flip: "Flip", difference: "Difference × 2" };
const FRAME_MS = 90;

/** @type {(number: number, digits: number) => string} */
const signed = (number, digits) => number.toFixed(digits).replace("-", "\u2212");
/** @type {(number: number) => string} */
const brief = (number) => String(Number(number.toPrecision(4)));

/** @param {any} component what Streamlit hands over */
export default async function mount({ data, parentElement }) {
  await styled(parentElement);
  const root = parentElement.querySelector(".comparison");
  /** @type {Comparison} */
  const comparison = (root.owner ??= new Comparison(root));
  const message = unpack(data, comparison.known);
  // The page runs again for many reasons; only other runs, or other names for them, are news.
  if (message.id !== comparison.id) comparison.show(message);
  return atTheEnd(root, () => comparison.player.stop());
}

class Comparison {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Map<string, Picture>} */
    this.known = new Map();
    this.id = "";
    /** @type {Run[]} */
    this.runs = [];
    /** @type {Curve[]} */
    this.curves = [];
    /** @type {Picture[]} */
    this.pictures = [];
    this.scale = axis([]);
    this.stop = 0;
    this.stage = make("div", { class: "stage" });
    this.flipper = make("button", { type: "button", onclick: () => this.flip() });
    /** @type {HTMLCanvasElement[]} */
    this.canvases = [];
    /** @type {HTMLElement[]} */
    this.captions = [];
    /** @type {HTMLElement[]} */
    this.distances = [];
    this.lay = together((images) => this.painted(images));
    this.mode = "side";
    this.wipe = 50;
    this.flipped = false;
    this.place = 1000;
    this.player = makePlay(FRAME_MS, () => this.advance());
    this.range = makeSlider("Noise level", 1000, (place) => this.seek(place));
    this.range.element.onkeydown = (event) => this.key(event);
    this.readout = make("span", { class: "readout", "aria-hidden": "true" });
  }

  /** @param {Message} message */
  show({ id, runs, curves, pictures, table }) {
    this.player.stop();
    Object.assign(this, { id, runs, curves, pictures, scale: axis(runs) });
    this.stop = nearest(this.scale.places, this.place);
    const parts = [this.stage, this.scrubber(), this.chart(), this.differences(table)];
    const body = make("div", { class: "body", "data-runs": this.runs.length }, ...parts);
    this.root.replaceChildren(...this.modes(), body);
    this.arrange();
  }

  // The pictures.

  modes() {
    if (this.runs.length !== 2) return [];
    const choose = (/** @type {string} */ mode) => {
      this.mode = mode;
      this.arrange();
    };
    return [radios("View", VIEWS, this.mode, choose)];
  }

  arrange() {
    const mode = this.runs.length === 2 ? this.mode : "side";
    this.canvases = this.runs.map(() => make("canvas", { role: "img" }));
    this.captions = this.runs.map(() => make("span"));
    const captions = this.captions.map((caption, i) => this.caption(i, caption));
    this.stage.dataset.mode = mode;
    this.stage.style.setProperty("--across", String(this.runs.length));
    if (mode === "side") {
      this.stage.replaceChildren(
        ...captions.map((caption, i) => make("figure", {}, frame(this.canvases[i]), caption)),
      );
    } else {
      const both = frame(...this.canvases, ...this.control(mode));
      this.stage.replaceChildren(make("figure", {}, both, ...captions));
    }
    this.draw();
  }

  /**
   * @param {number} i
   * @param {Element} words
   */
  caption(i, words) {
    const path = make("b", { title: this.runs[i].label }, this.runs[i].path);
    return make("figcaption", {}, badge(i), path, words);
  }

  /** @param {string} mode */
  control(mode) {
    if (mode === "flip") return [this.flipper];
    if (mode === "wipe") {
      const oninput = () => {
        this.wipe = divider.valueAsNumber;
        this.draw();
      };
      const label = "Divider between A and B";
      const divider = make("input", {
        type: "range", class: "wipe", "aria-label": label, value: this.wipe, oninput,
      });
      return [make("i", { class: "divider" }), divider];
    }
    return [];
  }

  flip() {
    this.flipped = !this.flipped;
    this.draw();
  }

  draw() {
    const { runs, scale, stop, canvases } = this;
    const mode = this.stage.dataset.mode;
    const shown = runs.map((run) => frameNear(run, scale, stop));
    runs.forEach((run, i) => {
      const words = moment(run, shown[i]);
      this.captions[i].textContent = words;
      canvases[i].setAttribute("aria-label", `${LETTERS[i]}, ${run.label}: ${words}`);
    });
    if (mode === "difference") {
      const [one, two] = this.captions.map((caption) => caption.textContent);
      canvases[0].setAttribute("aria-label", `What differs between A (${one}) and B (${two})`);
    }
    this.stage.style.setProperty("--wipe", `${this.wipe}%`);
    if (mode === "flip") {
      const [on, off] = this.flipped ? ["B", "A"] : ["A", "B"];
      this.flipper.replaceChildren(badge(Number(this.flipped)));
      this.flipper.setAttribute("aria-label", `${on} is shown: flip to ${off}`);
      canvases.forEach((canvas, i) => (canvas.hidden = i !== Number(this.flipped)));
    }
    this.lay(runs.map((run, i) => this.pictures[run.frames[shown[i]] ?? run.final]));
    this.point();
  }

  /** @param {ImageBitmap[]} images */
  painted(images) {
    const { canvases, stage } = this;
    if (stage.dataset.mode === "difference") {
      paintDifference(canvases[0], images[0], images[1]);
      canvases[1].hidden = true;
    } else images.forEach((image, i) => paint(canvases[i], image));
  }

  // The scrubber.

  scrubber() {
    return make("div", { class: "scrubber" }, this.player.button, this.range.element, this.readout);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const keys = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 };
    const by = /** @type {Record<string, number>} */ (keys)[event.key];
    if (!by || isBrowsers(event)) return; // Home and End are the browser's own
    event.preventDefault();
    this.player.stop();
    this.go(this.stop + by);
  }

  /** @param {number} place */
  seek(place) {
    this.player.stop();
    this.go(nearest(this.scale.places, place));
  }

  /** @param {number} stop */
  go(stop) {
    this.stop = Math.min(Math.max(stop, 0), this.scale.places.length - 1);
    this.draw();
  }

  /** The next stop, unless there is none; from the last one it begins anew. */
  advance() {
    const last = this.scale.places.length - 1;
    this.go(this.stop === last ? 0 : this.stop + 1);
    return this.stop < last;
  }

  /** Move everything that points at the present stop. */
  point() {
    const level = this.scale.levels[this.stop];
    const alphaBar = 1 / (1 + Math.exp(-level));
    const words =
      level === undefined
        ? "finished"
        : `log-SNR ${signed(level, 1)}, ᾱ ${Number(alphaBar.toPrecision(2))}`;
    this.place = this.scale.places[this.stop];
    this.range.set(this.place, words);
    this.readout.textContent = words;
    this.root.style.setProperty("--at", `${this.place / 10}%`);
    this.distances.forEach((span, i) => (span.textContent = this.apart(i, level)));
  }

  /**
   * @param {number} i
   * @param {number | undefined} level
   */
  apart(i, level) {
    const curve = this.curves[i];
    if (!curve) return "";
    if (level === undefined) return curve.final.toFixed(2);
    if (!curve.levels.length) return "–";
    const outside = level < curve.levels[0] || level > curve.levels[curve.levels.length - 1];
    return outside ? "–" : curve.rms[nearest(curve.levels, level)].toFixed(2);
  }

  // What stands beside and below.

  /** @param {[string, string[]][]} table */
  differences(table) {
    const alone = this.runs.length === 1;
    const head = make("tr", {}, make("td"), ...this.runs.map((_, i) => make("th", { scope: "col" }, badge(i))));
    const rows = table.map(([name, values]) => {
      const cells = values.map((value) => make("td", {}, value || "–"));
      return make("tr", {}, make("th", { scope: "row" }, name), ...cells);
    });
    const caption = make("caption", {}, alone ? "Its settings" : "What differs");
    return make("table", { class: "table" }, caption, make("thead", {}, head), make("tbody", {}, ...rows));
  }

  chart() {
    const drawn = this.curves.flatMap((curve, i) => (curve ? [{ curve, i }] : []));
    const highest = Math.max(1e-9, ...drawn.flatMap(({ curve }) => [...curve.rms, curve.final]));
    const plot = make("div", { class: "plot" }, make("i", { class: "cursor" }));
    this.follow(plot);
    if (drawn.length) plot.append(this.curveLines(drawn, highest));
    plot.append(...this.rugs());
    return make("div", { class: "chart" }, this.legend(drawn, highest), plot, this.ticks());
  }

  /**
   * @param {{i: number}[]} drawn
   * @param {number} highest
   */
  legend(drawn, highest) {
    this.distances = this.curves.map(() => make("b"));
    if (this.runs.length === 1) return "";
    if (!drawn.length)
      return make("p", {}, "The latents have different shapes, so there is no distance to draw.");
    const name = "Distance from A on the way: RMS between x̂0";
    const parts = drawn.map(({ i }) => make("span", {}, badge(i + 1), this.distances[i]));
    return make("p", {}, name, ...parts, make("small", {}, `scale 0 to ${highest.toPrecision(2)}`));
  }

  /**
   * @param {{curve: NonNullable<Curve>, i: number}[]} drawn
   * @param {number} highest
   */
  curveLines(drawn, highest) {
    const ends = drawn.map(({ curve, i }) => `${LETTERS[i + 1]} ends at ${brief(curve.final)}`);
    const plot = svg("svg", {
      viewBox: "0 0 1000 100",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `Distance from A along the way; ${ends.join(", ")}`,
    });
    for (const { curve, i } of drawn) {
      const height = (/** @type {number} */ rms) => 96 - (92 * rms) / highest;
      const points = curve.levels.map((level, k) => [this.scale.place(level), height(curve.rms[k])]);
      points.push([1000, height(curve.final)]);
      plot.append(svg("polyline", { points: points.join(" "), class: `of-${LETTERS[i + 1]}` }));
    }
    return plot;
  }

  /** A lane a run, a tick a step: where each of them stands on the common axis. */
  rugs() {
    return this.runs.map((run, i) => {
      const places = [...run.levels.map(this.scale.place), 1000];
      const ticks = places.map((x) => svg("line", { x1: x, x2: x, y1: 0, y2: 10 }));
      const names = { class: `rug of-${LETTERS[i]}`, "aria-hidden": "true" };
      const shape = { viewBox: "0 0 1000 10", preserveAspectRatio: "none" };
      return svg("svg", { ...names, ...shape }, ...ticks);
    });
  }

  ticks() {
    const { low, high, place } = this.scale;
    const between = high - low > 8 ? 4 : 2;
    /** @type {[number, string][]} */
    const labels = [];
    for (let level = Math.ceil(low / between) * between; level <= high; level += between)
      labels.push([place(level), signed(level, 0)]);
    labels.push([1000, "finished"]);
    const ticks = labels.map(([at, words]) => make("span", { style: `left: ${at / 10}%` }, words));
    return make("div", { class: "ticks", "aria-hidden": "true" }, ...ticks);
  }

  /**
   * The chart is a large scrubber for the pointer.
   *
   * @param {HTMLElement} plot
   */
  follow(plot) {
    const seek = (/** @type {PointerEvent} */ event) => {
      const box = plot.getBoundingClientRect();
      this.seek(((event.clientX - box.left) / box.width) * 1000);
    };
    plot.onpointerdown = (event) => {
      plot.setPointerCapture(event.pointerId);
      seek(event);
    };
    plot.onpointermove = (event) => {
      if (event.buttons) seek(event);
    };
  }
}

/** @param {number} i */
function badge(i) {
  return make("span", { class: `badge of-${LETTERS[i]}` }, LETTERS[i]);
}

/** @param {...Node} children */
function frame(...children) {
  return make("div", { class: "frame" }, ...children);
}

/**
 * @param {Run} run
 * @param {number} frame
 */
function moment(run, frame) {
  if (frame === run.levels.length) return `finished, ${run.length} steps`;
  const step = `step ${run.steps[frame]} of ${run.length}, t = ${brief(run.timesteps[frame])}`;
  return run.preview ? `${step}, a preview` : step;
}
