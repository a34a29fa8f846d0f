// @ts-check
// The trajectory strip (message.js says what it is sent). Scrubbing, hovering and playing happen here;
// the server hears of a picked thumbnail, and of a change of the prompt on the way.

import { changeFrom } from "../shared/dialog.js";
import { icon, make, styled } from "../shared/dom.js";
import { outbox } from "../shared/outbox.js";
import { makePlay } from "../shared/playing.js";
import { atTheEnd, clear, show, unpack } from "../shared/protocol.js";
import { makeSlider } from "../shared/slider.js";
import { makeChart } from "./chart.js";
import { numbers, sentence, time } from "./message.js";

/**
 * @typedef {import("../shared/protocol.js").Picture} Picture
 * @typedef {import("./message.js").Message} Message
 * @typedef {keyof typeof LANES} Lane
 */

const LANES = {
  latents: { sign: ["x", "t"], note: "latents", name: "the latents xₜ, each channel a map" },
  noisy: { sign: ["x", "t"], note: "decoded", name: "xₜ decoded: the picture under its noise" },
  x0: { sign: ["x̂", "0"], note: "predicted", name: "x̂₀, the model's guess of the picture" },
  change: { sign: ["Δx̂", "0"], note: "changed", name: "where x̂₀ changed since the step before" },
};
const NAMES = /** @type {Lane[]} */ (Object.keys(LANES));
const STEP_MS = 100; // while it plays

/** @param {any} component what Streamlit hands over */
export default async function mount({ data, parentElement, setStateValue }) {
  await styled(parentElement);
  const section = parentElement.querySelector(".film");
  /** @type {Strip} */
  const strip = (section.owner ??= new Strip(section));
  strip.deliver = (acts) => setStateValue("acts", acts);
  strip.receive(data);
  return atTheEnd(section, () => strip.end());
}

class Strip {
  /** @param {HTMLElement} section */
  constructor(section) {
    this.section = section;
    /** @type {(acts: object) => void} set what the server is to take */
    this.deliver = () => {};
    /** @type {Map<string, Picture>} */
    this.known = new Map();
    /** @type {Lane} */
    this.large = "x0";
    /** @type {number | null} under the pointer */
    this.hovered = null;
    this.count = this.step = 0;
    /** @type {ReturnType<Strip["thumbnail"]>[]} */
    this.buttons = [];
    /** @type {Message} the last one */
    this.data;
    /** @type {HTMLElement} whose each stretch of columns is */
    this.rail;
    /** @type {HTMLElement} the frame around a column */
    this.band;
    /** @type {{lane: Lane, cells: HTMLCanvasElement[]}[]} */
    this.cells;
    /** @type {HTMLElement[]} */
    this.times;
    /** @type {ReturnType<typeof makeChart> | undefined} */
    this.plot;
    this.thumbnails = make("nav", { class: "thumbnails", "aria-label": "Trajectories" });
    this.picture = make("canvas", { role: "img" });
    this.caption = make("figcaption");
    this.views = NAMES.map((lane) => this.viewButton(lane));
    this.words = make("div", { class: "words" });
    this.numbers = make("dl", { class: "numbers" });
    this.chart = make("div", {
      class: "chart",
      onpointermove: (/** @type {PointerEvent} */ event) => this.hover(this.columnAt(event)),
      onpointerleave: () => this.hover(null),
      onclick: (/** @type {PointerEvent} */ event) => this.go(this.columnAt(event)),
    });
    this.play = makePlay(STEP_MS, () => this.advance());
    this.range = makeSlider("Step", 0, (step) => this.go(step));
    this.change = make("button", { type: "button", class: "plain", onclick: () => this.ask() });
    this.change.append(icon("change"), "Change from here …");
    this.columns = make("div", { class: "columns" });
    this.scroll = make("div", { class: "scroll" }, this.columns);
    /** @type {(name: string, label: string, nodes: Element[]) => Element} */
    const group = (name, label, nodes) =>
      make("div", { class: name, role: "group", "aria-label": label }, ...nodes);
    const facts = [this.words, this.numbers, legend(), this.chart];
    this.section.append(
      this.thumbnails,
      make(
        "div",
        { class: "stage" },
        make("figure", {}, this.picture, this.caption),
        group("views", "Large picture", this.views.map(({ button }) => button)),
        make("div", { class: "facts" }, ...facts),
      ),
      make(
        "div",
        { class: "bar" },
        this.play.button,
        make("span", { class: "hint" }, "drag the dot, or use the arrow keys"),
        this.change,
        group("toggles", "Lanes", NAMES.map((lane) => this.laneToggle(lane))),
      ),
      this.scroll,
    );
    this.resized = new ResizeObserver(() => this.data && this.drawWide());
    this.resized.observe(this.chart);
  }

