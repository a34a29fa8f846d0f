// The trajectory strip (see strip.py for the message). Scrubbing, hovering and playing happen here;
// the server hears of nothing but a picked thumbnail.

import { changeFrom } from "../shared/dialog.js";
import { icon, make, styled, svg } from "../shared/dom.js";
import { nearest } from "../shared/nearest.js";
import { Outbox } from "../shared/outbox.js";
import { makePlay } from "../shared/playing.js";
import { atTheEnd, clear, show, unpack } from "../shared/protocol.js";
import { CHART, positions } from "./positions.js";

const LANES = {
  latents: { sign: ["x", "t"], note: "latents", name: "the latents x_t, each channel a map" },
  noisy: { sign: ["x", "t"], note: "decoded", name: "x_t decoded: the picture under its noise" },
  x0: { sign: ["x̂", "0"], note: "predicted", name: "x̂₀, the model's guess of the picture" },
  change: { sign: ["Δx̂", "0"], note: "changed", name: "where x̂₀ changed since the step before" },
};
const STEP_MS = 100; // while it plays

export default async function mount({ data, parentElement, setStateValue }) {
  await styled(parentElement);
  const section = parentElement.querySelector(".film");
  const film = (section.film ??= build(section));
  film.outbox.connect((acts) => setStateValue("acts", acts));
  const message = unpack(data, film.known);
  film.outbox.acknowledge(message.acted);
  receive(film, message);
  return atTheEnd(section, () => {
    film.resized.disconnect();
    film.outbox.close();
    film.play.stop();
  });
}

function symbol(lane) {
  const [base, index] = LANES[lane].sign;
  return make("span", { class: "sign" }, base, make("sub", {}, index));
}

// --- building -----------------------------------------------------------------------------------

/** All that does not depend on a trajectory. */
function build(section) {
  const film = { section, known: new Map(), large: "x0", off: new Set(), step: null, hover: null };
  film.outbox = new Outbox();
  film.thumbnails = make("nav", { class: "thumbnails", "aria-label": "Trajectories" });
  film.picture = make("canvas", { role: "img" });
  film.caption = make("figcaption");
  film.views = Object.keys(LANES).map((lane) => viewButton(film, lane));
  film.words = make("div", { class: "words" });
  film.numbers = make("dl", { class: "numbers" });
  film.chart = make("div", {
    class: "chart",
    onpointermove: (event) => hover(film, columnAt(film, event)),
    onpointerleave: () => hover(film, null),
    onclick: (event) => go(film, columnAt(film, event)),
  });
  film.play = makePlay(STEP_MS, () => advance(film));
  film.range = make("input", {
    type: "range",
    class: "slider",
    min: 0,
    "aria-label": "Step",
    oninput: () => go(film, Number(film.range.value)),
  });
  film.change = make("button", { type: "button", class: "plain", onclick: () => change(film) });
  film.change.append(icon("change"), "Change from here …");
  film.columns = make("div", { class: "columns" });
  film.scroll = make("div", { class: "scroll" }, film.columns);
  const toggles = Object.keys(LANES).map((lane) => laneToggle(film, lane));
  const group = (name, label, nodes) =>
    make("div", { class: name, role: "group", "aria-label": label }, ...nodes);
  const facts = [film.words, film.numbers, legend(), film.chart];
  section.append(
    film.thumbnails,
    make(
      "div",
      { class: "stage" },
      make("figure", {}, film.picture, film.caption),
      group("views", "Large picture", film.views),
      make("div", { class: "facts" }, ...facts),
    ),
    make(
      "div",
      { class: "bar" },
      film.play.button,
      make("span", { class: "hint" }, "drag the dot, or use the arrow keys"),
      film.change,
      group("toggles", "Lanes", toggles),
    ),
    film.scroll,
  );
  film.resized = new ResizeObserver(() => {
    drawRail(film);
    drawChart(film);
  });
  film.resized.observe(film.chart);
  return film;
}

function viewButton(film, lane) {
  const { name, note } = LANES[lane];
  const onclick = () => {
    film.large = lane;
    look(film);
  };
  const attributes = { type: "button", title: name, "aria-label": `Large picture: ${name}` };
  const canvas = make("canvas", { class: lane });
  return make("button", { ...attributes, "data-lane": lane, onclick }, canvas, note);
}

