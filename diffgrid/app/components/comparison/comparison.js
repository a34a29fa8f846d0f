// @ts-check
// Up to four runs on one scrubber, aligned by noise level (see comparison.py for what is sent).
//
// A *stop* is a place of the scrubber: a level that some run has a step at, and one more for the
// finished pictures. Every run shows the frame whose level is nearest.

import { isBrowsers, make, radios, styled, svg, tool } from "../shared/dom.js";
import { nearest } from "../shared/nearest.js";
import { makePlay } from "../shared/playing.js";
import { atTheEnd, paint, paintDifference, together, unpack } from "../shared/protocol.js";
import { makeSlider } from "../shared/slider.js";
import { axis, frameNear } from "./axis.js";
import { GRADIENT, paintHeat } from "./heat.js";
import { WHOLE } from "./look.js";
import { makeZoom } from "./zoom.js";

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
 * @typedef {object} Distance how far from A: RMS at each level, and by frequency
 * @property {number[]} levels
 * @property {number[]} rms
 * @property {Record<string, number[]>} bands
 * @property {number} final
 * @property {Record<string, number>} final_bands
 *
 * @typedef {Distance | null} Curve
 * @typedef {{id: string, runs: Run[], curves: Curve[], table: [string, string[]][], pictures: Picture[]}} Message
 */