  end() {
    this.resized.disconnect();
    outbox.disconnect(this);
    this.play.stop();
  }

  /** @param {Lane} lane */
  viewButton(lane) {
    const { name, note } = LANES[lane];
    const onclick = () => {
      this.large = lane;
      this.look();
    };
    const canvas = make("canvas", { class: lane });
    const attributes = { type: "button", title: name, "aria-label": `Large picture: ${name}`, onclick };
    return { lane, canvas, button: make("button", attributes, canvas, note) };
  }

  /** @param {Lane} lane */
  laneToggle(lane) {
    const { name, note } = LANES[lane];
    const onclick = () => {
      const off = this.section.classList.toggle(`without-${lane}`);
      button.setAttribute("aria-pressed", String(!off));
    };
    const names = { title: name, "aria-label": `Lane: ${name}`, "aria-pressed": "true" };
    const button = make("button", { type: "button", ...names, onclick }, symbol(lane), ` ${note}`);
    return button;
  }

  // --- drawing ----------------------------------------------------------------------------------

  /**
   * Another trajectory, or more of this one.
   *
   * @param {Uint8Array} bytes
   */
  receive(bytes) {
    /** @type {Message} */
    const data = unpack(bytes, this.known);
    outbox.connect(this, this.deliver, data.acted);
    const count = data.lanes.x0.length;
    const another = this.data?.path !== data.path;
    this.data = data;
    this.section.style.setProperty("--aspect", String(data.aspect));
    if (this.count !== count) {
      this.range.element.max = String(count - 1);
      this.step = Math.min(this.count ? this.step : Math.round(count / 3), count - 1);
      this.count = count;
      this.hovered = null;
      this.buildLanes();
    }
    this.drawThumbnails();
    this.drawWords();
    for (const { lane, cells } of this.cells) {
      cells.forEach((canvas, step) => draw(canvas, this.pictureOf(lane, step)));
    }
    this.section.classList.toggle("waiting", data.waiting);
    this.change.hidden = !data.change?.steps.length;
    this.times.forEach((cell, step) => (cell.textContent = time(data, step)));
    this.drawWide();
    this.look();
    if (!another) return;
    this.keepInSight();
    /** @type {HTMLElement | null} */
    const here = this.thumbnails.querySelector("[aria-current]");
    this.thumbnails.scrollLeft = (here?.offsetLeft ?? 0) - this.thumbnails.clientWidth / 2;
  }

  /** The canvases, a row for each lane and a column for each state. */
  buildLanes() {
    const columns = Array.from({ length: this.count });
    this.columns.style.setProperty("--count", String(this.count));
    this.rail = make("div", { class: "rail" });
    this.band = make("div", { class: "band" });
    this.cells = NAMES.map((lane) => ({
      lane,
      cells: columns.map(() => make("canvas", { class: lane })),
    }));
    this.times = columns.map(() => make("span"));
    this.columns.replaceChildren(
      make("div", { class: "label" }),
      make("div", { class: "timeline" }, this.rail, this.range.element),
      ...this.cells.flatMap(({ lane, cells }) => {
        const { name, note } = LANES[lane];
        const words = make("span", { class: "note" }, note);
        const label = make("div", { class: `label ${lane}`, title: name }, symbol(lane), words);
        return [label, this.row(lane, cells)];
      }),
      make("div", { class: "label times" }, make("span", { class: "note" }, "timestep")),
      this.row("times", this.times),
      make("div", { class: "bands" }, this.band),
    );
  }