function laneToggle(film, lane) {
  const { name, note } = LANES[lane];
  const button = make("button", { type: "button", title: name, "aria-label": `Lane: ${name}` });
  const mark = () => {
    button.setAttribute("aria-pressed", String(!film.off.has(lane)));
    film.section.classList.toggle(`without-${lane}`, film.off.has(lane));
  };
  button.onclick = () => {
    film.off[film.off.has(lane) ? "delete" : "add"](lane);
    mark();
  };
  button.append(symbol(lane), ` ${note}`);
  mark();
  return button;
}

function legend() {
  return make(
    "p",
    { class: "legend" },
    make("span", { class: "distance" }, "how far x̂₀ is from the finished x₀"),
    make("span", { class: "moved" }, "how far it moved in a step"),
    make("span", { class: "unit" }, "RMS per element"),
  );
}

/** Another trajectory, or more of this one. */
function receive(film, data) {
  const count = data.lanes.x0.length;
  const another = film.data?.path !== data.path;
  film.data = data;
  film.section.style.setProperty("--aspect", data.aspect);
  if (film.count !== count) {
    film.count = count;
    film.range.max = count - 1;
    film.step = Math.min(film.step ?? Math.round(count / 3), count - 1);
    film.hover = null;
    buildLanes(film, count);
  }
  drawThumbnails(film);
  drawWords(film);
  for (const [lane, cells] of Object.entries(film.cells))
    cells.forEach((canvas, i) => draw(canvas, pictureOf(film, lane, i)));
  film.section.classList.toggle("waiting", data.waiting);
  film.change.hidden = !data.change?.steps.length;
  film.times.forEach((cell, i) => (cell.textContent = time(data, i)));
  drawRail(film);
  drawChart(film);
  look(film);
  if (another) {
    keepInSight(film);
    const here = film.thumbnails.querySelector("[aria-current]");
    film.thumbnails.scrollLeft = (here?.offsetLeft ?? 0) - film.thumbnails.clientWidth / 2;
  }
}

/** The canvases, a row for each lane and a column for each state. */
function buildLanes(film, count) {
  film.columns.style.setProperty("--count", count);
  film.rail = make("div", { class: "rail" });
  film.band = make("div", { class: "band" });
  film.cells = {};
  const rows = Object.keys(LANES).flatMap((lane) => {
    film.cells[lane] = Array.from({ length: count }, () => make("canvas", { class: lane }));
    const note = make("span", { class: "note" }, LANES[lane].note);
    const title = LANES[lane].name;
    const label = make("div", { class: `label ${lane}`, title }, symbol(lane), note);
    return [label, row(film, lane, film.cells[lane])];
  });
  film.times = Array.from({ length: count }, () => make("span", {}));
  film.columns.replaceChildren(
    make("div", { class: "label" }),
    make("div", { class: "timeline" }, film.rail, film.range),
    ...rows,
    make("div", { class: "label times" }, make("span", { class: "note" }, "timestep")),
    row(film, "times", film.times),
    make("div", { class: "bands" }, film.band),
  );
}

/** Cells, one a column: hovering looks at their step, a click stays there. */
function row(film, name, cells) {
  const index = (event) => {
    const { left, width } = node.getBoundingClientRect();
    const i = Math.floor(((event.clientX - left) / width) * film.count);
    return Math.max(0, Math.min(film.count - 1, i));
  };
  const handlers = {
    onpointermove: (event) => event.pointerType === "mouse" && hover(film, index(event)),
    onpointerleave: () => hover(film, null),
    onclick: (event) => go(film, index(event)),
  };
  const node = make("div", { class: `lane ${name}`, "aria-hidden": "true", ...handlers }, ...cells);
  return node;
}

// --- drawing ------------------------------------------------------------------------------------

function pictureOf(film, lane, step) {
  return film.data.pictures[film.data.lanes[lane][step]] ?? null;
}

function draw(canvas, picture) {
  canvas.classList.toggle("blank", !picture);
  if (picture) show(canvas, picture);
  else clear(canvas);
}

function drawThumbnails(film) {
  const { thumbnails, pictures, path } = film.data;
  const nodes = thumbnails.map((each, i) => {
    const button = film.thumbnails.children[i] ?? thumbnail(film);
    const here = each.path === path;
    button.path = each.path;
    button.ariaLabel = each.path === "trunk" ? "trunk" : `branch ${each.name}`;
    button.title = each.name;
    button.lastChild.textContent = each.label;
    if (here) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    button.classList.toggle("first", i > 0 && each.group !== thumbnails[i - 1].group);
    draw(button.firstChild, pictures[each.picture] ?? null);
    return button;
  });
  film.thumbnails.hidden = nodes.length < 2;
  film.thumbnails.replaceChildren(...nodes);
}