const LETTERS = ["A", "B", "C", "D"];
const VIEWS = { side: "Side by side", wipe: "Wipe", flip: "Flip", difference: "Difference × 2", heat: "Heat map" };
const BANDS = { layout: "under 2", shape: "2 to 8", detail: "8 and more" }; // cycles a side
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
    /** @type {(number | undefined)[]} the frame that a run keeps while the others move */
    this.kept = [];
    /** @type {HTMLButtonElement[]} */
    this.pins = [];
    /** @type {HTMLElement[]} where on its lane a run is kept */
    this.marks = [];
    this.byBand = make("div"); // the chart of one pair, by frequency
    this.pair = 0; // which, an index into `curves`
    /** @type {Record<string, HTMLElement>} */
    this.bandFigures = {};
    this.look = WHOLE;
    this.zoom = makeZoom(this.stage, (look) => this.see(look));
    this.enlarged = make("button", { type: "button", title: "Zoom: back to 1×" });
    this.enlarged.onclick = this.zoom.reset;
    this.heat = make("p", { class: "heat quiet" });
    this.lay = together((images) => this.painted(images));
    this.mode = "side";
    this.wipe = 50;
    this.flipped = false;
    this.place = 1000;
    this.player = makePlay(FRAME_MS, () => this.advance());
    this.range = makeSlider("Noise level", 1000, (place) => this.seek(place));
    this.range.element.onkeydown = (event) => this.key(event);
    this.readout = make("span", { class: "readout", "aria-hidden": "true" });
    this.root.addEventListener("keydown", this.zoom.key);
  }

  /** @param {Message} message */
  show({ id, runs, curves, pictures, table }) {
    this.player.stop();
    Object.assign(this, { id, runs, curves, pictures, scale: axis(runs) });
    this.stop = nearest(this.scale.places, this.place);
    this.kept = [];
    this.pair = this.curves.findIndex((curve) => curve);
    const parts = [this.stage, this.scrubber(), this.chart(), this.differences(table)];
    const body = make("div", { class: "body", "data-runs": this.runs.length }, ...parts);
    this.root.replaceChildren(make("div", { class: "tools" }, ...this.modes(), this.zoomTools()), body);
    this.see(this.look);
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

  zoomTools() {
    const { nearer, farther } = this.zoom;
    const names = { class: "zoom", role: "group", "aria-label": "Zoom into all pictures" };
    const [less, more] = [tool("minus", "Zoom out (−)", farther), tool("plus", "Zoom in (+)", nearer)];
    return make("div", names, less, this.enlarged, more);
  }

  /** @param {import("./look.js").Look} look into all pictures */
  see(look) {
    this.look = look;
    const { style, dataset } = this.stage;
    style.setProperty("--zoom", String(look.scale));
    style.setProperty("--x", `${100 * look.x}%`);
    style.setProperty("--y", `${100 * look.y}%`);
    dataset.zoomed = String(look.scale > 1);
    this.enlarged.textContent = `${Number(look.scale.toPrecision(2))}×`;
    this.divide();
  }

  /** The divider stands in the frame, and cuts the picture that may be larger. */
  divide() {
    const { scale, x } = this.look;
    this.stage.style.setProperty("--wipe", `${this.wipe}%`);
    this.stage.style.setProperty("--cut", `${(this.wipe - 100 * x) / scale}%`);
  }

  arrange() {
    const mode = this.runs.length === 2 ? this.mode : "side";
    this.canvases = this.runs.map(() => make("canvas", { role: "img" }));
    this.captions = this.runs.map(() => make("span"));
    this.pins = this.runs.map((_, i) => tool("pin", "", () => this.keep(i), { class: "tool pin" }));
    const captions = this.captions.map((caption, i) => this.caption(i, caption));
    this.stage.dataset.mode = mode;
    this.stage.style.setProperty("--across", String(this.runs.length));
    if (mode === "side") {
      this.stage.replaceChildren(
        ...captions.map((caption, i) => make("figure", {}, frame(this.canvases[i]), caption)),
      );
    } else {
      const both = frame(...this.canvases, ...this.control(mode));
      const legend = mode === "heat" ? [this.heat] : [];
      this.stage.replaceChildren(make("figure", {}, both, ...legend, ...captions));
    }
    this.draw();
  }

  /**
   * @param {number} i
   * @param {Element} words
   */
  caption(i, words) {
    const path = make("b", { title: this.runs[i].label }, this.runs[i].path);
    const pin = this.runs.length > 1 ? this.pins[i] : "";
    return make("figcaption", {}, badge(i), path, words, pin);
  }

  /** @param {string} mode */
  control(mode) {
    if (mode === "flip") return [this.flipper];
    if (mode === "wipe") {
      const move = (/** @type {number} */ wipe) => {
        this.wipe = Math.min(100, Math.max(0, wipe));
        this.divide();
      };
      const label = "Divider between A and B";
      const range = make("input", {
        type: "range", class: "wipe", "aria-label": label, value: this.wipe,
        oninput: () => move(range.valueAsNumber),
      });
      return [range, divider((wipe) => {
        move(wipe);
        range.valueAsNumber = wipe;
      })];
    }
    return [];
  }

  /** A run keeps its moment while the others move, or moves with them again. */
  keep(/** @type {number} */ i) {
    const { runs, scale, stop, kept } = this;
    kept[i] = kept[i] === undefined ? frameNear(runs[i], scale, stop) : undefined;
    this.draw();
  }

  flip() {
    this.flipped = !this.flipped;
    this.draw();
  }

  draw() {
    const { runs, scale, stop, canvases } = this;
    const mode = this.stage.dataset.mode;
    const shown = runs.map((run, i) => this.kept[i] ?? frameNear(run, scale, stop));
    runs.forEach((run, i) => {
      const isKept = this.kept[i] !== undefined;
      const words = moment(run, shown[i]) + (isKept ? ", kept" : "");
      const label = isKept ? `Let ${LETTERS[i]} move again` : `Keep ${LETTERS[i]} at this moment`;
      Object.assign(this.pins[i], { ariaPressed: String(isKept), ariaLabel: label, title: label });
      this.marks[i].hidden = !isKept;
      const level = run.levels[shown[i]];
      this.marks[i].style.left = `${level === undefined ? 100 : scale.place(level) / 10}%`;
      this.captions[i].textContent = words;
      canvases[i].setAttribute("aria-label", `${LETTERS[i]}, ${run.label}: ${words}`);
    });
    if (mode === "difference" || mode === "heat") {
      const [one, two] = this.captions.map((caption) => caption.textContent);
      canvases[0].setAttribute("aria-label", `What differs between A (${one}) and B (${two})`);
    }
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
    } else if (stage.dataset.mode === "heat") {
      const most = paintHeat(canvases[0], images[0], images[1]);
      canvases[1].hidden = true;
      const bar = make("i", { style: `background: ${GRADIENT}` });
      const scale = make("span", {}, "0", bar, `${most} of 255`);
      this.heat.replaceChildren(scale, "|A − B|, the mean of red, green and blue");
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
    this.distances.forEach((span, i) => {
      const curve = this.curves[i];
      span.textContent = figure(curve, level, curve?.rms, curve?.final);
    });
    const pair = this.curves[this.pair];
    for (const [name, span] of Object.entries(this.bandFigures))
      span.textContent = figure(pair, level, pair?.bands[name], pair?.final_bands[name]);
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
    const parts = drawn.length ? [this.plot(this.curveLines(drawn, highest)), this.byBand] : [];
    this.bands(drawn);
    const rugs = this.plot(...this.rugs());
    return make("div", { class: "chart" }, this.legend(drawn, highest), ...parts, rugs, this.ticks());
  }

  /** @param {...Node} children on the common axis */
  plot(...children) {
    const plot = make("div", { class: "plot" }, make("i", { class: "cursor" }), ...children);
    this.follow(plot);
    return plot;
  }

  /**
   * How far one pair is apart by frequency; the bands' squares sum to that of the whole.
   *
   * @param {{i: number}[]} drawn
   */
  bands(drawn) {
    const curve = this.curves[this.pair];
    this.bandFigures = {};
    if (!curve) return this.byBand.replaceChildren();
    const highest = Math.max(1e-9, ...Object.values(curve.bands).flat(), ...Object.values(curve.final_bands));
    const names = Object.keys(BANDS).map((name) => {
      this.bandFigures[name] = make("b");
      const line = svg("svg", { viewBox: "0 0 24 8", class: "sample", "aria-hidden": "true" },
        svg("polyline", { points: "0 4 24 4", class: name }));
      return make("span", {}, line, ` ${name}`, this.bandFigures[name]);
    });
    const choose = (/** @type {string} */ letter) => {
      this.pair = LETTERS.indexOf(letter) - 1;
      this.bands(drawn);
      this.point();
    };
    const letters = Object.fromEntries(drawn.map(({ i }) => [LETTERS[i + 1], LETTERS[i + 1]]));
    const letter = LETTERS[this.pair + 1];
    const pairs = drawn.length > 1 ? [radios("Against A, by frequency", letters, letter, choose)] : [];
    const words = make("span", {}, `A and ${letter} by frequency`);
    const cycles = `${Object.values(BANDS).join(", ")} cycles a side`;
    const scale = make("small", {}, `${cycles}; scale 0 to ${highest.toPrecision(2)}`);
    const legend = make("p", {}, words, ...pairs, ...names, scale);
    const ends = Object.entries(curve.final_bands).map(([name, end]) => `${name} ends at ${brief(end)}`);
    const lines = Object.keys(BANDS).map((name) =>
      this.line({ ...curve, rms: curve.bands[name], final: curve.final_bands[name] }, highest, name));
    const label = `Distance of A and ${letter} by frequency along the way; ${ends.join(", ")}`;
    this.byBand.replaceChildren(legend, this.plot(this.lines(label, lines)));
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
    const lines = drawn.map(({ curve, i }) => this.line(curve, highest, `of-${LETTERS[i + 1]}`));
    return this.lines(`Distance from A along the way; ${ends.join(", ")}`, lines);
  }

  /**
   * @param {string} label
   * @param {Node[]} lines
   */
  lines(label, lines) {
    const shape = { viewBox: "0 0 1000 100", preserveAspectRatio: "none" };
    return svg("svg", { ...shape, role: "img", "aria-label": label }, ...lines);
  }

  /**
   * @param {{levels: number[], rms: number[], final: number}} curve
   * @param {number} highest
   * @param {string} name
   */
  line({ levels, rms, final }, highest, name) {
    const height = (/** @type {number} */ value) => 96 - (92 * value) / highest;
    const points = levels.map((level, k) => [this.scale.place(level), height(rms[k])]);
    points.push([1000, height(final)]);
    return svg("polyline", { points: points.join(" "), class: name });
  }

  /** A lane a run, a tick a step: where each of them stands on the common axis. */
  rugs() {
    this.marks = this.runs.map((_, i) => make("i", { class: `mark of-${LETTERS[i]}` }));
    return this.runs.map((run, i) => {
      const places = [...run.levels.map(this.scale.place), 1000];
      const ticks = places.map((x) => svg("line", { x1: x, x2: x, y1: 0, y2: 10 }));
      const names = { class: `rug of-${LETTERS[i]}`, "aria-hidden": "true" };
      const shape = { viewBox: "0 0 1000 10", preserveAspectRatio: "none" };
      return make("div", { class: "lane" }, svg("svg", { ...names, ...shape }, ...ticks), this.marks[i]);
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
  const label = "Plus and minus zoom, arrows move, 0 resets";
  return make("div", { class: "frame", tabindex: 0, role: "group", "aria-label": label }, ...children);
}

/**
 * The line between two pictures, to be dragged where they are zoomed and a drag elsewhere moves them.
 *
 * @param {(wipe: number) => void} move to so much of the frame, 0 … 100
 */
function divider(move) {
  const line = make("i", { class: "divider" });
  line.onpointerdown = (event) => line.setPointerCapture(event.pointerId);
  line.onpointermove = (event) => {
    const box = line.parentElement?.getBoundingClientRect();
    if (event.buttons && box) move((100 * (event.clientX - box.left)) / box.width);
  };
  return line;
}

/**
 * A distance at a level, or between the finished; a dash where not both have been.
 *
 * @param {Curve | undefined} curve
 * @param {number | undefined} level
 * @param {number[] | undefined} values
 * @param {number | undefined} final
 */
function figure(curve, level, values, final) {
  if (!curve || !values || final === undefined) return "";
  if (level === undefined) return final.toFixed(2);
  const { levels } = curve;
  if (!levels.length || level < levels[0] || level > levels[levels.length - 1]) return "–";
  return values[nearest(levels, level)].toFixed(2);
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
