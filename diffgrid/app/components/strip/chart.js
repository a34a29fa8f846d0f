// @ts-check
// How far x̂₀ is from x₀, and how far it moved in a step, over the noise level.

import { svg } from "../shared/dom.js";
import { nearest } from "../shared/nearest.js";
import { CHART, positions } from "./positions.js";
import { minus, time } from "./message.js";

/** @typedef {import("./message.js").Message} Message */

/**
 * @param {Message} data
 * @param {number} width px
 */
export function makeChart(data, width) {
  const bottom = CHART.height - CHART.bottom;
  const most = Math.max(...data.distance, ...data.moved.map(Number), 1e-9);
  const y = (/** @type {number} */ value) => bottom - (value / most) * (bottom - CHART.top);
  const axis = positions(data, width);
  const { x } = axis;
  const label = "Distance of x̂₀ from x₀, and its moves, over log-SNR";
  const under = `${through(x, data.distance, y)}V${bottom}H${x[0]}Z`;
  const bar = svg("line", { class: "cursor", y1: CHART.top, y2: bottom });
  const dots = ["distance", "moved"].map((name) => svg("circle", { class: `dot ${name}`, r: 4 }));
  const element = svg(
    "svg",
    { width, height: CHART.height, role: "img", "aria-label": label },
    ...axes(data, axis, y, most, width, bottom),
    svg("path", { class: "area", d: under }),
    svg("path", { class: "line distance", d: through(x, data.distance, y) }),
    svg("path", { class: "line moved", d: through(x, data.moved, y) }),
    ...forkMarks(data, x, width, bottom),
    bar,
    ...dots,
  );
  return {
    element,

    /**
     * The step nearest to a place, in px.
     *
     * @param {number} place
     */
    stepAt: (place) => nearest(x, place),

    /** @param {number} step */
    point(step) {
      bar.setAttribute("x1", String(x[step]));
      bar.setAttribute("x2", String(x[step]));
      [data.distance, data.moved].forEach((values, i) => {
        dots[i].setAttribute("cx", String(x[step]));
        dots[i].setAttribute("cy", String(y(values[step] ?? 0)));
        dots[i].style.visibility = values[step] == null ? "hidden" : "visible";
      });
    },
  };
}

/**
 * @param {number[]} x
 * @param {(number | null)[]} values
 * @param {(value: number) => number} y
 */
function through(x, values, y) {
  const points = values.flatMap((value, i) => (value == null ? [] : [`${x[i]} ${y(value)}`]));
  return `M${points.join("L")}`;
}

/**
 * @param {Message} data
 * @param {ReturnType<typeof positions>} axis
 * @param {(value: number) => number} y
 * @param {number} most
 * @param {number} width
 * @param {number} bottom
 */
function axes(data, axis, y, most, width, bottom) {
  const [levels, times] = [bottom + 18, bottom + 33]; // px: the two rows of labels
  /** @type {(x: number, y: number, text: string, anchor?: string) => SVGElement} */
  const label = (x, y, text, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, text);
  const nodes = [label(0, levels, "log-SNR", "start"), label(0, times, "t", "start")];
  for (const value of round(0, most, 3)) {
    const ends = { x1: CHART.left, x2: width - CHART.right, y1: y(value), y2: y(value) };
    nodes.push(
      svg("line", { class: "gridline", ...ends }),
      label(CHART.left - 6, y(value) + 3, String(value), "end"),
    );
  }
  for (const value of round(axis.low, axis.high, 6))
    nodes.push(label(axis.at(value), levels, minus(value)));
  let free = -Infinity;
  axis.x.slice(0, -1).forEach((x, i) => {
    nodes.push(svg("line", { class: "tick", x1: x, x2: x, y1: bottom, y2: bottom + 4 }));
    if (x - 12 < free) return;
    free = x + 16;
    nodes.push(label(x, times, time(data, i)));
  });
  return nodes;
}

/**
 * The parent's part under a veil, and a line at each fork.
 *
 * @param {Message} data
 * @param {number[]} x
 * @param {number} width
 * @param {number} bottom
 */
function forkMarks(data, x, width, bottom) {
  const forks = data.parts.slice(1).map((part) => part.first - 1);
  if (!forks.length) return [];
  const last = x[forks[forks.length - 1]];
  const box = { x: CHART.left, y: 0, width: Math.max(0, last - CHART.left), height: bottom };
  /** @type {SVGElement[]} */
  const nodes = [svg("rect", { class: "veil", ...box })];
  for (const k of forks) nodes.push(svg("line", { class: "fork", x1: x[k], x2: x[k], y1: 0, y2: bottom }));
  if (last > CHART.left + 40)
    nodes.push(svg("text", { x: last - 6, y: CHART.top, "text-anchor": "end" }, "shared"));
  if (last < width - 50)
    nodes.push(svg("text", { class: "own", x: last + 6, y: CHART.top }, "its own"));
  return nodes;
}

/**
 * About `count` round numbers from low to high.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} count
 */
function round(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? 10 * power;
  const values = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++)
    values.push(Number((i * step).toPrecision(6)));
  return values;
}
