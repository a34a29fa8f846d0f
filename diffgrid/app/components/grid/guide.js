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
      const cells = head.rows[0]?.cells ?? [];
      const slot = Math.min(1, cells.length - 1);
      // A file's head says it.
      element.hidden = Boolean(head.file) || !cells[slot]?.done || wasRead(FOLLOWED);
      element.style.setProperty("--slot", String(slot));
      root.classList.toggle("guided", !element.hidden);
    },

    /** A cell was followed. */
    end() {
      if (!wasRead(FOLLOWED)) markRead(FOLLOWED);
    },
  };
}
