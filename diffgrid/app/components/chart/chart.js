// A study's chart in the theme's colours (see charts.py for what is sent).
//
// Panels share one axis: a pointer or the arrow keys choose a fork step in all of them at once.

import { make, styled, svg } from "../shared/dom.js";
import { nearest } from "../shared/nearest.js";

function picture({ width, height, svg: marks }, kind) {
  const view = { class: kind, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" };
  const drawing = svg("svg", view);
  drawing.innerHTML = marks; // `Mark.to_svg` escapes what is text
  return drawing;
}

const stopAt = (stops, x) => stops[nearest(stops.map((stop) => stop.x), x)];

class Chart {
  constructor(root, data) {
    this.panels = data.panels.map((panel) => this.panel(panel));
    const overview = make("div", {
      class: "overview",
      role: "img",
      "aria-label": "All factors in order of decision; the table below says the same.",
    });
    overview.append(picture(data.wide, "wide"), picture(data.narrow, "narrow"));
    const panels = make("div", { class: "panels" }, ...this.panels.map((panel) => panel.element));
    root.replaceChildren(overview, make("h3", {}, data.world), panels);
  }

  panel({ title, scene, sentence, note, stops }) {
    const said = make("p", { class: "note" }, note);
    const read = make("p", { class: "read" });
    const words = [make("p", {}, sentence), make("div", { class: "under" }, said, read)];
    const element = make("section", {}, make("h4", {}, title));
    const panel = { element, stops, read };
    if (scene) {
      const plot = make("div", { class: "plot", role: "img", "aria-label": `${title}: ${note}` });
      const drawing = picture(scene, "panel");
      panel.cursor = svg("line", { class: "cursor", y1: 22, y2: scene.height - 22 });
      drawing.prepend(panel.cursor);
      plot.append(drawing);
      element.append(plot);
      if (stops.length) this.listen(plot, drawing, panel, scene.width);
    } else {
      element.classList.add("fixed");
    }
    element.append(...words);
    return panel;
  }

  listen(plot, drawing, { stops, read }, width) {
    const place = (event) => {
      const box = drawing.getBoundingClientRect();
      return ((event.clientX - box.left) / box.width) * width;
    };
    plot.tabIndex = 0;
    plot.onpointermove = (event) => this.point(stopAt(stops, place(event)).x);
    plot.onpointerdown = plot.onpointermove;
    plot.onpointerleave = () => this.point(null);
    plot.onblur = () => {
      read.removeAttribute("aria-live");
      this.point(null);
    };
    plot.onkeydown = (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by && event.key !== "Escape") return;
      event.preventDefault();
      const now = stops.findIndex((stop) => stop.x === this.x);
      const next = now < 0 ? (by > 0 ? 0 : stops.length - 1) : now + by;
      read.setAttribute("aria-live", "polite"); // of the panel that is read, not of all
      this.point(by ? stops[Math.min(stops.length - 1, Math.max(0, next))].x : null);
    };
  }

  /** Read every panel off at this place; null: at none. */
  point(x) {
    if (x === this.x) return;
    this.x = x;
    for (const { element, stops, cursor, read } of this.panels) {
      const stop = x !== null && stops.length ? stopAt(stops, x) : null;
      element.classList.toggle("reading", stop !== null);
      if (!stop) continue;
      cursor.setAttribute("x1", stop.x);
      cursor.setAttribute("x2", stop.x);
      read.textContent = stop.text;
    }
  }
}

export default async function mount({ data, parentElement }) {
  await styled(parentElement);
  const root = parentElement.querySelector(".chart");
  const told = JSON.stringify(data);
  if (root.told === told) return; // the page runs again for many reasons
  root.told = told;
  new Chart(root, data);
}
