// @ts-check
// A study's chart in the theme's colours (see charts.py for what is sent).
//
// Panels share one axis: a pointer or the arrow keys choose a fork step in all of them at once.

import { isBrowsers, make, styled, svg } from "../shared/dom.js";
import { nearest } from "../shared/nearest.js";

/**
 * @typedef {{width: number, height: number, svg: string}} Scene
 * @typedef {{x: number, text: string}} Stop what is read there
 * @typedef {{title: string, scene: Scene | null, sentence: string, note: string, stops: Stop[]}} Panel
 * @typedef {{order: string, world: string, wide: Scene, narrow: Scene, panels: Panel[]}} Message
 */

/** @param {any} component what Streamlit hands over */
export default async function mount({ data, parentElement }) {
  await styled(parentElement);
  const root = parentElement.querySelector(".chart");
  const told = JSON.stringify(data);
  if (root.told === told) return; // the page runs again for many reasons
  root.told = told;
  new Chart(root, data);
}

class Chart {
  /**
   * @param {Element} root
   * @param {Message} data
   */
  constructor(root, data) {
    /** @type {number | null} where all panels are read */
    this.x = null;
    this.panels = data.panels.map((panel) => this.panel(panel));
    const label = `All factors by decision step. ${data.order} The table below says the same.`;
    const drawings = [picture(data.wide, "wide"), picture(data.narrow, "narrow")];
    const overview = make("div", { class: "overview", role: "img", "aria-label": label }, ...drawings);
    const panels = make("div", { class: "panels" }, ...this.panels.map((panel) => panel.element));
    const order = make("p", { class: "order" }, data.order);
    root.replaceChildren(overview, order, make("h3", {}, data.world), panels);
  }

  /** @param {Panel} panel */
  panel({ title, scene, sentence, note, stops }) {
    const said = make("p", { class: "note" }, note);
    const read = make("p", { class: "read" });
    const cursor = svg("line", { class: "cursor" });
    const element = make("section", {}, make("h4", {}, title));
    const panel = { element, stops, read, cursor };
    if (scene) {
      const drawing = picture(scene, "panel");
      cursor.setAttribute("y1", "22");
      cursor.setAttribute("y2", String(scene.height - 22));
      drawing.prepend(cursor);
      const names = { class: "plot", role: "img", "aria-label": `${title}: ${note}` };
      const plot = make("div", names, drawing);
      element.append(plot);
      if (stops.length) this.listen(plot, drawing, panel, scene.width);
    }
    element.append(make("p", {}, sentence), make("div", { class: "under" }, said, read));
    return panel;
  }

  /**
   * @param {HTMLElement} plot
   * @param {Element} drawing
   * @param {{stops: Stop[], read: Element}} panel
   * @param {number} width
   */
  listen(plot, drawing, { stops, read }, width) {
    plot.tabIndex = 0;
    plot.onpointermove = plot.onpointerdown = (event) => {
      const box = drawing.getBoundingClientRect();
      this.point(stopAt(stops, ((event.clientX - box.left) / box.width) * width).x);
    };
    plot.onpointerleave = () => this.point(null);
    plot.onblur = () => {
      read.removeAttribute("aria-live");
      this.point(null);
    };
    plot.onkeydown = (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, Escape: 0 }[event.key];
      if (by === undefined || isBrowsers(event)) return;
      event.preventDefault();
      const now = stops.findIndex((stop) => stop.x === this.x);
      const next = now < 0 ? (by > 0 ? 0 : stops.length - 1) : now + by;
      read.setAttribute("aria-live", "polite"); // of the panel that is read, not of all
      this.point(by ? stops[Math.min(stops.length - 1, Math.max(0, next))].x : null);
    };
  }

  /**
   * Read every panel off at this place; null: at none.
   *
   * @param {number | null} x
   */
  point(x) {
    if (x === this.x) return;
    this.x = x;
    for (const { element, stops, cursor, read } of this.panels) {
      const stop = x !== null && stops.length ? stopAt(stops, x) : null;
      element.classList.toggle("reading", stop !== null);
      if (!stop) continue;
      cursor.setAttribute("x1", String(stop.x));
      cursor.setAttribute("x2", String(stop.x));
      read.textContent = stop.text;
    }
  }
}

/**
 * @param {Scene} scene
 * @param {string} kind
 */
function picture({ width, height, svg: marks }, kind) {
  const view = { class: kind, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" };
  const drawing = svg("svg", view);
  drawing.innerHTML = marks; // `Mark.to_svg` escapes what is text
  return drawing;
}

/**
 * @param {Stop[]} stops
 * @param {number} x
 */
function stopAt(stops, x) {
  return stops[nearest(stops.map((stop) => stop.x), x)];
}