function thumbnail(film) {
  const button = make("button", { type: "button" }, make("canvas", {}), make("span", {}));
  button.addEventListener("click", () => {
    if (button.path !== film.data.path) film.outbox.push({ do: "pick", path: button.path });
  });
  return button;
}

function drawWords(film) {
  const { prompt, change, name, settings, parts } = film.data;
  const shared = parts.slice(0, -1).map((part) => `with ${part.owner} up to step ${part.last}`);
  const own = parts.at(-1).first;
  const none = change ? "(empty prompt)" : "(no prompt)";
  const words = [
    make("p", { class: "prompt" }, prompt ? `“${prompt}”` : none),
    make("p", {}, make("b", {}, name), ` · ${settings.join(" · ")}`),
  ];
  if (shared.length)
    words.push(make("p", {}, `Shared ${shared.join(", ")}; its own from step ${own} on.`));
  film.words.replaceChildren(...words);
}

/** Whose each stretch is, where this path forked, and where the grid's rows leave it. */
function drawRail(film) {
  const { parts, rows } = film.data;
  const at = (column) => `${((column + 0.5) / film.count) * 100}%`;
  const nodes = parts.map((part, i) => {
    const [first, last] = [i ? part.first - 1 : part.first, part.last];
    const shared = `shared with ${part.owner} up to step ${part.last}`;
    const text = !part.own ? shared : parts.length > 1 ? `${part.owner}, its own` : part.owner;
    const node = make("div", { class: part.own ? "part own" : "part", title: text });
    node.style.left = at(first);
    node.style.width = `${((last - first) / film.count) * 100}%`;
    const room = ((last - first) / film.count) * film.rail.clientWidth;
    node.append(make("span", {}, part.own || room > 140 ? text : part.owner));
    return node;
  });
  const mark = (step, kind, title) => {
    const node = make("i", { class: kind, title });
    node.style.left = at(step);
    return node;
  };
  const { forks } = film.data;
  for (const row of rows)
    if (!forks.includes(row)) nodes.push(mark(row, "row", `branches leave at step ${row}`));
  forks.forEach((step) => nodes.push(mark(step, "fork", `forked at step ${step}`)));
  film.rail.replaceChildren(...nodes);
}

/** All that follows the step under the pointer, or else the scrubber's. */
function look(film) {
  const { data, count } = film;
  const step = film.hover ?? film.step;
  film.range.value = film.step;
  film.range.setAttribute("aria-valuetext", sentence(data, film.step));
  film.band.style.left = `${(step / count) * 100}%`;
  film.picture.className = film.large;
  film.picture.ariaLabel = `${LANES[film.large].name}, ${sentence(data, step)}`;
  film.caption.textContent = LANES[film.large].name;
  draw(film.picture, pictureOf(film, film.large, step));
  for (const button of film.views) {
    button.ariaPressed = String(button.dataset.lane === film.large);
    draw(button.firstChild, pictureOf(film, button.dataset.lane, step));
  }
  const facts = numbers(data, step).map(([term, value]) =>
    make("div", {}, make("dt", {}, term), make("dd", {}, value)),
  );
  film.numbers.replaceChildren(...facts);
  drawCursor(film, step);
}

function numbers(data, step) {
  const digits = (value, count) => (value == null ? "–" : minus(value.toFixed(count)));
  const small = (value) => (value < 0.001 ? minus(value.toExponential(0)) : digits(value, 3));
  const last = data.timesteps.length;
  return [
    ["step", step === last ? "finished" : `${step} of ${last}`],
    ["timestep", step === last ? "–" : String(data.timesteps[step])],
    ["ᾱ", small(data.alphaBar[step])],
    ["log-SNR", data.logSnr[step] == null && step === last ? "∞" : digits(data.logSnr[step], 2)],
    ["from x₀", digits(data.distance[step], 3)],
    ["moved", digits(data.moved[step], 3)],
  ];
}

function sentence(data, step) {
  return numbers(data, step).map((pair) => pair.join(" ")).join(", ");
}

function time(data, step) {
  return step < data.timesteps.length ? String(Math.round(data.timesteps[step])) : "x₀";
}

// --- the chart ----------------------------------------------------------------------------------