  /**
   * Cells, one a column: hovering looks at their step, a click stays there.
   *
   * @param {string} name
   * @param {Element[]} cells
   */
  row(name, cells) {
    /** @param {PointerEvent} event */
    const step = (event) => {
      const { left, width } = row.getBoundingClientRect();
      const index = Math.floor(((event.clientX - left) / width) * this.count);
      return Math.max(0, Math.min(this.count - 1, index));
    };
    const handlers = {
      onpointermove: (/** @type {PointerEvent} */ event) =>
        event.pointerType === "mouse" && this.hover(step(event)),
      onpointerleave: () => this.hover(null),
      onclick: (/** @type {PointerEvent} */ event) => this.go(step(event)),
    };
    const row = make("div", { class: `lane ${name}`, "aria-hidden": "true", ...handlers }, ...cells);
    return row;
  }

  /**
   * @param {Lane} lane
   * @param {number} step
   */
  pictureOf(lane, step) {
    return this.data.pictures[this.data.lanes[lane][step] ?? -1];
  }

  drawThumbnails() {
    const { thumbnails, pictures, path } = this.data;
    const shown = thumbnails.map((each, i) => {
      const { button, canvas, label } = (this.buttons[i] ??= this.thumbnail(i));
      button.ariaLabel = each.path === "trunk" ? "trunk" : `branch ${each.name}`;
      button.title = each.name;
      label.textContent = each.label;
      if (each.path === path) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      button.classList.toggle("first", i > 0 && each.group !== thumbnails[i - 1].group);
      draw(canvas, pictures[each.picture ?? -1]);
      return button;
    });
    this.thumbnails.hidden = shown.length < 2;
    this.thumbnails.replaceChildren(...shown);
  }

  /** @param {number} i */
  thumbnail(i) {
    const [canvas, label] = [make("canvas"), make("span")];
    const onclick = () => {
      const { path } = this.data.thumbnails[i];
      if (path !== this.data.path) outbox.push({ do: "pick", path });
    };
    return { button: make("button", { type: "button", onclick }, canvas, label), canvas, label };
  }

  drawWords() {
    const { prompt, change, name, settings, parts } = this.data;
    const shared = parts.slice(0, -1).map((part) => `with ${part.owner} up to step ${part.last}`);
    const own = parts[parts.length - 1].first;
    const none = change ? "(empty prompt)" : "(no prompt)";
    const words = [
      make("p", { class: "prompt" }, prompt ? `“${prompt}”` : none),
      make("p", {}, make("b", {}, name), ` · ${settings.join(" · ")}`),
    ];
    if (shared.length)
      words.push(make("p", {}, `Shared ${shared.join(", ")}; its own from step ${own} on.`));
    this.words.replaceChildren(...words);
  }

  /** What depends on the width. */
  drawWide() {
    this.drawRail();
    if (!this.chart.clientWidth) return;
    this.plot = makeChart(this.data, this.chart.clientWidth);
    this.chart.replaceChildren(this.plot.element);
    this.plot.point(this.hovered ?? this.step);
  }

