// @ts-check
// One look into all pictures at once: wheel, pinch, keys and drags.

import { isBrowsers } from "../shared/dom.js";
import { moved, WHOLE, zoomed } from "./look.js";

/** @typedef {import("./look.js").Look} Look */

const STEP = 1.5; // by which a key or a button zooms
const PER_PIXEL = 1 / 400; // of a wheel; a notch is some 100 of them
const PER_LINE = 16; // px, where a wheel counts lines
const A_DRAG = 4; // px; what moves less is a click

/**
 * Touches of a stage with several `.frame`s change the look into all of them.
 *
 * @param {HTMLElement} stage
 * @param {(look: Look) => void} draw
 */
export function makeZoom(stage, draw) {
  let look = WHOLE;
  /** @type {Map<number, PointerEvent>} what is pressed on a picture, by pointer */
  const pressed = new Map();
  let far = 0; // px that were dragged since the press

  /** @param {Look} next */
  const set = (next) => {
    look = next.scale < 1.01 ? WHOLE : next;
    draw(look);
  };
  /** @param {Event} event */
  const frameOf = (event) => /** @type {Element} */ (event.target).closest?.(".frame");
  /** @type {(frame: Element, event: {clientX: number, clientY: number}) => {x: number, y: number}} */
  const place = (frame, { clientX, clientY }) => {
    const box = frame.getBoundingClientRect();
    return { x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
  };
  const middle = { x: 0.5, y: 0.5 };
  const by = (/** @type {number} */ factor, at = middle) => set(zoomed(look, factor, at));
  const reset = () => set(WHOLE);

  const wheel = (/** @type {WheelEvent} */ event) => {
    const frame = frameOf(event);
    // What is whole already lets the page scroll on.
    if (!frame || (event.deltaY > 0 && look.scale === 1)) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? PER_LINE : 1);
    // A pinch on a touchpad is a wheel with Control, in small figures.
    by(Math.exp(-pixels * PER_PIXEL * (event.ctrlKey ? 4 : 1)), place(frame, event));
  };
  stage.addEventListener("wheel", wheel, { passive: false });

  stage.addEventListener("pointerdown", (event) => {
    const onDivider = /** @type {Element} */ (event.target).matches(".divider");
    if (!frameOf(event) || event.button || onDivider) return;
    pressed.set(event.pointerId, event);
    if (pressed.size === 1) far = 0;
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pressed.get(event.pointerId);
    const frame = frameOf(event);
    if (!before || !frame) return;
    const others = [...pressed.values()].filter((each) => each !== before);
    pressed.set(event.pointerId, event);
    const from = place(frame, before);
    const to = place(frame, event);
    if (others.length === 1) {
      const other = place(frame, others[0]);
      const apart = (/** @type {{x: number, y: number}} */ at) =>
        Math.max(0.01, Math.hypot(at.x - other.x, at.y - other.y));
      far = A_DRAG;
      by(apart(to) / apart(from), { x: (to.x + other.x) / 2, y: (to.y + other.y) / 2 });
    } else if (look.scale > 1) {
      far += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY);
      // Captured no sooner, so that a click stays one.
      if (far >= A_DRAG) frame.setPointerCapture(event.pointerId);
      set(moved(look, to.x - from.x, to.y - from.y));
    }
  });
  for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
    stage.addEventListener(end, (event) => pressed.delete(event.pointerId));
  }
  stage.addEventListener("pointerleave", () => pressed.clear());
  // What was dragged is no click, on the button that flips say.
  const click = (/** @type {MouseEvent} */ event) => {
    if (far >= A_DRAG && event.detail && frameOf(event)) event.stopPropagation();
    far = 0;
  };
  stage.addEventListener("click", click, { capture: true });
  stage.addEventListener("dblclick", (event) => {
    if (frameOf(event)) reset();
  });

  const key = (/** @type {KeyboardEvent} */ event) => {
    if (isBrowsers(event)) return;
    /** @type {Record<string, () => void>} */
    const keys = { "+": () => by(STEP), "=": () => by(STEP), "-": () => by(1 / STEP), 0: reset };
    /** @type {Record<string, [number, number]>} */
    const ways = {
      ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1],
    };
    const way = frameOf(event) === event.target && look.scale > 1 && ways[event.key];
    if (way) set(moved(look, ...way));
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  };

  return { key, reset, nearer: () => by(STEP), farther: () => by(1 / STEP) };
}
