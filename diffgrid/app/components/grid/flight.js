// @ts-check
// A picture on its way from one place to another.

import { make, stillness } from "../shared/dom.js";
import { show } from "../shared/protocol.js";

const FADE = { duration: 460, easing: "cubic-bezier(.3,.7,.2,1)" };

/**
 * A picture glides over `root` from where it was to where it is.
 *
 * @param {Element} root
 * @param {import("./cell.js").Shown} picture
 * @param {DOMRect} from
 * @param {Element} target
 */
export function fly(root, picture, from, target) {
  if (stillness.matches || !picture) return;
  const canvas = make("canvas", { class: "flying", "aria-hidden": "true" });
  show(canvas, picture);
  const to = target.getBoundingClientRect();
  const base = root.getBoundingClientRect();
  canvas.style.left = `${to.left - base.left}px`;
  canvas.style.top = `${to.top - base.top}px`;
  canvas.style.width = `${to.width}px`;
  canvas.style.height = `${to.height}px`;
  root.append(canvas);
  const way = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
  const start = { transform: `${way} scale(${from.width / to.width})` };
  const flight = canvas.animate([start, { transform: "none" }], FADE);
  flight.onfinish = () => canvas.remove();
  const arrive = [{ opacity: 0.2 }, { opacity: 0.2, offset: 0.8 }, { opacity: 1 }];
  target.animate(arrive, { duration: FADE.duration });
}