function drawChart(film) {
  const { data, chart } = film;
  const width = chart.clientWidth;
  if (!data || !width) return;
  const bottom = CHART.height - CHART.bottom;
  const most = Math.max(...data.distance, ...data.moved, 1e-9);
  const y = (value) => bottom - (value / most) * (bottom - CHART.top);
  const axis = positions(data, width);
  film.plot = { x: axis.x, y };
  const root = svg("svg", { width, height: CHART.height, role: "img" });
  root.setAttribute("aria-label", "Distance of x̂₀ from x₀, and its moves, over log-SNR");
  root.append(
    ...axes(data, axis, y, most, width, bottom),
    svg("path", { class: "area", d: `${through(axis.x, data.distance, y)}V${bottom}H${axis.x[0]}Z` }),
    svg("path", { class: "line distance", d: through(axis.x, data.distance, y) }),
    svg("path", { class: "line moved", d: through(axis.x, data.moved, y) }),
    ...forkMarks(data, axis.x, width, bottom),
  );
  film.cursor = [
    svg("line", { class: "cursor", y1: CHART.top, y2: bottom }),
    svg("circle", { class: "dot distance", r: 4 }),
    svg("circle", { class: "dot moved", r: 4 }),
  ];
  root.append(...film.cursor);
  chart.replaceChildren(root);
  drawCursor(film, film.hover ?? film.step);
}

function through(x, values, y) {
  const points = values.flatMap((value, i) => (value == null ? [] : [`${x[i]} ${y(value)}`]));
  return `M${points.join("L")}`;
}

function axes(data, axis, y, most, width, bottom) {
  const [levels, times] = [bottom + 18, bottom + 33]; // px: the two rows of labels
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

/** The parent's part under a veil, and a line at each fork. */
function forkMarks(data, x, width, bottom) {
  const forks = data.parts.slice(1).map((part) => part.first - 1);
  if (!forks.length) return [];
  const last = x[forks.at(-1)];
  const box = { x: CHART.left, y: 0, width: Math.max(0, last - CHART.left), height: bottom };
  const nodes = forks.map((k) => svg("line", { class: "fork", x1: x[k], x2: x[k], y1: 0, y2: bottom }));
  if (last > CHART.left + 40)
    nodes.push(svg("text", { x: last - 6, y: CHART.top, "text-anchor": "end" }, "shared"));
  if (last < width - 50)
    nodes.push(svg("text", { class: "own", x: last + 6, y: CHART.top }, "its own"));
  return [svg("rect", { class: "veil", ...box }), ...nodes];
}

/** About `count` round numbers from low to high. */
function round(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const values = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++)
    values.push(Number((i * step).toPrecision(6)));
  return values;
}

function minus(value) {
  return String(value).replace("-", "−");
}

function drawCursor(film, step) {
  if (!film.plot) return;
  const [bar, ...dots] = film.cursor;
  const x = film.plot.x[step];
  bar.setAttribute("x1", x);
  bar.setAttribute("x2", x);
  [film.data.distance, film.data.moved].forEach((values, i) => {
    dots[i].setAttribute("cx", x);
    dots[i].setAttribute("cy", film.plot.y(values[step] ?? 0));
    dots[i].style.visibility = values[step] == null ? "hidden" : "visible";
  });
}

/** The column nearest to the pointer. */
function columnAt({ plot, chart }, event) {
  return nearest(plot.x, event.clientX - chart.getBoundingClientRect().left);
}

// --- moving -------------------------------------------------------------------------------------

function go(film, step) {
  film.play.stop();
  film.step = step;
  film.hover = null;
  look(film);
  keepInSight(film);
}

/** From the scrubber's step on, another prompt or guidance. */
function change(film) {
  film.play.stop();
  const { data, step, section, outbox } = film;
  changeFrom(section, {
    change: data.change,
    step,
    picture: (at) => pictureOf(film, "x0", at),
    words: (at) => `step ${at} · t = ${time(data, at)}`,
    send: (act) => outbox.push(act),
  });
}

function hover(film, step) {
  if (film.play.running() || film.hover === step) return;
  film.hover = step;
  look(film);
}

/** The next step, unless there is none; from the last one it begins anew. */
function advance(film) {
  film.hover = null;
  film.step = (film.step + 1) % film.count;
  look(film);
  keepInSight(film);
  return film.step < film.count - 1;
}

/** Where the lanes scroll, the scrubber's column is to be seen. */
function keepInSight({ scroll, columns, band, step, count }) {
  const [room, column] = [scroll.getBoundingClientRect(), band.getBoundingClientRect()];
  const label = columns.firstChild.offsetWidth;
  if (column.left >= room.left + label && column.right <= room.right + 1) return;
  scroll.scrollLeft = label + ((columns.scrollWidth - label) * step) / count - room.width / 2;
}