  /** Whose each stretch is, where this path forked, and where the grid's rows leave it. */
  drawRail() {
    const { parts, rows, forks } = this.data;
    const share = (/** @type {number} */ columns) => `${(columns / this.count) * 100}%`;
    const stretches = parts.map((part, i) => {
      const [first, last] = [i ? part.first - 1 : part.first, part.last];
      const shared = `shared with ${part.owner} up to step ${part.last}`;
      const text = !part.own ? shared : parts.length > 1 ? `${part.owner}, its own` : part.owner;
      const room = ((last - first) / this.count) * this.rail.clientWidth;
      const words = make("span", {}, part.own || room > 140 ? text : part.owner);
      const style = `left: ${share(first + 0.5)}; width: ${share(last - first)}`;
      return make("div", { class: part.own ? "part own" : "part", title: text, style }, words);
    });
    /** @type {(kind: string, title: string) => (step: number) => Element} */
    const mark = (kind, title) => (step) =>
      make("i", { class: kind, title: `${title} at step ${step}`, style: `left: ${share(step + 0.5)}` });
    const leaving = rows.filter((row) => !forks.includes(row));
    this.rail.replaceChildren(
      ...stretches,
      ...leaving.map(mark("row", "branches leave")),
      ...forks.map(mark("fork", "forked")),
    );
  }

  /** All that follows the step under the pointer, or else the scrubber's. */
  look() {
    const { data, count, large } = this;
    const step = this.hovered ?? this.step;
    this.range.set(this.step, sentence(data, this.step));
    this.band.style.left = `${(step / count) * 100}%`;
    this.picture.className = large;
    this.picture.ariaLabel = `${LANES[large].name}, ${sentence(data, step)}`;
    const preview = data.previews.includes(large) && step < count - 1 ? " (a preview)" : "";
    this.caption.textContent = LANES[large].name + preview;
    draw(this.picture, this.pictureOf(large, step));
    for (const { lane, button, canvas } of this.views) {
      button.ariaPressed = String(lane === large);
      draw(canvas, this.pictureOf(lane, step));
    }
    const facts = numbers(data, step).map(([term, value]) =>
      make("div", {}, make("dt", {}, term), make("dd", {}, value)),
    );
    this.numbers.replaceChildren(...facts);
    this.plot?.point(step);
  }

  /**
   * The column nearest to the pointer.
   *
   * @param {PointerEvent} event
   */
  columnAt(event) {
    const { left } = this.chart.getBoundingClientRect();
    return this.plot?.stepAt(event.clientX - left) ?? this.step;
  }

  // --- moving -----------------------------------------------------------------------------------

  /** @param {number} step */
  go(step) {
    this.play.stop();
    this.step = step;
    this.hovered = null;
    this.look();
    this.keepInSight();
  }

  /** From the scrubber's step on, another prompt or guidance. */
  ask() {
    this.play.stop();
    const { data, step, section } = this;
    if (!data.change) return;
    changeFrom(section, {
      change: data.change,
      step,
      picture: (at) => this.pictureOf("x0", at),
      words: (at) => `step ${at} · t = ${time(data, at)}`,
      send: (act) => outbox.push({ ...act, path: data.path }),
    });
  }

  /** @param {number | null} step */
  hover(step) {
    if (this.play.running() || this.hovered === step) return;
    this.hovered = step;
    this.look();
  }

  /** The next step; whether there is another. From the last one it begins anew. */
  advance() {
    this.hovered = null;
    this.step = (this.step + 1) % this.count;
    this.look();
    this.keepInSight();
    return this.step < this.count - 1;
  }

  /** Where the lanes scroll, the scrubber's column is to be seen. */
  keepInSight() {
    const { scroll, columns, band, step, count } = this;
    const [room, column] = [scroll.getBoundingClientRect(), band.getBoundingClientRect()];
    const label = /** @type {HTMLElement} */ (columns.firstChild).offsetWidth;
    if (column.left >= room.left + label && column.right <= room.right + 1) return;
    scroll.scrollLeft = label + ((columns.scrollWidth - label) * step) / count - room.width / 2;
  }
}

/** @param {Lane} lane */
function symbol(lane) {
  const [base, index] = LANES[lane].sign;
  return make("span", { class: "sign" }, base, make("sub", {}, index));
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

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Picture | undefined} picture
 */
function draw(canvas, picture) {
  canvas.classList.toggle("blank", !picture);
  if (picture) show(canvas, picture);
  else clear(canvas);
}
