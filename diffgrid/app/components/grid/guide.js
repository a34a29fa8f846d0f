// @ts-check
// What a first visitor is told: it points at a cell, until one was followed in this browser.

import { make } from "../shared/dom.js";
import { markRead, wasRead } from "../shared/read.js";

const FOLLOWED = "followed"; // the name of what was read
const MOUSE = "Hover me: I play. Click: I become the trunk.";
const FINGER = "Tap me: I play. Tap again: I become the trunk.";

/** @param {HTMLElement} root */
export function makeGuide(root) {
  const fingers = matchMedia("(hover: none)");
  const element = make("p", { class: "guide" }, fingers.matches ? FINGER : MOUSE);

  return {
    element,

    /** @param {import("./message.js").GridHead} head */
    render(head) {
      const count = head.rows[0]?.cells.length ?? 0;
      element.hidden = Boolean(head.file) || !count || wasRead(FOLLOWED); // a file's head says it
      element.style.setProperty("--slot", String(Math.min(1, count - 1)));
      root.classList.toggle("guided", !element.hidden);
    },

    /** A cell was followed. */
    end() {
      if (!wasRead(FOLLOWED)) markRead(FOLLOWED);
    },
  };
}
